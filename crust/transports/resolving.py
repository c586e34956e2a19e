"""
Looking up names. The system's resolver can neither be interrupted nor told a deadline, so it runs on threads that a
dial, and a node that closes, may leave behind: daemons that hold nothing of either but the queue for the answer.
"""

from __future__ import annotations

import collections
import errno
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from .. import limits
from ..addresses import Endpoint
from ..runtime.threads import spawn

__all__ = ["Answers", "Resolver", "look_up"]

Answers = queue.SimpleQueue[Any]
"""Gets what :func:`look_up` returns, or the exception that it raised."""


class Resolver:
    """
    The look-ups of one node. Thread-safe.

    At most :data:`crust.limits.LOOKUPS_MAX` run at once, each on a thread ``crust-resolve``; the rest wait their turn.

    Args:
        look_up: Asks the system; for tests.
    """

    def __init__(self, look_up: Callable[[Endpoint], list[Any]] | None = None) -> None:
        self._ask = look_up
        self._lock = threading.Lock()  # guards what follows
        self._wanted: collections.deque[tuple[Endpoint, Answers]] = collections.deque()
        self._threads = 0

    def begin(self, endpoint: Endpoint, answers: Answers) -> None:
        """
        Look up the name of ``endpoint``; the answer comes into ``answers``. Does not wait.

        Raises:
            OSError: There is no thread to be had.
        """
        with self._lock:
            self._wanted.append((endpoint, answers))
            if self._threads >= limits.LOOKUPS_MAX:
                return
            try:
                spawn("crust-resolve", self._work)
            except RuntimeError as error:
                self._wanted.pop()
                raise OSError(errno.EAGAIN, f"no thread to look its name up: {error}", str(endpoint)) from error
            self._threads += 1

    def withdraw(self, answers: Answers) -> None:
        """Nobody waits for that answer any more: begin it no more. Harmless when it is there."""
        with self._lock:
            for request in self._wanted:
                if request[1] is answers:
                    self._wanted.remove(request)
                    return

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._wanted = collections.deque()

    def _work(self) -> None:
        request = self._next()
        while request is not None:
            endpoint, answers = request
            try:
                answers.put((self._ask or look_up)(endpoint))
            except (OSError, UnicodeError, LookupError) as error:  # LookupError: the codec for names cannot be loaded
                answers.put(error)
            request = self._next()

    def _next(self) -> tuple[Endpoint, Answers] | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._threads -= 1
            return None


def look_up(endpoint: Endpoint, flags: int = 0) -> list[Any]:
    """The addresses of an endpoint as ``getaddrinfo`` gives them, each once. Blocks if it is a name."""
    return list(
        dict.fromkeys(
            socket.getaddrinfo(endpoint.host, endpoint.port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, flags)
        )
    )
