"""
When servers are asked again that have not said where we are: soon, then ever later, until it is the turn of all.

The network may come up only after the node; a machine that has slept, or was so busy that nothing ran for seconds,
finds that the time for the answer is over.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from ... import limits
from ...runtime.flusher import IoLoop
from ...runtime.timers import Timer

__all__ = ["Retries"]


class Retries:
    """
    Thread-safe; nothing here blocks.

    Args:
        io: The node's I/O loop.
        ask: Asks all of them; called on the I/O thread.
    """

    def __init__(self, io: IoLoop, ask: Callable[[], object]) -> None:
        self._io = io
        self._ask = ask
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._timer: Timer | None = None
        self._pause, _ = limits.SERVER_RETRY

    def missed(self) -> None:
        """One has not answered, and nobody else has said what it was asked for."""
        with self._lock:
            _, longest = limits.SERVER_RETRY
            if self._closed or self._pause > longest or (self._timer is not None and self._timer.active):
                return
            seconds = self._pause * random.uniform(1 - limits.JITTER, 1 + limits.JITTER)
            self._pause *= 2
            self._timer = self._io.call_later(seconds, lambda _: self._ask())

    def reset(self) -> None:
        """More is known than before, or all is different: begin with short pauses again."""
        with self._lock:
            self._pause, _ = limits.SERVER_RETRY

    def close(self) -> None:
        """Ask no more. Idempotent."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
