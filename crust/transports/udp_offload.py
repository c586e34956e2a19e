"""
What the system can do for a UDP socket beyond sending and receiving one datagram, found out at run time.

* **GSO**: one call sends a buffer that the kernel, or the network card, cuts into datagrams of equal size (Linux 4.18).
* **GRO**: one call receives datagrams of one sender that the kernel has put together again (Linux 5.0).
* **PKTINFO**: which of our addresses a datagram came to, so that the answer comes from there.
* **Fragmentation** of what is larger than the path: allowed as a rule, forbidden for probes.
* **Errors by ICMP**, with the datagram's destination.

None of them is needed: each is left out where it is missing or refused.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Any

from .. import limits
from .icmp import IcmpError, hear_icmp, icmp_errors

__all__ = ["IcmpError", "Offload", "hop_limit", "route", "unbound"]

LINUX = sys.platform == "linux"

# From Linux' headers (udp.h, in.h, in6.h, errqueue.h); the socket module does not name them all.
_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IP_MTU = 14
_IPV6_MTU_DISCOVER = 23
_IPV6_MTU = 24
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_PMTUDISC_DONT = 0
_PMTUDISC_PROBE = 3
_IP_TTL = 2
_IPV6_HOPLIMIT = 52
_IPV6_MIN_MTU = 1280
_ANCILLARY_SIZE = 128
_IPV4_OVERHEAD = 28  # bytes of IPv4's and UDP's headers
_IPV6_OVERHEAD = 48
_USUAL_MTU = 1500

Address = tuple[Any, ...]
Ancillary = list[tuple[int, int, bytes]]


class Offload:
    """
    The abilities of one bound UDP socket. Not thread-safe, but :meth:`ancillary` is.

    Args:
        sock: The socket.
        wildcard: It is bound to the unspecified address.
    """

    def __init__(self, sock: socket.socket, wildcard: bool) -> None:
        # gevent's own socket waits for itself; what never waits goes to the plain one inside.
        self._plain: Any = getattr(sock, "_sock", sock)
        self.ipv6 = sock.family == getattr(socket, "AF_INET6", None)
        self.send_size = _grow(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE)
        """Bytes granted for sending."""
        self.receive_size = _grow(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE)
        """Bytes granted for receiving; Linux counts its own overhead in."""
        self.gso = LINUX and _takes(sock, _SOL_UDP, _UDP_SEGMENT, 0)
        """Whether several datagrams may be sent at once."""
        self.gro = LINUX and _takes(sock, _SOL_UDP, _UDP_GRO, 1)
        """Whether several datagrams may come at once."""
        level, discover = self._discover()
        self.can_probe = LINUX and _takes(sock, level, discover, _PMTUDISC_DONT)
        """Whether fragmentation can be forbidden for a single datagram."""
        self.errors = hear_icmp(sock)
        """Whether errors by ICMP can be read, and are."""
        self._sock = sock
        self.sources = (
            LINUX and wildcard and _takes(sock, level, _IPV6_RECVPKTINFO if self.ipv6 else _IP_PKTINFO, 1)
        )
        """Whether each datagram tells which of our addresses it came to."""
        self._segments: dict[int, tuple[int, int, bytes]] = {}

    def _discover(self) -> tuple[int, int]:
        if self.ipv6:
            return socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER
        return socket.IPPROTO_IP, _IP_MTU_DISCOVER

    # --- sending ------------------------------------------------------------------------------------------------------

    def ancillary(self, segment: int, source: tuple[int, int, bytes] | None) -> Ancillary:
        """What goes with a call that sends datagrams of ``segment`` bytes (0: one datagram) from ``source``."""
        if not segment:
            return [] if source is None else [source]
        message = self._segments.get(segment)
        if message is None:
            if len(self._segments) > 4096:
                self._segments.clear()
            message = self._segments[segment] = (_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", segment))
        return [message] if source is None else [message, source]

    @contextlib.contextmanager
    def unfragmented(self) -> Any:
        """Within this, no router may cut what is sent; others who send meanwhile are cut no more than it."""
        level, discover = self._discover()
        with contextlib.suppress(OSError):
            self._plain.setsockopt(level, discover, _PMTUDISC_PROBE)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._plain.setsockopt(level, discover, _PMTUDISC_DONT)

    @contextlib.contextmanager
    def fragmented(self) -> Any:
        """
        Within this, what is larger than :meth:`cut_beyond` is cut here into what every path takes: IPv6's routers cut
        nothing.
        """
        if not (LINUX and self.ipv6):
            yield
            return
        with contextlib.suppress(OSError):
            self._plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU, _IPV6_MIN_MTU)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU, 0)

    def cut_beyond(self, mtu: int) -> int:
        """
        Bytes of the largest datagram that cannot be cut into smaller pieces than the interface takes; 0: routers cut.

        Args:
            mtu: Bytes of the largest that goes whole, as far as known: for one path it may be less than for another.
        """
        # What fits the interface is never cut by Linux, whatever IPV6_MTU says.
        return max(mtu, _USUAL_MTU - _IPV6_OVERHEAD) if LINUX and self.ipv6 else 0

    # --- receiving ----------------------------------------------------------------------------------------------------

    @property
    def ancillary_size(self) -> int:
        """Bytes to reserve for what comes with a datagram."""
        return _ANCILLARY_SIZE if self.gro or self.sources else 0

    def segment_of(self, ancillary: Ancillary) -> int:
        """Bytes of each of the datagrams that came at once; 0: it was one."""
        for level, kind, data in ancillary:
            if kind == _UDP_GRO and level == _SOL_UDP:
                return int.from_bytes(data[:4], sys.byteorder)
        return 0

    def source_of(self, ancillary: Ancillary) -> tuple[int, int, bytes] | None:
        """What to send along so that an answer comes from the address that this came to."""
        for level, kind, data in ancillary:
            if kind == _IP_PKTINFO and level == socket.IPPROTO_IP and not self.ipv6:
                return level, kind, bytes(4) + data[4:8] + bytes(4)  # by whatever interface leads there
            if kind == _IPV6_PKTINFO and level == socket.IPPROTO_IPV6 and self.ipv6:
                scope = data[16:20] if data[:2] == b"\xfe\x80" else bytes(4)
                return level, kind, data[:16] + scope
        return None

    def host_of(self, source: tuple[int, int, bytes]) -> str:
        """The address that such a source means."""
        if self.ipv6:
            return socket.inet_ntop(socket.AF_INET6, source[2][:16])
        return socket.inet_ntop(socket.AF_INET, source[2][4:8])

    def hear(self, wanted: bool) -> None:
        """Have errors by ICMP kept, or forget those that wait and keep no more."""
        self.errors = hear_icmp(self._sock, wanted)

    def icmp_errors(self) -> list[IcmpError]:
        """What has been refused since, up to some hundreds at once."""
        # The plain socket, which does not wait for this queue (it never does, whatever the flags).
        return icmp_errors(self._plain) if self.errors else []


def unbound(family: int) -> socket.socket:
    """
    A new UDP socket; one for IPv6 leaves IPv4 alone.

    Raises:
        OSError: There is none to be had.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == getattr(socket, "AF_INET6", None):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def route(family: int, address: Address) -> tuple[int, str]:
    """
    The way to ``address``: bytes of the largest UDP payload that its interface sends whole, as far as the system tells,
    and our address there (empty if there is no way at the moment).
    """
    ipv6 = family == getattr(socket, "AF_INET6", None)
    overhead = _IPV6_OVERHEAD if ipv6 else _IPV4_OVERHEAD
    mtu, host = _USUAL_MTU, ""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        host = str(probe.getsockname()[0])
        if LINUX:
            mtu = probe.getsockopt(*((socket.IPPROTO_IPV6, _IPV6_MTU) if ipv6 else (socket.IPPROTO_IP, _IP_MTU)))
    return max(limits.UTP_MTU_BASE // 2, min(mtu - overhead, limits.UTP_DATAGRAM_MAX)), host


def hop_limit(ipv6: bool, hops: int) -> tuple[int, int, bytes]:
    """What to give with one datagram that is to get no farther than so many routers."""
    level, kind = (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT) if ipv6 else (socket.IPPROTO_IP, _IP_TTL)
    return level, kind, struct.pack("=i", hops)


def _takes(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _grow(sock: socket.socket, option: int, force: int) -> int:
    """Ask for a large buffer, beyond the system's limit if we may; the bytes that were granted."""
    if not (LINUX and _takes(sock, socket.SOL_SOCKET, force, limits.UTP_SOCKET_BUFFER)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, limits.UTP_SOCKET_BUFFER)
    return sock.getsockopt(socket.SOL_SOCKET, option)
