"""Sending datagrams from one UDP socket: several at once where the system can, and whole or in fragments as asked."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable
from typing import Any

from .udp_offload import Address, Offload, hop_limit
from .udp_receive import Source
from .utp.burst import Burst, single_burst

__all__ = ["UdpSender"]

_GSO_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
# What a router or the other machine said of an earlier datagram, told at the next call.
_ECHOES = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EPROTO})
_PLAIN_REMEMBERED = 4096  # addresses that several datagrams at once are refused for


class UdpSender:
    """
    What a hub sends with. Thread-safe.

    Args:
        sock: Stays the hub's.
        offload: What the socket can do.
        flags: For ``sendmsg``: it must not block.
        on_echo: Called when an error of sending may be about an earlier datagram, to somebody else.
    """

    __slots__ = ("_flags", "_offload", "_on_echo", "_plain", "_probing", "_refusing")

    def __init__(
        self, sock: socket.socket, offload: Offload, flags: int, on_echo: Callable[[], object]
    ) -> None:
        self._plain: Any = getattr(sock, "_sock", sock)  # gevent's has one inside
        self._offload = offload
        self._flags = flags
        self._on_echo = on_echo
        self._probing = threading.Lock()  # one changes how the socket fragments at a time
        self._refusing: dict[Address, None] = {}  # where several datagrams at once are refused

    def transmit(self, burst: Burst, address: Address, source: Source | None) -> bool:
        """See ``UdpHub.transmit``."""
        if burst.probe and self._offload.can_probe:
            with self._probing, self._offload.unfragmented():
                return self._send(burst.buffers, 0, address, source)
        if burst.fragment:
            with self._probing, self._offload.fragmented():
                return self._send(burst.buffers, 0, address, source)
        if burst.count == 1:
            return self._send(burst.buffers, 0, address, source)
        if self._offload.gso and address not in self._refusing:
            try:
                return self._send(burst.buffers, burst.segment, address, source)
            except OSError as error:
                if error.errno not in _GSO_REFUSED:
                    raise
                self._refuse(address)
        return self._send_each(burst.buffers, address, source)

    def lob(self, data: bytes, address: Address, ttl: int | None) -> None:
        """See ``UdpHub.lob``."""
        if ttl is None:
            with contextlib.suppress(OSError):
                self.transmit(single_burst(data), address, None)
        elif hasattr(self._plain, "sendmsg"):
            with contextlib.suppress(OSError):
                self._plain.sendmsg([data], [hop_limit(self._offload.ipv6, ttl)], self._flags, address)

    def _refuse(self, address: Address) -> None:
        if len(self._refusing) >= _PLAIN_REMEMBERED:
            self._refusing.clear()
        self._refusing[address] = None

    def _send(self, buffers: list[Any], segment: int, address: Address, source: Source | None) -> bool:
        for last in (False, True):
            try:
                if hasattr(self._plain, "sendmsg"):
                    self._plain.sendmsg(buffers, self._offload.ancillary(segment, source), self._flags, address)
                else:
                    self._plain.sendto(b"".join(buffers), self._flags, address)
                return True
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return True  # lost on the way, as it were
                if last or error.errno not in _ECHOES or not self._offload.errors:
                    raise
                self._on_echo()
        return True

    def _send_each(self, parts: list[Any], address: Address, source: Source | None) -> bool:
        """Datagrams one by one: a header and a payload each."""
        if not hasattr(self._plain, "sendmsg"):
            for at in range(0, len(parts), 2):
                self._send(parts[at : at + 2], 0, address, source)
            return True
        ancillary, flags, send = self._offload.ancillary(0, source), self._flags, self._plain.sendmsg
        for at in range(0, len(parts), 2):
            try:
                send(parts[at : at + 2], ancillary, flags, address)
            except OSError:  # once more, and properly; if there is no room, this and the rest count as lost
                if not self._send(parts[at : at + 2], 0, address, source):
                    break
        return True
