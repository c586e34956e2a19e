"""How many bytes all peers of a node together may keep in memory."""

from __future__ import annotations

import threading

from .clock import Clock, Condition

__all__ = ["Budget"]


class Budget:
    """
    A count of bytes held against a limit. Thread-safe and coarse: it never refuses, it tells readers when to
    pause.

    Whoever takes bytes in calls :meth:`take`, and :meth:`give` when they are gone. Readers call
    :meth:`wait_below` while :attr:`over`, so the limit is overshot by at most one read per reader.

    Args:
        limit: Bytes; may be changed while in use.
        clock: What to wait with; None: the system's.
    """

    __slots__ = ("_below", "_clock", "_closed", "awaited", "limit", "lock", "used")

    def __init__(self, limit: int, clock: Clock | None = None) -> None:
        self.limit = limit
        self.used = 0
        """Bytes taken and not given back."""
        self.lock = threading.Lock()
        """
        Guards ``used``. Public for those who change it together with an account of their own, in one breath: two such
        statements with no call between them cannot be torn apart by an interrupt.
        """
        self._clock = clock or Clock()
        self._below: Condition | None = None  # made for the first who waits
        self.awaited = False
        """True from when a reader first waited: after lowering ``used``, call :meth:`settle`."""
        self._closed = False

    @property
    def over(self) -> bool:
        """True while more than the limit is held."""
        return self.used > self.limit

    def take(self, size: int) -> None:
        """Count ``size`` more bytes; never fails."""
        with self.lock:
            self.used += size

    def give(self, size: int) -> None:
        """Count ``size`` bytes less."""
        with self.lock:
            self.used -= size
            if self._below is not None and self.used <= self.limit:
                self._below.notify_all()

    def settle(self) -> None:
        """Let readers go on, after ``used`` was lowered by hand."""
        if self._below is not None and self.used <= self.limit:
            with self.lock:
                self._below.notify_all()

    def wait_below(self, timeout: float | None) -> bool:
        """Wait until not :attr:`over`, at most ``timeout`` seconds (None: for ever). False if it still is."""
        deadline = self._clock.deadline(timeout)
        with self.lock:
            if self._below is None:
                self._below = self._clock.condition(self.lock)
                self.awaited = True
            while True:
                if not self.over or self._closed or deadline.expired:
                    return not self.over
                self._below.wait(deadline.remaining())

    def close(self) -> None:
        """Let all who wait go, now and later."""
        with self.lock:
            self._closed = True
            if self._below is not None:
                self._below.notify_all()
