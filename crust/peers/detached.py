"""Sessions whose link is gone: how many may wait for another one, and with how much data."""

from __future__ import annotations

import collections
from collections.abc import Hashable

from .. import limits
from ..addresses import PeerId, address_key
from .conversation import Conversation

__all__ = ["Detached"]


class Detached:
    """
    Those of one node, in the order in which they lost their links; one of each peer. Not thread-safe.

    At most ``DETACHED_SESSIONS_MAX`` are kept, and ``DETACHED_BYTES_MAX`` of their data. Where there are more, those at
    the address that has most of it make room: whoever lets go of many sessions at once takes none from others. Those
    on circuits are at their introducer's, which may say anything of where they are; of these, those that are said to
    be where most are make room first.
    """

    def __init__(self) -> None:
        # Each with the address that it counts at, and where its peer was behind that.
        self._waiting: dict[PeerId, tuple[Conversation, tuple[Hashable, Hashable]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, conversation: Conversation) -> list[tuple[Conversation, str]]:
        """
        That one waits from now on; those that there is no room for any more, of one address the longest detached first,
        with the limit that there is.
        """
        self._waiting.pop(conversation.peer_id, None)
        self._waiting[conversation.peer_id] = conversation, (conversation.place, _seen_at(conversation))
        given_up: list[tuple[Conversation, str]] = []
        total = sum(each.session.outbox.held_bytes for each, _ in self._waiting.values())
        while self._waiting and (
            len(self._waiting) > limits.DETACHED_SESSIONS_MAX or total > limits.DETACHED_BYTES_MAX
        ):
            too_many = len(self._waiting) > limits.DETACHED_SESSIONS_MAX
            longest = self._longest(by_bytes=not too_many)
            total -= longest.session.outbox.held_bytes
            self.remove(longest)
            given_up.append((longest, "DETACHED_SESSIONS_MAX" if too_many else "DETACHED_BYTES_MAX"))
        return given_up

    def _longest(self, by_bytes: bool) -> Conversation:
        """The longest detached one of those at the address that has most sessions, or most bytes of them."""
        found = [*self._waiting.values()]
        for level in range(2):
            shares: collections.Counter[Hashable] = collections.Counter()
            for each, places in found:
                shares[places[level]] += each.session.outbox.held_bytes if by_bytes else 1
            heaviest = max(shares, key=shares.__getitem__)  # of equals the one that has waited longest
            found = [(each, places) for each, places in found if places[level] == heaviest]
        return found[0][0]

    def remove(self, conversation: Conversation) -> None:
        """It has a link again, or is over. Nothing if it does not wait."""
        if self._waiting.get(conversation.peer_id, (None,))[0] is conversation:
            del self._waiting[conversation.peer_id]


def _seen_at(conversation: Conversation) -> Hashable:
    """Where its peer was, maybe by its introducer's word; by itself if nobody knows."""
    host = conversation.address
    return conversation.peer_id if host is None else address_key(host)
