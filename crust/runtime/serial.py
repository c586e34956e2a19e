"""What many threads bring, done one at a time and in order, by threads that are there anyhow: nobody waits."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

__all__ = ["Serial"]

Task = Callable[[], object]


class Serial:
    """
    A queue that whoever finds it idle works off. Thread-safe.

    An interrupt that strikes a task (Ctrl-C on the main thread, a greenlet that is killed) is raised when all tasks are
    done: others' would else wait for a thread that has gone.

    Args:
        crashed: Gets what a task raised; the next one goes on.
    """

    __slots__ = ("_crashed", "_lock", "_waiting")

    def __init__(self, crashed: Callable[[BaseException], object]) -> None:
        self._crashed = crashed
        self._lock = threading.Lock()  # guards what follows
        self._waiting: collections.deque[Task] | None = None  # None: nobody is at it, and there is nothing to keep

    def do(self, task: Task) -> None:
        """Do it now, or leave it to the thread that is at it. A task may bring others, which come after it."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(task)
                return
            waiting = self._waiting = collections.deque()
        interrupt: BaseException | None = None
        while True:
            try:
                task()
            except Exception as error:  # a fault, which the owner reports
                self._crashed(error)
            except BaseException as error:  # raised below
                interrupt = error
            with self._lock:
                if not waiting:
                    if self._waiting is waiting:
                        self._waiting = None
                    break
                task = waiting.popleft()
        if interrupt is not None:
            raise interrupt

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._lock = threading.Lock()
        self._waiting = collections.deque()
