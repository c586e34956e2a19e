"""
Receiving datagrams so that those which come together are handled together, and their payloads lie in one piece.
"""

from __future__ import annotations

import socket
from typing import Any

from .. import limits
from .udp_offload import Address, Offload
from .utp.burst import number_headers
from .utp.packet import HEADER_SIZE

__all__ = ["DATA", "ReceiveBuffer", "Source", "UdpReceiver", "run_length"]

_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
_SINGLES = 16  # reads of one datagram after which no more than one is expected
_MISFITS = 16  # reads that do not fit, after which other sizes are expected once more
DATA = 1
"""The first byte of a DATA packet: type 0, version 1."""

Source = tuple[int, int, bytes]
"""What to send along so that a datagram comes from one of several addresses."""


class UdpReceiver:
    """
    Reads one socket; for one thread.

    Args:
        sock: Blocking, or gevent's.
        offload: Its abilities.
    """

    def __init__(self, sock: socket.socket, offload: Offload) -> None:
        self._sock = sock
        self._plain: Any = getattr(sock, "_sock", sock)
        self._offload = offload
        self._singles = 0  # reads in a row that brought one datagram
        self.buffer = ReceiveBuffer()
        """Where :meth:`read` has put what came."""
        self.spare: tuple[memoryview, int, Address, Source | None] | None = None
        """What was read with the rest but does not belong to it, and bytes of each datagram in it (0: it is one)."""

    def read(self) -> tuple[int, int, Address, Source | None]:
        """
        Bytes of what came, of each datagram in it (0: it was one), and where it came from.

        Whoever fills a read has probably sent more: what waits of the same kind is put behind it, so that it is handled
        together. Without the kernel's help each datagram is a read.

        Raises:
            OSError: As ``recvmsg_into``.
        """
        offload, buffer = self._offload, self.buffer
        size = buffer.size + HEADER_SIZE
        space = offload.ancillary_size
        # A hundred parts cost more than a small datagram does: while only such come, three are enough.
        several = offload.gro and self._singles < _SINGLES
        total, ancillary, _, address = self._sock.recvmsg_into(buffer.first(several), space)
        segment = offload.segment_of(ancillary) if ancillary else 0
        self._singles = 0 if segment else self._singles + 1
        source = offload.source_of(ancillary) if offload.sources else None
        short = offload.gro and total < limits.UTP_ACK_STRETCH_FROM
        if (segment or total) != size or total % size or short or not buffer.fits(total, segment):
            return total, segment, address, source
        for _ in range(limits.UTP_READS_MAX if offload.gro else limits.UTP_SEGMENTS_MAX):
            parts = buffer.after(total // size, offload.gro)
            if parts is None:
                break
            try:
                more, ancillary, _, other = self._plain.recvmsg_into(parts, space, _DONTWAIT)
            except OSError:  # nothing waits, or an error that the next call meets again
                break
            segment = offload.segment_of(ancillary) if ancillary else 0
            fits = segment == size or (not segment and HEADER_SIZE <= more <= size)
            if other != address or not fits or more > size * buffer.at_once(offload.gro):
                origin = offload.source_of(ancillary) if offload.sources else None
                self.spare = (memoryview(b"".join(parts)[:more]), segment, other, origin)
                break
            total += more
            if more % size:
                break
        buffer.filled(-(-total // size))
        return total, size, address, source


class ReceiveBuffer:
    """
    Where datagrams are put: their µTP headers here, their payloads there, as far as the size of the payloads is known
    beforehand. The payloads of datagrams that came at once then lie in one piece.
    """

    def __init__(self) -> None:
        self.size = 0
        """Bytes of payload in each datagram, as expected."""
        self.headers = bytearray()
        self.payload = memoryview(b"")
        self._parts: list[memoryview] = []  # a header and a payload for each datagram
        self._first: tuple[list[memoryview], list[memoryview]] = ([], [])  # for one datagram, and for several
        self._room = 1  # how many the last read had room for
        self._spill = memoryview(bytearray(65536))  # for what does not fit: the guess was wrong
        self._misfits = _MISFITS  # since the last change
        self._arrange(limits.UTP_MTU_BASE - HEADER_SIZE)

    def expect(self, size: int) -> None:
        """
        What was read did not fit: from now on datagrams may have payloads of ``size`` bytes, at least 1.

        Another arrangement costs as much as many reads, and whoever sends, even a stranger, chooses the sizes. So it is
        changed at once if that has not happened for a while, and otherwise not with each read that does not fit.
        """
        self._misfits += 1
        if self._misfits > _MISFITS:
            self._misfits = 0
            self._arrange(size)

    def _arrange(self, size: int) -> None:
        self.size = size
        # Datagrams that one read may bring: Linux joins so many at most, and a call takes no more than 1,024 parts.
        self._at_once = min(65536 // (size + HEADER_SIZE) + 1, limits.UTP_SEGMENTS_MAX)
        count = self._at_once * (limits.UTP_READS_MAX + 1)
        self.headers = bytearray(HEADER_SIZE * count)
        self.payload = memoryview(bytearray(count * size))
        headers = memoryview(self.headers)
        self._parts = []
        for index in range(count):
            self._parts.append(headers[HEADER_SIZE * index : HEADER_SIZE * (index + 1)])
            self._parts.append(self.payload[size * index : size * (index + 1)])
        self._first = ([*self._parts[:2], self._spill], [*self._parts[: 2 * self._at_once], self._spill])

    def first(self, at_once: bool) -> list[memoryview]:
        """What to give to ``recvmsg_into``; ``at_once``: several datagrams may come."""
        self._room = self.at_once(at_once)
        return self._first[at_once]

    def at_once(self, several: bool) -> int:
        """How many datagrams a read has room for."""
        return self._at_once if several else 1

    def after(self, count: int, at_once: bool) -> list[memoryview] | None:
        """The same, for what goes behind ``count`` datagrams that are there already; None if there is no room."""
        end = 2 * (count + self.at_once(at_once))
        return None if end > len(self._parts) else [*self._parts[2 * count : end], self._spill]

    def filled(self, count: int) -> None:
        """So many datagrams are there, each where it should be."""
        self._room = max(self._room, count)

    def fits(self, total: int, segment: int) -> bool:
        """Whether so many bytes, in datagrams of ``segment`` (0: one), have come apart where they should."""
        size = self.size + HEADER_SIZE
        return (segment == size and total <= self._room * size) if segment else total <= size

    def joined(self, total: int) -> bytes:
        """All bytes that came into :meth:`first`, in one piece, when the guess was wrong."""
        return b"".join(self._first[self._room > 1])[:total]


def run_length(headers: bytearray, at: int, count: int) -> int:
    """How many packets from ``at`` on have consecutive numbers, no extensions, and headers that are equal otherwise."""
    start = HEADER_SIZE * at
    first = bytes(headers[start : start + HEADER_SIZE])
    if first[0] != DATA or first[1]:  # only DATA comes in runs
        return 1
    left = count - at
    expected = number_headers(first, first[16] << 8 | first[17], left)
    if expected == headers[start : HEADER_SIZE * count]:
        return left
    for index in range(1, left):
        begin = HEADER_SIZE * index
        if expected[begin : begin + HEADER_SIZE] != headers[start + begin : start + begin + HEADER_SIZE]:
            return index
    return left
