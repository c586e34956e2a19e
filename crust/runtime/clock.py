"""
Where a node gets its time from, and what its threads wait with.

Whatever reads time for the protocol, or waits, asks the node's clock, so that :mod:`crust.testing` can put one there
that a test moves. Only what measures effort reads ``time`` itself: how long a callback took, how long a busy thread
has kept others waiting.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from .threads import Deadline
from .waiting import Latch

__all__ = ["Clock", "Condition", "Event", "Queue"]


class Condition(Protocol):
    """The part of :class:`threading.Condition` that crust uses."""

    def __enter__(self) -> bool: ...

    def __exit__(self, *exc_info: Any) -> None: ...

    def wait(self, timeout: float | None = None) -> bool: ...

    def notify(self, n: int = 1) -> None: ...

    def notify_all(self) -> None: ...


class Event(Protocol):
    """The part of :class:`threading.Event` that crust uses."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Queue(Protocol):
    """The part of :class:`queue.SimpleQueue` that crust uses."""

    def put(self, item: Any) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...

    def empty(self) -> bool: ...

    def qsize(self) -> int: ...


class Clock:
    """The system's monotonic clock, and the standard library's primitives."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.monotonic
        """Seconds that never go back, from any start."""

    def condition(self, lock: threading.Lock | None = None) -> Condition:
        """
        A condition on ``lock``; None: on a lock of its own.

        Only for threads of crust itself, which nothing interrupts; others wait with :meth:`event`.
        """
        return threading.Condition(lock)

    def event(self) -> Event:
        """An event that is not set."""
        return Latch()

    def queue(self) -> Queue:
        """An empty queue without a bound."""
        return queue.SimpleQueue()

    def deadline(self, timeout: float | None) -> Deadline:
        """``timeout`` seconds from now on this clock; None: never."""
        return Deadline(timeout, self.now)
