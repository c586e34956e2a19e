"""
Where callers wait without a thread until they have said something valid.

A caller that says nothing, or noise, is not worth the 0.3 ms that the start and the end of a thread cost. So the
listener's thread reads it, from the selector in which it waits for the next caller. Nothing else is different: whoever
ends the connection shuts its socket down, which the selector sees. The first valid message brings a reader of its own.

Only for sinks with an attribute ``greeted``, and only on native threads: greenlets cost too little to save them.
"""

from __future__ import annotations

import errno
import selectors
import threading
from typing import TYPE_CHECKING, Any

from .. import limits
from ..runtime.threads import Spawn, are_dear
from .contract import Sink

if TYPE_CHECKING:
    from .tcp import TcpTransport
    from .tcp_connection import TcpConnection

__all__ = ["Lobby"]


class _Guest:
    """Who waits."""

    __slots__ = ("connection", "descriptor", "sink", "spawn")

    def __init__(self, connection: TcpConnection, sink: Sink, spawn: Spawn, descriptor: int) -> None:
        self.connection = connection
        self.sink = sink
        self.spawn = spawn
        self.descriptor = descriptor


class Lobby:
    """
    The lobby of one listener. All of it belongs to the thread that has opened it; :meth:`take` may be asked by others.

    Args:
        selector: The listener's. Guests are what has a guest for data there.
        transport: Its ``on_crash`` gets what sinks raise.
    """

    def __init__(self, selector: selectors.BaseSelector, transport: TcpTransport) -> None:
        self._selector = selector
        self._transport = transport
        self._thread: int | None = None  # while it is open
        self._buffer = memoryview(bytearray(limits.READ_SIZE))

    def open(self) -> None:
        """From now on the calling thread serves it."""
        if are_dear():
            self._thread = threading.get_ident()

    def take(self, connection: TcpConnection, sink: Sink, spawn: Spawn) -> bool:
        """Let somebody wait here; False if it needs a reader at once."""
        if self._thread != threading.get_ident() or getattr(sink, "greeted", True):
            return False
        descriptor = connection.waiting_fileno()
        if descriptor < 0:
            return False
        guest = _Guest(connection, sink, spawn, descriptor)
        try:
            self._selector.register(descriptor, selectors.EVENT_READ, guest)
        except OSError:  # the system watches no more sockets for us
            return False
        return True

    def serve(self, guest: Any, closing: bool = False) -> None:
        """Read what a guest has said, and see it off if it has greeted or the lobby closes; takes any ``data``."""
        if not isinstance(guest, _Guest):
            return
        connection, sink = guest.connection, guest.sink
        try:
            if not connection.paused and not connection.read_waiting(sink, self._buffer, lambda: self._leave(guest)):
                return
            if closing or connection.paused or getattr(sink, "greeted", True):
                self._see_off(guest)
        except BaseException as error:  # whatever befell this one, the others are well
            self._transport.on_crash("crust-tcp-lobby", error)

    def empty(self) -> None:
        """The listener ends: whoever is still waited for gets a reader."""
        self._thread = None
        for key in list(self._selector.get_map().values()):
            self.serve(key.data, closing=True)

    def _leave(self, guest: _Guest) -> None:
        self._selector.unregister(guest.descriptor)

    def _see_off(self, guest: _Guest) -> None:
        self._leave(guest)
        try:
            guest.connection.start_reader(guest.sink, guest.spawn)
        except Exception as error:
            text = f"no thread to read it: {error}"
            guest.connection.give_up(guest.sink, OSError(errno.EAGAIN, text, str(guest.connection.remote)))
            if not isinstance(error, RuntimeError):
                raise
