"""
More ports on which a node answers STUN: who asks several of them sees how a router chooses its outer ports.

One thread, ``crust-echo-ports``, serves all of them. It blocks in a selector, ended by its waker, and closes what it
serves. Whoever may not ask gets no answer by UDP, and by TCP is cut off before anything is kept for it.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
from collections.abc import Callable

from ... import limits
from ...exceptions import MalformedMessage, RemoteProtocolError
from ...runtime.threads import Spawn, Waker, abandon_selector, abandon_socket
from .door import Door
from .responder import Responder, is_request

__all__ = ["EchoSockets"]

_READS_MAX = 64  # datagrams, or callers, taken from one socket before the others have their turn
_READ_SIZE = 2048


class EchoSockets:
    """
    The ports, opened at random when this is made.

    Args:
        host: An IP address of ours.
        responder: Answers.
        now: The node's clock.
        udp: How many ports for UDP,
        tcp: and for TCP.

    Raises:
        OSError: There are no sockets to be had.
    """

    def __init__(
        self,
        host: str,
        responder: Responder,
        now: Callable[[], float],
        udp: int = limits.ECHO_PORTS_UDP,
        tcp: int = limits.ECHO_PORTS_TCP,
    ) -> None:
        self._responder = responder
        self._now = now
        self._lock = threading.Lock()  # guards _running and _closed
        self._running = False
        self._closed = False
        self._callers: dict[socket.socket, tuple[Door, float]] = {}  # with when their time is over
        self._paused: dict[socket.socket, float] = {}  # listeners that wait for descriptors, and until when
        self._udp: list[socket.socket] = []
        self._tcp: list[socket.socket] = []
        with contextlib.ExitStack() as undo:
            for kind, group, count in ((socket.SOCK_DGRAM, self._udp, udp), (socket.SOCK_STREAM, self._tcp, tcp)):
                for _ in range(count):
                    sock = _bound(kind, host)
                    undo.callback(sock.close)
                    group.append(sock)
            self._waker = Waker()
            undo.callback(self._waker.close)
            self._selector = selectors.DefaultSelector()
            undo.pop_all()
        self._ports = _ports(self._udp), _ports(self._tcp)

    @property
    def udp(self) -> tuple[int, ...]:
        """The ports."""
        return self._ports[0]

    @property
    def tcp(self) -> tuple[int, ...]:
        """The ports."""
        return self._ports[1]

    @property
    def closed(self) -> bool:
        """Nobody is answered any more."""
        return self._closed

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, spawn: Spawn) -> None:
        """
        Begin to answer. Once only.

        Raises:
            RuntimeError: There is no thread to be had; all is closed then.
        """
        with self._lock:
            if self._closed:
                return
            self._running = True
        try:
            spawn("crust-echo-ports", self._run)
        except BaseException:
            with self._lock:
                self._running = False
            self.close()
            raise

    def close(self) -> None:
        """Stop answering. Never blocks; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._running:
                self._waker.wake()
                return
        self._release()

    def _release(self) -> None:
        for sock in (*self._sockets(), *self._callers):
            sock.close()
        self._callers.clear()
        self._selector.close()
        self._waker.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        abandon_selector(self._selector)
        for sock in (*self._sockets(), *self._callers):
            abandon_socket(sock)
        self._waker.abandon()

    def _sockets(self) -> list[socket.socket]:
        return [*self._udp, *self._tcp]

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        selector = self._selector
        try:
            selector.register(self._waker.fileno(), selectors.EVENT_READ, self._woken)
            for sock in self._udp:
                selector.register(sock, selectors.EVENT_READ, self._datagrams)
            for sock in self._tcp:
                selector.register(sock, selectors.EVENT_READ, self._callers_come)
            while not self._closed:
                times = [*self._paused.values(), *(end for _, end in self._callers.values())]
                wait = max(0.0, min(times) - self._now()) if times else None
                for key, _ in selector.select(wait):
                    if not self._closed:
                        key.data(key.fileobj)
                self._be_on_time(self._now())
        finally:
            with self._lock:
                self._closed = True
            if self._waker.fileno() >= 0:  # else this is a greenlet that a forked child has inherited
                for sock in (*self._sockets(), *self._callers):
                    with contextlib.suppress(KeyError, ValueError):
                        selector.unregister(sock)
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(self._waker.fileno())
                self._release()

    def _woken(self, _: object) -> None:
        self._waker.drain()

    def _datagrams(self, sock: socket.socket) -> None:
        for _ in range(_READS_MAX):
            try:
                data, address = sock.recvfrom(_READ_SIZE)
            except BlockingIOError:
                return
            except OSError:  # what a router said of an earlier answer
                continue
            if not is_request(data):
                continue
            answer = self._responder.answer(data, (str(address[0]).partition("%")[0], address[1]), self._now())
            if answer is not None:
                with contextlib.suppress(OSError):  # lost on the way, as it were
                    sock.sendto(answer, address)

    def _callers_come(self, listener: socket.socket) -> None:
        for _ in range(_READS_MAX):
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listener)
                return
            host = str(address[0]).partition("%")[0]
            is_full = len(self._callers) >= limits.ECHO_CALLERS_MAX
            if is_full or not self._responder.may_ask(host):
                if is_full:
                    self._responder.on_limit("ECHO_CALLERS_MAX", host)
                sock.close()
                continue
            sock.setblocking(False)
            door = Door(self._responder, (host, address[1]))
            self._callers[sock] = door, self._now() + limits.ECHO_CALLER_SECONDS
            self._selector.register(sock, selectors.EVENT_READ, self._caller_says)

    def _pause(self, listener: socket.socket) -> None:
        """Out of descriptors: accept() would fail as fast as it is called."""
        self._selector.unregister(listener)
        self._paused[listener] = self._now() + limits.ACCEPT_PAUSE

    def _caller_says(self, sock: socket.socket) -> None:
        door, _ = self._callers[sock]
        try:
            data = sock.recv(_READ_SIZE)
            answer, strange = door.receive(data, self._now()) if data else (b"", b"")
            if answer:
                sock.send(answer)  # a few bytes, which fit: else nobody reads them
        except BlockingIOError:
            return
        except (OSError, MalformedMessage, RemoteProtocolError):
            strange = b""
        if strange is not None:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self._callers[sock]
        sock.close()

    def _be_on_time(self, now: float) -> None:
        for sock in [each for each, (_, end) in self._callers.items() if end <= now]:
            self._end(sock)
        for listener in [each for each, end in self._paused.items() if end <= now]:
            del self._paused[listener]
            self._selector.register(listener, selectors.EVENT_READ, self._callers_come)


def _ports(socks: list[socket.socket]) -> tuple[int, ...]:
    return tuple(int(sock.getsockname()[1]) for sock in socks)


def _bound(kind: int, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        sock.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(limits.ECHO_CALLERS_MAX)
    except BaseException:
        sock.close()
        raise
    return sock
