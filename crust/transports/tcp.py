"""
Dialling and listening on TCP.

A dial blocks in a selector, and for a name in its result queue; :meth:`TcpDialling.cancel` and the deadline
end both. A listener blocks in a selector, ended by its waker; the same selector serves its lobby. It rests
between callers whom its owner refuses; the kernel keeps those who come meanwhile. Where it says (Linux) that they
are many the listener goes on at once: what does not fit into the kernel's queue, it drops, whoever that is.

Listeners and dials may share a port: a NAT then maps both to the same outside port. A listener takes its port
without ``SO_REUSEPORT``, so that an occupied one is an error, and sets the option afterwards, so that dials
can join it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .. import limits
from ..addresses import Endpoint
from ..exceptions import LocalProtocolError
from ..runtime.flusher import IoLoop
from ..runtime.threads import (
    CrashHook,
    Deadline,
    Waker,
    abandon_selector,
    abandon_socket,
    close_socket,
    log_crash,
)
from .contract import Connection, Sink
from .errors import listen_error, text_of
from .living import Living, Openings
from .lobby import Lobby
from .resolving import Lookup, Resolver, read
from .tcp_connection import BufferPool, TcpConnection, endpoint_of, prepare

__all__ = ["TcpDialling", "TcpListener", "TcpTransport"]

# accept(2) also reports errors that a connection met before we took it: the listener itself is well.
_PASSING_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN EWOULDBLOCK EINTR ECONNABORTED ECONNRESET EPROTO EPERM ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET "
        "EHOSTUNREACH EOPNOTSUPP ENETUNREACH ETIMEDOUT"
    ).split()
    if hasattr(errno, name)
)
_FATAL_ERRORS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})


class TcpTransport:
    """
    TCP for one node; see :class:`crust.transports.contract.Transport`.

    Args:
        io: The node's I/O loop; running while there are connections.
        on_crash: Gets what a listener's ``on_connection`` raised; without it that is logged.
    """

    name = "tcp"

    def __init__(self, io: IoLoop, on_crash: CrashHook | None = None) -> None:
        self.on_crash: CrashHook = on_crash or log_crash
        self._io = io
        self._pool = BufferPool()
        self.resolver = Resolver()
        """Looks names up for the dials."""
        # Whatever has descriptors.
        self._connections: Living[TcpConnection] = Living()
        self._openings: Openings[TcpDialling, TcpListener] = Openings()

    def dialling(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> TcpDialling:
        """Prepare to connect to ``endpoint`` within ``timeout`` seconds; see the contract."""
        return self._openings.dialling(TcpDialling(self, endpoint, timeout, local_port))

    def dial(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> TcpConnection:
        """Connect now; the same as ``dialling(…).run()``."""
        return self.dialling(endpoint, timeout, local_port=local_port).run()

    def close(self) -> None:
        """End everything; see the contract."""
        self._openings.close()
        for connection in self._connections.close():
            connection.abort()

    def abandon(self) -> list[Sink]:
        """Close the copies of all descriptors in a forked child; see the contract."""
        self.resolver.abandon()
        for dialling in self._openings.dials.abandon():
            dialling.abandon()
        for listener in self._openings.listeners.abandon():
            listener.abandon()
        sinks = [connection.abandon() for connection in self._connections.abandon()]
        return [sink for sink in sinks if sink is not None]

    def change_ports(self) -> None:
        """Each dial has a port of its own; see the contract."""

    def listen(self, endpoint: Endpoint) -> TcpListener:
        """Open a listening socket; see the contract."""
        return self._openings.listener(TcpListener(self, endpoint))

    def adopt(self, sock: socket.socket, remote: Endpoint | None = None) -> TcpConnection:
        """
        Make a connection of a connected socket, which then belongs to it.

        Raises:
            OSError: The socket is not connected (any more); it has been closed.
        """
        try:
            prepare(sock)
            local = endpoint_of(sock.getsockname())
            connection = TcpConnection(sock, self._io, self._pool, local, remote or endpoint_of(sock.getpeername()))
            if not self._connections.add(connection):
                connection.abort()
            return connection
        except BaseException:
            close_socket(sock)
            raise


class TcpDialling:
    """One attempt to connect; see :class:`crust.transports.contract.Dialling`."""

    def __init__(
        self, transport: TcpTransport, endpoint: Endpoint, timeout: float, local_port: int | None
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._timeout = timeout
        self._local_port = local_port
        self._lock = threading.Lock()  # guards the fields below
        self._begun = False
        self._cancelled = False
        self._waker: Waker | None = None
        self._lookup = Lookup(transport.resolver, endpoint, timeout)
        self._sock: socket.socket | None = None
        self._selector: selectors.BaseSelector | None = None

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self._cancelled = True
        abandon_selector(self._selector)
        if self._sock is not None:
            abandon_socket(self._sock)
        if self._waker is not None:
            self._waker.abandon()

    def cancel(self) -> None:
        """Make :meth:`run` raise soon; see the contract."""
        with self._lock:
            self._cancelled = True
            if self._waker is not None:
                self._waker.wake()
        self._lookup.cancel()

    def run(self) -> TcpConnection:
        """Connect; see the contract."""
        with self._lock:
            if self._begun:
                raise LocalProtocolError("a dial runs only once; make a new one")
            self._begun = True
        deadline = Deadline(self._timeout)
        addresses = self._lookup.run(deadline)
        with self._lock:
            waker = self._waker = Waker()
        try:
            return self._try_each(addresses, deadline, waker)
        finally:
            with self._lock:
                self._waker = None
            waker.close()

    def _try_each(self, addresses: list[Any], deadline: Deadline, waker: Waker) -> TcpConnection:
        for position, (family, _, _, _, address) in enumerate(addresses, 1):
            left = deadline.remaining() or 0.0
            # An address that swallows packets leaves a share of the time to each one after it.
            share = Deadline(left / (len(addresses) - position + 1))
            try:
                return self._connect(family, address, share, waker)
            except OSError as error:
                if position == len(addresses) or self._cancelled:
                    raise
                last = error
        raise last  # not reached: the loop returns or raises at the last address

    def _connect(self, family: int, address: Any, deadline: Deadline, waker: Waker) -> TcpConnection:
        sock = self._open(family)
        try:
            try:
                self._begin(sock, address)
            except OSError as error:
                # The four addresses and ports are taken by another connection of this port: come from
                # elsewhere.
                if self._local_port is None or error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                    raise
                sock.close()
                sock = self._open(family, bind=False)
                self._begin(sock, address)
            self._sock = sock
            self._await(sock, deadline, waker)
            self._sock = None
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, text_of(number))
            remote = endpoint_of(address)
            if endpoint_of(sock.getsockname()) == remote:  # a socket may meet itself on a loopback address
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            return self._transport.adopt(sock, remote)
        except OSError as error:
            close_socket(sock)
            raise OSError(error.errno, error.strerror or str(error), str(self.endpoint)) from error
        except BaseException:
            close_socket(sock)
            raise

    def _open(self, family: int, bind: bool = True) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if bind and self._local_port is not None:
            with contextlib.suppress(OSError):  # else from any port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _share_port(sock)
                sock.bind(("", self._local_port))
        return sock

    def _begin(self, sock: socket.socket, address: Any) -> None:
        number = sock.connect_ex(address)
        if number not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            raise OSError(number, text_of(number))

    def _await(self, sock: socket.socket, deadline: Deadline, waker: Waker) -> None:
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(waker.fileno(), selectors.EVENT_READ)
            selector.register(sock, selectors.EVENT_WRITE)
            try:
                while True:
                    self._check_cancelled()
                    ready = selector.select(deadline.remaining())
                    self._check_cancelled()
                    if any(key.fileobj is sock for key, _ in ready):
                        return
                    if deadline.expired:
                        raise OSError(errno.ETIMEDOUT, f"no answer within {self._timeout:g} s")
            finally:
                self._selector = None
                if sock.fileno() >= 0:  # else this is a greenlet that a forked child has inherited
                    selector.unregister(sock)
                    selector.unregister(waker.fileno())

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise OSError(errno.ECANCELED, "the attempt was cancelled", str(self.endpoint))


class TcpListener:
    """A listening socket; see :class:`crust.transports.contract.Listener`."""

    def __init__(self, transport: TcpTransport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._lock = threading.Lock()  # guards _running and _closed
        self._running = False
        self._closed = False
        with contextlib.ExitStack() as undo:
            try:
                self._sock = _listening_socket(endpoint)
                undo.callback(self._sock.close)
                self._waker = Waker()
                undo.callback(self._waker.close)
                self._selector = selectors.DefaultSelector()
            except OSError as error:
                raise listen_error(endpoint, error) from error
            undo.pop_all()
        self.endpoint = endpoint.with_port(self._sock.getsockname()[1])
        self._lobby = Lobby(self._selector, transport)

    def retire(self) -> None:
        """Dials leave from here only if they are told to; see the contract."""

    def close(self) -> None:
        """Stop listening; see the contract."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # Refuses from now on, while the descriptor stays what it is until run() lets go of it.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            if self._running:
                self._waker.wake()
            else:
                self._release()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        abandon_selector(self._selector)
        abandon_socket(self._sock)
        self._waker.abandon()

    def _ended(self) -> bool:
        return self._closed

    def _release(self) -> None:
        self._selector.close()
        self._sock.close()
        self._waker.close()

    def run(
        self,
        on_connection: Callable[[Connection], float | None],
        on_trouble: Callable[[OSError], object] | None = None,
    ) -> None:
        """Accept until :meth:`close`; see the contract."""
        with self._lock:
            if self._running:
                raise LocalProtocolError("this listener runs already")
            if self._closed:
                return
            self._running = True
        try:
            selector = self._selector
            selector.register(self._waker.fileno(), selectors.EVENT_READ)
            selector.register(self._sock, selectors.EVENT_READ)
            try:
                self._lobby.open()
                self._accept_all(selector, on_connection, on_trouble)
            finally:
                if self._sock.fileno() >= 0:  # else this is a greenlet that a forked child has inherited
                    self._lobby.empty()
                    selector.unregister(self._sock)
                    selector.unregister(self._waker.fileno())
        finally:
            with self._lock:
                self._closed = True
                self._release()

    def _accept_all(
        self,
        selector: selectors.BaseSelector,
        on_connection: Callable[[Connection], float | None],
        on_trouble: Callable[[OSError], object] | None,
    ) -> None:
        ready, factor = 0.0, 1.0  # when it is to accept again; how much longer it rests than it is told to
        while not self._ended():
            rest = ready - time.monotonic()
            if rest >= limits.REFUSAL_REST_MIN:
                self._pause(selector, rest, while_few=True)
                ready = min(ready, time.monotonic())  # what is left of the rest is not made up for
                kept, most = waiting(self._sock)
                factor = limits.REFUSAL_REST_ALONE if kept <= limits.REFUSAL_REST_FEW and most else 1.0
            if not self._wait(selector):
                continue
            try:
                for _ in range(limits.ACCEPTS_PER_TURN):
                    if self._ended():
                        return
                    if rest := self._accept_one(on_connection):
                        ready = max(ready, time.monotonic() - limits.REFUSAL_REST_SAVED) + factor * rest
                time.sleep(limits.TURN_PAUSE)  # under a flood, greenlets get their turn here
            except BlockingIOError:
                continue
            except OSError as error:
                if self._ended():
                    return
                if error.errno in _FATAL_ERRORS:
                    raise
                if error.errno not in _PASSING_ERRORS:
                    if on_trouble is not None:
                        on_trouble(error)
                    self._pause(selector, limits.ACCEPT_PAUSE)

    def _wait(self, selector: selectors.BaseSelector, timeout: float | None = None) -> bool:
        """Wait, and serve the lobby; True if somebody may be to be accepted."""
        knocked = False
        for key, _ in selector.select(timeout):
            if key.fileobj is self._sock:
                knocked = True
            else:
                self._lobby.serve(key.data)
        return knocked

    def _accept_one(self, on_connection: Callable[[Connection], float | None]) -> float:
        """Seconds to rest before there are more."""
        sock, address = self._sock.accept()
        try:
            connection = self._transport.adopt(sock, endpoint_of(address))
        except OSError:  # the caller has gone already
            return 0.0
        connection.lobby = self._lobby
        try:
            return on_connection(connection) or 0.0
        except Exception as error:  # whatever befell this one, the next is welcome
            connection.abort()
            self._transport.on_crash("crust-tcp-listener", error)
            return 0.0

    def _pause(self, selector: selectors.BaseSelector, seconds: float, while_few: bool = False) -> None:
        """Accept nothing for a while, if so while few wait in the kernel's queue: who calls does so there."""
        deadline = Deadline(seconds)
        selector.unregister(self._sock)
        try:
            while not (self._ended() or deadline.expired):
                left = deadline.remaining() or 0.0
                if while_few:
                    kept, most = waiting(self._sock)
                    if kept > limits.REFUSAL_REST_QUEUE * most:
                        break
                    left = min(left, limits.REFUSAL_REST_MIN)
                self._wait(selector, left)
        finally:
            selector.register(self._sock, selectors.EVENT_READ)


def waiting(listening: socket.socket) -> tuple[int, int]:
    """How many connections the kernel keeps for a listening socket, and at most can; twice 0 where it does not say."""
    if sys.platform != "linux":
        return 0, 0
    # Linux' linux/tcp.h, struct tcp_info: of a listening socket tcpi_unacked and tcpi_sacked are these two.
    with contextlib.suppress(OSError, struct.error):
        kept, most = struct.unpack_from("=II", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32), 24)
        return kept, most
    return 0, 0


def _listening_socket(endpoint: Endpoint) -> socket.socket:
    family, kind, protocol, _, address = read(endpoint)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        # Windows has it, where SO_REUSEADDR would let anybody take an occupied port.
        exclusive: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        if exclusive is not None:
            sock.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == getattr(socket, "AF_INET6", None):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(limits.ACCEPT_BACKLOG)
        with contextlib.suppress(OSError):
            _share_port(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(sock: socket.socket) -> None:
    option: int | None = getattr(socket, "SO_REUSEPORT", None)
    if option is not None:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
