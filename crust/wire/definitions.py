"""
Every message that has a definition in construct. docs/wire-format.md describes the same in prose.

Whoever builds or parses one goes through :mod:`crust.wire.codec`, which loads this module, and construct with it, when
the first message is built or parsed.
"""

from __future__ import annotations

from typing import Any

from .. import limits
from .fields import (
    ADDRESS,
    FLAG,
    Definition,
    array,
    by_type,
    checked,
    choice,
    construct,
    optional,
    text,
    typed,
)
from .frame_values import (
    NO_SUCH_FLAG,
    PIECE_FIRST,
    PIECE_LAST,
    Ack,
    Batch,
    Candidates,
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitOffer,
    CircuitOpen,
    CircuitReason,
    Denied,
    EchoOutcome,
    EchoPorts,
    EchoReply,
    EchoRequest,
    EchoTransport,
    FrameType,
    Goodbye,
    GoodbyeCode,
    KeyUpdate,
    Kind,
    Outcome,
    Padding,
    Piece,
    Ping,
    Place,
    PlaceKind,
    Pong,
    Retire,
    Signal,
    Standing,
    TransportCode,
    Use,
    Welcome,
)
from .gossip import Announce, Contents, Find, Found, Records, Request, Spot, Statement, Summary, Via
from .handshake import Accepted, Aead, DenialCode, Hello, Introduction, Manner, Purpose, Refused, Resume, Role
from .proofs import FileStatement, MessageStatement
from .transfer import (
    Accept,
    Done,
    End,
    Fail,
    FileData,
    Offer,
    Progress,
    Refuse,
    SignedEnd,
    SignedOffer,
    TransferType,
)

__all__ = [
    "ANSWER",
    "FILE_STATEMENT",
    "FRAME",
    "HELLO",
    "INTRODUCTION",
    "MESSAGE_STATEMENT",
    "PAYLOAD",
    "STATEMENT",
    "TRANSFER",
]

_u8, _u16, _u32, _u64 = construct.Int8ub, construct.Int16ub, construct.Int32ub, construct.Int64ub
_OFFERS = range(1, 17)  # how many versions, or AEADs, may be offered

# --- handshake --------------------------------------------------------------------------------------------------------

PAYLOAD: Definition = construct.Struct(
    "body" / construct.Prefixed(_u16, construct.GreedyBytes),
    "padding" / construct.GreedyBytes,
)

HELLO: Definition = typed(
    Hello,
    "versions" / array(_u8, _u16, _OFFERS, distinct=True),
    "network_id" / construct.Bytes(32),
    "aeads" / array(_u8, _u8, _OFFERS, distinct=True),
)

ACCEPTED: Definition = typed(Accepted, "version" / _u16, "aead" / choice(_u8, Aead), "observed" / ADDRESS)

REFUSED: Definition = typed(Refused, "code" / choice(_u8, DenialCode))

RESUME: Definition = typed(Resume, "session_id" / construct.Bytes(limits.SESSION_ID_SIZE), "next" / _u64)

INTRODUCTION: Definition = typed(
    Introduction,
    "peer_id" / construct.Bytes(limits.PEER_ID_SIZE),
    "role" / choice(_u8, Role),
    "purpose" / choice(_u8, Purpose),
    "manner" / choice(_u8, Manner),
    "capabilities" / _u32,
    "incarnation" / construct.Bytes(limits.INCARNATION_SIZE),
    "observed" / ADDRESS,
    "window" / _u32,
    "max_message" / _u32,
    "resume" / optional(RESUME),
)

ANSWER: Definition = by_type(_u8, {0: (Accepted, ACCEPTED), 1: (Refused, REFUSED)})

# --- frames -----------------------------------------------------------------------------------------------------------

_EXPLANATION: Definition = text(_u8, limits.DENIED_TEXT_MAX)
_CONTACT: Definition = text(_u16, limits.CONTACT_WIRE_MAX, "ascii")
_KIND: Definition = checked(_u8, lambda kind: kind in list(Kind), "no such kind of message")

WELCOME: Definition = checked(
    typed(
        Welcome,
        "role" / choice(_u8, Role),
        "capabilities" / _u32,
        "session_id" / construct.Bytes(limits.SESSION_ID_SIZE),
        "outcome" / choice(_u8, Outcome),
        "next" / _u64,
        "window" / _u32,
        "max_message" / _u32,
        "use" / _u32,
        "incarnation" / construct.Bytes(limits.INCARNATION_SIZE),
    ),
    lambda welcome: welcome.next == 0 or welcome.outcome == Outcome.RESUMED,
    "a next number without a session resumed",
)

DENIED: Definition = typed(
    Denied,
    "code" / choice(_u8, DenialCode),
    "text" / _EXPLANATION,
    "alternates" / array(_u8, _CONTACT, range(limits.ALTERNATES_MAX + 1)),
)

USE: Definition = typed(Use, "decision" / checked(_u32, bool, "decisions count from 1"))

GOODBYE: Definition = typed(Goodbye, "code" / choice(_u8, GoodbyeCode), "text" / _EXPLANATION)


ECHO_REQUEST: Definition = typed(
    EchoRequest,
    "number" / _u32,
    "transport" / choice(_u8, EchoTransport),
    "port" / checked(_u16, lambda port: port >= limits.ECHO_PORT_MIN, "an echo to a port below 1,024"),
    "token" / construct.Bytes(limits.ECHO_TOKEN_SIZE),
)

ECHO_REPLY: Definition = typed(EchoReply, "number" / _u32, "outcome" / choice(_u8, EchoOutcome), "text" / _EXPLANATION)


_YES: Definition = construct.ExprAdapter(FLAG, lambda value, _: bool(value), lambda value, _: int(value))
_CIRCUIT: Definition = "number" / _u32
_CARRIED: Definition = construct.Prefixed(_u16, construct.GreedyBytes)
_CARRIED_DATA: Definition = checked(
    _CARRIED, lambda data: 0 < len(data) <= limits.CIRCUIT_DATA_MAX, "no data, or too much at once"
)
_FIRST_DATA: Definition = checked(_CARRIED, lambda data: len(data) <= limits.CIRCUIT_DATA_MAX, "too much at once")

CIRCUIT_OPEN: Definition = typed(
    CircuitOpen, _CIRCUIT, "target" / construct.Bytes(limits.PEER_ID_SIZE), "relays" / _YES, "data" / _FIRST_DATA
)
CIRCUIT_OFFER: Definition = typed(
    CircuitOffer, _CIRCUIT, "observed" / ADDRESS, "relays" / _YES, "data" / _FIRST_DATA
)
CIRCUIT_ACCEPT: Definition = typed(
    CircuitAccept, _CIRCUIT, "observed" / ADDRESS, "relays" / _YES, "data" / _FIRST_DATA
)
CIRCUIT_DATA: Definition = typed(CircuitData, _CIRCUIT, "data" / _CARRIED_DATA)
CIRCUIT_CREDIT: Definition = typed(CircuitCredit, _CIRCUIT, "size" / checked(_u32, bool, "no credit"))
CIRCUIT_CLOSE: Definition = typed(
    CircuitClose, _CIRCUIT, "reason" / choice(_u8, CircuitReason), "text" / _EXPLANATION
)

_PLACE: Definition = typed(
    Place,
    "kind" / choice(_u8, PlaceKind),
    "transport" / choice(_u8, TransportCode),
    "is_open" / _YES,
    "address" / checked(ADDRESS, lambda address: address is not None and address[1], "a candidate without a port"),
)
_STANDING: Definition = typed(
    Standing,
    "transport" / choice(_u8, TransportCode),
    "family" / checked(_u8, lambda family: family in (4, 6), "no such family of addresses"),
    "mapping" / checked(_u8, lambda mapping: mapping < 4, "no such mapping"),
    "step" / construct.Int16sb,
    "low" / _u16,
    "high" / _u16,
    "resets" / _YES,
)
CANDIDATES: Definition = typed(
    Candidates,
    "generation" / _u32,
    "standings" / array(_u8, _STANDING, range(limits.STANDINGS_MAX + 1)),
    "places" / array(_u8, _PLACE, range(2 * limits.CANDIDATES_MAX + 1)),
)
SIGNAL: Definition = typed(
    Signal,
    "generation" / _u32,
    "method" / checked(text(_u8, limits.METHOD_NAME_MAX, "ascii"), bool, "a method without a name"),
    "body" / checked(_CARRIED, lambda body: len(body) <= limits.SIGNAL_MAX, "too long a signal"),
)
_PORTS: Definition = array(_u8, checked(_u16, bool, "port 0"), range(limits.ECHO_PORTS_MAX + 1))
ECHO_PORTS: Definition = typed(EchoPorts, "udp" / _PORTS, "tcp" / _PORTS)


# --- gossip -----------------------------------------------------------------------------------------------------------

_u48 = construct.BytesInteger(6)
_ID: Definition = construct.Bytes(limits.PEER_ID_SIZE)
_SPOT: Definition = typed(
    Spot,
    "transport" / choice(_u8, TransportCode),
    "address" / checked(ADDRESS, lambda address: address is not None and address[1], "an address without a port"),
)
_VIA: Definition = typed(
    Via, "peer_id" / _ID, "spots" / array(_u8, _SPOT, range(limits.GOSSIP_VIA_ENDPOINTS_MAX + 1), distinct=True)
)
STATEMENT: Definition = typed(
    Statement,
    "peer_id" / _ID,
    "sequence" / _u48,
    "made" / _u48,
    "role" / choice(_u8, Role),
    "is_public" / _YES,
    "spots" / array(_u8, _SPOT, range(limits.GOSSIP_ENDPOINTS_MAX + 1), distinct=True),
    "via" / array(_u8, _VIA, range(limits.GOSSIP_VIA_MAX + 1)),
)
"""What a node says of itself; its signature follows."""

_PAIR: Definition = construct.ExprAdapter(
    construct.Array(2, _u64), lambda pair, _: tuple(pair), lambda pair, _: list(pair)
)
_SIGNED: Definition = checked(
    construct.Prefixed(_u16, construct.GreedyBytes),
    lambda data: len(data) <= limits.GOSSIP_RECORD_MAX,
    "a record of more than 512 bytes",
)
SUMMARY: Definition = typed(
    Summary,
    "radius" / _u64,
    "asks" / _YES,
    "hashes" / array(_u16, _u64, [0, *(1 << bits for bits in range(limits.GOSSIP_DEPTH_MAX + 1))]),
)
CONTENTS: Definition = checked(
    typed(
        Contents,
        "first" / _u64,
        "last" / _u64,
        "items" / array(_u16, _PAIR, range(limits.GOSSIP_ITEMS_MAX + 1)),
    ),
    lambda contents: contents.first <= contents.last,
    "a range that ends before it begins",
)
ANNOUNCE: Definition = typed(Announce, "items" / array(_u16, _PAIR, range(1, limits.GOSSIP_ITEMS_MAX + 1)))
REQUEST: Definition = typed(Request, "prefixes" / array(_u16, _u64, range(1, limits.GOSSIP_REQUEST_MAX + 1)))
RECORDS: Definition = typed(
    Records,
    "records" / array(_u8, checked(_SIGNED, bool, "an empty record"), range(1, limits.GOSSIP_BATCH_MAX + 1)),
)
FIND: Definition = typed(Find, "number" / _u32, "target" / _ID)
FOUND: Definition = typed(
    Found,
    "number" / _u32,
    "record" / _SIGNED,
    "nearer" / array(_u8, checked(_SIGNED, bool, "an empty record"), range(limits.GOSSIP_NEARER_MAX + 1)),
)

# --- what carries data ------------------------------------------------------------------------------------------------


def _decode_batch(raw: Any, _context: object) -> Batch:
    return Batch(raw.first, raw.kind, raw.priority, list(raw.messages))


def _encode_batch(batch: Batch, _context: object) -> dict[str, Any]:
    lengths = [len(message) for message in batch.messages]
    return {**batch._asdict(), "flags": 0, "lengths": lengths}


BATCH: Definition = construct.ExprAdapter(
    construct.Struct(
        "first" / _u64,
        "kind" / _KIND,
        "flags" / checked(_u8, lambda flags: flags == 0, NO_SUCH_FLAG),
        "priority" / _u8,
        "lengths" / construct.PrefixedArray(checked(_u16, bool, "an empty batch"), _u16),
        "messages"
        / construct.Array(
            lambda context: len(context.lengths),
            construct.Bytes(lambda context: context.lengths[context._index]),
        ),
    ),
    _decode_batch,
    _encode_batch,
)


def _decode_piece(raw: Any, _context: object) -> Piece:
    is_first, is_last = bool(raw.flags & PIECE_FIRST), bool(raw.flags & PIECE_LAST)
    return Piece(raw.number, raw.kind, raw.priority, raw.slot, is_first, is_last, raw.total, raw.data)


def _encode_piece(piece: Piece, _context: object) -> dict[str, Any]:
    return {**piece._asdict(), "flags": PIECE_FIRST * piece.is_first | PIECE_LAST * piece.is_last}


PIECE: Definition = construct.ExprAdapter(
    checked(
        construct.Struct(
            "number" / _u64,
            "kind" / _KIND,
            "flags" / checked(_u8, lambda flags: not flags & ~(PIECE_FIRST | PIECE_LAST), NO_SUCH_FLAG),
            "priority" / _u8,
            "slot" / checked(_u8, lambda slot: slot < limits.PARTIAL_MESSAGES_MAX, "a slot above 3"),
            "total" / _u32,
            "data" / checked(construct.Prefixed(_u16, construct.GreedyBytes), bool, "an empty piece"),
        ),
        lambda raw: len(raw["data"]) <= raw["total"],
        "a piece longer than its message",
    ),
    _decode_piece,
    _encode_piece,
)

FRAME: Definition = by_type(
    _u8,
    {
        FrameType.PADDING: (
            Padding,
            typed(
                Padding,
                "zeros"
                / checked(construct.GreedyBytes, lambda zeros: not any(zeros), "padding that is not zero"),
            ),
        ),
        FrameType.WELCOME: (Welcome, WELCOME),
        FrameType.DENIED: (Denied, DENIED),
        FrameType.USE: (Use, USE),
        FrameType.ACK: (Ack, typed(Ack, "next" / _u64, "window" / _u32)),
        FrameType.PING: (Ping, typed(Ping, "token" / _u32)),
        FrameType.PONG: (Pong, typed(Pong, "token" / _u32)),
        FrameType.KEY_UPDATE: (KeyUpdate, typed(KeyUpdate)),
        FrameType.GOODBYE: (Goodbye, GOODBYE),
        FrameType.RETIRE: (Retire, typed(Retire)),
        FrameType.ECHO_REQUEST: (EchoRequest, ECHO_REQUEST),
        FrameType.ECHO_REPLY: (EchoReply, ECHO_REPLY),
        FrameType.CIRCUIT_OPEN: (CircuitOpen, CIRCUIT_OPEN),
        FrameType.CIRCUIT_OFFER: (CircuitOffer, CIRCUIT_OFFER),
        FrameType.CIRCUIT_ACCEPT: (CircuitAccept, CIRCUIT_ACCEPT),
        FrameType.CIRCUIT_DATA: (CircuitData, CIRCUIT_DATA),
        FrameType.CIRCUIT_CREDIT: (CircuitCredit, CIRCUIT_CREDIT),
        FrameType.CIRCUIT_CLOSE: (CircuitClose, CIRCUIT_CLOSE),
        FrameType.CANDIDATES: (Candidates, CANDIDATES),
        FrameType.SIGNAL: (Signal, SIGNAL),
        FrameType.ECHO_PORTS: (EchoPorts, ECHO_PORTS),
        FrameType.SUMMARY: (Summary, SUMMARY),
        FrameType.CONTENTS: (Contents, CONTENTS),
        FrameType.ANNOUNCE: (Announce, ANNOUNCE),
        FrameType.REQUEST: (Request, REQUEST),
        FrameType.RECORDS: (Records, RECORDS),
        FrameType.FIND: (Find, FIND),
        FrameType.FOUND: (Found, FOUND),
        FrameType.BATCH: (Batch, BATCH),
        FrameType.PIECE: (Piece, PIECE),
    },
)
"""One frame. PADDING takes all that follows, so it is the last."""

# --- file transfer ----------------------------------------------------------------------------------------------------

_NUMBER: Definition = "transfer" / _u32
_SIZE: Definition = "size" / _u64
_NAME: Definition = "name" / text(_u16, limits.TRANSFER_NAME_MAX)
_BYTES: Definition = checked(construct.GreedyBytes, bool, "no data")

TRANSFER: Definition = by_type(
    _u8,
    {
        TransferType.OFFER: (
            Offer,
            typed(Offer, _NUMBER, _SIZE, _NAME),
        ),
        TransferType.ACCEPT: (Accept, typed(Accept, _NUMBER)),
        TransferType.REFUSE: (Refuse, typed(Refuse, _NUMBER, "text" / _EXPLANATION)),
        TransferType.DATA: (FileData, typed(FileData, _NUMBER, "offset" / _u64, "data" / _BYTES)),
        TransferType.END: (End, typed(End, _NUMBER, "digest" / construct.Bytes(32))),
        TransferType.PROGRESS: (Progress, typed(Progress, _NUMBER, "received" / _u64)),
        TransferType.DONE: (Done, typed(Done, _NUMBER)),
        TransferType.FAIL: (Fail, typed(Fail, _NUMBER, "text" / _EXPLANATION)),
        TransferType.SIGNED_OFFER: (SignedOffer, typed(SignedOffer, _NUMBER, _SIZE, _NAME)),
        TransferType.SIGNED_END: (
            SignedEnd,
            typed(
                SignedEnd,
                _NUMBER,
                "signed"
                / checked(
                    construct.GreedyBytes,
                    lambda signed: 0 < len(signed) <= limits.SIGNED_FILE_MAX,
                    "nothing signed, or more than there is of a file",
                ),
            ),
        ),
    },
)

# --- what is signed ---------------------------------------------------------------------------------------------------

_WHO_AND_WHEN: tuple[Definition, ...] = (
    "sender" / construct.Bytes(limits.PEER_ID_SIZE),
    "receiver" / construct.Bytes(limits.PEER_ID_SIZE),
    "id" / construct.Bytes(limits.PROOF_ID_SIZE),
    "time" / _u64,
)
MESSAGE_STATEMENT: Definition = typed(
    MessageStatement, *_WHO_AND_WHEN, "payload" / construct.Prefixed(_u32, construct.GreedyBytes)
)
FILE_STATEMENT: Definition = typed(
    FileStatement, *_WHO_AND_WHEN, _SIZE, "digest" / construct.Bytes(32), _NAME
)
