"""What may be sent to addresses that peers name, remembered over their sessions: a new session is no new allowance."""

from __future__ import annotations

import collections
import threading

from ... import limits
from ...addresses import PeerId
from ...nat.punch.allowance import Allowance

__all__ = ["Allowances"]


class Allowances:
    """For all peers of a node. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _kept
        self._kept: collections.OrderedDict[PeerId, Allowance] = collections.OrderedDict()

    def of(self, peer_id: PeerId, seen: frozenset[str], now: float) -> Allowance:
        """That peer's, with the addresses at which it is seen now: another attempt begins."""
        with self._lock:
            allowance = self._kept.pop(peer_id) if peer_id in self._kept else Allowance()
            self._kept[peer_id] = allowance  # as the newest
            while len(self._kept) > limits.ALLOWANCES_MAX:
                self._kept.popitem(last=False)
        allowance.begin(seen, now)
        return allowance

    def forget(self) -> None:
        """Our network is another: what was in vain need not be so now."""
        with self._lock:
            self._kept.clear()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
