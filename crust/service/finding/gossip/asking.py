"""Questions to public nodes that no link leads to: short links, few at once."""

from __future__ import annotations

import functools
from collections.abc import Callable

from .... import limits
from ....addresses import Contact, PeerId
from ....discovery.gossip.clocks import Allowance
from ....discovery.gossip.events import Ask
from ....exceptions import CrustError
from ....peers.conversation import Conversation
from ....wire.frames import GossipFrame
from ....wire.handshake import Capability, Purpose
from ...connecting import Dialled
from ...node import Node
from ..dial_rules import DialRules
from .borrowed import Borrowed

__all__ = ["Asking"]


class _Dial:
    """One that is under way."""

    def __init__(self, frame: GossipFrame) -> None:
        self.frames = [frame]
        """What is to be brought there."""


class Asking:
    """
    Not thread-safe: for the thread ``crust-gossip``.

    Args:
        node: The node.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
        put: Has something done on that thread.
        failed: Called with the id of a node that was not reached.
    """

    def __init__(
        self,
        node: Node,
        rules: DialRules,
        borrowed: Borrowed,
        put: Callable[[Callable[[], object]], object],
        failed: Callable[[bytes], object],
    ) -> None:
        self._node = node
        self._rules = rules
        self._borrowed = borrowed
        self._put = put
        self._failed = failed
        self._budget = Allowance(limits.GOSSIP_ASKS_PER_SECOND, limits.GOSSIP_ASKS_BURST)
        self._dials: dict[PeerId, _Dial] = {}
        self._ready: list[tuple[Conversation, GossipFrame]] = []

    def ask(self, ask: Ask) -> None:
        """Bring that frame there; or say that it cannot be done."""
        peer_id = ask.record.peer_id
        waiting = self._dials.get(peer_id)
        if waiting is not None:
            waiting.frames.append(ask.frame)
            return
        endpoints = self._rules.usable(ask.record.endpoints, limits.GOSSIP_ASK_DIALS)
        allowed = bool(endpoints) and self._rules.may_dial(peer_id)
        if allowed and len(self._dials) >= limits.GOSSIP_ASKS_AT_ONCE:
            self._node.refusals.count("GOSSIP_ASKS_AT_ONCE")
            allowed = False
        if allowed and self._node.registry.get(peer_id) is None:
            endpoints = self._rules.afford(endpoints)
        if allowed and endpoints and not self._budget.take(self._node.clock.now()):
            self._node.refusals.count("GOSSIP_ASKS_PER_SECOND")
            allowed = False
        if not endpoints or not allowed:
            self._failed(ask.record.node)
            return
        dial = self._dials[peer_id] = _Dial(ask.frame)
        if self._node.registry.get(peer_id) is None:
            self._borrowed.use(peer_id)
        dialled = Dialled(
            self._node,
            Contact(peer_id, endpoints),
            Purpose.CONNECT,
            limits.GOSSIP_ASK_TIMEOUT,
            functools.partial(self._ended, peer_id, dial),
            self._rules.avoid,
            quiet=True,
            seek=False,  # others are asked instead: who introduces this one is hearsay, too
        )
        dialled.begin()

        def late() -> None:  # nobody has answered, or it is over by now
            dialled.lose_interest()
            self._over(peer_id, dial, None)

        self._node.io.call_later(limits.GOSSIP_ASK_TIMEOUT, lambda _: self._put(late))

    def _ended(
        self, peer_id: PeerId, dial: _Dial, conversation: Conversation | None, error: CrustError | None
    ) -> None:
        """What came of a dial (the dialer's lock is held)."""
        self._put(lambda: self._over(peer_id, dial, conversation))

    def _over(self, peer_id: PeerId, dial: _Dial, conversation: Conversation | None) -> None:
        if self._dials.get(peer_id) is not dial:
            return  # it was over before; another one may be under way
        del self._dials[peer_id]
        link = None if conversation is None else conversation.link
        if conversation is None or link is None or link.circuit is not None:
            self._failed(peer_id.public_key)
        elif conversation.capabilities & Capability.GOSSIP:
            self._ready += [(conversation, frame) for frame in dial.frames]
        else:
            self._failed(peer_id.public_key)

    def stands(self, conversation: Conversation) -> None:
        """A link to that peer stands: what is to be brought there need not wait for the end of the dial."""
        dial = self._dials.get(conversation.peer_id)
        if dial is not None:
            self._ready += [(conversation, frame) for frame in dial.frames]
            dial.frames = []

    def frames(self) -> list[tuple[Conversation, GossipFrame]]:
        """What can be sent now; each once."""
        ready, self._ready = self._ready, []
        return ready
