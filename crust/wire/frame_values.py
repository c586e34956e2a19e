"""The frames as values, without their bytes. Use them as ``crust.wire.frames.…``, which defines the bytes."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

from ..values import dataclass
from .codec import Address
from .gossip import GOSSIP_FRAMES, GossipFrame
from .handshake import DenialCode, Role

__all__ = [
    "CIRCUIT_FRAMES",
    "GOSSIP_FRAMES",
    "NO_SUCH_FLAG",
    "PIECE_FIRST",
    "PIECE_LAST",
    "SIGNAL_FRAMES",
    "TRAVERSAL_FRAMES",
    "Ack",
    "Batch",
    "Candidates",
    "CircuitAccept",
    "CircuitClose",
    "CircuitCredit",
    "CircuitData",
    "CircuitFrame",
    "CircuitOffer",
    "CircuitOpen",
    "CircuitReason",
    "Denied",
    "EchoOutcome",
    "EchoPorts",
    "EchoReply",
    "EchoRequest",
    "EchoTransport",
    "Frame",
    "FrameType",
    "Goodbye",
    "GoodbyeCode",
    "GossipFrame",
    "KeyUpdate",
    "Kind",
    "Outcome",
    "Padding",
    "Piece",
    "Ping",
    "Place",
    "PlaceKind",
    "Pong",
    "Retire",
    "Signal",
    "SignalFrame",
    "Standing",
    "TransportCode",
    "TraversalFrame",
    "Use",
    "Welcome",
]


PIECE_FIRST, PIECE_LAST = 2, 4
"""Bits of a piece's flags."""
NO_SUCH_FLAG = "a flag that this version does not know"


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
    CIRCUIT_OPEN = 0x0C
    CIRCUIT_OFFER = 0x0D
    CIRCUIT_ACCEPT = 0x0E
    CIRCUIT_DATA = 0x0F
    CIRCUIT_CREDIT = 0x10
    CIRCUIT_CLOSE = 0x11
    CANDIDATES = 0x12
    SIGNAL = 0x13
    ECHO_PORTS = 0x14
    SUMMARY = 0x15
    CONTENTS = 0x16
    ANNOUNCE = 0x17
    REQUEST = 0x18
    RECORDS = 0x19
    FIND = 0x1A
    FOUND = 0x1B
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
    ROLE = 6
    """The receiver of this code is no longer on the list of those who may connect."""
    UNNEEDED = 7
    """The node began the session to ask something, or to be introduced to somebody, and that is over."""


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


class CircuitReason(enum.IntEnum):
    """Why a circuit ends, or was never there."""

    CLOSED = 0
    """An end has had enough."""
    NOT_LINKED = 1
    """The introducer has no link to that peer."""
    REFUSED = 2
    """The other end, or the introducer for it, does not want it."""
    BUSY = 3
    """There are too many."""
    QUOTA = 4
    """It has carried as many bytes as it may."""
    TIME = 5
    """It has lasted as long as it may."""
    NESTED = 6
    """It would go over another circuit."""
    LOST = 7
    """One of its two links has ended."""
    PROTOCOL = 8
    """The receiver of this code broke the rules of circuits."""


class TransportCode(enum.IntEnum):
    """Transports in the frames about addresses."""

    UTP = 0
    TCP = 1


class PlaceKind(enum.IntEnum):
    """How a node came by an address: ``crust.CandidateKind``, best first."""

    CONFIGURED = 0
    INTERFACE = 1
    MAPPED = 2
    REFLEXIVE = 3


class Kind(enum.IntEnum):
    """Whom a message is for."""

    MESSAGE = 0
    """The application."""
    FILE = 1
    """File transfer: ``crust.wire.transfer``."""
    SIGNED = 2
    """The application, and signed: ``crust.wire.proofs``."""


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


@dataclass(frozen=True, slots=True)
class CircuitOpen:
    """To an introducer: bring this to that peer. The two ends of a link number their circuits apart."""

    number: int
    """u32; odd if the greater id of the link's two opens the circuit on it, else even."""
    target: bytes
    """The peer's Ed25519 public key, 32 bytes."""
    relays: bool
    """An application's data is to go over it, too, if the introducer carries such; else it only signals."""
    data: bytes
    """The first bytes for it."""


@dataclass(frozen=True, slots=True)
class CircuitOffer:
    """From an introducer: somebody wants to speak with you. Who it is comes encrypted, inside."""

    number: int
    observed: Address | None
    """Where the introducer sees the caller."""
    relays: bool
    """It carries an application's data, too; else only what it takes to find another path."""
    data: bytes


@dataclass(frozen=True, slots=True)
class CircuitAccept:
    """From the called peer to the introducer, and on to the caller: it consents, and this is its answer."""

    number: int
    observed: Address | None
    """Where the introducer sees the called peer; None from that peer itself."""
    relays: bool
    """As in :class:`CircuitOffer`; from the called peer itself, its wish, as in :class:`CircuitOpen`."""
    data: bytes


@dataclass(frozen=True, slots=True)
class CircuitData:
    """The next bytes of a circuit."""

    number: int
    data: bytes
    """1 to ``limits.CIRCUIT_DATA_MAX`` bytes."""


@dataclass(frozen=True, slots=True)
class CircuitCredit:
    """From one end to the other: so many more bytes may be sent."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class CircuitClose:
    """A circuit is over, for either end, or was never there."""

    number: int
    reason: CircuitReason
    text: str = ""
    """An explanation for people, at most 200 bytes; show it sanitised."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address at which the sender may be reachable."""

    kind: PlaceKind
    transport: TransportCode
    is_open: bool
    """Strangers get in there, as far as the sender knows."""
    address: Address


@dataclass(frozen=True, slots=True)
class Standing:
    """What the sender knows of its network for one transport and family (RFC 4787 section 4.1)."""

    transport: TransportCode
    family: int
    """4 or 6."""
    mapping: int
    """0: not known; 1: one port for all destinations; 2: a port for each destination; 3: nothing gets through."""
    step: int
    """From one such port to the next, -32,768 to 32,767; 0: no pattern is known."""
    low: int
    """The lowest and the highest port that were seen; 0: none."""
    high: int
    resets: bool
    """The network answers strangers' SYNs with a reset."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where the sender may be reachable, as far as it knows by now; replaces what it said before."""

    generation: int
    """u32: counts from 1 for each attempt to find a better path; both ends work on the higher one."""
    standings: tuple[Standing, ...]
    """At most 4."""
    places: tuple[Place, ...]
    """At most 32, best first."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A word of one traversal method to itself at the other end."""

    generation: int
    """As in :class:`Candidates`."""
    method: str
    """The name it is registered by: 1 to 32 characters of ASCII."""
    body: bytes
    """0 to 2,048 bytes, whose meaning is the method's own."""


@dataclass(frozen=True, slots=True)
class EchoPorts:
    """Where else the sender answers STUN, at the address of this link: several answers show how a router translates."""

    udp: tuple[int, ...]
    """At most 4 ports."""
    tcp: tuple[int, ...]
    """The same."""


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


CircuitFrame: TypeAlias = CircuitOpen | CircuitOffer | CircuitAccept | CircuitData | CircuitCredit | CircuitClose
CIRCUIT_FRAMES = (CircuitOpen, CircuitOffer, CircuitAccept, CircuitData, CircuitCredit, CircuitClose)

TraversalFrame: TypeAlias = Candidates | Signal | EchoPorts
TRAVERSAL_FRAMES = (Candidates, Signal, EchoPorts)
SignalFrame: TypeAlias = TraversalFrame | GossipFrame
SIGNAL_FRAMES = (*TRAVERSAL_FRAMES, *GOSSIP_FRAMES)
"""What peers tell each other beside their session, each alone in its record."""

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
    | CircuitOpen
    | CircuitOffer
    | CircuitAccept
    | CircuitData
    | CircuitCredit
    | CircuitClose
    | Candidates
    | Signal
    | EchoPorts
    | GossipFrame
    | Batch
    | Piece
)
