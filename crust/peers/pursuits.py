"""Efforts whose sessions stand, while attempts to reach their peers by a better path go on. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

from ..addresses import PeerId
from .effort import Effort

__all__ = ["Pursuits"]


class Pursuits:
    """
    Those of one dialer, whose lock guards them. There may be thousands: only iteration looks at all of them.
    """

    __slots__ = ("_by_peer",)

    def __init__(self) -> None:
        self._by_peer: dict[PeerId, set[Effort]] = {}

    def add(self, effort: Effort) -> None:
        """It goes on; harmless if it did before."""
        self._by_peer.setdefault(effort.peer_id, set()).add(effort)

    def discard(self, effort: Effort) -> None:
        """Nothing of it is under way any more; harmless if it is none."""
        efforts = self._by_peer.get(effort.peer_id)
        if efforts is not None:
            efforts.discard(effort)
            if not efforts:
                del self._by_peer[effort.peer_id]

    def of(self, peer_id: PeerId) -> list[Effort]:
        """Those for the sessions with one peer."""
        return list(self._by_peer.get(peer_id, ()))

    def have(self, attempts: int) -> bool:
        """Whether at least so many attempts of all of them are under way."""
        count = 0
        for effort in self:
            count += len(effort.tries)
            if count >= attempts:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._by_peer)

    def __contains__(self, effort: Effort) -> bool:
        return effort in self._by_peer.get(effort.peer_id, ())

    def __iter__(self) -> Iterator[Effort]:
        return (effort for efforts in self._by_peer.values() for effort in efforts)
