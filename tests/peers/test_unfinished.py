"""Messages that have begun and not come to an end: who is read on, and who is told of."""

from __future__ import annotations

from crust import limits
from crust.peers.unfinished import Unfinished
from crust.runtime.budget import Budget


def make(**held: int) -> Unfinished[str]:
    """With room for 100 bytes; who is called ``a1`` is at the place ``a``."""
    unfinished: Unfinished[str] = Unfinished(Budget(200))
    for who, size in held.items():
        unfinished.note(who, who[0], size, False)
    return unfinished


def stopped(unfinished: Unfinished[str], *names: str) -> list[str]:
    return [name for name in names if unfinished.stops(name)]


def test_nobody_waits_while_there_is_room() -> None:
    unfinished = make(a1=90, b1=10)
    assert unfinished.total == 100 and stopped(unfinished, "a1", "b1", "c1") == []


def test_one_place_with_many_keys_does_not_stop_others() -> None:
    """Its own wait, but for the one in front; who is elsewhere, and below the share of a place, goes on."""
    unfinished = make(a1=40, a2=40, a3=40, b1=45)
    assert stopped(unfinished, "a1", "a2", "a3", "b1") == ["a2", "a3"]
    unfinished.note("b1", "b", 60, False)
    assert stopped(unfinished, "a1", "a2", "a3", "b1") == ["a2", "a3", "b1"]


def test_who_holds_little_goes_on_beside_others_at_its_place_until_all_is_full() -> None:
    unfinished = make(a1=70, a2=60, a3=10)
    assert stopped(unfinished, "a1", "a2", "a3") == ["a2"]
    unfinished.note("a2", "a", 125, False)
    assert stopped(unfinished, "a1", "a2", "a3") == ["a2", "a3"]


def test_turns() -> None:
    """Who has finished one makes way for the next; who holds nothing is not there."""
    unfinished = make(a1=60, a2=60)
    unfinished.note("a1", "a", 60, True)
    assert stopped(unfinished, "a1", "a2") == ["a1"]
    unfinished.note("a2", "a", 0, True)
    assert stopped(unfinished, "a1", "a2") == [] and unfinished.total == 60
    unfinished.note("a1", None, 0, True)
    assert unfinished.total == 0 and not unfinished._places


def test_who_is_in_front_for_too_long() -> None:
    """Only while there is too much, and counted anew for each."""
    long = limits.UNFINISHED_SECONDS
    unfinished = make(a1=60, a2=60)
    assert [unfinished.stuck(now) for now in (0.0, long - 1, long)] == [None, None, "a1"]
    unfinished.note("a1", None, 0, True)
    assert unfinished.stuck(long) is None
    unfinished.note("a3", "a", 60, False)
    assert [unfinished.stuck(long + now) for now in (1.0, long, long + 1)] == [None, None, "a2"]
