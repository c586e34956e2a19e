"""
The ways to reach a peer that this version has, and between which networks each of them works.

A `Method` judges by two `Side`s, the caller's and the other one's, and says how likely it is to succeed and how long it
takes; a method that has nothing to offer says None. What is not registered here is promised to nobody. A new way to
reach peers is one `register` more.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable

from .. import limits
from ..assessment import Reach
from ..findings import Behaviour, PortAllocation, Unsolicited
from ..values import dataclass

__all__ = ["Entrance", "Method", "Prospect", "Side", "Way", "best", "methods", "register"]


class Entrance(enum.Enum):
    """Whether somebody who was never called gets in."""

    OPEN = "open"
    """A public address, and nothing that turns callers away."""

    MAPPED = "mapped"
    """The router has opened a port."""

    KEPT = "kept"
    """The outer port of a connection that is kept up takes anybody: endpoint-independent mapping and filtering."""

    LIKELY = "likely"
    """Not tested, but the other protocol is open."""

    UNKNOWN = "unknown"
    CLOSED = "closed"


@dataclass(frozen=True)
class Way:
    """One transport of one family, seen from one side."""

    transport: str
    """``tcp`` or ``utp``."""

    family: int
    """4 or 6."""

    out: bool | None
    """Whether what leaves gets anywhere; None: not known."""

    entrance: Entrance
    out_ports: tuple[int, ...] = ()
    """The only ports outside that can be reached; empty: all."""

    mapping: Behaviour | None = None
    filtering: Behaviour | None = None
    ports: PortAllocation | None = None
    unsolicited: Unsolicited | None = None
    rtt: float | None = None
    """Seconds to the nearest server that answered."""


@dataclass(frozen=True)
class Side:
    """What a method needs to know of the network at one end."""

    ways: tuple[Way, ...] = ()

    def way(self, transport: str, family: int) -> Way | None:
        """The way by a transport and family, if there is one."""
        for way in self.ways:
            if (way.transport, way.family) == (transport, family):
                return way
        return None


@dataclass(frozen=True)
class Prospect:
    """What a method promises."""

    chance: float | None
    """From 0 to 1; None: it depends on what is not known."""

    seconds: float
    """Until the first message."""


@dataclass(frozen=True)
class Method:
    """One way to reach a peer."""

    name: str
    """``direct``: what `Attempt.method` says."""

    path_class: str
    """``direct-tcp``: what `Path.path_class` says."""

    prospect: Callable[[Side, Side], Prospect | None]
    """What to expect if the first side calls the second one; None: it cannot work."""


_METHODS: list[Method] = []


def register(method: Method) -> None:
    """Add a way to reach peers. Of two that promise the same, the one that was registered first is named."""
    _METHODS.append(method)


def methods() -> tuple[Method, ...]:
    """All ways, in the order in which they were registered."""
    return tuple(_METHODS)


def best(ours: Side, theirs: Side) -> Reach | None:
    """The most promising way for one side to call the other; of equal ones the one registered first."""
    found: Reach | None = None
    for method in _METHODS:
        prospect = method.prospect(ours, theirs)
        if prospect is None:
            continue
        if found is None or _weight(prospect.chance) > _weight(found.chance):
            found = Reach(method.name, method.path_class, prospect.chance, prospect.seconds)
    return found


def _weight(chance: float | None) -> float:
    return 0.0 if chance is None else chance


# --- direct: the address that a contact names is dialled --------------------------------------------------------------

_CHANCES: dict[Entrance, float | None] = {
    Entrance.OPEN: 0.99,
    Entrance.MAPPED: 0.97,  # routers forget, and are switched off and on
    Entrance.KEPT: 0.9,  # it lasts as long as the connection that keeps it
    Entrance.LIKELY: 0.8,
    Entrance.UNKNOWN: None,
}


def _direct(transport: str, ours: Side, theirs: Side) -> Prospect | None:
    found: list[Prospect] = []
    for way in ours.ways:
        other = theirs.way(transport, way.family)
        if way.transport != transport or other is None or other.entrance not in _CHANCES:
            continue
        if way.out is False or way.out_ports:  # peers listen on ports of their own choice
            continue
        chance = _CHANCES[other.entrance] if way.out else None
        found.append(Prospect(chance, _seconds(way, other)))
    return max(found, key=lambda prospect: _weight(prospect.chance), default=None)


def _seconds(way: Way, other: Way) -> float:
    """A connection and a handshake; servers that answer quickly are nearer than peers are."""
    known = [rtt for rtt in (way.rtt, other.rtt) if rtt is not None]
    trip = max(known if len(known) == 2 else [*known, limits.FORECAST_RTT])
    return round(limits.FORECAST_ROUND_TRIPS * trip + (limits.UTP_HEADSTART if way.transport == "utp" else 0.0), 3)


for _transport in ("tcp", "utp"):
    register(Method("direct", f"direct-{_transport}", functools.partial(_direct, _transport)))
