"""The frames as values, without their bytes. Use them as ``crust.wire.frames.…``, which defines the bytes."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

from ..values import dataclass
from .handshake import DenialCode, Role

__all__ = [
    "PIECE_FIRST",
    "PIECE_LAST",
    "UNSIGNED_ONLY",
    "Ack",
    "Batch",
    "Denied",
    "EchoOutcome",
    "EchoReply",
    "EchoRequest",
    "EchoTransport",
    "Frame",
    "FrameType",
    "Goodbye",
    "GoodbyeCode",
    "KeyUpdate",
    "Kind",
    "Outcome",
    "Padding",
    "Piece",
    "Ping",
    "Pong",
    "Retire",
    "Use",
    "Welcome",
]


PIECE_FIRST, PIECE_LAST = 2, 4
"""Bits of a piece's flags; 1 would be a signature."""
UNSIGNED_ONLY = "signed messages are not supported by this version"


class FrameType(enum.IntEnum):
    """The first byte of a frame."""

    PADDING = 0x00
    WELCOME = 0x01
    DENIED = 0x02
    USE = 0x03
    ACK = 0x04
    PING = 0x05
    PONG = 0x06
    KEY_UPDATE = 0x07
    GOODBYE = 0x08
    RETIRE = 0x09
    ECHO_REQUEST = 0x0A
    ECHO_REPLY = 0x0B
    BATCH = 0x40
    PIECE = 0x41


class Outcome(enum.IntEnum):
    """What became of the caller's request for a session."""

    FRESH = 0
    """A new session begins."""
    RESUMED = 1
    """The session goes on."""
    GONE = 2
    """The session to resume is not known here any more; the link ends."""


class GoodbyeCode(enum.IntEnum):
    """Why a session ends."""

    CLOSED = 0
    """The node closes."""
    DISCONNECTED = 1
    """The application let go of this peer."""
    BANNED = 2
    PROTOCOL = 3
    """The receiver of this code broke the protocol."""
    RESTARTED = 4
    OVERLOADED = 5


class EchoTransport(enum.IntEnum):
    """By what an echo is wanted."""

    UDP = 0
    TCP = 1


class EchoOutcome(enum.IntEnum):
    """What became of the wish for an echo."""

    SENT = 0
    """UDP: the datagrams are out."""
    CONNECTED = 1
    """TCP: a connection stood."""
    REFUSED = 2
    """TCP: it was answered with a reset."""
    TIMEOUT = 3
    """TCP: nothing came back."""
    UNREACHABLE = 4
    """There is no way there."""
    DENIED = 5
    """Nothing was sent; the text says why."""


class Kind(enum.IntEnum):
    """Whom a message is for."""

    MESSAGE = 0
    """The application."""
    FILE = 1
    """File transfer: ``crust.wire.transfer``."""


class Padding(NamedTuple):
    """Fills a record; says nothing."""

    zeros: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """The callee's first frame: it takes the call."""

    role: Role
    capabilities: int
    """Bits of ``crust.wire.handshake.Capability``, and maybe others."""
    session_id: bytes
    """16 bytes."""
    outcome: Outcome
    next: int
    """Number of the first chunk that the callee has not received; 0 unless resumed."""
    window: int
    """Bytes of messages, overheads included, that the callee will buffer beyond ``next``."""
    max_message: int
    """Length of the longest message that the callee takes, in bytes."""
    use: int
    """If the callee is the controller and decides for this link: as in :class:`Use`; else 0."""
    incarnation: bytes
    """16 random bytes that name this run of the callee's node."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The callee's first frame: it does not take the call."""

    code: DenialCode
    text: str = ""
    """An explanation for people, at most 200 bytes; from a stranger, so show it sanitised."""
    alternates: tuple[str, ...] = ()
    """Up to 8 contacts to try instead, as text of at most 1,024 ASCII characters, not checked here."""


@dataclass(frozen=True, slots=True)
class Use:
    """The controller's word that data flows on this link from now on."""

    decision: int
    """Count of its decisions for this session, from 1: the highest one holds."""


class Ack(NamedTuple):
    """What has been received, and what may be sent. (A tuple: several times cheaper to make than a dataclass.)"""

    next: int
    """Every chunk below this number is stored."""
    window: int
    """Bytes of messages, overheads included, that will be buffered beyond ``next``."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A question that asks for a :class:`Pong` and an :class:`Ack` at once."""

    token: int
    """32 bits that come back."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a :class:`Ping`."""

    token: int


@dataclass(frozen=True, slots=True)
class KeyUpdate:
    """The sender's next record uses its next key."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The session ends."""

    code: GoodbyeCode
    text: str = ""
    """An explanation for people, at most 200 bytes; show it sanitised."""


@dataclass(frozen=True, slots=True)
class Retire:
    """The session has moved to another link; this one ends."""


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """
    A wish that the receiver sends something to the sender's address, as it sees that, at a port that the sender names:
    to see whether that gets in. Only to peers with :attr:`crust.wire.handshake.Capability.ECHO`.
    """

    number: int
    """u32, which comes back."""
    transport: EchoTransport
    port: int
    """At least 1,024."""
    token: bytes
    """12 bytes, the transaction of the STUN message that is sent by UDP."""


@dataclass(frozen=True, slots=True)
class EchoReply:
    """What became of an :class:`EchoRequest`."""

    number: int
    outcome: EchoOutcome
    text: str = ""
    """An explanation for people, at most 200 bytes; show it sanitised."""


class Batch(NamedTuple):
    """Small messages, one chunk each. (A tuple: several times cheaper to make than a dataclass.)"""

    first: int
    """Number of the first message's chunk; the others follow."""
    kind: int
    """See :class:`Kind`."""
    priority: int
    messages: list[bytes]
    """At least one."""


class Piece(NamedTuple):
    """One chunk of a message that is too big for a batch. (A tuple, as :class:`Batch`.)"""

    number: int
    kind: int
    """See :class:`Kind`."""
    priority: int
    slot: int
    """0 to 3: tells apart the messages under way."""
    is_first: bool
    is_last: bool
    total: int
    """Bytes of the whole message."""
    data: bytes
    """1 to ``total`` bytes."""


Frame: TypeAlias = (
    Welcome
    | Denied
    | Use
    | Ack
    | Ping
    | Pong
    | KeyUpdate
    | Goodbye
    | Retire
    | EchoRequest
    | EchoReply
    | Batch
    | Piece
)
