"""
The beacon's sockets: one for each link, to ask and to answer from, and one for each family that hears what is sent to
all. Several programs of one machine hear it, each with sockets of its own.

Nothing that leaves here is passed on by a router: it goes to addresses on the link alone (``SO_DONTROUTE``), and with
one hop to live.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ... import limits
from ...runtime.threads import abandon_socket
from .links import Link
from .screen import for_answers, for_queries, keep_away

__all__ = ["BeaconSockets"]

_LINUX = sys.platform == "linux"
_IP_PKTINFO = 8  # Linux' in.h; the socket module does not name it
_PKTINFO = struct.Struct("=I4s4s")  # interface, our address, the address it was sent to
_IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 0)
_IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", -1)
_READ = limits.BEACON_QUERY_SIZE + 1  # what is longer is nothing of ours
_ANCILLARY = 128

Address = tuple[Any, ...]


class BeaconSockets:
    """
    Belongs to one thread, but for :meth:`abandon`.

    Args:
        port: Whom to ask.
        listen_port: Where we hear others' queries.
        closing: Called with each socket before it is closed.
    """

    def __init__(self, port: int, listen_port: int, closing: Callable[[socket.socket], object]) -> None:
        self._port = port
        self._closing = closing
        self._listen_port = listen_port
        self._asking: dict[Link, socket.socket] = {}
        self._hearing: dict[int, socket.socket] = {}  # by family, 4 or 6
        self._joined: set[int] = set()  # interfaces on whose links we are of the group

    # --- which --------------------------------------------------------------------------------------------------------

    @property
    def all(self) -> list[socket.socket]:
        """Every socket that may have something to read."""
        return [*self._asking.values(), *self._hearing.values()]

    @property
    def ports(self) -> Mapping[Link, int]:
        """The links, and from which port we ask there."""
        return {link: int(sock.getsockname()[1]) for link, sock in self._asking.items()}

    def follow(self, links: frozenset[Link], *, hear: bool) -> list[OSError]:
        """
        Have sockets for these links, and no others.

        Args:
            hear: Whether others' queries are heard.

        Returns:
            Why some could not be had, such as an IPv6 address that is not ready yet: try again.
        """
        errors: list[OSError] = []
        for link in [link for link in self._asking if link not in links]:
            self._close(self._asking.pop(link))
        for link in links - set(self._asking):
            try:
                self._asking[link] = _asking_socket(link)
            except OSError as error:
                errors.append(error)
        wanted = {link.family for link in links} if hear else set()
        for family in [family for family in self._hearing if family not in wanted]:
            self._close(self._hearing.pop(family))
            if family == 6:
                self._joined.clear()
        for family in wanted - set(self._hearing):
            try:
                self._hearing[family] = _hearing_socket(family, self._listen_port)
            except OSError as error:
                errors.append(error)
        for family, sock in self._hearing.items():
            keep_away(sock, for_queries([link for link in self._asking if link.family == family]))
        if 6 in self._hearing:
            errors += self._join(self._hearing[6], {link.index for link in links if link.family == 6})
        return errors

    def _join(self, sock: socket.socket, indices: set[int]) -> list[OSError]:
        errors = []
        for index in self._joined - indices:
            with contextlib.suppress(OSError):  # the interface is gone
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _membership(index))
        self._joined &= indices
        for index in indices - self._joined:
            try:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _membership(index))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # else it is of the group already
                    errors.append(error)
                    continue
            self._joined.add(index)
        return errors

    def close(self) -> None:
        """Let go of all of them. Idempotent."""
        for sock in self.all:
            self._close(sock)
        self._asking, self._hearing, self._joined = {}, {}, set()

    def _close(self, sock: socket.socket) -> None:
        self._closing(sock)
        sock.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        for sock in self.all:
            abandon_socket(sock)

    # --- sending ------------------------------------------------------------------------------------------------------

    def ask(self, link: Link, data: bytes) -> None:
        """Send to all of a link, or never: what the system refuses is lost."""
        self._send(link, link.to_all, self._port, data)

    def answer(self, link: Link, to: tuple[str, int], data: bytes) -> None:
        """Send to one address on a link, or never."""
        self._send(link, *to, data)

    def _send(self, link: Link, host: str, port: int, data: bytes) -> None:
        sock = self._asking.get(link)
        if sock is None:
            return
        with contextlib.suppress(OSError):  # no room, no way there, a firewall of our own
            if link.family == 6:
                sock.sendto(data, (host, port, 0, link.index))
            elif _LINUX:  # two interfaces may be on one network
                way = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(link.index, bytes(4), bytes(4)))
                sock.sendmsg([data], [way], 0, (host, port))
            else:
                sock.sendto(data, (host, port))

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive(self, sock: socket.socket) -> tuple[Link, tuple[str, int], bytes, bool] | None:
        """
        A datagram that waits: on which link, from where, what, and whether it was sent to all of it. None if it came
        another way, or is gone.

        Raises:
            BlockingIOError: Nothing waits.
        """
        for link, own in self._asking.items():
            if own is sock:
                data, address = sock.recvfrom(_READ)
                index = address[3] if link.family == 6 else None
                source = _plain(address)
                return (link, source, data, False) if link.has(source[0], index) else None
        if hasattr(sock, "recvmsg"):
            data, ancillary, _, address = sock.recvmsg(_READ, _ANCILLARY)
        else:
            data, address = sock.recvfrom(_READ)
            ancillary = []
        return self._heard(_plain(address), data, *_destination(ancillary))

    def _heard(
        self, source: tuple[str, int], data: bytes, index: int | None, to: str | None
    ) -> tuple[Link, tuple[str, int], bytes, bool] | None:
        for link in self._asking:
            if link.has(source[0], index) and to in (None, link.to_all):
                return link, source, data, True
        return None


def _plain(address: Address) -> tuple[str, int]:
    return str(address[0]).partition("%")[0], int(address[1])


def _destination(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int | None, str | None]:
    """By which interface a datagram came, and where it was sent to, as far as the system tells."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and _LINUX and len(data) >= _PKTINFO.size:
            index, _, to = _PKTINFO.unpack_from(data)
            return index, socket.inet_ntoa(to)
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and len(data) >= 20:
            return int.from_bytes(data[16:20], sys.byteorder), str(ipaddress.IPv6Address(data[:16]))
    return None, None


def _membership(index: int) -> bytes:
    return socket.inet_pton(socket.AF_INET6, limits.BEACON_GROUP) + struct.pack("@I", index)


def _asking_socket(link: Link) -> socket.socket:
    ipv6 = link.family == 6
    sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)  # other programs of this machine
            sock.bind((link.host.partition("%")[0], 0, 0, link.index))
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.bind((link.host, 0))
        keep_away(sock, for_answers(link))
    except BaseException:
        sock.close()
        raise
    return sock


def _hearing_socket(family: int, port: int) -> socket.socket:
    """What is sent to all comes to every socket on the port, if each was opened like this."""
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not _LINUX and hasattr(socket, "SO_REUSEPORT"):  # what BSD wants; Linux would allow one user's programs only
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if _IPV6_RECVPKTINFO:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            sock.bind(("::", port))
        else:
            if _LINUX:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock
