"""
What all peers together have begun to send, and not finished: messages that come in pieces.

They hold memory that no application can free, by taking messages: only those who send them. So they may have half of
what all messages together may have. Beyond that the links of those who hold more than their share are not read: a share
of the peers that hold any, and of the places that they are at, since keys cost nothing. One always goes on, whoever
waits for longest: it finishes, and makes room, or is told of by :meth:`Unfinished.stuck`. (sans-IO)
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

from .. import limits
from ..runtime.budget import Budget

__all__ = ["Unfinished"]

W = TypeVar("W", bound=Hashable)


class Unfinished(Generic[W]):
    """
    All of one node. Thread-safe; calls nobody.

    Args:
        budget: What all peers together may hold in memory.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._lock = threading.Lock()  # guards what follows; none is taken while it is held
        self._held: collections.OrderedDict[W, tuple[Hashable, int]] = collections.OrderedDict()
        self._places: collections.Counter[Hashable] = collections.Counter()
        self._total = 0
        self._front: W | None = None  # who was in front at the last look that found too much,
        self._since = 0.0  # and since when

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self._total

    def note(self, who: W, place: Hashable, size: int, finished: bool) -> None:
        """
        A session holds so many bytes now.

        Args:
            place: Where its peer is.
            finished: The message that it began first has come to an end: others have their turn before it.
        """
        with self._lock:
            before = self._held.get(who)
            if before is not None:
                self._total -= before[1]
                self._places[before[0]] -= before[1]
                if self._places[before[0]] <= 0:
                    del self._places[before[0]]
            if not size:
                self._held.pop(who, None)
                return
            self._held[who] = (place, size)
            self._places[place] += size
            self._total += size
            if finished:
                self._held.move_to_end(who)

    def stops(self, who: W) -> bool:
        """Whether nothing more is to be read of that session."""
        if not self._held:  # as nearly always, and quick
            return False
        with self._lock:
            limit = self._budget.limit // 2
            if self._total <= limit or who not in self._held or next(iter(self._held)) is who:
                return False
            place, size = self._held[who]
            if self._places[place] * len(self._places) <= limit:
                return False
            return self._total > 2 * limit or size * len(self._held) > limit

    def stuck(self, now: float) -> W | None:
        """Who has been in front for too long while there is too much: it does not finish what it has begun."""
        with self._lock:
            if self._total <= self._budget.limit // 2:
                self._front = None
                return None
            front = next(iter(self._held))
            if front is not self._front:
                self._front, self._since = front, now
            return front if now - self._since >= limits.UNFINISHED_SECONDS else None
