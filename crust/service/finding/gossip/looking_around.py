"""
A look around, once a minute: a node that is content with its links borrows one more, to compare notes.

Parts of a network that were apart find together by that; see :mod:`crust.discovery.gossip.around` for when, and whom.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .... import limits
from ....addresses import Contact, PeerId
from ....discovery.gossip.around import LookAround
from ....exceptions import CrustError
from ....peers.conversation import Conversation
from ....runtime.alarm import Alarm
from ....wire.handshake import Purpose
from ...connecting import Dialled
from ...node import Node
from ..bootstrap import Bootstrap
from ..caching import Caching
from ..dial_rules import DialRules
from .borrowed import Borrowed
from .gossiping import Gossiping

__all__ = ["LookingAround"]

_Nodes = dict[PeerId, Contact]


class LookingAround:
    """
    That of one node, if it takes part in gossip and keeps links up. It is done on the thread ``crust-gossip``.

    Args:
        node: The node, not started.
        bootstrap: Whether links are kept up, and whom the application has named.
        caching: Nodes reached before.
        gossiping: Nodes of which others have told.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
    """

    def __init__(
        self,
        node: Node,
        bootstrap: Bootstrap,
        caching: Caching,
        gossiping: Gossiping,
        rules: DialRules,
        borrowed: Borrowed,
    ) -> None:
        self._node = node
        self._bootstrap = bootstrap
        self._caching = caching
        self._gossiping = gossiping
        self._rules = rules
        self._borrowed = borrowed
        self._core = LookAround(random.random)
        self._alarm = Alarm(node.io)
        node.on_connected.append(lambda conversation: self._connected())

    def _connected(self) -> None:
        """A link carries a session (locks may be held)."""
        if self._alarm.due is None and self._gossiping.is_on:
            self._gossiping.put(self._begin)

    def _begin(self) -> None:
        self._core.begin(self._node.clock.now())
        self._arm()

    def _arm(self) -> None:
        self._alarm.set(self._core.get_timer(), lambda _: self._gossiping.put(self._look))

    def _look(self) -> None:
        node = self._node
        now, count = node.clock.now(), len(node.registry.all())
        self._alarm.rang()
        if not count:
            self._core.end()  # until there is a link again
        else:
            may = self._bootstrap.is_kept and count < node.config.limits.max_peers
            sure, met, told = self._known() if may else ({}, {}, {})
            chosen = self._core.handle_timer(now, [*sure.values()], [*met.values()], [*told.values()])
            if chosen is not None:
                self._dial(chosen, is_sure=chosen.peer_id in sure)
        self._arm()

    def _known(self) -> tuple[_Nodes, _Nodes, _Nodes]:
        """
        Whom there is to dial: those that the application has named, or that were reached before; those that are where
        a link of ours has led to them; and all of which others tell.
        """
        gossiping = self._gossiping
        given = [*self._bootstrap.named, *self._node.directory.given.contacts()]
        if self._node.config.bootstrap.only_contacts:
            return self._allowed(given), {}, {}
        sure = self._allowed([*self._caching.contacts(), *given])
        return sure, self._allowed(gossiping.met()), self._allowed(gossiping.contacts())

    def _allowed(self, contacts: Sequence[Contact]) -> _Nodes:
        found = {}
        for each in contacts:
            if self._node.registry.get(each.peer_id) is None and self._rules.may_dial(each.peer_id):
                places = tuple(place for place in each.endpoints if not (place.is_ip and self._rules.avoid(place.host)))
                if places:
                    found[each.peer_id] = Contact(each.peer_id, places[: limits.GOSSIP_DIALS])
        return found

    def _dial(self, contact: Contact, *, is_sure: bool) -> None:
        if not is_sure:  # others alone have told of it
            contact = Contact(contact.peer_id, self._rules.afford(contact.endpoints))
        if not contact.endpoints:
            self._core.missed(self._node.clock.now())
            return
        told: list[bool] = []

        def over(conversation: Conversation | None) -> None:
            if not told:
                told.append(True)
                self._over(contact, conversation)

        def ended(conversation: Conversation | None, error: CrustError | None) -> None:
            """What came of it (the dialer's lock is held)."""
            self._gossiping.put(lambda: over(conversation))

        self._borrowed.use(contact.peer_id, guest=True)
        seconds = limits.GOSSIP_ASK_TIMEOUT
        dialled = Dialled(
            self._node, contact, Purpose.CONNECT, seconds, ended, self._rules.avoid, quiet=True, seek=False
        )
        dialled.begin()

        def late(_: float) -> None:
            dialled.lose_interest()
            self._gossiping.put(lambda: over(None))

        self._node.io.call_later(seconds, late)

    def _over(self, contact: Contact, conversation: Conversation | None) -> None:
        link = None if conversation is None else conversation.link
        if link is not None and link.circuit is None:
            self._core.reached()
            return
        self._borrowed.done(contact.peer_id)  # by way of others nothing new is to be heard
        self._core.missed(self._node.clock.now())
        self._gossiping.failed(contact.peer_id)
        self._arm()
