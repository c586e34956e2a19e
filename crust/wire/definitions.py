"""
Every message that has a definition in construct. docs/wire-format.md describes the same in prose.

Whoever builds or parses one goes through :mod:`crust.wire.codec`, which loads this module, and construct with it, when
the first message is built or parsed.
"""

from __future__ import annotations

from typing import Any

from .. import limits
from .fields import ADDRESS, Definition, array, by_type, checked, choice, construct, optional, text, typed
from .frame_values import (
    PIECE_FIRST,
    PIECE_LAST,
    UNSIGNED_ONLY,
    Ack,
    Batch,
    Denied,
    EchoOutcome,
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
    Pong,
    Retire,
    Use,
    Welcome,
)
from .handshake import Accepted, Aead, DenialCode, Hello, Introduction, Purpose, Refused, Resume, Role
from .transfer import Accept, Done, End, Fail, FileData, Offer, Progress, Refuse, TransferType

__all__ = ["ANSWER", "FRAME", "HELLO", "INTRODUCTION", "PAYLOAD", "TRANSFER"]

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
_KIND: Definition = checked(_u8, lambda kind: kind in (Kind.MESSAGE, Kind.FILE), "no such kind of message")

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


def _decode_batch(raw: Any, _context: object) -> Batch:
    return Batch(raw.first, raw.kind, raw.priority, list(raw.messages))


def _encode_batch(batch: Batch, _context: object) -> dict[str, Any]:
    lengths = [len(message) for message in batch.messages]
    return {**batch._asdict(), "flags": 0, "lengths": lengths}


BATCH: Definition = construct.ExprAdapter(
    construct.Struct(
        "first" / _u64,
        "kind" / _KIND,
        "flags" / checked(_u8, lambda flags: flags == 0, UNSIGNED_ONLY),
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
            "flags" / checked(_u8, lambda flags: not flags & ~(PIECE_FIRST | PIECE_LAST), UNSIGNED_ONLY),
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
        FrameType.BATCH: (Batch, BATCH),
        FrameType.PIECE: (Piece, PIECE),
    },
)
"""One frame. PADDING takes all that follows, so it is the last."""

# --- file transfer ----------------------------------------------------------------------------------------------------

_NUMBER: Definition = "transfer" / _u32
_BYTES: Definition = checked(construct.GreedyBytes, bool, "no data")

TRANSFER: Definition = by_type(
    _u8,
    {
        TransferType.OFFER: (
            Offer,
            typed(Offer, _NUMBER, "size" / _u64, "name" / text(_u16, limits.TRANSFER_NAME_MAX)),
        ),
        TransferType.ACCEPT: (Accept, typed(Accept, _NUMBER)),
        TransferType.REFUSE: (Refuse, typed(Refuse, _NUMBER, "text" / _EXPLANATION)),
        TransferType.DATA: (FileData, typed(FileData, _NUMBER, "offset" / _u64, "data" / _BYTES)),
        TransferType.END: (End, typed(End, _NUMBER, "digest" / construct.Bytes(32))),
        TransferType.PROGRESS: (Progress, typed(Progress, _NUMBER, "received" / _u64)),
        TransferType.DONE: (Done, typed(Done, _NUMBER)),
        TransferType.FAIL: (Fail, typed(Fail, _NUMBER, "text" / _EXPLANATION)),
    },
)
