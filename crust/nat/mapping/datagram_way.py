"""What NAT-PMP and PCP share, sans-IO: requests by datagrams that are repeated, and a table whose age is told."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence

from ... import limits
from .exchange import Exchanges
from .ways import Absent, Ask, Epoch, Granted, Refusal, Refused, Removed, Restarted, Way, WayState

__all__ = ["PROBE", "DatagramWay"]

PROBE = "probe"
"""The key of the question whether the router speaks this; all others are in ``_asks``."""


class DatagramWay(Way):
    """
    A protocol of datagrams to one port of the router.

    Args:
        epoch: Judges how old the router says its table is.
    """

    def __init__(self, epoch: Epoch) -> None:
        super().__init__()
        self._exchanges = Exchanges()
        self._asks: dict[Hashable, tuple[Ask, bool]] = {}  # what waits, and whether it is a removal
        self._epoch = epoch
        self._queue: list[bytes] = []

    # --- for those that inherit ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _question(self) -> bytes:
        """What every router that speaks this answers; it changes nothing there."""

    @abc.abstractmethod
    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the router's port."""

    def _settle(self, key: Hashable) -> tuple[Ask, bool]:
        """There is an answer to that request; what was asked, and whether it is a removal."""
        self._exchanges.answered(key)
        return self._asks.pop(key)

    def _agreed(self, ask: Ask, external: int, lifetime: int, external_ip: str) -> None:
        """The router says that it has made a mapping."""
        if not external or not lifetime:
            self._found(Refused(ask, Refusal.OTHER, "it agreed to a mapping that leads nowhere"))
        elif lifetime <= limits.MAPPING_RENEW_MIN:  # over before it may be renewed: it would come and go
            self._found(Refused(ask, Refusal.OTHER, f"it opens ports for {lifetime} s only"))
        else:
            self.external_ip = external_ip
            self._found(Granted(ask, external, lifetime, external_ip))

    def _heard(self, epoch: int, now: float) -> None:
        if self._epoch.restarted(epoch, now):
            self._found(Restarted())

    def _gone(self, reason: str) -> None:
        """The router does not speak it, or no more."""
        self._exchanges.clear()
        asks, self._asks = self._asks, {}
        if self.state is not WayState.ABSENT:
            self._found(Absent(reason))
        for ask, is_removal in asks.values():
            self._unanswered(ask, is_removal, reason)

    def _unanswered(self, ask: Ask, is_removal: bool, reason: str) -> None:
        self._found(Removed(ask, False) if is_removal else Refused(ask, Refusal.NO_ANSWER, reason))

    # --- what it does -------------------------------------------------------------------------------------------------

    def probe(self, now: float) -> None:
        self._ask_whether(now, limits.MAPPING_PROBES)

    def check(self, held: Sequence[Ask], now: float) -> None:
        if held:
            self._ask_whether(now, limits.MAPPING_CHECK_SENDS)

    def _ask_whether(self, now: float, sends: int) -> None:
        self._exchanges.add(PROBE, self._question(), now, sends=sends, interval=limits.MAPPING_RESEND)

    def unreachable(self) -> None:
        """Nobody is at the router's port."""
        self._gone("the router has no such service")

    def datagrams(self) -> list[bytes]:
        """What is to be sent to the router's port now."""
        found, self._queue = self._queue, []
        return found

    # --- time ---------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        return self._exchanges.get_timer()

    def handle_timer(self, now: float) -> None:
        datagrams, expired = self._exchanges.poll(now)
        self._queue += datagrams
        for key in expired:
            if key != PROBE:
                self._unanswered(*self._asks.pop(key), "no answer")
            elif self.state is WayState.UNKNOWN:
                self._gone("no answer")
