"""A session as the file transfer sees it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import address_key
from ..crypto.proofs import file_id, session_mark
from ..exceptions import RemoteProtocolError
from ..peers.accounts import Burden
from ..peers.conversation import Conversation
from ..peers.peer import Peer
from ..wire.frames import Kind

if TYPE_CHECKING:
    from .node import Node

__all__ = ["FileChannel"]


class FileChannel:
    """A conversation as the file transfer sees it."""

    __slots__ = ("_conversation", "_node")

    def __init__(self, node: Node, conversation: Conversation) -> None:
        self._node = node
        self._conversation = conversation

    @property
    def peer(self) -> Peer:
        return self._conversation.peer

    @property
    def peer_text(self) -> str:
        return str(self._conversation.peer_id)

    @property
    def place(self) -> bytes | None:
        conversation = self._conversation
        link = conversation.link
        host = conversation.address if link is None else link.connection.remote.host
        return None if host is None else address_key(host)

    @property
    def controller(self) -> bool:
        return self._node.registry.controls(self._conversation.peer_id)

    @property
    def max_message_size(self) -> int:
        return self._conversation.max_message_size

    @property
    def takes_signed_only(self) -> bool:
        return self._node.signatory.takes_signed_only

    def sign_file(self, transfer: int, size: int, digest: bytes, name: str) -> bytes:
        conversation = self._conversation
        number = file_id(conversation.session_id, os.urandom(6), transfer)
        time = int(self._node.wall() * 1000)
        return self._node.signatory.sign_file(conversation.peer_id.public_key, number, time, size, digest, name)

    def open_file(self, transfer: int, size: int, digest: bytes, name: str, signed: bytes) -> bytes:
        conversation = self._conversation
        statement, proof = self._node.signatory.open_file(conversation.peer_id.public_key, signed)
        mark, number = session_mark(conversation.session_id), transfer.to_bytes(4, "big")
        if not (statement.id.startswith(mark) and statement.id.endswith(number)):
            raise RemoteProtocolError("what is signed belongs to another transfer")
        if (statement.size, statement.digest, statement.name) != (size, digest, name):
            raise RemoteProtocolError("what is signed is another file")
        return proof

    def unsigned_file(self) -> None:
        self._node.signed.refused(self._conversation, 1)

    def stray_data(self) -> None:
        self._conversation.wasted(Burden.FILE, limits.COST_FILE_WORD)

    def send_file_message(self, data: bytes, timeout: float | None) -> None:
        self._conversation.send(data, limits.FILE_PRIORITY, Kind.FILE, timeout)

    def file_message_done(self, size: int) -> None:
        self._conversation.consumed(size + limits.MESSAGE_OVERHEAD)
