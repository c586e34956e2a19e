"""What routers and other machines say by ICMP of datagrams that a UDP socket has sent; Linux only."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from typing import Any, NamedTuple

__all__ = ["IcmpError", "hear_icmp", "icmp_errors"]

# From Linux' headers (in.h, in6.h, errqueue.h); the socket module does not name them.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_MSG_ERRQUEUE = 0x2000
_ORIGIN_LOCAL = 1
_OVERHEAD = {4: 28, 6: 48}  # bytes of the headers of IP and UDP
_AT_ONCE = 256  # whoever floods must not keep us reading
_REPORT = 16  # bytes of a struct sock_extended_err, behind which the reporter's address stands


class IcmpError(NamedTuple):
    """A router, or the other machine, refused a datagram of ours."""

    address: tuple[Any, ...]
    """Where it was to go."""
    number: int
    """As an errno."""
    mtu: int
    """Bytes of the largest UDP payload that gets through; 0 if that was not the trouble."""
    reporter: str = ""
    """Who says so: an IP address."""


def hear_icmp(sock: socket.socket, wanted: bool = True) -> bool:
    """Have the system keep what ICMP says of this socket's datagrams, or forget it; False where it cannot."""
    ipv6 = sock.family == getattr(socket, "AF_INET6", None)
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(
            socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP, _IPV6_RECVERR if ipv6 else _IP_RECVERR, wanted
        )
        if not wanted:
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # the next call would raise it
    except OSError:
        return False
    return wanted


def icmp_errors(sock: Any) -> list[IcmpError]:
    """
    What has been refused since, up to some hundreds at once. Never waits.

    Args:
        sock: A plain socket (not gevent's own, which would wait for this queue) after :func:`hear_icmp`.
    """
    errors: list[IcmpError] = []
    for _ in range(_AT_ONCE):
        try:
            _, ancillary, _, address = sock.recvmsg(64, 512, _MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            return errors
        for level, kind, data in ancillary:
            family = {(socket.IPPROTO_IP, _IP_RECVERR): 4, (socket.IPPROTO_IPV6, _IPV6_RECVERR): 6}.get((level, kind))
            if family is not None and len(data) >= _REPORT and address:
                number, origin, _, _, _, info = struct.unpack_from("=IBBBBI", data)
                if origin != _ORIGIN_LOCAL:
                    mtu = max(0, info - _OVERHEAD[family])
                    errors.append(IcmpError(address, number, mtu, _reporter(data[_REPORT:], family)))
    return errors


def _reporter(data: bytes, family: int) -> str:
    """The address in a ``sockaddr_in`` or ``sockaddr_in6``."""
    size, start = (4, 4) if family == 4 else (16, 8)
    packed = data[start : start + size]
    return str(ipaddress.ip_address(packed)) if len(packed) == size else ""
