"""What joins the parts by which a node finds others and keeps them."""

from __future__ import annotations

import concurrent.futures

from ...addresses import Contact, PeerId
from ...peers.conversation import Conversation
from ...peers.peer import Peer
from ..connecting import DialFuture, connect, dial
from ..events import LostReason
from ..groups.groups import Groups
from ..network.network import Network
from ..node import Node
from .bootstrap import Bootstrap
from .caching import Caching
from .dial_rules import DialRules
from .dropped import Dropped
from .gossip.borrowed import Borrowed
from .gossip.gossiping import Gossiping
from .gossip.looking_around import LookingAround
from .gossip.looking_up import find
from .gossip.outside import Outside
from .gossip.searches import Searches
from .lan import Lan
from .reachability import Reachability
from .telling import add_groups, add_sections

__all__ = ["Finding"]


class Finding:
    """
    The parts, and their common life. Thread-safe.

    Args:
        node: The node, not started.
        network: What knows its addresses.
    """

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        self.dropped = Dropped()
        """Whom nobody dials for a while, unless the application says so."""
        node.on_lost.append(self._lost)  # before anybody who would dial hears of it
        node.is_dropped = lambda peer_id: self.dropped.covers(peer_id, node.clock.now())
        self.caching = Caching(node, self.dropped)
        """Nodes reached before."""
        node.directory.add(self.caching)
        self.lan = Lan(node, network)
        """Nodes on the same links."""
        node.directory.add(self.lan)
        node.on_reloaded.append(self._reloaded)
        self.reachability = Reachability(node, network, self.caching)
        """Whether strangers reach those who join here."""
        self.bootstrap = Bootstrap(node, self.caching, self.lan, self.dropped, self.reachability.is_public)
        """The way into the network, and staying in it."""
        add_sections(node, self.caching, self.lan)
        rules = self._rules = DialRules(node, network, self.dropped, self.lan.neighbours)
        node.on_connected.append(rules.connected)
        self.groups = Groups(node, rules, self.dropped)
        """Connections that are kept up."""
        add_groups(node, self.groups, self.dropped)
        network.on_moved += [self.caching.moved, self.groups.hurry, self.bootstrap.hurry]
        self.borrowed = Borrowed(node, self._is_held)
        """Sessions that the node began for itself."""
        self.gossiping = Gossiping(node, network, rules, self.borrowed, self.reachability.leads_in)
        """What nodes tell each other of nodes."""
        node.directory.add(self.gossiping)
        self.reachability.on_tried.append(self.gossiping.tried)
        self.gossiping.on_learned.append(self.groups.look)
        self.lan.on_found.append(self.groups.look)
        self.searches = Searches(node, self.gossiping, rules, self.borrowed)
        """Peers to which no way is known."""
        Outside(node, self.gossiping, rules, self.borrowed)
        LookingAround(node, self.bootstrap, self.caching, self.gossiping, rules, self.borrowed)

    def _reloaded(self, changed: frozenset[str]) -> None:
        """The configuration is another one."""
        if {"lan.announce", "lan.seek"} & changed:
            self.lan.adjust()

    def start(self) -> None:
        """The node runs, and listens."""
        self.caching.start()
        self.lan.start()

    def close(self, timeout: float | None) -> None:
        """End them, before the network and the node are closed."""
        self.bootstrap.close()
        self.reachability.close()
        self.caching.close()
        self.groups.close()
        self.gossiping.close()
        self.lan.close()

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self.dropped.abandon()
        self._rules.abandon()
        self.caching.abandon()
        self.bootstrap.abandon()
        self.reachability.abandon()
        self.groups.abandon()
        self.borrowed.abandon()
        self.gossiping.abandon()
        self.lan.abandon()

    # --- what the application asks for --------------------------------------------------------------------------------

    def connect(self, contact: Contact, seconds: float | None, *, keep: bool) -> Peer:
        """See :meth:`crust.Service.connect`."""
        self._ask_for(contact.peer_id)
        peer = None
        try:
            peer = connect(self._node, contact, seconds)
            if keep:
                self.groups.keep(contact)
            return peer
        finally:
            self._node.io.shielded(lambda: self.groups.unclaim(contact.peer_id, peer))

    def dial(self, contact: Contact, seconds: float | None, *, keep: bool) -> DialFuture:
        """See :meth:`crust.Service.dial`."""
        self._ask_for(contact.peer_id)
        future = dial(self._node, contact, seconds)

        def over(settled: concurrent.futures.Future[Peer]) -> None:
            peer = settled.result(0) if not settled.cancelled() and settled.exception(0) is None else None
            if keep and peer is not None:
                self._node.io.call_later(0.0, lambda _: self.groups.keep(contact))
            self.groups.unclaim(contact.peer_id, peer)

        future.when_over(over)
        return future

    def _ask_for(self, peer_id: PeerId) -> None:
        """That one of the two applications dropped the other does not count any more, and no group ends it."""

        def ask() -> None:
            self.dropped.lift(peer_id)
            self.groups.claim(peer_id)
            self.gossiping.keep(peer_id)

        self._node.io.shielded(ask)

    def find(self, peer_id: PeerId, seconds: float | None) -> Contact:
        """See :meth:`crust.Service.find`."""
        return find(self._node, self.gossiping, peer_id, seconds)

    def _is_held(self, peer_id: PeerId) -> bool:
        """Whether a group, or ``keep``, has a session with that peer; or bootstrap keeps it up."""
        return self.groups.holds(peer_id) or (self.borrowed.is_guest(peer_id) and self.bootstrap.needs(peer_id))

    def disconnect(self, peer_id: PeerId, text: str) -> bool:
        """The application lets go of a peer; False if there was no session with it."""
        node = self._node

        def end() -> bool:
            self.dropped.add(peer_id, node.clock.now())
            self.groups.unkeep(peer_id)
            return node.disconnect(peer_id, text)

        return node.io.shielded(end)

    def _lost(self, conversation: Conversation, reason: str) -> None:
        """A session is over: one of the two applications may have ended it."""
        if reason == LostReason.DISCONNECTED:
            self.dropped.add(conversation.peer_id, self._node.clock.now())
