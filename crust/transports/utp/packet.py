"""
One datagram of µTP, version 1 of BEP 29, as bytes and as a value.

It is defined in construct, in ``definition.py``. What is sent and received takes a short way made of :mod:`struct`: the
tests hold it equal to the definition, on valid and on broken input.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ... import limits
from ...exceptions import MalformedMessage

__all__ = [
    "DATAGRAM_MAX",
    "EXTENSIONS_MAX",
    "HEADER_SIZE",
    "PADDING_MAX",
    "SACK_MAX",
    "VERSION",
    "ExtensionType",
    "Packet",
    "PacketType",
    "build_header",
    "build_packet",
    "build_packet_by_definition",
    "pad_header",
    "parse_packet_by_definition_untrusted",
    "parse_packet_untrusted",
    "parse_parts_untrusted",
]

VERSION = 1
HEADER_SIZE = limits.UTP_HEADER_SIZE
"""Bytes of a header without extensions."""
SACK_MAX = limits.UTP_SACK_MAX
"""Bytes of a selective acknowledgement that we send; always a multiple of 4. Others send any length up to 255."""
EXTENSIONS_MAX = 40
"""Extensions in one packet: so many pad it to what no Ethernet takes, not even with jumbo frames of 9,000 bytes."""
_EXTENSION_SIZE_MAX = 2 + 255
PADDING_MAX = EXTENSIONS_MAX * _EXTENSION_SIZE_MAX
"""Bytes that :func:`pad_header` adds at the most; at least 2."""
DATAGRAM_MAX = 65_535
"""Bytes of a UDP datagram at the most."""


class PacketType(enum.IntEnum):
    """What a packet is for."""

    DATA = 0
    """Payload; takes a sequence number."""
    FIN = 1
    """The end of the sender's stream; takes a sequence number."""
    STATE = 2
    """An acknowledgement alone; takes no sequence number."""
    RESET = 3
    """The connection is over, or unknown there."""
    SYN = 4
    """The first packet of a connection; its sequence number begins the stream."""


class ExtensionType(enum.IntEnum):
    """The extensions that are in use; the last two are skipped here, as are unknown ones."""

    SELECTIVE_ACK = 1
    """Bit i (the lowest of the first byte is 0) acknowledges packet ``ack + 2 + i``."""
    EXTENSION_BITS = 2
    """8 bytes that libutp leaves to others, and which we end with a u16: the largest datagram that we take."""
    CLOSE_REASON = 3
    """libtorrent, in a FIN or RESET: 2 reserved bytes, and a u16 that says why."""
    PADDING = 255
    """Ours: random bytes, which make a packet larger and mean nothing. Nobody knows it, and everybody skips it."""


class Packet(NamedTuple):
    """One datagram."""

    type: PacketType
    connection_id: int
    """u16. In a SYN what its sender receives on, else what the receiver receives on."""
    timestamp: int
    """u32, microseconds: when it was sent, by a clock of the sender's own."""
    timestamp_difference: int
    """u32, microseconds: what the sender measured for the last packet it received, with both clocks' offset."""
    window: int
    """u32, bytes that the sender has room for."""
    sequence: int
    """u16. In a STATE packet that of the next packet to be sent, or of the last one sent."""
    ack: int
    """u16, the last packet received in order."""
    sack: bytes = b""
    """The bits of a selective acknowledgement, 0 to 255 bytes; empty if there is none."""
    payload: bytes | memoryview = b""
    """Of a parsed packet a part of the buffer that was given, not a copy."""
    largest: int = 0
    """
    u16, bytes of the largest datagram that the sender takes; 0: it does not say. libtorrent takes the first 1,500 bytes
    of a longer one for all of it, and acknowledges it.
    """

    @property
    def sacked(self) -> int:
        """The bits of the selective acknowledgement: bit i is set if packet ``ack + 2 + i`` has arrived."""
        return int.from_bytes(self.sack, "little") if self.sack else 0


_HEADER = struct.Struct(">BBHIIIHH")  # type and version, extension, then the fields of a Packet in their order
_unpack = _HEADER.unpack_from
_pack = _HEADER.pack
_pack_sack = struct.Struct(">BBHIIIHHBB").pack  # the same, and the head of an extension
_LARGEST = struct.Struct(">H")
_SACK_AT = HEADER_SIZE + 2
_SACK, _BITS = int(ExtensionType.SELECTIVE_ACK), int(ExtensionType.EXTENSION_BITS)
_BITS_ALONE = b"\0\x08" + bytes(6)  # no extension behind it, a length of 8, what precedes the u16
_LARGEST_AT = HEADER_SIZE + len(_BITS_ALONE)
_TYPES = {kind << 4 | VERSION: kind for kind in PacketType}
_FIRST_BYTES = [kind << 4 | VERSION for kind in PacketType]
_new: Callable[..., Any] = tuple.__new__  # makes a NamedTuple in half the time of its own constructor


def build_header(
    type: PacketType,
    connection_id: int,
    timestamp: int,
    timestamp_difference: int,
    window: int,
    sequence: int,
    ack: int,
    sack: bytes = b"",
    largest: int = 0,
) -> bytes:
    """
    What comes before the payload of a packet.

    Raises:
        ValueError: A number is out of range, or the selective acknowledgement has a length that is not sent.
    """
    try:
        first = _FIRST_BYTES[type]
        if not sack:
            extension = _BITS if largest else 0
            head = _pack(first, extension, connection_id, timestamp, timestamp_difference, window, sequence, ack)
            return head + _BITS_ALONE + _LARGEST.pack(largest) if largest else head
        size = len(sack)
        if size > SACK_MAX or size % 4:
            raise ValueError(f"a selective acknowledgement of {size} bytes")
        return (
            _pack_sack(
                first,
                _SACK,
                connection_id,
                timestamp,
                timestamp_difference,
                window,
                sequence,
                ack,
                _BITS if largest else 0,
                size,
            )
            + sack
            + (_BITS_ALONE + _LARGEST.pack(largest) if largest else b"")
        )
    except (struct.error, LookupError) as error:
        raise ValueError(f"a µTP header cannot be built: {error}") from error


def pad_header(header: bytes, size: int) -> bytes:
    """
    A header without extensions, made longer by ``size`` bytes that are skipped by whoever receives them. They are
    random, so that nothing on the way compresses them.

    Raises:
        ValueError: It has extensions, or that number of bytes is not to be had.
    """
    if not 2 <= size <= PADDING_MAX or len(header) != HEADER_SIZE or header[1]:
        raise ValueError(f"a µTP header of {len(header)} bytes cannot be padded with {size}")
    parts = [header[:1], bytes((ExtensionType.PADDING,)), header[2:]]
    while size:
        step = min(size, _EXTENSION_SIZE_MAX)
        if size - step == 1:
            step -= 1  # an extension has two bytes at least
        size -= step
        parts += (bytes((ExtensionType.PADDING if size else 0, step - 2)), os.urandom(step - 2))
    return b"".join(parts)


def build_packet(packet: Packet) -> bytes:
    """
    The datagram.

    Raises:
        ValueError: As :func:`build_header`, or it is longer than a datagram can be.
    """
    built = build_header(*packet[:8], packet.largest) + packet.payload
    if len(built) > DATAGRAM_MAX:
        raise ValueError(f"a µTP packet of {len(built)} bytes")
    return built


def build_packet_by_definition(packet: Packet) -> bytes:
    """As :func:`build_packet`, by construct alone: slow, and what the short way is measured against."""
    from ...wire import fields
    from . import definition

    if len(packet.sack) > SACK_MAX or len(packet.sack) % 4:
        raise ValueError(f"a selective acknowledgement of {len(packet.sack)} bytes")
    return fields.build_all(definition.PACKET, packet, "a µTP packet")


def parse_packet_untrusted(data: bytes | memoryview) -> Packet:
    """
    The packet that a datagram is. Its payload is a view of ``data``.

    Raises:
        MalformedMessage: It is no µTP packet of version 1.
    """
    try:
        first, extension, connection_id, timestamp, difference, window, sequence, ack = _unpack(data)
        kind = _TYPES[first]
        sack, largest, start = b"", 0, HEADER_SIZE
        if extension:
            if extension == _SACK and not data[HEADER_SIZE]:
                start = _SACK_AT + data[HEADER_SIZE + 1]
                if start > len(data):
                    raise MalformedMessage("a µTP packet ends in the middle of an extension")
                sack = bytes(data[_SACK_AT:start])
            elif extension == _BITS and data[HEADER_SIZE:_LARGEST_AT] == _BITS_ALONE:
                start = _LARGEST_AT + 2
                (largest,) = _LARGEST.unpack_from(data, _LARGEST_AT)
            else:
                sack, largest, start = _parse_chain(extension, data)
    except struct.error as error:
        raise MalformedMessage(f"a µTP packet of {len(data)} bytes; a header has {HEADER_SIZE}") from error
    except KeyError as error:
        raise MalformedMessage("not a µTP packet: its type or version is unknown") from error
    except IndexError as error:
        raise MalformedMessage("a µTP packet ends in the middle of an extension") from error
    payload = memoryview(data)[start:]
    packet: Packet = _new(
        Packet, (kind, connection_id, timestamp, difference, window, sequence, ack, sack, payload, largest)
    )
    return packet


def _parse_chain(extension: int, data: bytes | memoryview) -> tuple[bytes, int, int]:
    """Selective acknowledgement, largest datagram, and where the payload begins; IndexError: it ends too soon."""
    known: dict[int, bytes] = {}
    start = HEADER_SIZE
    for _ in range(EXTENSIONS_MAX):
        end = start + 2 + data[start + 1]
        if end > len(data):
            break
        if extension in (_SACK, _BITS):
            if extension in known:
                raise MalformedMessage("a µTP packet has an extension twice")
            known[extension] = bytes(data[start:end])
        extension = data[start]
        start = end
        if not extension:
            bits = known.get(_BITS, b"")
            is_ours = bits[1:-2] == _BITS_ALONE[1:]
            return known.get(_SACK, b"")[2:], int.from_bytes(bits[-2:], "big") if is_ours else 0, start
    raise MalformedMessage("a µTP packet has a chain of extensions without an end")


def parse_parts_untrusted(header: bytes | bytearray | memoryview, payload: memoryview) -> Packet:
    """
    The packet whose first :data:`HEADER_SIZE` bytes were received apart from the rest.

    Raises:
        MalformedMessage: It is no µTP packet of version 1.
    """
    first, extension, connection_id, timestamp, difference, window, sequence, ack = _unpack(header)
    kind = _TYPES.get(first)
    if extension or kind is None:
        return parse_packet_untrusted(bytes(header[:HEADER_SIZE]) + payload)
    packet: Packet = _new(
        Packet, (kind, connection_id, timestamp, difference, window, sequence, ack, b"", payload, 0)
    )
    return packet


def parse_packet_by_definition_untrusted(data: bytes | memoryview) -> Packet:
    """As :func:`parse_packet_untrusted`, by construct alone, and with a copy of the payload."""
    from ...wire import fields
    from . import definition

    packet: Packet = fields.parse_all(definition.PACKET, data, "a µTP packet", DATAGRAM_MAX)
    return packet
