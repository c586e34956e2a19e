"""Who is sent on to others, since so many have joined here that it is their turn. Without I/O: time is an argument."""

from __future__ import annotations

import collections

from ... import limits
from ...addresses import PeerId

__all__ = ["Crowd"]


class Crowd:
    """
    Whoever joins where many have joined is sent on, so that gossip costs no public node much more than the others. But
    nobody is kept out: who asks again within ``CROWD_SECONDS`` has asked the others, and they had no room either. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._sent_on: collections.OrderedDict[PeerId, float] = collections.OrderedDict()  # until when it may be back

    def sends_on(self, peer_id: PeerId, now: float) -> bool:
        """Somebody for whom there is no place asks; whether it is to ask others first."""
        until = self._sent_on.pop(peer_id, float("-inf"))
        if now < until:
            return False
        self._sent_on[peer_id] = now + limits.CROWD_SECONDS
        if len(self._sent_on) > limits.CROWD_REMEMBERED:
            self._sent_on.popitem(last=False)
        return True
