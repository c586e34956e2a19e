"""
A link to the outside for a node that looks for a path and has none.

To get through its NAT a node must know how it is seen from beyond, which only public nodes can tell it. Whoever is
linked to neighbours alone, and is reached by way of one of them, borrows links to one or two public nodes that gossip
knows.
"""

from __future__ import annotations

from .... import limits
from ....addresses import Contact
from ....exceptions import CrustError
from ....peers.conversation import Conversation
from ....wire.handshake import Purpose
from ...connecting import Dialled
from ...node import Node
from ..dial_rules import DialRules
from .borrowed import Borrowed
from .gossiping import Gossiping

__all__ = ["Outside"]


class Outside:
    """
    For one node. What it does is done on the thread ``crust-gossip``.

    Args:
        node: The node, not started.
        gossiping: What knows public nodes.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
    """

    def __init__(self, node: Node, gossiping: Gossiping, rules: DialRules, borrowed: Borrowed) -> None:
        self._node = node
        self._gossiping = gossiping
        self._rules = rules
        self._borrowed = borrowed
        self._next = 0.0
        node.on_connected.append(self._connected)

    def _connected(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link = conversation.link
        if link is not None and link.circuit is not None and self._gossiping.is_on:
            self._gossiping.put(self._look)

    def _look(self) -> None:
        now = self._node.clock.now()
        if now < self._next or self._node.traversals is None or self._has_one():
            return
        self._next = now + limits.OUTSIDE_REST
        count = 0
        for contact in self._gossiping.contacts():
            places = tuple(each for each in contact.endpoints if each.is_global)
            known = self._node.registry.get(contact.peer_id) is not None
            if not places or known or not self._rules.may_dial(contact.peer_id):
                continue
            places = self._rules.afford(places[:2])
            if not places:
                continue
            self._borrowed.use(contact.peer_id)
            self._dial(Contact(contact.peer_id, places))
            count += 1
            if count == limits.OUTSIDE_LINKS:
                return

    def _has_one(self) -> bool:
        """Whether a link leads to a public address."""
        links = [each.link for each in self._node.registry.all()]
        return any(link is not None and link.circuit is None and link.connection.remote.is_global for link in links)

    def _dial(self, contact: Contact) -> None:
        def ended(conversation: Conversation | None, error: CrustError | None) -> None:
            if conversation is None:
                self._gossiping.failed(contact.peer_id)

        seconds = limits.GOSSIP_ASK_TIMEOUT
        dialled = Dialled(
            self._node, contact, Purpose.CONNECT, seconds, ended, self._rules.avoid, quiet=True, seek=False
        )
        dialled.begin()
        self._node.io.call_later(seconds, lambda _: dialled.lose_interest())
