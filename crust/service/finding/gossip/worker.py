"""A thread that is there while there is something to do."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from ....runtime.threads import fork_generation
from ...node import Node

__all__ = ["Worker"]


class Worker:
    """
    Does what it is given, one after the other. Thread-safe; :meth:`put` never blocks, and takes no lock of others.

    Args:
        node: Whose threads are used.
        name: Of the thread.
        rest: Called on the thread when all is done, and after each ``turn`` jobs.
        turn: So many.
        linger: Seconds that the thread waits for more before it ends. glibc gives each new thread another heap, and
            each heap keeps what the largest message once needed.
    """

    def __init__(self, node: Node, name: str, rest: Callable[[], object], turn: int, linger: float) -> None:
        self._node = node
        self._name = name
        self._rest = rest
        self._turn = turn
        self._linger = linger
        self._generation = fork_generation()
        self._lock = threading.Lock()  # guards what follows
        self._changed = node.clock.condition(self._lock)
        self._jobs: collections.deque[Callable[[], object]] = collections.deque()
        self._works = False
        self._closed = False

    def put(self, job: Callable[[], object]) -> None:
        """Have it done; nothing happens after :meth:`close`."""
        with self._lock:
            if self._closed:
                return
            self._jobs.append(job)
            if self._works:
                self._changed.notify_all()
                return
            self._works = True
        try:
            self._node.spawn(self._name, self._run)
        except RuntimeError:  # no thread to be had: with the next job, maybe
            with self._lock:
                self._works = False

    def _run(self) -> None:
        try:
            while self._some():
                self._rest()
        except BaseException:
            with self._lock:
                self._works = False
            raise

    def _some(self) -> bool:
        """Do some of it; False if nothing comes, and the thread ends."""
        for count in range(self._turn):
            with self._lock:
                if not (self._jobs or count or self._closed or self._linger <= 0):
                    self._changed.wait(self._linger)
                if fork_generation() != self._generation:
                    return False  # (a greenlet that a forked child has inherited)
                if not self._jobs:
                    if count == 0:
                        self._works = False
                    return count > 0
                job = self._jobs.popleft()
            job()
        return True

    def close(self) -> None:
        """Drop what has not begun, and take no more. Idempotent; never blocks."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._jobs.clear()
