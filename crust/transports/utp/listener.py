"""
Answering callers over µTP on one socket. It blocks in a queue, ended by its closing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint
from ...exceptions import LocalProtocolError
from ..contract import Connection
from ..errors import listen_error
from ..resolving import read
from ..udp import Source, UdpHub
from ..udp_offload import Address, unbound
from .callers import Callers
from .packet import Packet
from .states import State
from .stream import UtpStream

if TYPE_CHECKING:
    from .transport import UtpTransport

__all__ = ["UtpListener"]

_UNANSWERED_TOLD = 64  # at once


class UtpListener:
    """
    Answers callers on one socket; see :class:`crust.transports.contract.Listener`.

    Args:
        hub: An open one to use; None: a new one, bound to ``endpoint``.
    """

    def __init__(self, transport: UtpTransport, endpoint: Endpoint, hub: UdpHub | None = None) -> None:
        self._transport = transport
        self._lock = threading.Lock()  # guards all below
        self._running = False
        self._closed = False
        self._half_open: Callers[UtpStream] = Callers()
        self._unanswered = 0  # as too many came
        self._offered: queue.SimpleQueue[UtpStream | None] = queue.SimpleQueue()
        self._hub = self._taken(hub, endpoint) if hub is not None else self._opened(endpoint)
        self._hub.acceptor = self
        self.endpoint = endpoint.with_port(self._hub.port)

    @staticmethod
    def _taken(hub: UdpHub, endpoint: Endpoint) -> UdpHub:
        if hub.acceptor is not None:
            raise listen_error(endpoint, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        if not hub.hold():
            raise listen_error(endpoint, OSError(errno.ECONNABORTED, "the socket has been closed"))
        return hub

    def _opened(self, endpoint: Endpoint) -> UdpHub:
        sock: socket.socket | None = None
        try:
            family, _, _, _, address = read(endpoint)[0]
            sock = unbound(family)
            exclusive: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)  # Windows
            if exclusive is not None:
                sock.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            sock.bind(address)
        except OSError as error:
            if sock is not None:
                sock.close()
            raise listen_error(endpoint, error) from error
        try:
            return self._transport.adopt(sock)
        except OSError as error:
            raise listen_error(endpoint, error) from error

    @property
    def hub(self) -> UdpHub:
        """The socket; closed after the listener, once no connection needs it."""
        return self._hub

    def retire(self) -> None:
        """See the contract. Once it is closed, too, its socket answers its connections alone."""
        self._hub.retired = True

    def called(self, syn: Packet, address: Address, source: Source | None, now: float) -> None:
        """A SYN came (the hub's thread): answer it, as far as strangers may cost us anything."""
        host = str(address[0])
        if self._transport.refuses(host):
            return
        most, each = self._transport.half_open
        displacing, victim = "", None
        with self._lock:
            limit = "limits.utp_half_open_per_network" if self._closed else self._half_open.limit(host, each, now)
            if not limit:
                displacing, victim = self._half_open.displaced(host, most, each)
        if limit == "UTP_SYNS_PER_SECOND":
            self._unanswered += 1
            if not self._unanswered % _UNANSWERED_TOLD:
                self._transport.on_limit(limit, "", _UNANSWERED_TOLD)
            return
        if limit:
            self._transport.on_limit(limit, host, 1)
            return
        if victim is not None:
            self._transport.on_limit(displacing, host, 1)
            self._forget(victim)
            victim.abort()
        stream = self._transport.accepted(self._hub, syn, address, source, self._settled)
        if stream is None:
            return
        with self._lock:
            self._half_open.add(stream, host, now)
        stream.begin()

    def _forget(self, stream: UtpStream) -> bool:
        with self._lock:
            return self._half_open.forget(stream)

    def _settled(self, stream: UtpStream) -> None:
        """A caller has shown that it is where its SYN came from, or has been given up."""
        if not self._forget(stream) or stream.core.state is State.CLOSED:
            return
        with self._lock:
            full = self._closed or self._offered.qsize() >= limits.LISTEN_BACKLOG
            if not full:
                self._offered.put(stream)
        if full:
            self._transport.on_limit("LISTEN_BACKLOG", stream.remote.host, 1)
            stream.abort()

    def close(self) -> None:
        """Stop listening; see the contract."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._hub.acceptor = None
            self._hub.silent = self._hub.silent or self._hub.retired
            waiting = [*self._half_open, *self._drain_locked()]
            self._offered.put(None)
        for stream in waiting:
            stream.abort()
        self._hub.release()

    def _drain_locked(self) -> list[UtpStream]:
        waiting = []
        with contextlib.suppress(queue.Empty):
            for _ in range(limits.LISTEN_BACKLOG + 1):
                stream = self._offered.get_nowait()
                if stream is not None:
                    waiting.append(stream)
        return waiting

    def run(
        self,
        on_connection: Callable[[Connection], float | None],
        on_trouble: Callable[[OSError], object] | None = None,
    ) -> None:
        """Accept until :meth:`close`; see the contract. There is no trouble that only stops accepting."""
        with self._lock:
            if self._running:
                raise LocalProtocolError("this listener runs already")
            if self._closed:
                return
            self._running = True
        self._transport.read(self._hub)
        while True:
            stream = self._offered.get()
            if stream is None:
                return
            try:
                on_connection(stream)
            except Exception as error:  # whatever befell this one, the next is welcome
                stream.abort()
                self._transport.on_crash("crust-utp-listener", error)
