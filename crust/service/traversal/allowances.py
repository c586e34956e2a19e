"""What may be sent to addresses that peers name, remembered over their sessions: a new session is no new allowance."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from ... import limits
from ...addresses import PeerId
from ...nat.punch.allowance import Allowance
from ...nat.punch.bystanders import Bystanders

__all__ = ["Allowances"]


class Allowances:
    """
    For all peers of a node. Thread-safe.

    Args:
        bites: Told the name of a limit that has bitten, with a lock held: must be quick.
    """

    def __init__(self, bites: Callable[[str], object] = lambda limit: None) -> None:
        self._bites = bites
        self._bystanders = Bystanders()
        self._lock = threading.Lock()  # guards _kept
        self._kept: collections.OrderedDict[PeerId, Allowance] = collections.OrderedDict()

    def of(self, peer_id: PeerId, seen: frozenset[str], now: float, introducer: bytes | None) -> Allowance:
        """
        That peer's: another attempt begins.

        Args:
            seen: The addresses at which the peer is seen now,
            introducer: and by whom; None: we have had a link from there.
        """
        if introducer is None:
            for host in seen:
                self.answered(host, now)
        with self._lock:
            allowance = self._kept.pop(peer_id) if peer_id in self._kept else Allowance(self._bites, self._bystanders)
            self._kept[peer_id] = allowance  # as the newest
            while len(self._kept) > limits.ALLOWANCES_MAX:
                self._kept.popitem(last=False)
                self._bites("ALLOWANCES_MAX")
        allowance.begin(seen, now, introducer or b"")
        return allowance

    def answered(self, host: str, now: float) -> None:
        """A peer has proven to be at that IP address."""
        self._bystanders.tick(now)
        self._bystanders.answered(host)

    def forget(self) -> None:
        """Our network is another: what was in vain need not be so now."""
        with self._lock:
            self._kept.clear()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._bystanders.abandon()
