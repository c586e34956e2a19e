"""Datagrams at the socket that µTP, STUN and probes share, as the system hands them over: one by one, or joined.

Nothing raises. However they are joined, and wherever their headers were put, the same comes to the same connection,
acceptor or hook, byte for byte and in order; what belongs to nobody is counted; a stranger gets one RESET at most for
each datagram, no longer than that datagram's header, and none for a RESET.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from crust.transports.udp import UdpHub
from crust.transports.udp_receive import ReceiveBuffer
from crust.transports.utp.noise import Noise
from crust.transports.utp.packet import HEADER_SIZE, Packet, PacketType, build_packet
from crust.transports.utp.patience import Patiences
from tests.fuzz.source import Source, noise

ROUNDS = 50
SIZE_MAX = 2048

_ADDRESS = ("192.0.2.7", 4711)
_IDS = (7, 8, 100)


class _Socket:
    """One that keeps what is sent."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 5483)

    def setsockopt(self, *_: object) -> None:
        pass

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        return bytes(size) if size else 1 << 22

    def fileno(self) -> int:
        return -1

    def gettimeout(self) -> None:
        return None

    def sendmsg(self, buffers: list[Any], *_: object) -> int:
        self.sent.append(b"".join(buffers))
        return len(self.sent[-1])

    def sendto(self, data: Any, *_: object) -> int:
        self.sent.append(bytes(data))
        return len(data)


class _Member:
    """A connection that takes down what comes, run by run."""

    proven = True

    def __init__(self) -> None:
        self.came: list[tuple[Any, bytes]] = []
        self.noise = Noise("127.0.0.1", Patiences().of("127.0.0.1", 0.0))

    def arrived(self, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float) -> bool:
        at = 0
        for packet, count, size in runs:
            for index in range(count):
                part = bytes(payload[at : at + size]) if packet.type is PacketType.DATA else b""
                if count == 1 and len(runs) == 1:
                    part = bytes(packet.payload)
                at += size
                self.came.append((packet._replace(sequence=packet.sequence + index & 0xFFFF, payload=b""), part))
        return False


class _Hub:
    """One hub, and all that comes of what it reads."""

    def __init__(self, probes: bool) -> None:
        self.socket: Any = _Socket()
        io: Any = SimpleNamespace(now=lambda: 1000.0)
        self.crashes: list[BaseException] = []
        self.hub = UdpHub(self.socket, io, lambda name, error: self.crashes.append(error))
        self.members = {number: _Member() for number in _IDS}
        for number, member in self.members.items():
            one: Any = member
            assert self.hub.add(_ADDRESS, number, one)
        self.hooks: list[tuple[str, bytes]] = []
        acceptor: Any = self
        self.hub.acceptor = acceptor
        self.hub.stun = lambda hub, data, *_: self._hook("stun", data, bytes(data[:2]) == b"\x01\x01")
        if probes:
            self.hub.probes = lambda data, *_: bool(data) and data[0] >= 0x80 and self._hook("probe", data, True)

    def called(self, syn: Packet, *_: object) -> None:
        """A SYN came."""
        self.hooks.append(("called", build_packet(syn._replace(sack=b""))))

    def _hook(self, name: str, data: memoryview, takes: bool) -> bool:
        self.hooks.append((name, bytes(data)))
        return takes

    def outcome(self) -> object:
        return {number: member.came for number, member in self.members.items()}, self.hooks


def run(data: bytes) -> None:
    source = Source(data)
    probes = source.chance()
    size = source.pick((1, 30, 200))
    joined, apart, simple = _Hub(probes), _Hub(probes), _Hub(probes)
    buffer, one = ReceiveBuffer(), ReceiveBuffer()
    if source.chance():
        buffer.expect(size)
    for _ in range(12):
        if not source:
            break
        datagrams = _same_size(source, size)
        total, segment = sum(map(len, datagrams)), len(datagrams[0]) if len(datagrams) > 1 else 0
        _fill(buffer, b"".join(datagrams), bool(segment))
        joined.hub._take(buffer, total, segment, _ADDRESS, None, 1000.0)
        for datagram in datagrams:
            _fill(one, datagram, False)
            apart.hub._take(one, len(datagram), 0, _ADDRESS, None, 1000.0)
            simple.hub._datagram(memoryview(datagram), _ADDRESS, None, 1000.0)
    assert joined.outcome() == apart.outcome() == simple.outcome()
    assert joined.hub.strays <= apart.hub.strays == simple.hub.strays  # joined, those of one connection count once
    assert not (joined.crashes or apart.crashes or simple.crashes)
    for hub in (joined, apart, simple):
        assert all(len(sent) == HEADER_SIZE and sent[0] == PacketType.RESET << 4 | 1 for sent in hub.socket.sent)
        assert len(hub.socket.sent) <= hub.hub.strays


def _same_size(source: Source, size: int) -> list[bytes]:
    """Datagrams as a system joins them: of one size, but for the last, which may be shorter."""
    count = source.number(1, 5)
    number = source.number(0, 0xFFFF)
    found = []
    for index in range(count):
        kind = source.pick((PacketType.DATA, PacketType.DATA, *PacketType))
        packet = Packet(kind, source.pick((*_IDS, 9, 6)), 1, 2, 1000, number + index & 0xFFFF, 5, b"", bytes(size))
        built = bytearray(build_packet(packet))
        if source.number(0, 3) == 3:
            built[source.number(0, len(built) - 1)] = source.number(0, 255)
        if source.number(0, 15) == 15:
            built[0:2], built[4:8] = b"\1\1", b"\x21\x12\xa4\x42"
        found.append(bytes(built))
    if source.number(0, 3) == 3:
        least = 1 if count == 1 else HEADER_SIZE  # what is shorter is no probe either, and only counted
        found[-1] = found[-1][: source.number(least, len(found[-1]))]
    return found


def _fill(buffer: ReceiveBuffer, data: bytes, several: bool) -> None:
    """As ``recvmsg_into`` does."""
    at = 0
    for part in buffer.first(several):
        piece = data[at : at + len(part)]
        part[: len(piece)] = piece
        at += len(piece)


def seeds() -> Iterable[bytes]:
    yield bytes((1, 1, 1, 4)) + bytes((0, 1)) + bytes((0, 0, 0, 0)) * 5 + bytes((0,))
    yield bytes((0, 2, 0, 2)) + bytes((255, 254)) + bytes((0, 1, 0, 0)) * 3 + bytes((3, 9))
    yield from noise(24, 300)
