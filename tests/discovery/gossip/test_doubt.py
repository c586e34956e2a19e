"""When a node begins to doubt its own clock: by what others sign, and by nothing that one of them says alone."""

from __future__ import annotations

from crust import limits
from crust.discovery.gossip.clocks import Doubt
from crust.discovery.gossip.record import Record
from tests.discovery.gossip.mesh import WALL, key_pair, record_of

DAY = 86_400.0
LIMIT = limits.GOSSIP_LIFE + limits.GOSSIP_SKEW


def of(number: int, off: float) -> Record:
    """That node's record, made so many seconds ago."""
    return record_of(key_pair(number), WALL - off)


def test_three_nodes_in_one_direction() -> None:
    """A day late or early; it is told once."""
    for off in (DAY, -DAY):
        doubt = Doubt()
        told = [doubt.heard(of(number, off + number), WALL) for number in range(1, 6)]
        assert told == [False, False, True, False, False]
        assert doubt.off is not None and abs(doubt.off - off) < 10


def test_one_node_alone_says_nothing() -> None:
    """However many records it makes."""
    doubt = Doubt()
    assert not any(doubt.heard(of(1, DAY + number), WALL) for number in range(9)) and doubt.off is None


def test_who_contradicts_each_other_says_nothing() -> None:
    doubt = Doubt()
    assert not any(doubt.heard(of(number, DAY if number % 2 else -DAY), WALL) for number in range(1, 9))


def test_a_record_that_holds_ends_it() -> None:
    """Then the clock has been set, or those were liars; it may be doubted again."""
    doubt = Doubt()
    assert [doubt.heard(of(number, DAY), WALL) for number in (1, 2, 3)] == [False, False, True]
    assert not doubt.heard(of(4, 60.0), WALL) and doubt.off is None
    assert [doubt.heard(of(number, DAY), WALL) for number in (1, 2, 3)] == [False, False, True]


def test_what_has_just_expired_says_nothing() -> None:
    """It came from somebody whose clock is a little behind ours."""
    doubt = Doubt()
    assert not any(doubt.heard(of(number, LIMIT - 1), WALL) for number in range(1, 9))
    assert not any(doubt.heard(of(number, limits.GOSSIP_LIFE - 1), WALL) for number in range(1, 9))
    assert any(doubt.heard(of(number, LIMIT + 1), WALL) for number in range(1, 9))
