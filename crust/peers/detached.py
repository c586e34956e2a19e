"""Sessions whose link is gone: how many may wait for another one, and with how much data."""

from __future__ import annotations

from .. import limits
from ..addresses import PeerId
from .conversation import Conversation

__all__ = ["Detached"]


class Detached:
    """
    Those of one node, in the order in which they lost their links; one of each peer. Not thread-safe.

    At most ``DETACHED_SESSIONS_MAX`` are kept, and ``DETACHED_BYTES_MAX`` of their data.
    """

    def __init__(self) -> None:
        self._waiting: dict[PeerId, Conversation] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, conversation: Conversation) -> list[tuple[Conversation, str]]:
        """
        That one waits from now on; those that there is no room for any more, the longest detached first, with the limit
        that there is.
        """
        self._waiting.pop(conversation.peer_id, None)
        self._waiting[conversation.peer_id] = conversation
        given_up: list[tuple[Conversation, str]] = []
        total = sum(each.session.outbox.held_bytes for each in self._waiting.values())
        while self._waiting and (
            len(self._waiting) > limits.DETACHED_SESSIONS_MAX or total > limits.DETACHED_BYTES_MAX
        ):
            too_many = len(self._waiting) > limits.DETACHED_SESSIONS_MAX
            longest = next(iter(self._waiting.values()))
            total -= longest.session.outbox.held_bytes
            self.remove(longest)
            given_up.append((longest, "DETACHED_SESSIONS_MAX" if too_many else "DETACHED_BYTES_MAX"))
        return given_up

    def remove(self, conversation: Conversation) -> None:
        """It has a link again, or is over. Nothing if it does not wait."""
        if self._waiting.get(conversation.peer_id) is conversation:
            del self._waiting[conversation.peer_id]
