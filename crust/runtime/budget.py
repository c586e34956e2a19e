"""How many bytes all peers of a node together may keep in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Budget"]


class Budget:
    """
    A count of bytes held against a limit. Thread-safe and coarse: it never refuses, it tells who takes bytes in when
    to pause.

    Whoever takes bytes in calls :meth:`take`, and :meth:`give` when they are gone. While it is :attr:`over`, readers
    set :attr:`awaited` and read no more until :attr:`on_below` is called, so the limit is overshot by at most one read
    per reader.

    Args:
        limit: Bytes; may be changed while in use.
    """

    __slots__ = ("awaited", "left", "limit", "lock", "on_below", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """Bytes taken and not given back."""
        self.left = 0
        """Of those, what sessions have left behind that are over, and their application has not taken."""
        self.lock = threading.Lock()
        """
        Guards ``used``. Public for those who change it together with an account of their own, in one breath: two such
        statements with no call between them cannot be torn apart by an interrupt.
        """
        self.awaited = False
        """True while somebody wants to be told; after lowering ``used`` by hand, call :meth:`settle`."""
        self.on_below: Callable[[], object] = lambda: None
        """Called, on any thread and maybe with locks held, when it is not over any more; must not block."""

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
        self.settle()

    def leave(self, size: int) -> None:
        """So many of the bytes stay though their session is over."""
        with self.lock:
            self.left += size

    def settle(self) -> None:
        """Let readers go on, if they may; after ``used`` was lowered by hand."""
        if self.awaited and self.used <= self.limit:
            self.on_below()
