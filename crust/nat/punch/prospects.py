"""What forecasts ask of every method that punches, predicts or searches, by whichever transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ... import limits
from ...findings import Behaviour, PortAllocation
from ..methods import Prospect, Side, Way

__all__ = ["best", "counts", "is_random", "keeps", "lets_in_hosts"]


def keeps(way: Way) -> bool:
    """The router has one outer port for all destinations."""
    return way.mapping is Behaviour.INDEPENDENT


def counts(way: Way) -> bool:
    """It gives each destination the next port."""
    return _changes(way) and way.ports is PortAllocation.SEQUENTIAL


def is_random(way: Way) -> bool:
    """It gives each destination any port."""
    return _changes(way) and way.ports is PortAllocation.RANDOM


def _changes(way: Way) -> bool:
    return way.mapping in (Behaviour.ADDRESS, Behaviour.ADDRESS_AND_PORT)


def lets_in_hosts(way: Way) -> bool:
    """It lets in what comes from an address that was called, whatever the port."""
    return way.filtering in (Behaviour.INDEPENDENT, Behaviour.ADDRESS)


def best(
    transport: str, ours: Side, theirs: Side, chance: Callable[[Way, Way], float | None], trips: int, delay: float = 0.0
) -> Prospect | None:
    """
    Of the families that two sides have in common the one with the best chance; None if there is none in any.

    Args:
        transport: ``tcp`` or ``utp``.
        ours: One side.
        theirs: The other one.
        chance: From 0 to 1, or None if that is not known, given the way of either side.
        trips: Round trips that it takes.
        delay: Seconds beside.
    """
    found: list[Prospect] = []
    for way, other in _pairs(transport, ours, theirs):
        likely = chance(way, other)
        if likely is None or likely > 0:
            rtts = [each for each in (way.rtt, other.rtt) if each is not None]
            trip = max(rtts if len(rtts) == 2 else [*rtts, limits.FORECAST_RTT])
            found.append(Prospect(likely, round(trips * trip + delay, 3)))
    return max(found, key=lambda prospect: prospect.chance or 0.0, default=None)


def _pairs(transport: str, ours: Side, theirs: Side) -> Iterator[tuple[Way, Way]]:
    """Both can send to each other's ports, which are any."""
    for way in ours.ways:
        other = theirs.way(transport, way.family)
        if way.transport == transport and other is not None:
            if way.out and other.out and not way.out_ports and not other.out_ports:
                yield way, other
