"""What gossip has to say to peers, written when their links have nothing else to carry."""

from __future__ import annotations

import collections
from collections.abc import Callable

from .... import limits
from ....peers.conversation import Conversation
from ....wire import frames
from ....wire.frames import GossipFrame
from ....wire.gossip import size_of

__all__ = ["Mail"]


class _Box:
    """What waits for one peer."""

    __slots__ = ("conversation", "frames", "served", "size")

    def __init__(self, conversation: Conversation, now: float) -> None:
        self.conversation = conversation
        self.frames: collections.deque[GossipFrame] = collections.deque()
        self.size = 0
        self.served = now  # when something went out last, or began to wait


class Mail:
    """
    The application's data goes first: a frame goes out when the session has nothing to say, or after
    ``CIRCUIT_PATIENCE``; never into a link that is blocked. Not thread-safe.

    What waits are frames, whose records are those of the store; their bytes are made when they can be written.

    Args:
        bites: Told the name of a limit that has bitten.
    """

    def __init__(self, bites: Callable[[str], object] = lambda limit: None) -> None:
        self._bites = bites
        self._boxes: dict[bytes, _Box] = {}
        self._size = 0
        self._last: tuple[GossipFrame, bytes] | None = None  # the same frame often goes to many in a row

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def add(self, conversation: Conversation, frame: GossipFrame, now: float) -> bool:
        """Send that; False if there is too much that waits for this peer, or for all."""
        peer_id = conversation.peer_id.public_key
        box = self._boxes.get(peer_id)
        size = size_of(frame)
        if self._size + size > limits.GOSSIP_MAIL:
            self._bites("GOSSIP_MAIL")
            return False
        if box is None or box.conversation is not conversation:
            self.drop(peer_id)
            box = self._boxes[peer_id] = _Box(conversation, now)
        if box.size + size > limits.GOSSIP_MAIL_PEER:
            self._bites("GOSSIP_MAIL_PEER")
            return False
        box.frames.append(frame)
        box.size += size
        self._size += size
        return True

    def drop(self, peer_id: bytes) -> None:
        """That peer gets nothing of what waits for it."""
        box = self._boxes.pop(peer_id, None)
        if box is not None:
            self._size -= box.size

    def pump(self, now: float) -> float | None:
        """Write what can be written; when to do so again, if something waits."""
        for peer_id, box in list(self._boxes.items()):
            self._write(box, now)
            if not box.frames:
                del self._boxes[peer_id]
        self._last = None
        return now + limits.CIRCUIT_LOOK if self._boxes else None

    def _write(self, box: _Box, now: float) -> None:
        conversation = box.conversation
        link = conversation.link
        while box.frames and link is not None and not link.verdict and not link.blocked:
            if link.circuit is not None or conversation.link is not link:
                return
            if conversation.has_more and now - box.served < limits.CIRCUIT_PATIENCE:
                return
            frame = box.frames.popleft()
            size = size_of(frame)
            box.size -= size
            self._size -= size
            box.served = now
            link.write((self._built(frame),), now)

    def _built(self, frame: GossipFrame) -> bytes:
        if self._last is None or self._last[0] is not frame:
            self._last = frame, frames.build_record((frame,))
        return self._last[1]
