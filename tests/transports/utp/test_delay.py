"""Queueing delay out of timestamps of two clocks."""

from __future__ import annotations

import pytest

from crust.transports.utp.delay import BaseDelay, OneWayDelays


def test_what_exceeds_the_shortest_is_the_queue() -> None:
    """The offset of the clocks does not matter."""
    delays = BaseDelay()
    assert [delays.add(5_000_000 + each, 1.0) for each in (300, 100, 450, 100, 90, 100)] == [0, 0, 350, 0, 0, 10]


@pytest.mark.parametrize("start", [0xFFFFFF00, 0x7FFFFF00, 1])
def test_differences_wrap_around(start: int) -> None:
    """At 32 bits, upwards and downwards, and again and again."""
    delays = BaseDelay()
    delays.add(start, 1.0)
    assert delays.add(start + 0x1000 & 0xFFFFFFFF, 1.0) == 0x1000
    assert delays.add(start - 0x1000 & 0xFFFFFFFF, 1.0) == 0
    assert delays.add(start, 1.0) == 0x1000
    for turn in range(1, 9):  # four times around, a quarter in each step... of another clock that runs away
        delays.add(start + turn * 0x40000000 & 0xFFFFFFFF, 1.0)
    assert delays.add(start, 1.0) == 0x1000 + 8 * 0x40000000


def test_the_shortest_is_forgotten_after_ten_minutes() -> None:
    """A new route has a new shortest delay."""
    delays = BaseDelay()
    delays.add(1000, 30.0)
    for minute in range(1, 10):
        assert delays.add(1500, 30.0 + 60 * minute) == 500
    assert delays.add(1500, 30.0 + 60 * 11) == 0


def test_a_long_pause_forgets_all_of_it() -> None:
    """What was measured hours ago says nothing."""
    delays = BaseDelay()
    delays.add(1000, 30.0)
    assert delays.add(9000, 4000.0) == 0


def test_differences_that_say_nothing_are_no_samples() -> None:
    """0 and the largest positive number are libutp's "not measured"."""
    delays = OneWayDelays()
    assert delays.sent(70_000, 1.0) == 0
    assert delays.sent(0, 1.0) is None
    assert delays.sent(0x7FFFFFFF, 1.0) is None
    assert delays.sent(71_000, 1.0) == 1000
    delays.received(5_000, 1.0)
    delays.received(0, 1.0)  # taken for a sample, it would be a drift of 5 ms
    assert delays.sent(71_000, 1.0) == 1000


def drifted(per_minute: int, minutes: int, both: bool) -> float:
    """The queue that is seen after the other clock has lost ``per_minute`` µs each minute, with none there."""
    delays = OneWayDelays()
    queue = 0.0
    for second in range(minutes * 60):
        drift = per_minute * second // 60
        if both:
            delays.received(900_000 - drift, float(second))
        queue = delays.sent(400_000 + drift, float(second)) or 0.0
    return queue


def test_clock_drift_is_no_queue() -> None:
    """It lengthens one direction and shortens the other; without the other one it looks like a queue."""
    assert drifted(3000, 9, both=False) > 20_000
    assert drifted(3000, 9, both=True) <= 100


def test_a_large_fall_is_no_drift() -> None:
    """The other direction's queue has run empty, or its route is new: that says nothing of the clocks."""
    delays = OneWayDelays()
    delays.sent(400_000, 1.0)
    delays.received(100_000, 1.0)
    delays.received(80_000, 1.0)
    assert delays.sent(405_000, 1.0) == 5000
    delays.received(72_000, 1.0)
    assert delays.sent(410_000, 1.0) == 2000
