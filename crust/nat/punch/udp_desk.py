"""Where a node's UDP sockets bring what may be a probe, and each attempt gets its own."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import TypeAlias

from ...transports.udp import Address, UdpHub
from .probe_packet import expected_tag

__all__ = ["Desk", "Receiver"]

Receiver: TypeAlias = Callable[[UdpHub, bytes, Address], object]
"""Gets the socket, a datagram with the expected tag, and where it came from. Must not block."""


class Desk:
    """
    One for a node. Thread-safe.

    A datagram that nobody expects costs one look into a table. While an attempt sends probes to an address, none of the
    sockets answers that address with a RESET.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards changes of what follows
        self._expected: dict[bytes, Receiver] = {}
        self._tried: collections.Counter[str] = collections.Counter()

    def serve(self, hub: UdpHub) -> None:
        """Take that socket's probes from now on: each one that the node listens on, and each that was adopted."""
        hub.probes = lambda data, address, now: self._arrived(hub, data, address)
        hub.hushed = self._hushed

    def expect(self, tag: bytes, receiver: Receiver) -> None:
        """Bring what has that tag to ``receiver``, which takes the place of an earlier one."""
        with self._lock:
            self._expected[tag] = receiver

    def forget(self, tag: bytes, receiver: Receiver) -> None:
        """No more. Idempotent; harmless if another one has taken its place."""
        with self._lock:
            if self._expected.get(tag) == receiver:
                del self._expected[tag]

    def hush(self, host: str) -> None:
        """That IP address is being tried: it gets no RESET until :meth:`unhush`."""
        with self._lock:
            self._tried[host] += 1

    def unhush(self, host: str) -> None:
        """Undo one :meth:`hush`."""
        with self._lock:
            self._tried[host] -= 1
            if self._tried[host] <= 0:
                del self._tried[host]

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._expected, self._tried = {}, collections.Counter()

    def _arrived(self, hub: UdpHub, data: memoryview, address: Address) -> bool:
        tag = expected_tag(data)
        receiver = None if tag is None else self._expected.get(tag)
        if receiver is None:
            return False
        receiver(hub, bytes(data), address)
        return True

    def _hushed(self, address: Address) -> bool:
        return str(address[0]).partition("%")[0] in self._tried
