"""
What peers at one address get together for what they cost without bringing anything. (sans-IO)

A key costs nothing: were each to have its share of a core, twenty keys would have all of it. So what time gives to the
accounts of peers comes out of one purse for each address (IPv6: each /64), which gets what ``OVERHEAD_PER_ADDRESS``
peers may have. Half of that is for all who were there lately, in equal parts, so that a flood leaves its neighbours
something; the other half goes to who asks first, as most ask for next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from .. import limits

__all__ = ["Purse"]

_LATELY = 1.0  # second


class Purse:
    """One address's. Thread-safe."""

    __slots__ = ("__weakref__", "_at", "_before", "_here", "_left", "_lock", "_since")

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()  # guards all
        self._left = limits.OVERHEAD_SAVED
        self._at = now
        self._here: set[Hashable] = set()  # who has drawn
        self._since = now  # from when on
        self._before = 0  # how many had in the time before

    def draw(self, who: Hashable, wanted: float, earned: float, share: float, now: float) -> float:
        """
        For one account: seconds of a core that it gets.

        Args:
            who: Whose that is.
            wanted: What it lacks.
            earned: What it would get if it were alone.
            share: Of a core, for one peer.
        """
        with self._lock:
            if now - self._since >= _LATELY:
                self._before = len(self._here) if now - self._since < 2 * _LATELY else 0
                self._here, self._since = set(), now
            self._here.add(who)
            half = limits.OVERHEAD_PER_ADDRESS / 2
            part = earned * min(1.0, half / max(len(self._here), self._before))
            income = max(0.0, now - self._at) * share * half
            self._at = max(self._at, now)
            left = min(half * limits.OVERHEAD_SAVED, self._left + income)
            got = max(0.0, min(wanted, earned, part + left))
            self._left = left - max(0.0, got - part)
            return got
