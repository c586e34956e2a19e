"""
What is done to reach a peer to which no way is known: it is looked up, and those who introduce it are linked to.

A search belongs to an effort of the dialer, and ends with it. The record of the peer gives addresses to dial, and up to
three *via* peers; a session with one of them is begun unless there is one, and when a link of its own carries that, a
circuit to the peer is opened through it. A via peer that is not reached where the record says, since it is behind a
router itself, is looked up, too; but nobody is for its sake.

Sessions with via peers are borrowed (:mod:`crust.service.finding.gossip.borrowed`): they stay while a circuit through
them carries a session, and for a while after.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from .... import limits
from ....addresses import Contact, Endpoint, PeerId
from ....discovery.gossip.record import Record
from ....exceptions import CrustError
from ....peers.conversation import Conversation
from ....peers.effort import Tell
from ....peers.session import State
from ....runtime.timers import Timer
from ....wire.handshake import Purpose
from ...connecting import Dialled
from ...node import Node
from ..dial_rules import DialRules
from .borrowed import Borrowed
from .gossiping import Gossiping

__all__ = ["Searches"]


class Searches:
    """
    Those of one node. Thread-safe; all that they do is done on the thread ``crust-gossip``.

    Args:
        node: The node, not started.
        gossiping: Where to look.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
    """

    def __init__(self, node: Node, gossiping: Gossiping, rules: DialRules, borrowed: Borrowed) -> None:
        self.node = node
        self.gossiping = gossiping
        self.rules = rules
        self.borrowed = borrowed
        self.depths: dict[PeerId, int] = {}
        """Those that are sought for the sake of others: how far from what somebody wants."""
        self._running: set[_Search] = set()
        node.look_for = self.look_for
        node.on_connected.append(self._connected)

    def look_for(self, peer_id: PeerId, tell: Tell, patient: bool) -> Callable[[], object] | None:
        """
        Begin a search (the dialer's lock is held).

        Args:
            tell: Told of what is found, on a thread of the node.
            patient: Ask again whoever does not know the peer, while this node has just joined; or no way to it,
                since that may have.

        Returns:
            Call it to end the search; None: there is nobody to ask.
        """
        depth = self.depths.get(peer_id, 0)
        if depth > 1 or not self.gossiping.can_find:
            return None
        if len(self._running) >= limits.SEARCHES_MAX:
            self.node.refusals.count("SEARCHES_MAX")
            return None
        search = _Search(self, peer_id, tell, depth, patient)
        self._running.add(search)
        self.gossiping.put(search.begin)

        return lambda: self.gossiping.put(search.end)

    def over(self, search: _Search) -> None:
        """It makes room for another one: nobody wants it any more, or it has come to its end by itself."""
        self._running.discard(search)

    def _connected(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held): maybe that of a via peer, and no circuit any more."""
        if any(conversation.peer_id in each.awaited for each in tuple(self._running)):
            self.gossiping.put(lambda: self._stands(conversation.peer_id))

    def _stands(self, via: PeerId) -> None:
        for each in tuple(self._running):
            each.stands(via)


class _Search:
    """One of them. Not thread-safe."""

    def __init__(self, owner: Searches, target: PeerId, tell: Tell, depth: int, patient: bool) -> None:
        self._owner = owner
        self._node = owner.node
        self._target = target
        self._tell = tell
        self._depth = depth
        self._patient = patient
        self._began = owner.gossiping.age
        self.awaited: dict[PeerId, Dialled | None] = {}
        """Via peers to which no link of its own leads yet."""
        self._failed: list[str] = []
        self._cancel: Callable[[], None] = lambda: None
        self._timer: Timer | None = None
        self._over = False

    def begin(self) -> None:
        if not self._over:
            self._cancel = self._owner.gossiping.find(self._target, self._found)

    def end(self) -> None:
        """Nobody wants it any more; or it is over."""
        if self._over:
            return
        self._over = True
        self._owner.over(self)
        self._cancel()
        if self._timer is not None:
            self._timer.cancel()
        for via, dialled in self.awaited.items():
            self._owner.depths.pop(via, None)
            self._owner.borrowed.used(via)
            if dialled is not None:
                dialled.lose_interest()
        self.awaited = {}

    def _give_up(self, note: str) -> None:
        if not self._over:
            self.end()
            self._tell((), (), note)

    def _found(self, record: Record | None, asked: int) -> None:
        if self._over:
            return
        places: tuple[Endpoint, ...] = ()
        chosen: list[Contact] = []
        if record is not None:
            places = self._owner.rules.usable(record.endpoints, limits.GOSSIP_DIALS)
            chosen = [each for each in record.via if self._owner.rules.may_dial(each.peer_id)]
        # Who has just joined may know nothing of that peer yet; or only what that one has said when it had just joined.
        age = self._owner.gossiping.age - (0.0 if record is None else self._began)
        if self._patient and age < limits.SEARCH_YOUNG and not (places or chosen):
            self._timer = self._node.io.call_later(
                limits.SEARCH_PAUSE, lambda _: self._owner.gossiping.put(self.begin)
            )
            return
        if record is None:
            others = f", and the {asked} nodes that were asked do not either" if asked else ""
            self._give_up(f"it was looked up and not found: this node does not know where it is{others}")
            return
        if self._depth:  # nobody has asked for that peer but a record
            places = self._owner.rules.afford(places)
        self._tell(places, (), None)
        if not chosen:
            self._give_up("it was looked up: its record names nobody who introduces it, and " + _dialled(len(places)))
            return
        self._timer = self._node.io.call_later(
            limits.SEARCH_SECONDS, lambda _: self._owner.gossiping.put(self._too_late)
        )
        for via in chosen:
            self.awaited[via.peer_id] = None
        for via in chosen:
            self._reach(via)

    def _too_late(self) -> None:
        self._give_up(self._summary())

    def _summary(self) -> str:
        return "it was looked up: of those who introduce it, " + (
            "; ".join(self._failed) or "none could do so in time"
        )

    def _reach(self, via: Contact) -> None:
        """Have a session with that peer, on a link of its own."""
        owner, node = self._owner, self._node
        conversation = node.registry.get(via.peer_id)
        if conversation is not None and conversation.session.state is State.CONNECTED:
            self.stands(via.peer_id)
            return
        if conversation is None:
            owner.borrowed.use(via.peer_id)
        owner.depths[via.peer_id] = self._depth + 1
        known = owner.rules.usable(node.directory.places(via.peer_id, but={"gossip"}), limits.GOSSIP_DIALS)
        told = (*via.endpoints, *node.directory.places(via.peer_id))
        told = owner.rules.usable([each for each in dict.fromkeys(told) if each not in known], limits.GOSSIP_DIALS)
        endpoints = (*known, *owner.rules.afford(told))[: limits.GOSSIP_DIALS]
        dialled = self.awaited[via.peer_id] = Dialled(
            node,
            Contact(via.peer_id, endpoints),
            Purpose.CONNECT,
            limits.SEARCH_SECONDS,
            functools.partial(self._ended, via.peer_id),
            owner.rules.avoid,
            quiet=True,
        )
        dialled.begin()

    def _ended(self, via: PeerId, conversation: Conversation | None, error: CrustError | None) -> None:
        """What came of a dial (the dialer's lock may be held)."""
        if conversation is not None:
            self._owner.gossiping.put(lambda: self.stands(via))
        else:
            self._owner.gossiping.put(lambda: self._missed(via))

    def _missed(self, via: PeerId) -> None:
        if via in self.awaited:
            del self.awaited[via]
            self._owner.depths.pop(via, None)
            self._failed.append(f"peer {via} was not reached")
            if not self.awaited:
                self._give_up(self._summary())

    def stands(self, via: PeerId) -> None:
        """There is a session with a via peer: open a circuit, if it has a link of its own by now."""
        if self._over or via not in self.awaited:
            return
        circuits = self._node.circuits.towards(self._target, (via,))
        if not circuits:
            return  # its session is on a circuit itself: until a path of its own is found
        del self.awaited[via]
        self._owner.depths.pop(via, None)
        self._failed.append(f"peer {via} was asked")
        self._tell((), circuits, None)
        if not self.awaited:
            self._give_up(self._summary())


def _dialled(places: int) -> str:
    return "what addresses it has were tried" if places else "no address that may be dialled from here"
