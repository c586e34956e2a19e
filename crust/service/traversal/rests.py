"""
Birthday searches that were in vain are not repeated for an hour: nothing that a peer can have us do is dearer, to our
own router too, and what was hopeless a minute ago is hopeless still.
"""

from __future__ import annotations

import collections
import threading

from ... import limits
from ...addresses import PeerId
from ...nat.methods import Method

__all__ = ["Rests"]


class Rests:
    """Which searches for which peers rest, and until when. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _until
        self._until: collections.OrderedDict[tuple[PeerId, str], float] = collections.OrderedDict()

    def in_vain(self, peer_id: PeerId, method: Method, now: float) -> None:
        """That search has found nothing."""
        if method.path_class != "birthday":
            return
        with self._lock:
            self._until.pop((peer_id, method.name), None)
            self._until[peer_id, method.name] = now + limits.BIRTHDAY_REST
            while len(self._until) > limits.ALLOWANCES_MAX:
                self._until.popitem(last=False)

    def rests(self, peer_id: PeerId, method: Method, now: float) -> bool:
        """Whether it is not to be tried now."""
        with self._lock:
            return self._until.get((peer_id, method.name), now) > now

    def forget(self) -> None:
        """Our network is another: what was in vain need not be so now."""
        with self._lock:
            self._until.clear()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
