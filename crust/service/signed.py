"""What a node does about signed traffic: who it is when it signs, and what becomes of what others sign, or do not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .. import limits
from ..crypto.proofs import Signatory
from ..exceptions import RemoteProtocolError
from ..peers.accounts import Burden
from ..peers.conversation import Conversation
from ..peers.session import Delivery
from ..peers.verifying import Desk, Verifier
from .events import MessageRefused

if TYPE_CHECKING:
    from ..config import Config
    from ..crypto.handshake import HandshakeConfig
    from .node import Node

__all__ = ["SignedTraffic", "signatory_of"]


def signatory_of(config: Config, handshake: HandshakeConfig) -> Signatory:
    """What signs for a node."""
    signing = config.signing
    return Signatory(
        handshake.key_pair,
        handshake.network_id,
        signs_all=signing.sign_all,
        takes_signed_only=signing.require_signed,
    )


class SignedTraffic:
    """The driver of one node's :class:`~crust.peers.verifying.Verifier`. Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.clock = node.clock
        self.signatory = node.signatory
        self._lock = threading.Lock()  # guards what desks count as refused
        self._verifier = Verifier(self, node.threads.spawn, node.log)
        self.take = self._verifier.take
        self.finish = self._verifier.finish
        self.close = self._verifier.close
        self.abandon = self._verifier.abandon

    def began(self, conversation: Conversation) -> None:
        """A session begins; nothing has come yet."""
        if self.signatory.takes_signed_only:
            conversation.desk = Desk(conversation)

    # --- for the verifier ---------------------------------------------------------------------------------------------

    def hand_over(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """The application gets these (the conversation's lock is held)."""
        peer = conversation.peer
        if not self._node.subscriptions.deliver(peer, deliveries):
            peer._deliver(deliveries)

    def violated(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        """The peer broke the protocol."""
        self._node.violated(conversation, error)

    def refused(self, conversation: Conversation, count: int, size: int = 0, parts: int = 0) -> None:
        """
        So many messages, or files, were not signed, and the application does not get them (no lock is held).

        Args:
            size: What the messages took of the buffer, in bytes.
            parts: In so many parts they came.
        """
        conversation.wasted(Burden.TINY, parts * limits.COST_RECORD + size * limits.COST_BYTE)
        desk, now = conversation.desk, self.clock.now()
        assert desk is not None  # it has been there from the beginning: see began()
        with self._lock:
            desk.refused += count
            told = desk.refused if now >= desk.tell_at else 0
            if told:
                desk.refused, desk.tell_at = 0, now + limits.MISBEHAVIOUR_INTERVAL
        if told:
            self._node.subscriptions.emit(MessageRefused(conversation.peer, told))
        self._node.misbehaved(conversation, "unsigned", "it sent what is not signed, and nothing else is taken here")
