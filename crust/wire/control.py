"""
Control frames, all but those that carry an application's data: part of :mod:`crust.wire.frames`, which see.

Those of every connection (Welcome, Use, Ping, Pong, KeyUpdate, Goodbye, Retire), and what circuits carry (CircuitData,
CircuitCredit), have a short way made of :mod:`struct`; so do those of gossip (:mod:`crust.wire.gossip`). It
takes what is certainly right; what it will not take (None) goes the way of the definition, which knows the error. The
tests hold the two equal, on valid and on broken input.
"""

from __future__ import annotations

import io
import struct

from .. import limits
from .codec import build, parse_next
from .frame_values import (
    CircuitCredit,
    CircuitData,
    Frame,
    FrameType,
    Goodbye,
    GoodbyeCode,
    KeyUpdate,
    Outcome,
    Ping,
    Pong,
    Retire,
    Use,
    Welcome,
)
from .gossip import read_gossip, show_gossip
from .handshake import Role

__all__ = ["build_control", "parse_control_untrusted"]

_WELCOME = struct.Struct(f">BBI{limits.SESSION_ID_SIZE}sBQIII{limits.INCARNATION_SIZE}s")
_NUMBER = struct.Struct(">BI")
_CARRIED = struct.Struct(">BIH")  # type, number, length
_CREDIT = struct.Struct(">BII")
_ROLES = {int(role): role for role in Role}
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_GOODBYES = {int(code): code for code in GoodbyeCode}

_WELCOME_TYPE, _USE_TYPE = int(FrameType.WELCOME), int(FrameType.USE)
_PING_TYPE, _PONG_TYPE = int(FrameType.PING), int(FrameType.PONG)
_KEY_UPDATE_TYPE, _GOODBYE_TYPE, _RETIRE_TYPE = map(int, (FrameType.KEY_UPDATE, FrameType.GOODBYE, FrameType.RETIRE))

_CIRCUIT_DATA_TYPE, _CIRCUIT_CREDIT_TYPE = int(FrameType.CIRCUIT_DATA), int(FrameType.CIRCUIT_CREDIT)


def build_control(frame: Frame) -> bytes:
    """
    The bytes of a frame of ours.

    Raises:
        ValueError: The wire cannot hold it.
    """
    return _build(frame) or build("FRAME", frame, type(frame).__name__)


def parse_control_untrusted(plaintext: bytes | memoryview, at: int) -> tuple[Frame, int]:
    """
    The frame that begins at ``at``, and where it ends.

    Raises:
        MalformedMessage: There is no such frame.
    """
    quick = _read(plaintext, at)
    if quick is not None:
        return quick
    stream = io.BytesIO(plaintext)
    stream.seek(at)
    frame: Frame = parse_next("FRAME", stream, "frame")
    return frame, stream.tell()


def _build(frame: Frame) -> bytes | None:
    try:
        if isinstance(frame, CircuitData):
            size = len(frame.data)
            if frame.number and 0 < size <= limits.CIRCUIT_DATA_MAX:
                return _CARRIED.pack(_CIRCUIT_DATA_TYPE, frame.number, size) + frame.data
            return None
        if isinstance(frame, CircuitCredit):
            return _CREDIT.pack(_CIRCUIT_CREDIT_TYPE, frame.number, frame.size) if frame.number and frame.size else None
        if isinstance(frame, Ping):
            return _NUMBER.pack(_PING_TYPE, frame.token)
        if isinstance(frame, Pong):
            return _NUMBER.pack(_PONG_TYPE, frame.token)
        if isinstance(frame, Use):
            return _NUMBER.pack(_USE_TYPE, frame.decision) if frame.decision else None
        if isinstance(frame, Welcome):
            return _welcome(frame)
        if isinstance(frame, Goodbye):
            text = frame.text.encode()
            if len(text) <= limits.DENIED_TEXT_MAX:
                return bytes((_GOODBYE_TYPE, _GOODBYES[frame.code], len(text))) + text
        elif isinstance(frame, KeyUpdate):
            return bytes((_KEY_UPDATE_TYPE,))
        elif isinstance(frame, Retire):
            return bytes((_RETIRE_TYPE,))
        else:
            return show_gossip(frame)
    except (struct.error, LookupError, ValueError, TypeError, AttributeError):
        pass
    return None


def _welcome(frame: Welcome) -> bytes | None:
    if len(frame.session_id) != limits.SESSION_ID_SIZE or len(frame.incarnation) != limits.INCARNATION_SIZE:
        return None  # struct would cut them, or fill them up
    if frame.next and frame.outcome != Outcome.RESUMED:
        return None
    return _WELCOME.pack(
        _WELCOME_TYPE,
        _ROLES[frame.role],
        frame.capabilities,
        frame.session_id,
        _OUTCOMES[frame.outcome],
        frame.next,
        frame.window,
        frame.max_message,
        frame.use,
        frame.incarnation,
    )


def _read(plaintext: bytes | memoryview, at: int) -> tuple[Frame, int] | None:
    kind = plaintext[at]
    try:
        if kind == _CIRCUIT_DATA_TYPE:
            _, circuit, size = _CARRIED.unpack_from(plaintext, at)
            start = at + _CARRIED.size
            end = start + size
            if not circuit or not 0 < size <= limits.CIRCUIT_DATA_MAX or end > len(plaintext):
                return None
            return CircuitData(circuit, bytes(plaintext[start:end])), end
        if kind == _CIRCUIT_CREDIT_TYPE:
            _, circuit, granted = _CREDIT.unpack_from(plaintext, at)
            return (CircuitCredit(circuit, granted), at + _CREDIT.size) if circuit and granted else None
        if kind in (_PING_TYPE, _PONG_TYPE, _USE_TYPE):
            number: int = _NUMBER.unpack_from(plaintext, at)[1]
            end = at + _NUMBER.size
            if kind == _USE_TYPE:
                return (Use(number), end) if number else None
            return (Ping(number) if kind == _PING_TYPE else Pong(number)), end
        if kind == _WELCOME_TYPE:
            return _read_welcome(plaintext, at)
        if kind == _GOODBYE_TYPE:
            code, size = plaintext[at + 1], plaintext[at + 2]
            end = at + 3 + size
            if size <= limits.DENIED_TEXT_MAX and end <= len(plaintext):
                return Goodbye(_GOODBYES[code], bytes(plaintext[at + 3 : end]).decode()), end
        elif kind == _KEY_UPDATE_TYPE:
            return KeyUpdate(), at + 1
        elif kind == _RETIRE_TYPE:
            return Retire(), at + 1
        else:
            return read_gossip(plaintext, at)
    except (struct.error, LookupError, ValueError):
        pass
    return None


def _read_welcome(plaintext: bytes | memoryview, at: int) -> tuple[Welcome, int] | None:
    _, role, capabilities, session_id, outcome, next_, window, max_message, use, incarnation = _WELCOME.unpack_from(
        plaintext, at
    )
    welcome = Welcome(
        _ROLES[role],
        capabilities,
        session_id,
        _OUTCOMES[outcome],
        next_,
        window,
        max_message,
        use,
        incarnation,
    )
    return None if next_ and welcome.outcome != Outcome.RESUMED else (welcome, at + _WELCOME.size)
