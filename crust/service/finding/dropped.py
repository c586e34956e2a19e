"""Whom one of two applications has let go of: nobody dials that peer for a while, unless the application says so."""

from __future__ import annotations

import collections
import threading

from ... import limits
from ...addresses import PeerId

__all__ = ["Dropped"]


class Dropped:
    """
    Peers that our application dropped, or whose application dropped us. Thread-safe; time is an argument.

    What dials by itself (groups, ``keep``, bootstrap, the cache's upkeep, gossip) asks :meth:`covers` first. At most
    ``DROPPED_MAX`` are remembered: the oldest are forgotten for newer ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _until; no other lock is taken with it held
        self._until: collections.OrderedDict[PeerId, float] = collections.OrderedDict()  # in the order of ending

    def add(self, peer_id: PeerId, now: float) -> None:
        """It has been dropped: for ``DROPPED_SECONDS`` from now on nobody dials it unasked."""
        with self._lock:
            self._until[peer_id] = now + limits.DROPPED_SECONDS
            self._until.move_to_end(peer_id)
            while len(self._until) > limits.DROPPED_MAX:
                self._until.popitem(last=False)

    def lift(self, peer_id: PeerId) -> None:
        """The application wants it after all."""
        with self._lock:
            self._until.pop(peer_id, None)

    def covers(self, peer_id: PeerId, now: float) -> bool:
        """Whether it is not to be dialled unasked."""
        with self._lock:
            until = self._until.get(peer_id)
            if until is not None and until <= now:
                del self._until[peer_id]
                return False
            return until is not None

    def all(self, now: float) -> list[PeerId]:
        """Whom it covers, the longest dropped first."""
        with self._lock:
            return [peer_id for peer_id, until in self._until.items() if until > now]

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()
