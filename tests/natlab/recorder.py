"""
A recorder of packets at a machine's interface: who sends how much where, whatever becomes of it on the way.

It sees what leaves before any router or firewall on the way does, so also what goes to addresses that nobody has, and
what the kernel repeats by itself. Nothing runs meanwhile: the kernel keeps the packets until somebody asks.
"""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
import os
import socket
import struct
import threading

from tests.natlab import names, packets
from tests.natlab.core import enter
from tests.natlab.hosts import Machine

_ALL = 0x0003  # ETH_P_ALL
_SOL_PACKET, _STATISTICS, _OUTGOING = 263, 6, 4
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_BUFFER = 64 * 1024 * 1024  # bytes, with what the kernel adds: some 80,000 small packets
_HEADERS = 120  # bytes of each packet that are looked at
_SYN, _ACK = 0x02, 0x10


@dataclasses.dataclass(frozen=True)
class Seen:
    """A TCP segment or UDP datagram."""

    at: float
    """Seconds since the epoch."""

    outgoing: bool
    """Whether the machine sent it."""

    protocol: str
    """``tcp`` or ``udp``."""

    source: tuple[str, int]
    destination: tuple[str, int]
    length: int
    """Bytes, with the IP header."""

    ttl: int
    syn: bool
    """Whether it asks for a TCP connection, for the first time or again."""

    def is_to(self, address: str, port: int | None = None) -> bool:
        return self.destination[0] == address and port in (None, self.destination[1])


class Recorder:
    """
    The packets from now on; use it in a ``with``. Not thread-safe.

    Args:
        machine: A host, or a router.
        interface: Empty: the one by which it reaches others, of a router the outer one.
    """

    def __init__(self, machine: Machine, interface: str = "") -> None:
        self._seen: list[Seen] = []
        self._socket = _opened(f"{names.FOLDER}/{machine.namespace}", interface or machine.interface)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def packets(self) -> list[Seen]:
        """
        All so far, in order.

        Raises:
            OverflowError: There were more than the kernel kept: ask more often.
        """
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_HEADERS, 64, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            if found := _parsed(data, ancillary, address[2] == _OUTGOING):
                self._seen.append(found)
        lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
        if lost:
            raise OverflowError(f"{lost} packets were not recorded")
        return self._seen

    def sent(self, protocol: str = "", address: str = "", port: int | None = None) -> list[Seen]:
        """What the machine has sent: by this protocol, to this address and port; any unless named."""
        found = [each for each in self.packets() if each.outgoing and protocol in ("", each.protocol)]
        return [each for each in found if address in ("", each.destination[0]) and port in (None, each.destination[1])]

    def syns(self, address: str = "", port: int | None = None) -> int:
        """How often it asked for a TCP connection there; what the kernel repeats counts."""
        return sum(each.syn for each in self.sent("tcp", address, port))

    def destinations(self, protocol: str = "") -> collections.Counter[str]:
        """How much it has sent to each address."""
        return collections.Counter(each.destination[0] for each in self.sent(protocol))

    def fastest(self, seconds: float, protocol: str = "", address: str = "") -> int:
        """The most that it has sent there within any such time."""
        times = [each.at for each in self.sent(protocol, address)]
        most = first = 0
        for last, at in enumerate(times):
            while at - times[first] > seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


def _opened(namespace: str, interface: str) -> socket.socket:
    """The socket, made by a thread that ends in that namespace: ours stays where it is."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            made.append(_made(namespace, interface))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name="test-recorder", daemon=True)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _made(namespace: str, interface: str) -> socket.socket:
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        enter(descriptor)
    finally:
        os.close(descriptor)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # takes nothing before it is bound
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        sock.bind((interface, _ALL))
    except OSError:
        sock.close()
        raise
    return sock


def _parsed(data: bytes, ancillary: list[tuple[int, int, bytes]], outgoing: bool) -> Seen | None:
    """None: neither TCP nor UDP, or a fragment that has no ports."""
    if len(data) < 20 or data[0] >> 4 not in (4, 6):
        return None
    if data[0] >> 4 == 4:
        offset, ttl, length = 4 * (data[0] & 0xF), data[8], int.from_bytes(data[2:4], "big")
        whole = not int.from_bytes(data[6:8], "big") & 0x1FFF
    else:
        offset, ttl, length = 40, data[7], 40 + int.from_bytes(data[4:6], "big")
        whole = data[6] in (packets.TCP, packets.UDP)  # what has extension headers is not looked at
    carried = packets.protocol(data)
    if not whole or carried not in (packets.TCP, packets.UDP) or len(data) < offset + 8:
        return None
    ports = struct.unpack_from("!HH", data, offset)
    hosts = [str(ipaddress.ip_address(each)) for each in (packets.source(data), packets.destination(data))]
    is_tcp = carried == packets.TCP
    syn = is_tcp and len(data) > offset + 13 and data[offset + 13] & (_SYN | _ACK) == _SYN
    protocol, source, destination = "tcp" if is_tcp else "udp", (hosts[0], ports[0]), (hosts[1], ports[1])
    return Seen(_time(ancillary), outgoing, protocol, source, destination, length, ttl, syn)


def _time(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nano = struct.unpack("qq", data[:16])
            return float(seconds + nano / 1e9)
    raise OSError("a packet without its time")
