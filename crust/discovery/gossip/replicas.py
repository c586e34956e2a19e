"""
Bringing our record to the public nodes that are nearest to us, when stores are smaller than the network.

Then only those near a node keep its record, and the links between nodes, which know nothing of nearness, may not lead
from one of them to the next. Whoever looks for us comes to the same nodes.
"""

from __future__ import annotations

from ... import limits
from .record import Record
from .store import Store

__all__ = ["Replicas"]


class Replicas:
    """The nodes that have, or are to get, one version of our record."""

    __slots__ = ("_began", "_due", "_record", "_spare", "_tried", "_wanted")

    def __init__(self) -> None:
        self._record: Record | None = None
        self._tried: set[int] = set()
        self._wanted = 0
        self._spare = 0
        self._due = float("inf")
        self._began = float("-inf")

    def begin(self, record: Record, now: float) -> None:
        """This is our record from now on."""
        self._record = record
        self._tried = set()
        self._wanted = limits.GOSSIP_REPLICAS
        self._spare = limits.GOSSIP_REPLICAS  # so many failures are made up for
        self._due = max(now, self._began + limits.GOSSIP_REPLICA_PERIOD) + limits.GOSSIP_REPLICA_PACE

    def next(self, store: Store, now: float) -> Record | None:
        """Whom to bring it to now."""
        if now < self._due:
            return None
        if self._record is None or self._wanted <= 0:
            self._due = float("inf")
            return None
        self._due = now + limits.GOSSIP_REPLICA_PACE
        skip = {store.prefix, *self._tried}
        nearest = store.nearest(self._record.prefix, 1, now, skip)
        if not nearest:
            self._due = float("inf")
            return None
        if not self._tried:
            self._began = now
        self._tried.add(nearest[0].prefix)
        self._wanted -= 1
        return nearest[0]

    def failed(self, prefix: int, now: float) -> None:
        """That node was not reached: another one is to get it instead."""
        if prefix in self._tried and self._spare > 0 and self._record is not None:
            self._spare -= 1
            self._wanted += 1
            self._due = min(self._due, now + limits.GOSSIP_REPLICA_PACE)

    @property
    def record(self) -> Record | None:
        """What is brought."""
        return self._record

    @property
    def timer(self) -> float:
        """When there may be somebody."""
        return self._due
