"""Dialling and listening in memory: what stands in for TCP and µTP. A dial takes a round trip of the line's delay."""

from __future__ import annotations

import collections
import errno
import os
from collections.abc import Callable

from ..addresses import Endpoint
from ..exceptions import LocalProtocolError
from ..runtime.flusher import IoLoop
from ..runtime.threads import CrashHook, Deadline, log_crash
from ..transports.contract import Connection, Sink
from ..transports.living import Living, Openings
from .cables import Cables, Host, Line
from .connection import MemoryConnection, connect

__all__ = ["MemoryDialling", "MemoryListener", "MemoryTransport"]


class MemoryTransport:
    """
    The transport of one node; see :class:`crust.transports.contract.Transport`.

    Args:
        cables: The network.
        host: The node's place in it.
        io: The node's I/O loop; running while there are connections.
        on_crash: Gets what a listener's ``on_connection`` raised; without it that is logged.
        name: Which scheme it stands in for.
    """

    def __init__(
        self, cables: Cables, host: Host, io: IoLoop, on_crash: CrashHook | None = None, name: str = "tcp"
    ) -> None:
        self.name = name
        self.cables = cables
        self.host = host
        self.io = io
        self.on_crash: CrashHook = on_crash or log_crash
        self.connections: Living[MemoryConnection] = Living()
        self._openings: Openings[MemoryDialling, MemoryListener] = Openings()

    def dialling(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> MemoryDialling:
        """Prepare to connect to ``endpoint`` within ``timeout`` seconds; see the contract."""
        return self._openings.dialling(MemoryDialling(self, endpoint, timeout, local_port))

    def close(self) -> None:
        """End everything; see the contract."""
        self._openings.close()
        for connection in self.connections.close():
            connection.abort()

    def abandon(self) -> list[Sink]:
        """There is nothing that a forked child could share."""
        return []

    def change_ports(self) -> None:
        """Each dial has a port of its own; see the contract."""

    def listen(self, endpoint: Endpoint) -> MemoryListener:
        """Open a listener; see the contract."""
        return self._openings.listener(MemoryListener(self, endpoint))


class MemoryDialling:
    """One attempt to connect; see :class:`crust.transports.contract.Dialling`."""

    def __init__(
        self, transport: MemoryTransport, endpoint: Endpoint, timeout: float, local_port: int | None
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._cables = transport.cables
        self._timeout = timeout
        self._local_port = local_port
        self._begun = False
        self._cancelled = False

    def cancel(self) -> None:
        """Make :meth:`run` raise soon; see the contract."""
        with self._cables.changed:
            self._cancelled = True
            self._cables.changed.notify_all()

    def run(self) -> MemoryConnection:
        """Connect; see the contract."""
        cables = self._cables
        with cables.changed:
            if self._begun:
                raise LocalProtocolError("a dial runs only once; make a new one")
            self._begun = True
            deadline = cables.clock.deadline(self._timeout)
            self._check_cancelled()
            address, host = cables.find(self.endpoint)
            there = Endpoint(self._transport.name, address, self.endpoint.port)
            source = address if there.is_loopback else self._transport.host.address(there.family)
            if source is None:
                raise self._error(errno.ENETUNREACH)
            listener = cables.listener_at(self._transport.name, address, self.endpoint.port)
            if host is None:  # loopback
                host = self._transport.host if listener is None else listener.transport.host
            self._travel(host, deadline)
            listener = cables.listener_at(self._transport.name, address, self.endpoint.port)  # now that we are there
            if listener is None or cables.line(self._transport.host, host, self._transport.name) is Line.REFUSING:
                self._travel(host, deadline)
                raise self._error(errno.ECONNREFUSED)
            here = Endpoint(there.transport, source, self._local_port or cables.new_port())
            ours, theirs = self._transport, listener.transport
            near, far = connect(cables, (ours.host, ours.io, here), (theirs.host, theirs.io, there))
            for transport, end in ((ours, near), (theirs, far)):
                if not transport.connections.add(end):
                    end.abort()
            listener.offer(far)
            try:
                self._travel(host, deadline)
            except BaseException:
                near.abort()
                raise
            return near

    def _travel(self, host: Host, deadline: Deadline) -> None:
        """Get to the other side or back (the lock is held)."""
        cables, here = self._cables, self._transport.host
        arrival = cables.clock.now() + cables.delay(here, host, self._transport.name)
        while True:
            self._check_cancelled()
            line = cables.line(here, host, self._transport.name)
            if line is Line.CUT:
                raise self._error(errno.ENETUNREACH)
            left = arrival - cables.clock.now()
            if line is not Line.SILENT and left <= 0:
                return
            remaining = deadline.remaining()
            assert remaining is not None
            if remaining <= 0:
                raise self._error(errno.ETIMEDOUT, f"no answer within {self._timeout:g} s")
            cables.changed.wait(min(remaining, left) if line is not Line.SILENT else remaining)

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise self._error(errno.ECANCELED, "the attempt was cancelled")

    def _error(self, number: int, text: str = "") -> OSError:
        return OSError(number, text or os.strerror(number), str(self.endpoint))


class MemoryListener:
    """A listener; see :class:`crust.transports.contract.Listener`."""

    def __init__(self, transport: MemoryTransport, endpoint: Endpoint) -> None:
        self.transport = transport
        self._changed = transport.cables.clock.condition()  # guards what follows; told of every change
        self._offered: collections.deque[MemoryConnection] = collections.deque()
        self._running = False
        self._closed = False
        self.endpoint = transport.cables.bind(transport.host, endpoint, self)

    def offer(self, connection: MemoryConnection) -> None:
        """A caller has come."""
        with self._changed:
            if not self._closed:
                self._offered.append(connection)
                self._changed.notify_all()
                return
        connection.abort()

    def retire(self) -> None:
        """Dials leave from here only if they are told to; see the contract."""

    def close(self) -> None:
        """Stop listening; see the contract."""
        self.transport.cables.unbind(self)
        with self._changed:
            self._closed = True
            waiting = list(self._offered)
            self._offered.clear()
            self._changed.notify_all()
        for connection in waiting:
            connection.abort()

    def run(
        self,
        on_connection: Callable[[Connection], float | None],
        on_trouble: Callable[[OSError], object] | None = None,
    ) -> None:
        """Accept until :meth:`close`; see the contract."""
        with self._changed:
            if self._running:
                raise LocalProtocolError("this listener runs already")
            self._running = True
        while True:
            with self._changed:
                while not self._offered and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                connection = self._offered.popleft()
            try:
                on_connection(connection)
            except Exception as error:  # whatever befell this one, the next is welcome
                connection.abort()
                self.transport.on_crash("crust-memory-listener", error)
