"""
The network in memory: which computers there are, who listens where, and what the lines between them let through.

Every computer has addresses of its own. The loopback addresses belong to all of them together, as if
they were programs on one computer.
"""

from __future__ import annotations

import enum
import errno
import ipaddress
import os
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..addresses import Endpoint, IPAddress, parse_ip
from ..exceptions import ListenError
from ..runtime.clock import Clock

if TYPE_CHECKING:
    from .connection import MemoryConnection
    from .transport import MemoryListener

__all__ = ["LOOPBACK", "Cables", "Host", "Line", "Pair"]

LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
_IPV4_BASE = int(ipaddress.IPv4Address("10.0.0.0"))  # RFC 1918
_IPV6_BASE = int(ipaddress.IPv6Address("fd00::"))  # RFC 4193
_PORTS = range(49152, 65536)  # RFC 6335 section 6: dynamic ports


class Line(enum.IntEnum):
    """What a line lets through; where several settings meet, the greatest holds."""

    OPEN = 0
    """Everything."""
    REFUSING = 1
    """What is connected; new attempts are refused."""
    SILENT = 2
    """Nothing, and nobody is told: what is under way arrives when the line is open again."""
    CUT = 3
    """Nothing: what was connected has been broken, new attempts fail."""


class Host:
    """
    One computer.

    Args:
        addresses: IPv4, IPv6 or both.
        name: A DNS name that leads to it; None: none.
    """

    def __init__(self, addresses: tuple[IPAddress, ...], name: str | None) -> None:
        self.addresses = addresses
        self.name = name

    def __repr__(self) -> str:
        return f"<Host {self.addresses[0]}>"

    def address(self, family: int | None) -> str | None:
        """Its own address of that family, 4 or 6, or of any if None; None if it has none."""
        return next((str(ip) for ip in self.addresses if family in (None, ip.version)), None)


Pair = frozenset[Host]
"""Which lines: two computers: the one between them; one: all its lines; none: all there are."""

_Key = tuple[Pair, str | None]
"""And for which transport: None: for all of them."""


class Cables:
    """
    All of it. Thread-safe.

    Args:
        clock: Where time comes from, and what to wait with.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = clock.condition()
        """Guards all below; notified when a line or a listener changes."""
        self._hosts: list[Host] = []
        self._listeners: dict[tuple[str, str, int], MemoryListener] = {}  # by transport, address and port
        self._lines: dict[_Key, Line] = {}
        self._delays: dict[_Key, float] = {}
        self._connections: weakref.WeakSet[MemoryConnection] = weakref.WeakSet()  # one end of each
        self._last_port = 0

    # --- hosts --------------------------------------------------------------------------------------------------------

    def add_host(self, address: str | None = None, name: str | None = None) -> Host:
        """
        A new computer.

        Args:
            address: Its one IPv4 or IPv6 address; None: one of each, the next of 10.0.0.0/8 and of fd00::/8.
            name: Its DNS name.

        Raises:
            ValueError: That is no address of a computer, or another one has it; or the name.
        """
        with self.changed:
            number = len(self._hosts) + 1
            own: tuple[IPAddress, ...]
            own = (ipaddress.IPv4Address(_IPV4_BASE + number), ipaddress.IPv6Address(_IPV6_BASE + number))
            if address is not None:
                own = (parse_ip(address),)
                if own[0].is_unspecified or own[0].is_multicast or own[0].is_loopback:
                    raise ValueError(f"{address} is no address that a computer can have")
            taken = [ip for ip in own if self._owner_locked(ip) is not None]
            if taken or (name is not None and any(each.name == name for each in self._hosts)):
                raise ValueError(f"another node has {taken[0] if taken else name} already")
            host = Host(own, name)
            self._hosts.append(host)
            return host

    def _owner_locked(self, ip: IPAddress) -> Host | None:
        return next((host for host in self._hosts if ip in host.addresses), None)

    def find(self, endpoint: Endpoint) -> tuple[str, Host | None]:
        """
        The address of an endpoint and whose it is; None for loopback (:attr:`changed` is held).

        Raises:
            OSError: There is no such computer.
        """
        ip = endpoint.ip
        if ip is None:
            host = next((host for host in self._hosts if host.name == endpoint.host), None)
            if host is None and endpoint.host != "localhost":
                raise _error(errno.EHOSTUNREACH, endpoint, "its name could not be looked up: no node has it")
            return str(LOOPBACK[0] if host is None else host.addresses[0]), host
        if ip.is_loopback:
            return endpoint.host, None
        host = self._owner_locked(ip)
        if host is None:
            raise _error(errno.EHOSTUNREACH, endpoint, "no node of this network has this address")
        return endpoint.host, host

    def new_port(self) -> int:
        """A dynamic port, each in its turn (:attr:`changed` is held)."""
        port = _PORTS[self._last_port % len(_PORTS)]
        self._last_port += 1
        return port

    # --- listeners ----------------------------------------------------------------------------------------------------

    def bind(self, host: Host, endpoint: Endpoint, listener: MemoryListener) -> Endpoint:
        """
        Let ``listener`` have an endpoint of ``host``; returns it with its port.

        Raises:
            ListenError: It is occupied, or of another computer.
        """
        ip = endpoint.ip
        own = None if ip is None else host.address(ip.version) if ip.is_unspecified else endpoint.host
        if ip is None or own is None or not (ip.is_unspecified or ip.is_loopback or ip in host.addresses):
            raise ListenError(
                errno.EADDRNOTAVAIL, f"cannot listen on {endpoint}: {os.strerror(errno.EADDRNOTAVAIL)}"
            )
        with self.changed:
            ports = [endpoint.port] if endpoint.port else (self.new_port() for _ in _PORTS)
            name = endpoint.transport
            port = next((port for port in ports if (name, own, port) not in self._listeners), None)
            if port is None:
                raise ListenError(
                    errno.EADDRINUSE, f"cannot listen on {endpoint}: {os.strerror(errno.EADDRINUSE)}; another node does"
                )
            self._listeners[name, own, port] = listener
            if ip.is_unspecified:  # on loopback whoever is first: different computers may well use one port
                self._listeners.setdefault((name, str(LOOPBACK[ip.version == 6]), port), listener)
            self.changed.notify_all()
        return endpoint.with_port(port)

    def unbind(self, listener: MemoryListener) -> None:
        """Nobody reaches that listener any more."""
        with self.changed:
            self._listeners = {key: each for key, each in self._listeners.items() if each is not listener}

    def listener_at(self, transport: str, address: str, port: int) -> MemoryListener | None:
        """Who listens there (:attr:`changed` is held)."""
        return self._listeners.get((transport, address, port))

    # --- lines --------------------------------------------------------------------------------------------------------

    def line(self, one: Host, other: Host, transport: str) -> Line:
        """What the line between two computers lets through. Takes no lock."""
        return max(self._lines.get(key, Line.OPEN) for key in _keys(one, other, transport))

    def delay(self, one: Host, other: Host, transport: str) -> float:
        """Seconds from one to the other. Takes no lock."""
        return max(self._delays.get(key, 0.0) for key in _keys(one, other, transport))

    def set_lines(self, pairs: Iterable[Pair], line: Line, transport: str | None = None) -> None:
        """Let these lines let through so much of that transport, or of all of them."""
        with self.changed:
            for pair in pairs:
                self._lines[pair, transport] = line
        self._told()

    def set_delays(self, pairs: Iterable[Pair], seconds: float, transport: str | None = None) -> None:
        """Let everything of that transport, or of all of them, need so many seconds on these lines from now on."""
        with self.changed:
            for pair in pairs:
                self._delays[pair, transport] = seconds
        self._told()

    def heal(self, pairs: Iterable[Pair] | None, transport: str | None = None) -> None:
        """Undo both for these lines, None: for all; and for that transport, None: for whichever."""
        wanted = None if pairs is None else set(pairs)
        with self.changed:
            for key in {*self._lines, *self._delays}:
                if (wanted is None or key[0] in wanted) and transport in (None, key[1]):
                    self._lines.pop(key, None)
                    self._delays.pop(key, None)
        self._told()

    def _told(self) -> None:
        for connection in self._all():
            connection.look_again()
        with self.changed:
            self.changed.notify_all()

    # --- connections --------------------------------------------------------------------------------------------------

    def connected(self, connection: MemoryConnection) -> None:
        """A connection has been made; the caller's end stands for it (:attr:`changed` is held)."""
        self._connections.add(connection)

    def on_lines(self, pairs: Iterable[Pair], transport: str | None = None) -> list[MemoryConnection]:
        """The connections over these lines, of that transport or of all: the callers' ends."""
        wanted = {(pair, transport) for pair in pairs}
        return [
            each for each in self._all() if wanted.intersection(_keys(each.host, each.other.host, each.transport))
        ]

    def _all(self) -> list[MemoryConnection]:
        with self.changed:
            return list(self._connections)


def _keys(one: Host, other: Host, transport: str) -> tuple[_Key, ...]:
    pairs = (frozenset((one, other)), frozenset((one,)), frozenset((other,)), frozenset[Host]())
    return tuple((pair, each) for pair in pairs for each in (None, transport))


def _error(number: int, endpoint: Endpoint, text: str) -> OSError:
    return OSError(number, text, str(endpoint))
