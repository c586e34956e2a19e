"""
Frames: what a record of a link holds (docs/wire-format.md, "Frames").

A record's plaintext is frames back to back, each behind one byte of type. Every frame is defined in construct at the
end of the definitions below. BATCH, PIECE and ACK, which carry an application's data, also have a fast path made of
:mod:`struct`: the tests hold it equal to the definitions, on valid and on broken input.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

from .. import limits
from ..exceptions import MalformedMessage
from .fields import (
    Definition,
    array,
    build_all,
    by_type,
    checked,
    choice,
    construct,
    parse_next,
    text,
    typed,
)
from .frame_values import (
    Ack,
    Batch,
    Denied,
    Frame,
    FrameType,
    Goodbye,
    GoodbyeCode,
    KeyUpdate,
    Kind,
    Outcome,
    Piece,
    Ping,
    Pong,
    Retire,
    Use,
    Welcome,
)
from .handshake import DenialCode, Role

__all__ = [
    "BATCH_OVERHEAD",
    "BATCH_PER_MESSAGE",
    "PIECE_OVERHEAD",
    "Ack",
    "Batch",
    "Denied",
    "Frame",
    "FrameType",
    "Goodbye",
    "GoodbyeCode",
    "KeyUpdate",
    "Kind",
    "Outcome",
    "Piece",
    "Ping",
    "Pong",
    "Retire",
    "Use",
    "Welcome",
    "build_ack",
    "build_batch",
    "build_padded",
    "build_piece",
    "build_piece_head",
    "build_record",
    "build_record_by_definition",
    "parse_record_by_definition_untrusted",
    "parse_record_untrusted",
]


@dataclasses.dataclass(frozen=True, slots=True)
class _Padding:
    zeros: bytes


# --- definitions ------------------------------------------------------------------------------------------------------

_u8, _u16, _u32, _u64 = construct.Int8ub, construct.Int16ub, construct.Int32ub, construct.Int64ub
_EXPLANATION: Definition = text(_u8, limits.DENIED_TEXT_MAX)
_CONTACT: Definition = text(_u16, limits.CONTACT_WIRE_MAX, "ascii")
_KIND: Definition = checked(_u8, lambda kind: kind in (Kind.MESSAGE, Kind.FILE), "no such kind of message")

_SIGNED, _FIRST, _LAST = 1, 2, 4  # bits of ``flags``
_UNSIGNED_ONLY = "signed messages are not supported by this version"
_CUT_SHORT = "a record ends in the middle of a frame"

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


def _decode_batch(raw: Any, _context: object) -> Batch:
    return Batch(raw.first, raw.kind, raw.priority, list(raw.messages))


def _encode_batch(batch: Batch, _context: object) -> dict[str, Any]:
    lengths = [len(message) for message in batch.messages]
    return {**batch._asdict(), "flags": 0, "lengths": lengths}


BATCH: Definition = construct.ExprAdapter(
    construct.Struct(
        "first" / _u64,
        "kind" / _KIND,
        "flags" / checked(_u8, lambda flags: flags == 0, _UNSIGNED_ONLY),
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
    is_first, is_last = bool(raw.flags & _FIRST), bool(raw.flags & _LAST)
    return Piece(raw.number, raw.kind, raw.priority, raw.slot, is_first, is_last, raw.total, raw.data)


def _encode_piece(piece: Piece, _context: object) -> dict[str, Any]:
    return {**piece._asdict(), "flags": _FIRST * piece.is_first | _LAST * piece.is_last}


PIECE: Definition = construct.ExprAdapter(
    checked(
        construct.Struct(
            "number" / _u64,
            "kind" / _KIND,
            "flags" / checked(_u8, lambda flags: not flags & ~(_FIRST | _LAST), _UNSIGNED_ONLY),
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
            _Padding,
            typed(
                _Padding,
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
        FrameType.BATCH: (Batch, BATCH),
        FrameType.PIECE: (Piece, PIECE),
    },
)
"""One frame. PADDING takes all that follows, so it is the last."""


# --- whole records ----------------------------------------------------------------------------------------------------


def build_padded(plaintext: bytes, padding: int) -> bytes:
    """``plaintext`` and a PADDING frame of so many bytes in all, or of fewer if a record has no room for them."""
    return plaintext + bytes(min(padding, limits.RECORD_PLAINTEXT_MAX - len(plaintext)))


def build_record(frames: Sequence[Frame], padding: int = 0) -> bytes:
    """
    The plaintext of a record.

    Args:
        frames: At least one, in order.
        padding: Bytes of padding behind them.

    Raises:
        ValueError: The frames do not fit a record, or one of them does not fit the wire.
    """
    return _record(b"".join([_build_frame(frame) for frame in frames]), padding)


def build_record_by_definition(frames: Sequence[Frame], padding: int = 0) -> bytes:
    """As :func:`build_record`, by construct alone: slow, and what the fast path is measured against."""
    return _record(b"".join([build_all(FRAME, frame, type(frame).__name__) for frame in frames]), padding)


def _record(plaintext: bytes, padding: int) -> bytes:
    if not 0 < len(plaintext) <= limits.RECORD_PLAINTEXT_MAX:
        raise ValueError(
            f"a record of {len(plaintext)} bytes; 1 to {limits.RECORD_PLAINTEXT_MAX} are allowed"
        )
    return build_padded(plaintext, padding)


def _build_frame(frame: Frame) -> bytes:
    if isinstance(frame, Batch):
        return build_batch(*frame)
    if isinstance(frame, Piece):
        return build_piece(*frame)
    if isinstance(frame, Ack):
        return build_ack(*frame)
    return build_all(FRAME, frame, type(frame).__name__)


def parse_record_by_definition_untrusted(plaintext: bytes) -> list[Frame]:
    """As :func:`parse_record_untrusted`, by construct alone: slow, and what the fast path is measured against."""
    size = len(plaintext)
    if not 0 < size <= limits.RECORD_PLAINTEXT_MAX:
        raise _bad_size(size)
    stream = io.BytesIO(plaintext)
    frames: list[Frame] = []
    while stream.tell() < size:
        frame = parse_next(FRAME, stream, "frame")
        if not isinstance(frame, _Padding):
            frames.append(frame)
    if not frames:
        raise MalformedMessage("a record of padding alone")
    if sum(not isinstance(frame, (Batch, Piece, Ack)) for frame in frames) > limits.CONTROL_FRAMES_MAX:
        raise _bad_count()
    return frames


# --- the fast path ----------------------------------------------------------------------------------------------------

_BATCH_HEAD = struct.Struct(">BQBBBH")  # type, first, kind, flags, priority, count; then count lengths
_PIECE_HEAD = struct.Struct(">BQBBBBIH")  # type, number, kind, flags, priority, slot, total, length
_ACK = struct.Struct(">BQI")  # type, next, window

# The same for parsing: the type is known by then, and a batch's first length is wanted with its head.
_unpack_batch = struct.Struct(">xQBBBHH").unpack_from
_unpack_piece = struct.Struct(">xQBBBBIH").unpack_from
_unpack_ack = struct.Struct(">xQI").unpack_from

BATCH_OVERHEAD = _BATCH_HEAD.size
"""Bytes of a batch besides its messages and their lengths."""
BATCH_PER_MESSAGE = 2
"""Bytes of a batch for the length of each message."""
PIECE_OVERHEAD = _PIECE_HEAD.size
"""Bytes of a piece besides its data."""
_ACK_SIZE = _ACK.size


# Bounds on what cutting at once may cost in memory: a struct takes 32 bytes a message.
_REMEMBERED_COUNT = 1024
_CUT_AT_ONCE = 20
_shape_of = tuple(f"{length}s" for length in range(2048)).__getitem__

_BATCH_TYPE, _PIECE_TYPE, _ACK_TYPE = int(FrameType.BATCH), int(FrameType.PIECE), int(FrameType.ACK)
_RECORD_MAX, _SLOTS = limits.RECORD_PLAINTEXT_MAX, limits.PARTIAL_MESSAGES_MAX
_new: Callable[..., Any] = tuple.__new__  # makes a NamedTuple in half the time of its own constructor


def build_batch(first: int, kind: int, priority: int, messages: Sequence[bytes]) -> bytes:
    """
    A BATCH frame of at least one message of at most 65,535 bytes each.

    Raises:
        ValueError: A number is out of range, or there are no messages.
    """
    count = len(messages)
    if not count or kind not in (0, 1):
        raise ValueError(f"a batch of {count} messages of kind {kind}")
    try:
        head = _batch_head(count)(_BATCH_TYPE, first, kind, 0, priority, count, *map(len, messages))
    except struct.error as error:
        raise ValueError(f"a batch cannot be built: {error}") from error
    return b"".join([head, *messages])


@functools.lru_cache(maxsize=1024)
def _batch_head(count: int) -> Callable[..., bytes]:
    return struct.Struct(f">BQBBBH{count}H").pack


def build_piece(
    number: int,
    kind: int,
    priority: int,
    slot: int,
    first: bool,
    last: bool,
    total: int,
    data: bytes | memoryview,
) -> bytes:
    """
    A PIECE frame.

    Raises:
        ValueError: A number is out of range, or the data is empty or longer than ``total``.
    """
    return build_piece_head(number, kind, priority, slot, first, last, total, len(data)) + data


def build_piece_head(
    number: int, kind: int, priority: int, slot: int, first: bool, last: bool, total: int, length: int
) -> bytes:
    """
    What comes before the data of a PIECE frame.

    Args:
        length: Bytes of the data that follows.

    Raises:
        ValueError: The same.
    """
    if not 0 < length <= total or kind not in (0, 1) or slot >= _SLOTS:
        raise ValueError(f"a piece of {length} of {total} bytes, kind {kind}, slot {slot}")
    flags = (_FIRST if first else 0) | (_LAST if last else 0)
    try:
        return _PIECE_HEAD.pack(_PIECE_TYPE, number, kind, flags, priority, slot, total, length)
    except struct.error as error:
        raise ValueError(f"piece cannot be built: {error}") from error


def build_ack(next: int, window: int) -> bytes:
    """
    An ACK frame.

    Raises:
        ValueError: A number is out of range.
    """
    try:
        return _ACK.pack(_ACK_TYPE, next, window)
    except struct.error as error:
        raise ValueError(f"ack cannot be built: {error}") from error


def parse_record_untrusted(plaintext: bytes | memoryview) -> list[Frame]:
    """
    The frames of a record, at least one; padding is checked and left out. Nothing of them refers to ``plaintext``.

    Raises:
        MalformedMessage: The record is not frames of this version from end to end.
    """
    size = len(plaintext)
    if not 0 < size <= _RECORD_MAX:
        raise _bad_size(size)
    frames: list[Frame] = []
    position = control = 0
    try:
        while position < size:
            kind = plaintext[position]
            if kind == _BATCH_TYPE:
                first, kind, flags, priority, count, length = _unpack_batch(plaintext, position)
                if flags or kind > 1:
                    raise MalformedMessage(_UNSIGNED_ONLY if flags else "no such kind of message")
                if count == 1:
                    start = position + BATCH_OVERHEAD + BATCH_PER_MESSAGE
                    position = start + length
                    if position > size:
                        raise MalformedMessage(_CUT_SHORT)
                    messages = [bytes(plaintext[start:position])]
                else:
                    messages, position = _take_apart(plaintext, position + BATCH_OVERHEAD, count, length)
                frames.append(_new(Batch, (first, kind, priority, messages)))
            elif kind == _ACK_TYPE:
                frames.append(_new(Ack, _unpack_ack(plaintext, position)))
                position += _ACK_SIZE
            elif kind == _PIECE_TYPE:
                position = _parse_piece(plaintext, position, frames)
            elif kind:
                control += 1
                if control > limits.CONTROL_FRAMES_MAX:
                    raise _bad_count()
                position = _parse_control(plaintext, position, frames)
            elif bytes(plaintext[position:]).count(0) == size - position:
                break
            else:
                raise MalformedMessage("padding that is not zero")
    except struct.error as error:
        raise MalformedMessage(_CUT_SHORT) from error
    if not frames:
        raise MalformedMessage("a record of padding alone")
    return frames


def _take_apart(plaintext: bytes | memoryview, start: int, count: int, length: int) -> tuple[list[bytes], int]:
    """The messages of a batch whose lengths begin at ``start`` with ``length``, and where they end."""
    if not count:
        raise MalformedMessage("an empty batch")
    position = start + BATCH_PER_MESSAGE * count
    lengths = bytes(plaintext[start:position])
    # One struct that describes all messages cuts them several times faster than a loop. For messages of one length
    # it is worth remembering; for others it pays from some twenty messages on.
    if count <= _REMEMBERED_COUNT and lengths == lengths[:2] * count:
        return list(_even(count, length)(plaintext, position)), position + count * length
    sizes = struct.unpack_from(f">{count}H", plaintext, start)
    if count >= _CUT_AT_ONCE:
        try:
            shape = struct.Struct("".join(map(_shape_of, sizes)))
        except IndexError:
            pass  # a longer message than those prepared for; then there are not many
        else:
            return list(shape.unpack_from(plaintext, position)), position + shape.size
    messages = []
    for size in sizes:
        end = position + size
        messages.append(bytes(plaintext[position:end]))
        position = end
    if position > len(plaintext):
        raise MalformedMessage(_CUT_SHORT)
    return messages, position


@functools.lru_cache(maxsize=64)
def _even(count: int, length: int) -> Callable[[bytes | memoryview, int], tuple[bytes, ...]]:
    return struct.Struct(f"{length}s" * count).unpack_from


def _parse_piece(plaintext: bytes | memoryview, position: int, frames: list[Frame]) -> int:
    """Append the piece at ``position``; returns where it ends. ``struct.error``: the record ends before."""
    number, kind, flags, priority, slot, total, length = _unpack_piece(plaintext, position)
    if flags & ~(_FIRST | _LAST):
        raise MalformedMessage(_UNSIGNED_ONLY)
    start = position + PIECE_OVERHEAD
    end: int = start + length
    if end > len(plaintext):
        raise MalformedMessage(_CUT_SHORT)
    if kind > 1 or slot >= _SLOTS or not 0 < length <= total:
        raise MalformedMessage(f"a piece of {length} of {total} bytes, kind {kind}, slot {slot}")
    is_first, is_last = flags & _FIRST != 0, flags & _LAST != 0
    data = bytes(plaintext[start:end])
    frames.append(_new(Piece, (number, kind, priority, slot, is_first, is_last, total, data)))
    return end


def _parse_control(plaintext: bytes | memoryview, position: int, frames: list[Frame]) -> int:
    stream = io.BytesIO(plaintext)
    stream.seek(position)
    frames.append(parse_next(FRAME, stream, "frame"))
    return stream.tell()


def _bad_size(size: int) -> MalformedMessage:
    return MalformedMessage(f"a record of {size} bytes; 1 to {limits.RECORD_PLAINTEXT_MAX} are allowed")


def _bad_count() -> MalformedMessage:
    return MalformedMessage(f"a record of more than {limits.CONTROL_FRAMES_MAX} control frames")
