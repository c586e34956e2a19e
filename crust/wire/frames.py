"""
Frames: what a record of a link holds (docs/wire-format.md, "Frames").

A record's plaintext is frames back to back, each behind one byte of type. Every frame is defined in construct, in
``crust/wire/definitions.py``. BATCH, PIECE and ACK, which carry an application's data, also have a fast path made of
:mod:`struct`: the tests hold it equal to the definitions, on valid and on broken input.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

from .. import limits
from ..exceptions import MalformedMessage
from .codec import build, parse_next
from .control import build_control, parse_control_untrusted
from .frame_values import (
    CIRCUIT_FRAMES,
    GOSSIP_FRAMES,
    NO_SUCH_FLAG,
    PIECE_FIRST,
    PIECE_LAST,
    SIGNAL_FRAMES,
    TRAVERSAL_FRAMES,
    Ack,
    Batch,
    Candidates,
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitFrame,
    CircuitOffer,
    CircuitOpen,
    CircuitReason,
    Denied,
    EchoOutcome,
    EchoPorts,
    EchoReply,
    EchoRequest,
    EchoTransport,
    Frame,
    FrameType,
    Goodbye,
    GoodbyeCode,
    GossipFrame,
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
    SignalFrame,
    Standing,
    TransportCode,
    TraversalFrame,
    Use,
    Welcome,
)

__all__ = [
    "BATCH_OVERHEAD",
    "BATCH_PER_MESSAGE",
    "CIRCUIT_FRAMES",
    "GOSSIP_FRAMES",
    "PIECE_OVERHEAD",
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
    return _record(b"".join([build("FRAME", frame, type(frame).__name__) for frame in frames]), padding)


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
    return build_control(frame)


def parse_record_by_definition_untrusted(plaintext: bytes) -> list[Frame]:
    """As :func:`parse_record_untrusted`, by construct alone: slow, and what the fast path is measured against."""
    size = len(plaintext)
    if not 0 < size <= limits.RECORD_PLAINTEXT_MAX:
        raise _bad_size(size)
    stream = io.BytesIO(plaintext)
    frames: list[Frame] = []
    while stream.tell() < size:
        frame = parse_next("FRAME", stream, "frame")
        if not isinstance(frame, Padding):
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
_CUT_SHORT = "a record ends in the middle of a frame"
_KINDS, _KIND_MAX = tuple(map(int, Kind)), int(max(Kind))
_RECORD_MAX, _SLOTS = limits.RECORD_PLAINTEXT_MAX, limits.PARTIAL_MESSAGES_MAX
_new: Callable[..., Any] = tuple.__new__  # makes a NamedTuple in half the time of its own constructor


def build_batch(first: int, kind: int, priority: int, messages: Sequence[bytes]) -> bytes:
    """
    A BATCH frame of at least one message of at most 65,535 bytes each.

    Raises:
        ValueError: A number is out of range, or there are no messages.
    """
    count = len(messages)
    if not count or kind not in _KINDS:
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
    if not 0 < length <= total or kind not in _KINDS or slot >= _SLOTS:
        raise ValueError(f"a piece of {length} of {total} bytes, kind {kind}, slot {slot}")
    flags = (PIECE_FIRST if first else 0) | (PIECE_LAST if last else 0)
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
                if flags or kind > _KIND_MAX:
                    raise MalformedMessage(NO_SUCH_FLAG if flags else "no such kind of message")
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
                frame, position = parse_control_untrusted(plaintext, position)
                frames.append(frame)
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
    if flags & ~(PIECE_FIRST | PIECE_LAST):
        raise MalformedMessage(NO_SUCH_FLAG)
    start = position + PIECE_OVERHEAD
    end: int = start + length
    if end > len(plaintext):
        raise MalformedMessage(_CUT_SHORT)
    if kind > _KIND_MAX or slot >= _SLOTS or not 0 < length <= total:
        raise MalformedMessage(f"a piece of {length} of {total} bytes, kind {kind}, slot {slot}")
    is_first, is_last = flags & PIECE_FIRST != 0, flags & PIECE_LAST != 0
    data = bytes(plaintext[start:end])
    frames.append(_new(Piece, (number, kind, priority, slot, is_first, is_last, total, data)))
    return end


def _bad_size(size: int) -> MalformedMessage:
    return MalformedMessage(f"a record of {size} bytes; 1 to {limits.RECORD_PLAINTEXT_MAX} are allowed")


def _bad_count() -> MalformedMessage:
    return MalformedMessage(f"a record of more than {limits.CONTROL_FRAMES_MAX} control frames")
