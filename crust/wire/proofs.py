"""
What is signed: messages and files of an application (docs/wire-format.md, "Signed messages" and "File transfer").

On the wire each is a *statement* and its signature. A *proof*, for whoever was not there, has in front of them what
both ends of a session know: what is signed, and the network. Signed is all of a proof but its last 64 bytes, so whoever
looks at the signature takes the bytes as they came. The statement of a message also has a fast path, held equal to its
definition by the tests.
"""

from __future__ import annotations

import struct

from .. import limits
from ..exceptions import MalformedMessage
from ..values import dataclass
from .codec import build, parse_all

__all__ = [
    "FILE_MARK",
    "MESSAGE_MARK",
    "MESSAGE_OVERHEAD",
    "FileStatement",
    "MessageStatement",
    "build_file_statement",
    "build_message_statement",
    "parse_file_statement_untrusted",
    "parse_message_statement_by_definition_untrusted",
    "parse_message_statement_untrusted",
    "split_signed_untrusted",
]

MESSAGE_MARK = b"crust/1 message\0"
"""In front of what is signed of a message, and of its proof."""
FILE_MARK = b"crust/1 file\0"
"""The same of a file."""

_HEAD = struct.Struct(">32s32s16sQI")  # sender, receiver, id, time, length
_SIGNATURE = limits.SIGNATURE_SIZE
MESSAGE_OVERHEAD = _HEAD.size + _SIGNATURE
"""Bytes that a signed message is longer than what it says."""


@dataclass(frozen=True, slots=True)
class MessageStatement:
    """What the signature of a message covers, besides mark and network."""

    sender: bytes
    """Peer id, 32 bytes."""
    receiver: bytes
    """Peer id, 32 bytes."""
    id: bytes
    """16 bytes: see :mod:`crust.crypto.proofs`."""
    time: int
    """Milliseconds since the epoch, as the sender says."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class FileStatement:
    """What the signature of a file covers, besides mark and network."""

    sender: bytes
    """Peer id, 32 bytes."""
    receiver: bytes
    """Peer id, 32 bytes."""
    id: bytes
    """16 bytes: see :mod:`crust.crypto.proofs`."""
    time: int
    """Milliseconds since the epoch, as the sender says."""
    size: int
    """Bytes of the content."""
    digest: bytes
    """BLAKE2b-256 of the content."""
    name: str
    """What the sender called it, as in its offer."""


def build_message_statement(statement: MessageStatement) -> bytes:
    """
    Its bytes.

    Raises:
        ValueError: The wire cannot hold one of its values.
    """
    sender, receiver, number = statement.sender, statement.receiver, statement.id
    if (len(sender), len(receiver), len(number)) != (limits.PEER_ID_SIZE, limits.PEER_ID_SIZE, limits.PROOF_ID_SIZE):
        raise ValueError("a statement needs two peer ids of 32 bytes and an id of 16")
    payload = statement.payload
    try:
        return _HEAD.pack(sender, receiver, number, statement.time, len(payload)) + payload
    except struct.error as error:
        raise ValueError(f"a statement cannot be built: {error}") from error


def parse_message_statement_untrusted(data: bytes) -> MessageStatement:
    """
    Raises:
        MalformedMessage: The bytes are no statement about a message.
    """
    try:
        sender, receiver, number, time, length = _HEAD.unpack_from(data)
    except struct.error as error:
        raise MalformedMessage(f"a statement about a message of {len(data)} bytes is too short") from error
    if length != len(data) - _HEAD.size:
        raise MalformedMessage(f"a statement about a message of {length} bytes that has {len(data) - _HEAD.size}")
    return MessageStatement(sender, receiver, number, time, data[_HEAD.size :])


def parse_message_statement_by_definition_untrusted(data: bytes) -> MessageStatement:
    """As :func:`parse_message_statement_untrusted`, by construct alone: what the fast path is measured against."""
    statement: MessageStatement = parse_all("MESSAGE_STATEMENT", data, "a statement about a message", len(data))
    return statement


def build_file_statement(statement: FileStatement) -> bytes:
    """
    Its bytes.

    Raises:
        ValueError: The wire cannot hold one of its values.
    """
    return build("FILE_STATEMENT", statement, "a statement about a file")


def parse_file_statement_untrusted(data: bytes) -> FileStatement:
    """
    Raises:
        MalformedMessage: The bytes are no statement about a file.
    """
    statement: FileStatement = parse_all(
        "FILE_STATEMENT", data, "a statement about a file", limits.SIGNED_FILE_MAX - _SIGNATURE
    )
    return statement


def split_signed_untrusted(data: bytes) -> tuple[bytes, bytes]:
    """
    A statement, and its signature.

    Raises:
        MalformedMessage: There is no room for both.
    """
    if len(data) <= _SIGNATURE:
        raise MalformedMessage(f"{len(data)} bytes are too few for a statement and its signature")
    return data[:-_SIGNATURE], data[-_SIGNATURE:]
