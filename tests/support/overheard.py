"""What somebody on the path has recorded, and whether it looks random to him."""

from __future__ import annotations

import collections
import math
import threading

from crust.exceptions import MalformedMessage
from crust.transports.utp.packet import PacketType, parse_packet_untrusted
from tests.support.proxy import DOWN, UP

CHANCE = 1e-9
"""That a test of truly random bytes fails, at most."""


class Recording:
    """
    The streams of many connections, each in the pieces in which it was sent. Thread-safe.

    ``recorder(direction)`` is for :meth:`tests.support.proxy.Proxy.change`, ``datagram`` for
    :class:`tests.support.udp_relay.UdpRelay`: of µTP the payload is kept, by the numbers of its packets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: dict[tuple[str, int], list[bytes]] = collections.defaultdict(list)
        self._packets: dict[tuple[str, int], dict[int, bytes]] = collections.defaultdict(dict)
        self._calls = 0
        self._syns: set[tuple[int, int]] = set()  # id and number, both random
        self._begun: dict[int, int] = {}  # by the id of the connection, which of the calls it is now
        self.headers: list[bytes] = []
        """Of µTP: the datagrams without their payload."""

    def recorder(self, direction: str):  # type: ignore[no-untyped-def]
        """Keeps what passes in one direction, and passes it on."""

        def keep(number: int, data: bytes) -> bytes:
            with self._lock:
                self._pieces[direction, number].append(data)
            return data

        return keep

    def datagram(self, data: bytes, upwards: bool) -> bool:
        """Keep a datagram; it is never to be lost."""
        try:
            packet = parse_packet_untrusted(data)
        except MalformedMessage:
            raise AssertionError(f"{data.hex()} is no µTP") from None
        with self._lock:
            self.headers.append(data[: len(data) - len(packet.payload)])
            if packet.type is PacketType.SYN and (packet.connection_id, packet.sequence) not in self._syns:
                # a SYN that was repeated has both numbers again; the id alone may come twice in many calls
                self._syns.add((packet.connection_id, packet.sequence))
                self._calls += 1
                self._begun[packet.connection_id] = self._begun[packet.connection_id + 1 & 0xFFFF] = self._calls
            call = self._begun.get(packet.connection_id)
            if packet.type is PacketType.DATA and call is not None:
                self._packets[UP if upwards else DOWN, call].setdefault(packet.sequence, bytes(packet.payload))
        return False

    def streams(self, direction: str) -> list[bytes]:
        """All bytes of each connection in that direction."""
        return [b"".join(each) for each in self.pieces(direction)]

    def pieces(self, direction: str) -> list[list[bytes]]:
        """The same as it was sent."""
        with self._lock:
            found = [list(each) for (way, _), each in self._pieces.items() if way == direction]
            for (way, _), packets in self._packets.items():
                if way == direction:
                    first = next(iter(packets))  # the other numbers are near, and may wrap
                    order = sorted(packets, key=lambda number: (number - first + 0x8000) & 0xFFFF)
                    found.append([packets[number] for number in order])
            return found


def check_bits(streams: list[bytes], size: int) -> None:
    """Of the first ``size`` bytes of many streams, each bit is 1 as often as 0, and so are all of them together."""
    assert all(len(each) >= size for each in streams), f"a stream of {min(map(len, streams))} bytes"
    count = len(streams)
    bound = _bound(count, 8 * size + 1)
    assert bound < 0.5, f"{count} streams are too few: even a constant could pass"
    total = 0
    for at in range(size):
        for bit in range(8):
            ones = sum(each[at] >> bit & 1 for each in streams)
            total += ones
            assert abs(ones / count - 0.5) <= bound, f"bit {bit} of byte {at} is 1 in {ones} of {count}"
    every = 8 * size * count
    assert abs(total / every - 0.5) <= _bound(every, 8 * size + 1), f"{total} of {every} bits are 1"


def _bound(count: int, tests: int) -> float:
    """How far a share of ``count`` fair coins may be from a half: Hoeffding's inequality."""
    return math.sqrt(math.log(2 * tests / CHANCE) / (2 * count))


def check_never_again(streams: list[bytes], size: int = 10) -> None:
    """No ``size`` bytes in a row are found at two places: that would be a constant, or a key stream used twice."""
    total = sum(map(len, streams))
    assert total**2 / 2 / 256.0**size < CHANCE, "so many random bytes may repeat themselves"
    seen: set[bytes] = set()
    for each in streams:
        for at in range(len(each) - size + 1):
            piece = each[at : at + size]
            assert piece not in seen, f"{piece.hex()} came twice, here at byte {at}"
            seen.add(piece)
