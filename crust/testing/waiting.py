"""What threads wait with on a :class:`~crust.testing.clock.VirtualClock`: the clock ends waits, not the system."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from ..runtime.threads import Deadline

if TYPE_CHECKING:
    from .clock import VirtualClock, Waiter

__all__ = ["VirtualCondition", "VirtualEvent", "VirtualQueue"]


class VirtualCondition:
    """Like :class:`threading.Condition`; the lock is held once when waiting."""

    __slots__ = ("_clock", "_lock", "_waiters")

    def __init__(self, clock: VirtualClock, lock: threading.Lock | None = None) -> None:
        self._clock = clock
        self._lock = lock if lock is not None else threading.RLock()
        self._waiters: collections.deque[Waiter] = collections.deque()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        self._lock.__exit__(*exc_info)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified; False if ``timeout`` virtual seconds passed first."""
        waiter = self._clock.enter_wait(timeout)
        self._waiters.append(waiter)
        self._lock.release()
        try:
            return self._clock.finish_wait(waiter)
        finally:
            self._lock.acquire()
            with contextlib.suppress(ValueError):  # notified: it has been taken out
                self._waiters.remove(waiter)

    def notify(self, n: int = 1) -> None:
        """Wake ``n`` of those who wait, the first first."""
        while n > 0 and self._waiters:
            n -= self._clock.wake(self._waiters.popleft())

    def notify_all(self) -> None:
        """Wake all who wait."""
        self.notify(len(self._waiters))


class VirtualEvent:
    """Like :class:`threading.Event`."""

    __slots__ = ("_changed", "_set")

    def __init__(self, clock: VirtualClock) -> None:
        self._changed = VirtualCondition(clock, threading.Lock())
        self._set = False

    def is_set(self) -> bool:
        """Whether it is."""
        return self._set

    def set(self) -> None:
        """Let all go who wait, now and later."""
        with self._changed:
            self._set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Undo :meth:`set`."""
        with self._changed:
            self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False if ``timeout`` virtual seconds passed first."""
        with self._changed:
            return self._set or self._changed.wait(timeout)


class VirtualQueue:
    """Like :class:`queue.SimpleQueue`."""

    __slots__ = ("_changed", "_clock", "_items")

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._changed = VirtualCondition(clock, threading.Lock())
        self._items: collections.deque[Any] = collections.deque()

    def put(self, item: Any) -> None:
        """Append; never blocks."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """
        Take the first.

        Raises:
            queue.Empty: None came within ``timeout`` virtual seconds, or at once if not ``block``.
        """
        deadline = Deadline(timeout, self._clock.now)
        with self._changed:
            in_time = block
            while not self._items:
                if not in_time:
                    raise queue.Empty
                in_time = self._changed.wait(deadline.remaining())
            return self._items.popleft()

    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._items

    def qsize(self) -> int:
        """How many are in it."""
        return len(self._items)
