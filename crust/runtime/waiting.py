"""
Waiting that an exception from outside (Ctrl-C, a signal handler, a timeout of greenlets) may end at any moment.

``threading.Condition`` is not fit for that: an interrupt inside its ``wait`` leaves a ``with`` statement that releases
a lock it does not hold, which may be another thread's by then. So crust waits without holding anything: under its own
lock whoever must wait leaves a :class:`Latch` where the others find it, lets the lock go, and waits on the latch.

A ``with`` statement on a plain lock is safe: CPython looks for signals between bytecodes, but not between taking the
lock and entering the block. One exception, which the compiler of 3.12 and 3.13 makes: where a loop inside the block
goes round on a condition, it is outside for a moment, and the lock stays taken. Such loops stand in functions of their
own (``tests/test_interruptible.py``).
"""

from __future__ import annotations

import sys
import threading

__all__ = ["Latch"]

# Whoever runs signal handlers, the main thread, looks up after so many seconds. Windows does not look for Ctrl-C while
# a thread waits for a lock; elsewhere the system may give a signal to another thread, and the main one sleeps on.
_NAP = 0.25 if sys.platform == "win32" else 0.5


class Latch:
    """The interface of ``threading.Event``; an interrupt of :meth:`wait` leaves nothing behind that matters."""

    __slots__ = ("_is_set", "_lock", "_sleepers")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows; never held while waiting
        self._is_set = False
        self._sleepers: list[threading.Lock] = []  # each is held until it is let go, once, by set()

    def is_set(self) -> bool:
        """True after :meth:`set`, until :meth:`clear`."""
        return self._is_set

    def set(self) -> None:
        """Let everybody go who waits, and who comes later."""
        with self._lock:
            self._is_set = True
            sleepers, self._sleepers = self._sleepers, []
            for sleeper in sleepers:
                sleeper.release()

    def clear(self) -> None:
        """From now on :meth:`wait` waits again."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds (None: for ever); False if the timeout came first."""
        with self._lock:
            if self._is_set:
                return True
            sleeper = threading.Lock()
            sleeper.acquire()
            self._sleepers.append(sleeper)
        if not _acquire(sleeper, timeout):
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
            return self._is_set
        return True


def _acquire(lock: threading.Lock, timeout: float | None) -> bool:
    if threading.current_thread() is not threading.main_thread():
        return lock.acquire(True, -1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
    while timeout is None or timeout > _NAP:
        if lock.acquire(True, _NAP):
            return True
        timeout = timeout and timeout - _NAP
    return lock.acquire(True, max(0.0, timeout))
