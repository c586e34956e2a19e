"""A birthday search keeps its bounds, and a stream over the relay does not notice it."""

from __future__ import annotations

import pathlib

import pytest

from tests.natlab.recorder import Seen
from tests.natlab.searching import GAP, PAIRS, Cost, is_bounded, search, spread

HERE, THERE = ("192.168.1.2", 5483), "20.0.0.7"


def sent(at: float, port: int, protocol: str = "udp", *, syn: bool = False) -> Seen:
    return Seen(at, True, protocol, HERE, (THERE, port), 60, 64, syn)


def test_what_is_tried_is_counted_by_ports() -> None:
    """Of one protocol; what goes to a port again is not new, and answers are nobody's search."""
    seen = [sent(0.1 * number, 2000 + number) for number in range(30)]
    seen += [sent(9.0, 2000), sent(9.0, 80, "tcp", syn=True), sent(9.0, 81, "tcp")]
    seen.append(Seen(9.0, False, "udp", (THERE, 9), HERE, 60, 64, False))
    assert spread(seen) == (30, 10)
    assert spread([]) == (0, 0)


def test_the_bounds_are_those_of_the_page() -> None:
    """2,048 ports and 200 new ones in a second, and a few beside them."""
    assert is_bounded(Cost(3.0, 0.1, 0, 2048, 200))
    assert not is_bounded(Cost(3.0, 0.1, 0, 2100, 200))
    assert not is_bounded(Cost(3.0, 0.1, 0, 2048, 230))


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_search_beside_a_stream(transport: str, tmp_path: pathlib.Path) -> None:
    """It finds a path, within its bounds; nothing of the stream is lost, and it hardly pauses."""
    cost = search(PAIRS[transport], tmp_path)
    assert cost.seconds is not None and is_bounded(cost)
    assert cost.lost == 0
    assert cost.gap <= 3 * GAP
