"""One timer that is moved, on a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest

from crust.runtime.alarm import Alarm
from crust.runtime.timers import Timer, TimerCallback, TimerHeap


class Io:
    """The timers of a node."""

    def __init__(self) -> None:
        self.heap = TimerHeap()
        self.made: list[Timer] = []

    def call_at(self, when: float, callback: TimerCallback) -> Timer:
        timer = Timer(when, callback)
        self.heap.add(timer)
        self.made.append(timer)
        return timer

    def turn(self, now: float) -> None:
        while (callback := self.heap.pop_due(now)) is not None:
            callback(now)


class Rung(list[float]):
    """When it has rung."""

    def __init__(self, io: Any) -> None:
        super().__init__()
        self.alarm = Alarm(io)

    def set(self, due: float | None) -> None:
        self.alarm.set(due, self.append)

    def set_by(self, due: float) -> None:
        self.alarm.set_by(due, self.append)


@pytest.fixture
def io() -> Io:
    return Io()


@pytest.fixture
def rung(io: Io) -> Rung:
    return Rung(io)


@pytest.mark.parametrize("second", [3.0, 8.0])
def test_it_rings_at_the_last_time_that_it_was_set_to(io: Io, rung: Rung, second: float) -> None:
    """Earlier or later, and once."""
    rung.set(5.0)
    rung.set(second)
    assert rung.alarm.due == second
    for now in (2.9, 3.0, 5.0, 8.0, 9.0):
        io.turn(now)
    assert rung == [second]


def test_the_same_time_makes_no_other_timer(io: Io, rung: Rung) -> None:
    rung.set(5.0)
    rung.set(5.0)
    assert len(io.made) == 1


def test_it_does_not_ring_if_there_is_nothing_to_ring_for(io: Io, rung: Rung) -> None:
    rung.set(5.0)
    rung.set(None)
    assert rung.alarm.due is None
    rung.set(6.0)
    rung.alarm.cancel()
    rung.alarm.cancel()
    io.turn(9.0)
    assert rung == [] and io.heap.next_due() is None


def test_it_does_not_ring_twice_before_the_work_is_done(io: Io, rung: Rung) -> None:
    """Its owner may look at its core again between the ringing and the work, and find the same time due."""
    rung.set(5.0)
    io.turn(5.0)
    rung.set(5.0)
    io.turn(6.0)
    assert rung == [5.0]
    rung.alarm.rang()
    rung.set(5.0)
    io.turn(6.5)
    assert rung == [5.0, 6.5]


def test_what_it_was_set_to_between_ringing_and_work_is_no_second_timer(io: Io, rung: Rung) -> None:
    """Such as by an event that came before the work; else each such time would leave one timer more for ever."""
    rung.set(5.0)
    io.turn(5.0)
    rung.set(7.0)
    rung.alarm.rang()
    assert rung.alarm.due is None
    rung.set(7.0)
    io.turn(7.0)
    assert rung == [5.0, 7.0] and io.heap.next_due() is None


def test_set_by_only_makes_it_ring_earlier(io: Io, rung: Rung) -> None:
    rung.set_by(float("inf"))
    assert rung.alarm.due is None and not io.made
    rung.set_by(5.0)
    rung.set_by(8.0)
    assert rung.alarm.due == 5.0
    rung.set_by(3.0)
    io.turn(9.0)
    assert rung == [9.0] and len(io.made) == 2
    rung.alarm.rang()
    rung.set_by(12.0)
    io.turn(12.0)
    assert rung == [9.0, 12.0]
