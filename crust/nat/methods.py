"""
The ways to reach a peer that this version has, and between which networks each of them works.

A `Method` judges by two `Side`s, the caller's and the other one's, and says how likely it is to succeed and how long it
takes; a method that has nothing to offer says None. What is not registered here is promised to nobody. A new way to
reach peers is one `register` more, which other packages may do as well (:mod:`crust.traversal`).
"""

from __future__ import annotations

import enum
import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any

from .. import limits
from ..assessment import Reach
from ..findings import Behaviour, PortAllocation, Unsolicited
from ..values import dataclass
from ..wire.handshake import Manner
from .punch.contract import Context, Plan

_logger = logging.getLogger("crust.nat.methods")

__all__ = ["PATH_CLASSES", "Entrance", "Method", "Prospect", "Side", "Way", "best", "methods", "register", "unregister"]


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
    """``punch-udp``: what `Attempt.method` says, and by which the two ends' plans find each other. 1 to 32 visible
    characters of ASCII, other ones than any other method has. Of its words, which hyphens part, ``tcp``, ``udp``,
    ``predict`` and ``birthday`` have it switched off together with ``nat.punch.tcp`` and so on."""

    path_class: str
    """``punched-utp``: what `Path.path_class` says of ways that it found; one of ``PATH_CLASSES``."""

    prospect: Callable[[Side, Side], Prospect | None]
    """What to expect if the first side calls the second one, for forecasts; None: nothing is promised."""

    plan: Callable[[Context], Plan | None] | None = None
    """Begins one end of an attempt; None: there is nothing to attempt between these two. A method without a plan needs
    no word with the other end."""

    searches: bool = False
    """It needs the router's ports to itself: it comes after the others, and only one such method of a node runs at a
    time."""

    @property
    def manner(self) -> Manner:
        """What the wire says of links that it made."""
        word = self.path_class.partition("-")[0]
        return next((manner for manner in Manner if manner.name.lower() == word), Manner.PUNCHED)


PATH_CLASSES = ("direct-tcp", "direct-utp", "punched-tcp", "punched-utp", "predicted", "birthday")
"""What a method may lead to, best first."""

_METHODS: list[Method] = []


def register(method: Method) -> None:
    """
    Add a way to reach peers, for all nodes of this process: they take it up with their next attempt. Of two methods
    that promise the same, the one that was registered first is named. Not for several threads at once.

    Args:
        method: The method. Both ends need it: one whose peer has none by that name is told nothing, and ends in vain.

    Raises:
        ValueError: Its name is taken or cannot be sent to others, or its path class is none.
    """
    name = method.name
    if not (0 < len(name) <= limits.METHOD_NAME_MAX and all("!" <= each <= "~" for each in name)):
        raise ValueError(f"a method's name has 1 to {limits.METHOD_NAME_MAX} visible ASCII characters: {name!r}")
    if method.path_class not in PATH_CLASSES:
        raise ValueError(f"a method's path class is one of {', '.join(PATH_CLASSES)}: {method.path_class!r}")
    if any(each.name == name for each in _METHODS):
        raise ValueError(f"there is a method {name!r} already")
    _METHODS.append(method)


def unregister(name: str) -> None:
    """
    Take away what was registered by that name, such as at the end of a test. Attempts under way go on. Not for several
    threads at once.

    Raises:
        KeyError: There is no such method.
    """
    found = [each for each in _METHODS if each.name == name]
    if not found:
        raise KeyError(name)
    for each in found:
        _METHODS.remove(each)


def methods() -> tuple[Method, ...]:
    """All ways, in the order in which they were registered."""
    return tuple(_METHODS)


def best(ours: Side, theirs: Side) -> Reach | None:
    """The most promising way for one side to call the other; of equal ones the one registered first."""
    found: Reach | None = None
    for method in _METHODS:
        try:
            prospect = method.prospect(ours, theirs)
        except Exception:  # a fault of this method, which may be another package's, must not end a report
            _logger.exception("the method %s cannot say what to expect of it", method.name)
            continue
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


for _transport in ("tcp", "utp"):  # one method, told of by one name, that leads to paths of two classes
    _METHODS.append(Method("direct", f"direct-{_transport}", functools.partial(_direct, _transport)))


# --- both ends work on it together: crust.nat.punch -------------------------------------------------------------------


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of :mod:`crust.nat.punch` that is loaded when it is first called."""

    def call(*arguments: object) -> object:
        return getattr(importlib.import_module(f"{__package__}.punch.{module}"), name)(*arguments)

    return call


def _punching(name: str, path_class: str, module: str, function: str, *, searches: bool = False) -> None:
    prospect, plan = _later(module, f"{function}_prospect"), _later(module, function)
    register(Method(name, path_class, prospect, plan, searches))


_punching("punch-tcp", "punched-tcp", "tcp_ways", "punch")
_punching("punch-udp", "punched-utp", "udp_ways", "punch")
# Searches follow each other. Those of UDP come first: they are quicker, and there are routers that answer SYNs by RST.
_punching("predict-udp", "predicted", "udp_ways", "predict", searches=True)
_punching("predict-tcp", "predicted", "tcp_ways", "predict", searches=True)
_punching("birthday-udp", "birthday", "udp_ways", "birthday", searches=True)
_punching("birthday-tcp", "birthday", "tcp_ways", "birthday", searches=True)
