"""
What all connections of a node may keep together, beyond what each may in any case: memory of their receive windows.

A window is a promise, and thousands of them are more than a node has: whoever leaves a gap in its stream, or sends to a
reader that takes nothing, can have it kept in full. So what is kept beyond ``UTP_RECEIVE_WINDOW_BEGUN`` comes out of
one reserve. Those at one address (IPv6: one /64) may have as much of it as they leave to others: half, and of two such
addresses the second half of the rest (the dynamic thresholds of Choudhury and Hahne, "Dynamic queue length thresholds
for shared-memory packet switches", 1998, with their alpha being 1). Packets beyond are lost, as on the way, and come
again.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from ... import limits

__all__ = ["Reserve", "Share"]


class Reserve:
    """
    Thread-safe.

    Args:
        most: Bytes of all together.
    """

    def __init__(self, most: int = limits.UTP_KEPT_MAX) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards all
        self._used = self._refused = 0
        self._by_place: dict[Hashable, int] = {}  # only those that use some

    @property
    def used(self) -> int:
        """Bytes that are kept out of it."""
        return self._used

    def refused(self) -> int:
        """How many packets were lost for want of it."""
        return self._refused

    def take(self, place: Hashable, size: int) -> bool:
        """So many bytes more for somebody at ``place``; False: there is not so much for them, and nothing is taken."""
        with self._lock:
            mine = self._by_place.get(place, 0) + size
            if mine > self._most - self._used:
                self._refused += 1
                return False
            self._by_place[place] = mine
            self._used += size
            return True

    def give_back(self, place: Hashable, size: int) -> None:
        """Of what was taken at ``place``."""
        with self._lock:
            self._used -= size
            left = self._by_place[place] - size
            if left:
                self._by_place[place] = left
            else:
                del self._by_place[place]


class Share:
    """
    What one connection has of a reserve. Not thread-safe.

    Args:
        reserve: Whose.
        place: Where the other end is: an ``address_key``.
    """

    __slots__ = ("_place", "_reserve", "_taken", "short")

    def __init__(self, reserve: Reserve, place: Hashable) -> None:
        self._reserve = reserve
        self._place = place
        self._taken = 0
        self.short = False
        """It could not have what it wanted, and still has more than it may in any case."""

    def fits(self, kept: int) -> bool:
        """Whether the connection may keep so many bytes; then they are its own."""
        more = kept - limits.UTP_RECEIVE_WINDOW_BEGUN - self._taken
        if more <= 0:
            return True
        if self._reserve.take(self._place, more):
            self._taken += more
            return True
        self.short = True
        return False

    def keeps(self, kept: int) -> None:
        """It keeps no more than so many bytes now."""
        less = self._taken - max(0, kept - limits.UTP_RECEIVE_WINDOW_BEGUN)
        if less > 0:
            self._reserve.give_back(self._place, less)
            self._taken -= less
        if not self._taken:
            self.short = False
