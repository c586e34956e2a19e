"""
Searches of a node take turns.

A prediction says which port a router will give out next. Any other new flow of ours would take that port, so only one
session searches at a time, and whatever else can wait does so meanwhile: other sessions' upgrades, questions to STUN
servers. Places that had no turn, or had theirs longest ago, come first: keys cost nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .places import Lately, Where

__all__ = ["SearchTurns"]


class SearchTurns:
    """Whose turn it is. Thread-safe; nobody waits: who gets the turn is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._holder: object | None = None
        self._waiting: dict[object, tuple[Where, Callable[[], object]]] = {}  # who came first is first
        self._lately = Lately()

    @property
    def is_taken(self) -> bool:
        """Whether somebody searches."""
        return self._holder is not None

    def ask(self, who: object, where: Where, granted: Callable[[], object]) -> None:
        """Call ``granted()`` when it is that one's turn: now, or on the thread of whoever is done."""
        with self._lock:
            if self._holder is who or who in self._waiting:
                return
            if self._holder is not None:
                self._waiting[who] = where, granted
                return
            self._holder = who
            self._lately.had(where)
        granted()

    def done(self, who: object) -> None:
        """It needs its turn no more, or no longer waits for it. Idempotent."""
        granted: Callable[[], object] | None = None
        with self._lock:
            self._waiting.pop(who, None)
            if self._holder is who:
                self._holder = None
                if self._waiting:
                    self._holder = min(self._waiting, key=lambda each: self._lately.rank(self._waiting[each][0]))
                    where, granted = self._waiting.pop(self._holder)
                    self._lately.had(where)
        if granted is not None:
            granted()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._holder, self._lately = None, Lately()
        self._waiting = {}
