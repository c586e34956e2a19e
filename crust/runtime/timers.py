"""
A heap of timers, sans-IO: the clock is an argument.

Cancelling only marks a timer; it leaves the heap when its time comes or when marked ones are in the majority.
Timers that are moved often should not be moved at all: let them fire, compare, and add them again (0.65
microseconds each).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["Bell", "Timer", "TimerHeap"]

TimerCallback = Callable[[float], object]


class Timer:
    """One callback at one time; made by :meth:`crust.runtime.flusher.IoLoop.call_at`."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: TimerCallback) -> None:
        self.when = when
        self.callback: TimerCallback | None = callback

    @property
    def active(self) -> bool:
        """True until it has fired or been cancelled."""
        return self.callback is not None

    def cancel(self) -> None:
        """Never run the callback, unless it runs already. Any thread; idempotent."""
        self.callback = None


class Bell:
    """
    One callback for any number of timers, which are not remembered one by one. Once silenced it keeps nothing alive,
    however far off their times are.
    """

    __slots__ = ("_ring",)

    def __init__(self, ring: TimerCallback) -> None:
        self._ring: TimerCallback | None = ring

    def __call__(self, now: float) -> None:
        ring = self._ring
        if ring is not None:
            ring(now)

    def silence(self) -> None:
        """Ring no more. Any thread; idempotent."""
        self._ring = None


class TimerHeap:
    """Timers in order of time; those of equal time in order of adding. Not thread-safe."""

    __slots__ = ("_check_at", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._check_at = 256

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, timer: Timer) -> None:
        """Take a timer in."""
        if len(self._heap) >= self._check_at:
            self._compact()
        heapq.heappush(self._heap, (timer.when, next(self._order), timer))

    def next_due(self) -> float | None:
        """When the first active timer is due, on the caller's clock; None without one."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> TimerCallback | None:
        """
        Remove the first timer due by ``now`` and return its callback; None if there is none.

        One at a time, so that a callback can still cancel the timers behind it.
        """
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                return callback
        return None

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].callback is not None]
        heapq.heapify(self._heap)
        self._check_at = max(256, 2 * len(self._heap))
