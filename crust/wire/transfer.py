"""
The messages of file transfer (docs/wire-format.md, "File transfer").

They travel as messages of kind 1. The first byte says which one it is, and a number that the offering side chose says
which file it is about. Reading has a fast path, held equal to the definitions by the tests: a record holds 9,325 of the
shortest ones, which took 0.2 s by construct, and greenlets stand still meanwhile. So has building FILE_DATA.
"""

from __future__ import annotations

import enum
import struct
from typing import TypeAlias

from .. import limits
from ..exceptions import MalformedMessage
from ..values import dataclass
from .codec import build, parse_all

__all__ = [
    "TRANSFER_DATA_OVERHEAD",
    "Accept",
    "Done",
    "End",
    "Fail",
    "FileData",
    "Offer",
    "Progress",
    "Refuse",
    "SignedEnd",
    "SignedOffer",
    "TransferMessage",
    "TransferType",
    "build_transfer",
    "build_transfer_by_definition",
    "parse_transfer_by_definition_untrusted",
    "parse_transfer_untrusted",
]


class TransferType(enum.IntEnum):
    """The first byte of a transfer message."""

    OFFER = 1
    ACCEPT = 2
    REFUSE = 3
    DATA = 4
    END = 5
    PROGRESS = 6
    DONE = 7
    FAIL = 8
    SIGNED_OFFER = 9
    SIGNED_END = 10


@dataclass(frozen=True, slots=True)
class Offer:
    """Sender: here is a file, if you want it."""

    transfer: int
    """Number of this transfer, 32 bits."""
    size: int
    """Bytes of the file."""
    name: str
    """At most 1,024 bytes of UTF-8; from a stranger, and no more than a suggestion."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Receiver: send it."""

    transfer: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Receiver: I do not want it."""

    transfer: int
    text: str
    """Why, for people: at most 200 bytes; show it sanitised."""


@dataclass(frozen=True, slots=True)
class FileData:
    """Sender: the next bytes of the file."""

    transfer: int
    offset: int
    """Where in the file they belong."""
    data: bytes
    """At least one byte."""


@dataclass(frozen=True, slots=True)
class End:
    """Sender: that was all."""

    transfer: int
    digest: bytes
    """BLAKE2b-256 of the whole file, 32 bytes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Receiver: so much has been written; more may be sent."""

    transfer: int
    received: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """Receiver: the file is complete, its digest is right, and it stands under its final name."""

    transfer: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Either side: the transfer is abandoned."""

    transfer: int
    text: str
    """Why, for people: at most 200 bytes; show it sanitised."""


@dataclass(frozen=True, slots=True)
class SignedOffer:
    """Sender: here is a file, if you want it, and its end will be signed."""

    transfer: int
    size: int
    """Bytes of the file."""
    name: str
    """As in :class:`Offer`."""


@dataclass(frozen=True, slots=True)
class SignedEnd:
    """Sender: that was all, and I have signed it."""

    transfer: int
    signed: bytes
    """A :class:`~crust.wire.proofs.FileStatement`, and its signature."""


TransferMessage: TypeAlias = (
    Offer | Accept | Refuse | FileData | End | Progress | Done | Fail | SignedOffer | SignedEnd
)


# --- between bytes and values -----------------------------------------------------------------------------------------

_DATA_HEAD = struct.Struct(">BIQ")  # type, transfer, offset; or bytes received
_HEAD = struct.Struct(">BI")  # type, transfer
_OFFER_HEAD = struct.Struct(">BIQH")  # type, transfer, size, length of the name
_TEXT_HEAD = struct.Struct(">BIB")  # type, transfer, length of the text
_END_SIZE = _HEAD.size + 32
_BARE: dict[int, type[Accept | Done]] = {TransferType.ACCEPT: Accept, TransferType.DONE: Done}
_EXPLAINED: dict[int, type[Refuse | Fail]] = {TransferType.REFUSE: Refuse, TransferType.FAIL: Fail}
_OFFERS: dict[int, type[Offer | SignedOffer]] = {TransferType.OFFER: Offer, TransferType.SIGNED_OFFER: SignedOffer}
_DATA_TYPE = int(TransferType.DATA)

TRANSFER_DATA_OVERHEAD = _DATA_HEAD.size
"""Bytes of a FILE_DATA message besides the file's."""



def build_transfer(message: TransferMessage) -> bytes:
    """
    Bytes of a transfer message.

    Raises:
        ValueError: A number is out of range, or a text too long.
    """
    if not isinstance(message, FileData):
        return build_transfer_by_definition(message)
    if not message.data:
        raise ValueError("file data without data")
    try:
        return _DATA_HEAD.pack(_DATA_TYPE, message.transfer, message.offset) + message.data
    except struct.error as error:
        raise ValueError(f"file data cannot be built: {error}") from error


def build_transfer_by_definition(message: TransferMessage) -> bytes:
    """As :func:`build_transfer`, by construct alone."""
    return build("TRANSFER", message, type(message).__name__)


def parse_transfer_untrusted(data: bytes) -> TransferMessage:
    """
    The transfer message in a message of kind 1.

    Raises:
        MalformedMessage: The bytes are anything else.
    """
    if data[:1] != b"\x04":
        quick = _read(data)
        return parse_transfer_by_definition_untrusted(data) if quick is None else quick
    if not TRANSFER_DATA_OVERHEAD < len(data) <= limits.RECORD_PLAINTEXT_MAX:
        raise MalformedMessage(f"file data in a message of {len(data)} bytes")
    _, transfer, offset = _DATA_HEAD.unpack_from(data)
    return FileData(transfer, offset, data[TRANSFER_DATA_OVERHEAD:])


def _read(data: bytes) -> TransferMessage | None:
    """A message that is not FILE_DATA; None: the definition says what is wrong with it."""
    try:
        kind, transfer = _HEAD.unpack_from(data)
        size = len(data)
        if kind in _BARE:
            return _BARE[kind](transfer) if size == _HEAD.size else None
        if kind in _EXPLAINED:
            start, length = _TEXT_HEAD.size, data[_HEAD.size]
            if length > limits.DENIED_TEXT_MAX or start + length != size:
                return None
            return _EXPLAINED[kind](transfer, data[start:].decode())
        if kind in _OFFERS:
            _, _, whole, length = _OFFER_HEAD.unpack_from(data)
            start = _OFFER_HEAD.size
            if length > limits.TRANSFER_NAME_MAX or start + length != size:
                return None
            return _OFFERS[kind](transfer, whole, data[start:].decode())
        if kind == TransferType.PROGRESS:
            return Progress(transfer, _DATA_HEAD.unpack_from(data)[2]) if size == _DATA_HEAD.size else None
        if kind == TransferType.END:
            return End(transfer, data[_HEAD.size :]) if size == _END_SIZE else None
        if kind == TransferType.SIGNED_END and _HEAD.size < size <= _HEAD.size + limits.SIGNED_FILE_MAX:
            return SignedEnd(transfer, data[_HEAD.size :])
    except (struct.error, IndexError, UnicodeDecodeError):
        pass
    return None


def parse_transfer_by_definition_untrusted(data: bytes) -> TransferMessage:
    """As :func:`parse_transfer_untrusted`, by construct alone."""
    message: TransferMessage = parse_all("TRANSFER", data, "transfer message", limits.RECORD_PLAINTEXT_MAX)
    return message
