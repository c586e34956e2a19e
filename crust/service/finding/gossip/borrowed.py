"""Sessions that this node began for itself, to ask something or to be introduced, and that end when they are idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from .... import limits
from ....addresses import PeerId
from ....peers.conversation import Conversation
from ....wire.frames import Goodbye, GoodbyeCode
from ...node import Node

__all__ = ["Borrowed"]


class Borrowed:
    """
    Those of one node. Thread-safe; nothing here blocks.

    One is ended ``BORROWED_SECONDS`` after it was used last, but not if a session of ours is on a circuit that goes by
    it; and while any is on a circuit, those ``BORROWED_SPARED`` stay that were used last, for they may help to find a
    better path. It stays if an application has made it its own: ours asked for that peer, or one of the two sent a
    message. A *guest* is one that carries gossip as others do, to compare notes
    with somebody far away, and ends ``GUEST_SECONDS`` after it was begun, circuits or no.

    Args:
        node: The node.
        is_held: Whether somebody else in this node, such as a group, needs the session with that peer.
    """

    def __init__(self, node: Node, is_held: Callable[[PeerId], bool]) -> None:
        self._node = node
        self._is_held = is_held
        self._lock = threading.Lock()  # guards what follows
        self._until: dict[PeerId, float] = {}
        self._guests: set[PeerId] = set()  # of these
        self._sweeps = False

    def __len__(self) -> int:
        return len(self._until)

    def covers(self, peer_id: PeerId) -> bool:
        """Whether a session with that peer is, or would be, for such a purpose alone."""
        with self._lock:
            return peer_id in self._until

    def is_guest(self, peer_id: PeerId) -> bool:
        """Whether a session with that peer is, or would be, to compare notes."""
        with self._lock:
            return peer_id in self._guests

    def use(self, peer_id: PeerId, *, guest: bool = False) -> None:
        """A session with that peer is about to be begun so, or is used again."""
        with self._lock:
            self._extend_locked(peer_id, limits.GUEST_SECONDS if guest else limits.BORROWED_SECONDS)
            if guest:
                self._guests.add(peer_id)
            sweeps, self._sweeps = self._sweeps, True
        if not sweeps:
            self._node.io.call_later(limits.BORROWED_SECONDS / 4, self._sweep)

    def used(self, peer_id: PeerId) -> None:
        """The same if it was begun so; else nothing."""
        with self._lock:
            if peer_id in self._until:
                self._extend_locked(peer_id, limits.BORROWED_SECONDS)

    def _extend_locked(self, peer_id: PeerId, seconds: float) -> None:
        until = self._node.clock.now() + seconds
        self._until[peer_id] = max(until, self._until.get(peer_id, until))

    def done(self, peer_id: PeerId) -> None:
        """It has turned out to be of no use."""
        with self._lock:
            if peer_id in self._until:
                self._until[peer_id] = self._node.clock.now()

    def keep(self, peer_id: PeerId) -> None:
        """The application wants that peer: it is not ours to end any more."""
        with self._lock:
            self._until.pop(peer_id, None)
            self._guests.discard(peer_id)

    def _sweep(self, now: float) -> None:
        """I/O thread."""
        with self._lock:
            until = {peer_id: until for peer_id, until in self._until.items() if until <= now}
            guests = frozenset(self._guests)
        over = sorted(until, key=until.__getitem__, reverse=True)
        spared = self._spared([each for each in over if each not in guests], guests)
        for peer_id in over:
            conversation = self._node.registry.get(peer_id)
            if conversation is not None and (peer_id in spared or self._is_held(peer_id)):
                continue
            with self._lock:
                if self._until.get(peer_id, now + 1.0) > now:
                    continue  # it was used just now
                del self._until[peer_id]
                self._guests.discard(peer_id)
            if conversation is not None and not conversation.inbound and not _is_used(conversation):
                conversation.end("unneeded", Goodbye(GoodbyeCode.UNNEEDED, ""))
        with self._lock:
            self._sweeps = bool(self._until)
            sweeps = self._sweeps
        if sweeps:
            self._node.io.call_later(limits.BORROWED_SECONDS / 4, self._sweep)

    def _spared(self, over: Sequence[PeerId], guests: Collection[PeerId]) -> Collection[PeerId]:
        """Of those, the last used first, whom circuits need: few, for a session may stay on its relay for good."""
        introducers = set()
        for each in self._node.registry.all():
            link = each.link
            if link is not None and link.circuit is not None and each.peer_id not in guests:
                introducers.add(link.circuit.legs.conversation.peer_id)
        if not introducers:
            return ()
        there = [each for each in over if each not in introducers and self._node.registry.get(each) is not None]
        return introducers.union(there[: limits.BORROWED_SPARED])

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()
        self._until, self._guests = {}, set()


def _is_used(conversation: Conversation) -> bool:
    """Whether an application has sent something on it."""
    session = conversation.session
    return conversation.messages_received > 0 or session.outbox.accepted[0] > 0
