"""
Searches of a node take turns.

A prediction says which port a router will give out next. Any other new flow of ours would take that port, so only one
session searches at a time, and whatever else can wait does so meanwhile: other sessions' upgrades, questions to STUN
servers.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

__all__ = ["SearchTurns"]


class SearchTurns:
    """Whose turn it is. Thread-safe; nobody waits: who gets the turn is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._holder: object | None = None
        self._waiting: collections.OrderedDict[object, Callable[[], object]] = collections.OrderedDict()

    @property
    def is_taken(self) -> bool:
        """Whether somebody searches."""
        return self._holder is not None

    def ask(self, who: object, granted: Callable[[], object]) -> None:
        """Call ``granted()`` when it is that one's turn: now, or on the thread of whoever is done."""
        with self._lock:
            if self._holder is who or who in self._waiting:
                return
            if self._holder is not None:
                self._waiting[who] = granted
                return
            self._holder = who
        granted()

    def done(self, who: object) -> None:
        """It needs its turn no more, or no longer waits for it. Idempotent."""
        granted: Callable[[], object] | None = None
        with self._lock:
            self._waiting.pop(who, None)
            if self._holder is who:
                self._holder = None
                if self._waiting:
                    self._holder, granted = self._waiting.popitem(last=False)
        if granted is not None:
            granted()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._waiting = collections.OrderedDict()
