"""What the protocols have in common: what a router is asked, and what comes of it. Values, and the base of the ways."""

from __future__ import annotations

import abc
import collections
import enum
from collections.abc import Sequence

from ...values import dataclass

__all__ = [
    "Absent",
    "Ask",
    "Epoch",
    "Granted",
    "Outcome",
    "Ready",
    "Refusal",
    "Refused",
    "Removed",
    "Restarted",
    "Vanished",
    "Wanted",
    "Way",
    "WayState",
]


@dataclass(frozen=True)
class Wanted:
    """A listener of ours that the router should lead to."""

    protocol: str
    """``tcp`` or ``udp``."""

    port: int
    """Ours."""


@dataclass(frozen=True)
class Ask:
    """A mapping to be made or renewed, or one to be removed."""

    wanted: Wanted
    external: int
    """The outer port."""
    lifetime: int
    """Seconds; 0 (UPnP only): without end."""
    nonce: bytes = b""
    """PCP: the same as long as the mapping lives."""


class Refusal(enum.Enum):
    """Why a mapping was not made, as far as it decides what to do next."""

    CONFLICT = "conflict"
    """Somebody has that port: another one may do."""
    PERMANENT_ONLY = "permanent only"
    """The router knows no leases."""
    SAME_PORT = "same port"
    """The outer port must be the inner one."""
    BEHIND_NAT = "behind another NAT"
    """The router sees another address than ours on our packets."""
    NO_ANSWER = "no answer"
    OTHER = "other"
    """It will not, for another reason."""


@dataclass(frozen=True)
class Ready:
    """The router speaks this protocol."""

    external_ip: str
    """Its outer address; empty: not told yet."""
    model: str = ""


@dataclass(frozen=True)
class Absent:
    """It does not, or no longer."""

    reason: str


@dataclass(frozen=True)
class Granted:
    """A mapping stands."""

    ask: Ask
    external: int
    lifetime: int
    external_ip: str


@dataclass(frozen=True)
class Refused:
    """It does not."""

    ask: Ask
    kind: Refusal
    reason: str


@dataclass(frozen=True)
class Removed:
    """A mapping has been removed, or the router does not answer about it (``sure`` is False then)."""

    ask: Ask
    sure: bool


@dataclass(frozen=True)
class Restarted:
    """The router has lost its table."""


@dataclass(frozen=True)
class Vanished:
    """The router no longer has this mapping."""

    ask: Ask


Outcome = Ready | Absent | Granted | Refused | Removed | Restarted | Vanished


class WayState(enum.Enum):
    """What is known of a router's speaking a protocol."""

    UNKNOWN = "unknown"
    READY = "ready"
    ABSENT = "absent"


class Way(abc.ABC):
    """One protocol towards one router, sans-IO. Its owner takes what it wants to send and what it found out."""

    name = ""
    title = ""
    """For people."""

    def __init__(self) -> None:
        self.state = WayState.UNKNOWN
        self.external_ip = ""
        """The outer address, as the router says."""
        self.reason = ""
        """Why it is absent."""
        self.model = ""
        self._outcomes: collections.deque[Outcome] = collections.deque()

    # --- what it does -------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def probe(self, now: float) -> None:
        """Find out whether the router speaks it; harmless."""

    @abc.abstractmethod
    def ask(self, ask: Ask, now: float) -> None:
        """Have a mapping made or renewed: Granted or Refused follows."""

    @abc.abstractmethod
    def remove(self, ask: Ask, now: float) -> None:
        """Have a mapping removed: Removed follows."""

    @abc.abstractmethod
    def check(self, held: Sequence[Ask], now: float) -> None:
        """Look whether the router still has these; Restarted or Vanished follow if not."""

    @abc.abstractmethod
    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due."""

    @abc.abstractmethod
    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    # --- for those that inherit ---------------------------------------------------------------------------------------

    def outcomes(self) -> list[Outcome]:
        """What was found out since the last call."""
        found = list(self._outcomes)
        self._outcomes.clear()
        return found

    def _found(self, outcome: Outcome) -> None:
        if isinstance(outcome, Ready):
            self.state, self.reason = WayState.READY, ""
            self.external_ip = outcome.external_ip or self.external_ip
            self.model = outcome.model or self.model
        elif isinstance(outcome, Absent):
            self.state, self.reason = WayState.ABSENT, outcome.reason
        self._outcomes.append(outcome)


class Epoch(abc.ABC):
    """The age of a router's table: when it is younger than it should be, the router has lost it."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Take in an age told at ``now``."""
        before, self._last = self._last, (now, epoch)
        return before is not None and self._is_off(now - before[0], epoch - before[1])

    @abc.abstractmethod
    def _is_off(self, ours: float, theirs: int) -> bool:
        """Whether two clocks that both run have moved too far apart: seconds passed by ours, and by the router's."""
