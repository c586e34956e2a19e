"""The gate: of callers without a valid first message those make room first who have said something else."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from crust import limits
from crust.config import LimitsConfig
from crust.peers.gate import Gate, Slot


class Callers:
    """Of a gate for a few, each at an address of his own."""

    def __init__(self, most: int) -> None:
        self.gate = Gate(LimitsConfig(half_open=most))
        self.evicted: list[int] = []
        self._count = 0

    def come(self, host: str = "") -> Slot:
        number, self._count = self._count, self._count + 1
        slot = self.gate.admit(host or f"192.0.2.{number}", 0.0, evict=self._noting(number))
        assert slot is not None
        return slot

    def _noting(self, number: int) -> Callable[[], None]:
        return lambda: self.evicted.append(number)


def test_who_has_said_something_else_makes_room_first() -> None:
    """The last one before the others; then those who have said nothing, the oldest first."""
    callers = Callers(8)
    room = 0
    slots: list[Slot] = []
    while not callers.evicted:  # a part is kept for addresses of peers
        slots.append(callers.come())
        room += 1
    assert callers.evicted == [0]
    for number in (2, 3):
        slots[number].spoke()
    for _ in range(4):
        callers.come()
    assert callers.evicted == [0, 3, 2, 1, 4]


def test_who_has_said_it_and_then_the_right_thing_is_as_others() -> None:
    """A first message may come in pieces; and who has been evicted has nothing to say."""
    callers = Callers(8)
    slots = [callers.come()]
    while not callers.evicted:
        slots.append(callers.come())
    slots[0].spoke()
    assert not slots[0].message1_valid(0.0)
    slots[2].spoke()
    assert slots[2].message1_valid(0.0)
    slots[2].spoke()
    callers.come()
    assert callers.evicted == [0, 1]


def test_it_does_before_who_calls_all_the_time() -> None:
    """Many may be behind one address; whoever has many has said something from each."""
    callers = Callers(8)
    for _ in range(int(limits.CALLS_FEW) + 2):
        often = callers.come("198.51.100.1")
        often.release(0.0)
    callers.evicted.clear()
    first = callers.gate.counters.admitted
    callers.come("198.51.100.1")
    callers.come().spoke()
    while len(callers.evicted) < 2:
        callers.come()
    assert callers.evicted == [first + 1, first]


def test_a_peer_that_we_know_keeps_its_precedence() -> None:
    """Its first message may come in pieces, too."""
    callers = Callers(8)
    kept: list[str] = []
    known = callers.gate.admit("198.51.100.1", 0.0, known=True, evict=lambda: kept.append("lost"))
    assert known is not None
    known.spoke()
    while len(callers.evicted) < 6:
        callers.come()
    assert kept == [] and known.message1_valid(0.0)


@pytest.mark.parametrize("speak", [False, True])
def test_few_peers_that_hold_slots_keep_no_stranger_out(speak: bool) -> None:
    """Sixteen have all there are at their addresses, and send no first message: those who come have room made."""
    gate, evicted = Gate(LimitsConfig()), list[str]()
    for number in range(limits.HALF_OPEN_MAX):
        host = f"198.51.100.{number % 16}"
        slot = gate.admit(host, 0.0, known=True, evict=functools.partial(evicted.append, host))
        assert slot is not None
        if speak:
            slot.spoke()
    for number in range(16):
        newcomer = gate.admit(f"192.0.2.{number}", 0.0, evict=lambda: evicted.append("a stranger"))
        assert newcomer is not None and newcomer.message1_valid(0.0)
    assert len(evicted) == 16 and "a stranger" not in evicted


@pytest.mark.parametrize("seconds", [0.0, limits.HELD_SECONDS])
def test_peers_that_have_one_slot_each_have_some_time(seconds: float) -> None:
    """Room is made of those that have not said what they want for long, if strangers have not theirs already."""
    gate = Gate(LimitsConfig(half_open=4))
    for number in range(4):
        assert gate.admit(f"198.51.100.{number}", 0.0, known=True, evict=lambda: None) is not None
    assert (gate.admit("192.0.2.1", seconds, evict=lambda: None) is not None) is (seconds > 0.0)
