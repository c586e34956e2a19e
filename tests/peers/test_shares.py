"""What those at one address may have, and whose turn it is."""

from __future__ import annotations

import pytest

from crust.peers.shares import Turns, is_full

HERE, THERE = b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"


@pytest.mark.parametrize(("taken", "full"), [(3, False), (4, True), (5, True)])
def test_those_at_one_address_have_a_part(taken: int, full: bool) -> None:
    """However many others have some."""
    places = [HERE] * taken + [THERE] * 9 + [None] * 9
    assert is_full(HERE, places, most=16, part=0.25, one=1) is full
    assert not is_full(HERE, places, most=16, part=0.25, one=6), "no less than one peer"
    assert not is_full(None, places, most=16, part=0.25, one=1), "nobody knows where that is"


def turns() -> Turns[str]:
    """Each is at the address of its first letter; ``?`` is nowhere."""
    return Turns(lambda one: None if one[0] == "?" else one[0])


def test_addresses_take_turns_and_those_at_one_take_its() -> None:
    line = turns()
    line.extend(["a1", "a2", "a3", "b1", "?1", "?2", "b2"])
    assert sorted(line) == ["?1", "?2", "a1", "a2", "a3", "b1", "b2"]
    assert [line.popleft() for _ in range(4)] == ["a1", "b1", "?1", "a2"]
    line.extend(["c1", "a3", "b2"])  # two of whom wait already
    assert "a3" in line and "a1" not in line
    assert [line.popleft() for _ in range(4)] == ["b2", "?2", "a3", "c1"]
    assert not line
    with pytest.raises(StopIteration):
        line.popleft()


def test_who_does_not_wait_any_more_has_no_turn() -> None:
    """Nor has an address where nobody waits."""
    line = turns()
    line.extend(["a1", "b1", "b2", "a2"])
    line.remove("a1")
    line.remove("b1")
    line.remove("b2")
    line.remove("b2")
    line.append("c1")
    assert [line.popleft(), line.popleft()] == ["a2", "c1"] and not line
    line.append("a1")
    line.clear()
    assert not line and list(line) == []
