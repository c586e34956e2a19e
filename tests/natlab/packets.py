"""What the core must know of IP packets: where they go, what they carry, and what a router does with those too big."""

from __future__ import annotations

import struct

TCP, UDP, ICMP, ICMP_6 = 6, 17, 1, 58
PROTOCOLS = {"tcp": TCP, "udp": UDP}
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
_FRAGMENT_HEADER = 44
_EXTENSIONS = {0, 43, 60}  # of IPv6, before what a packet carries: hop-by-hop, routing, destination
QUOTED_6 = 1280 - 40 - 8  # bytes of the packet that an error of ICMPv6 repeats


def destination(packet: bytes) -> bytes:
    """The address that a packet goes to, 4 or 16 bytes; empty if it is no IP packet."""
    version = packet[0] >> 4
    return packet[16:20] if version == 4 else packet[24:40] if version == 6 else b""


def source(packet: bytes) -> bytes:
    return packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]


def protocol(packet: bytes) -> int:
    """What a packet carries, fragments of it too: a number such as `TCP`."""
    if packet[0] >> 4 == 4:
        return packet[9]
    found, offset = packet[6], 40
    while (found in _EXTENSIONS or found == _FRAGMENT_HEADER) and offset + 8 <= len(packet):
        length = 8 if found == _FRAGMENT_HEADER else 8 * (packet[offset + 1] + 1)
        found, offset = packet[offset], offset + length
    return found


def may_be_cut(packet: bytes) -> bool:
    """Whether a router may fragment it: IPv4 without "don't fragment"."""
    return packet[0] >> 4 == 4 and not packet[6] & 0x40


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def fragments(packet: bytes, mtu: int) -> list[bytes]:
    """An IPv4 packet cut into pieces of at most `mtu` bytes (RFC 791); a piece may be cut again."""
    length = 4 * (packet[0] & 0xF)
    flags = int.from_bytes(packet[6:8], "big")
    body = packet[length : int.from_bytes(packet[2:4], "big")]
    step = (mtu - length) // 8 * 8
    pieces = []
    for offset in range(0, len(body), step):
        piece = body[offset : offset + step]
        last = offset + step >= len(body)
        more = flags & MORE_FRAGMENTS if last else MORE_FRAGMENTS
        header = bytearray(packet[:length])
        header[2:4] = (length + len(piece)).to_bytes(2, "big")
        header[6:8] = (more | (flags & 0x1FFF) + offset // 8).to_bytes(2, "big")
        header[10:12] = b"\0\0"
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        pieces.append(bytes(header) + piece)
    return pieces


def too_big(packet: bytes, mtu: int, router: bytes) -> bytes:
    """
    What a router tells the sender of a packet that it cannot pass on.

    "Fragmentation needed" (RFC 1191), or "packet too big" (RFC 8201).

    Args:
        mtu: Bytes that the next link carries.
        router: The address that says so, of the same family as the packet.
    """
    if packet[0] >> 4 == 4:
        quoted = packet[: 4 * (packet[0] & 0xF) + 8]
        return ipv4(ICMP, router, source(packet), _summed(struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted))
    body = struct.pack("!BBHI", 2, 0, 0, mtu) + packet[:QUOTED_6]
    to = source(packet)
    pseudo = router + to + struct.pack("!IxxxB", len(body), ICMP_6)
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), ICMP_6, 64) + router + to + body


def ipv4(carries: int, sender: bytes, to: bytes, body: bytes, flags: int = 0) -> bytes:
    """An IPv4 packet."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, flags, 64, carries, 0) + sender + to
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def _summed(message: bytes) -> bytes:
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
