"""
Questions of other programs on this machine, answered on one thread: a bounded number of them, each in bounded time.

What is asked and answered is an :class:`Exchange`'s; here are the sockets alone. Whoever sends too slowly, reads too
slowly or says nothing is cut off; when all places are taken, who has been silent longest makes room. Nobody can make
the node hold more than ``clients`` questions and answers.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from .selector_loop import SelectorLoop
from .threads import abandon_socket

__all__ = ["Exchange", "LocalServer"]

_READ = 16_384
_LAST_READS = 4
_PAUSE = 1.0  # seconds without new programs after the system refused one
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Exchange(Protocol):
    """The talk with one program (sans-IO)."""

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """
        Take what came; nothing: the program says no more.

        Returns:
            What to answer, and whether that is the last word.
        """


class _Client:
    __slots__ = ("deadline", "exchange", "last", "pending", "sock")

    def __init__(self, sock: socket.socket, exchange: Exchange, deadline: float, greeting: bytes) -> None:
        self.sock = sock
        self.exchange = exchange
        self.deadline = deadline
        self.pending = memoryview(greeting)
        self.last = False
        """Nothing comes after what is pending."""


class LocalServer:
    """
    Answers on the thread that calls :meth:`run`.

    Args:
        listeners: Listening sockets that do not block, and for each what makes an exchange with its greeting for a
            program that has connected; None turns it away. They stay the caller's, who closes them after the end.
        now: The clock.
        clients: Programs at once, for all listeners together.
        patience: Seconds that a program has for its next question, and to read an answer.
        bites: Told the name of a limit that has bitten; on that thread.
        report: Called with what an exchange raises, which must not happen; its program is cut off.

    Raises:
        OSError: There are no descriptors for it.
    """

    def __init__(
        self,
        listeners: Sequence[tuple[socket.socket, Callable[[socket.socket], tuple[Exchange, bytes] | None]]],
        now: Callable[[], float],
        *,
        clients: int,
        patience: float,
        report: Callable[[BaseException], object],
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._bites = bites
        self._listeners = listeners
        self._report = report
        self._now = now
        self._clients_max = clients
        self._patience = patience
        self._paused_until = 0.0
        self._clients: dict[socket.socket, _Client] = {}
        self._loop = SelectorLoop(sock for sock, _ in listeners)

    def close(self) -> None:
        """End :meth:`run` soon. Any thread; idempotent; never blocks."""
        self._loop.close()

    def release(self) -> None:
        """Free the descriptors, if :meth:`run` does not come."""
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        self._loop.release()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._loop.abandon()
        for client in self._clients.values():
            abandon_socket(client.sock)
        self._clients = {}

    def run(self) -> None:
        """Serve until :meth:`close`. Once only."""
        self._loop.run(self._turn, self.release)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        ready = self._loop.select(self._wait())
        if self._loop.closed:
            return
        now = self._now()
        for sock, events in ready:
            if sock in self._clients:
                self._serve(self._clients[sock], events, now)
            elif sock.fileno() >= 0:  # else it had to make room just now
                self._accept(sock, now)
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            for sock, _ in self._listeners:
                self._loop.selector.register(sock, selectors.EVENT_READ)
        for client in [each for each in self._clients.values() if now >= each.deadline]:
            self._bites("STATUS_PATIENCE")
            self._drop(client)

    def _wait(self) -> float | None:
        """Seconds until something is due."""
        due = [client.deadline for client in self._clients.values()]
        if self._paused_until:
            due.append(self._paused_until)
        return max(0.0, min(due) - self._now()) if due else None

    def _accept(self, listener: socket.socket, now: float) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:  # most often it has gone already
            if error.errno in _OUT_OF and not self._paused_until:
                self._paused_until = now + _PAUSE
                for each, _ in self._listeners:
                    self._loop.selector.unregister(each)
            return
        welcome = next(make for each, make in self._listeners if each is listener)
        begun = welcome(sock)
        if begun is None:
            sock.close()
            return
        if len(self._clients) >= self._clients_max:
            self._bites("STATUS_CLIENTS")
            self._drop(min(self._clients.values(), key=lambda each: each.deadline))
        sock.setblocking(False)
        client = self._clients[sock] = _Client(sock, begun[0], now + self._patience, begun[1])
        self._loop.selector.register(sock, selectors.EVENT_READ)
        self._write(client)

    def _serve(self, client: _Client, events: int, now: float) -> None:
        if events & selectors.EVENT_WRITE:
            self._write(client)
            return
        try:
            data = client.sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)
            return
        try:
            answer, last = client.exchange.receive(data)
        except Exception as error:  # a fault of ours must not end the service for all
            self._report(error)
            self._drop(client)
            return
        if answer:
            client.deadline = now + self._patience
            client.pending = memoryview(answer)
        client.last = last or not data
        self._write(client)

    def _write(self, client: _Client) -> None:
        """Write on; nothing is read until all is written."""
        try:
            while client.pending:
                client.pending = client.pending[client.sock.send(client.pending) :]
        except (BlockingIOError, InterruptedError):
            self._loop.selector.modify(client.sock, selectors.EVENT_WRITE)
            return
        except OSError:
            self._drop(client)
            return
        if client.last:
            self._drop(client)
        else:
            self._loop.selector.modify(client.sock, selectors.EVENT_READ)

    def _drop(self, client: _Client) -> None:
        self._loop.selector.unregister(client.sock)
        del self._clients[client.sock]
        if client.last and not client.pending:
            with contextlib.suppress(OSError):  # a close with unread bytes behind it would take the answer along
                client.sock.shutdown(socket.SHUT_WR)
                for _ in range(_LAST_READS):
                    client.sock.recv(_READ)
        client.sock.close()
