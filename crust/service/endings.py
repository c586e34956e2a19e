"""What the application is told when a session is over; and that a node that closes has told it all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..peers.conversation import Conversation
from . import events

if TYPE_CHECKING:
    from ..runtime.threads import Deadline
    from .node import Node

__all__ = ["Endings"]


class Endings:
    """
    Of all sessions of one node that the application has heard of. Thread-safe.

    A session is ended by whichever thread finds that it is over, so that the node may close while another thread is
    about to tell of one: :meth:`wait` is for that.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()  # guards what follows
        self._untold = 0
        self._told = node.clock.event()

    def began(self) -> None:
        """The application is about to hear of a session."""
        with self._lock:
            self._untold += 1
            self._told.clear()

    def over(
        self, conversation: Conversation, reason: str, undelivered: tuple[int, ...], then: Callable[[], object]
    ) -> None:
        """One is over: ``LostPeer`` comes behind its last message, and ``then`` behind that."""
        peer = getattr(conversation, "peer", None)
        if peer is None:
            return  # agreed to, but never begun: nobody has heard of it
        node = self._node
        event = events.LostPeer(peer, events.LostReason(reason), undelivered, conversation.ended_text)

        def tell() -> None:
            node.subscriptions.emit(event)
            peer._end()
            node.subscriptions.afterwards(then)

        try:
            node.log.info("peer %s lost: %s", conversation.peer_id, reason)
            node.signed.finish(conversation, tell)
        finally:
            with self._lock:
                self._untold -= 1
                if self._untold <= 0:
                    self._told.set()

    def wait(self, deadline: Deadline) -> None:
        """Return when the end of every session has been told, or at the deadline; no new ones begin."""
        with self._lock:
            if self._untold <= 0:
                return
        self._told.wait(deadline.remaining())
