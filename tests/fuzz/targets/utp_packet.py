"""A µTP datagram.

It is a packet or MalformedMessage, by the quick way, by the definition and with its header received apart alike; what
was parsed can be built if it has no extension that is only skipped, and is parsed to itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.transports.utp.packet import (
    HEADER_SIZE,
    SACK_MAX,
    Packet,
    PacketType,
    build_packet,
    pad_header,
    parse_packet_by_definition_untrusted,
    parse_packet_untrusted,
    parse_parts_untrusted,
)
from tests.fuzz.codecs import agree, parsed

TOKENS = [bytes((kind << 4 | 1,)) for kind in PacketType] + [b"\x01\x04", b"\x00\x08" + bytes(8), b"\xff\x02ab"]
ROUNDS = 600


def _plain(packet: Packet) -> Packet:
    return packet._replace(payload=bytes(packet.payload))


def run(data: bytes) -> None:
    packet = agree(
        lambda data: _plain(parse_packet_untrusted(data)),
        lambda data: _plain(parse_packet_by_definition_untrusted(data)),
        data,
    )
    if len(data) >= HEADER_SIZE:
        parts = parsed(lambda data: _plain(parse_parts_untrusted(data, memoryview(data)[HEADER_SIZE:])), data)
        assert parts == packet
    if packet is not None and len(packet.sack) <= SACK_MAX and not len(packet.sack) % 4:
        assert parse_packet_untrusted(build_packet(packet)) == packet


def seeds() -> Iterable[bytes]:
    for kind in PacketType:
        yield build_packet(Packet(kind, 7, 1, 2, 65_536, 100, 200))
    yield build_packet(Packet(PacketType.DATA, 7, 1, 2, 65_536, 100, 200, b"", b"payload"))
    yield build_packet(Packet(PacketType.STATE, 7, 1, 2, 65_536, 100, 200, b"\x05\0\0\x80", b"", 1500))
    yield pad_header(build_packet(Packet(PacketType.DATA, 7, 1, 2, 65_536, 100, 200)), 4)[:HEADER_SIZE + 1] + b"\x02ab"
