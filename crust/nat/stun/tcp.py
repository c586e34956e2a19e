"""A question over TCP, on a connection of its own, which leaves from a port that we listen on, or from a fresh one."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from ... import limits
from ...addresses import Endpoint
from ...exceptions import MalformedMessage
from ...runtime.flusher import IoLoop
from ...transports.contract import Connection, Transport
from .message import HEADER_SIZE, TRANSACTION_SIZE, Class, Message, parse_stun_untrusted, stun_length
from .transaction import Transaction

__all__ = ["TcpQuestion"]

_ONCE: Sequence[float] = (0.0,)  # the stream repeats what is lost


class TcpQuestion:
    """
    One question; :meth:`run` asks it.

    Args:
        transport: TCP.
        io: The node's I/O loop; running.
        server: An IP address and port.
        local_port: Where to come from; None: a fresh port.
        timeout: Seconds to connect, and as long again for the answer.
    """

    def __init__(
        self,
        transport: Transport,
        io: IoLoop,
        server: Endpoint,
        local_port: int | None,
        timeout: float = limits.STUN_TIMEOUT,
    ) -> None:
        self.transaction: Transaction | None = None
        """What it came to; None: it was not asked."""
        self._dialling = transport.dialling(server, timeout, local_port=local_port)
        self._io = io
        self._local_port = local_port
        self._timeout = timeout
        self._connection: Connection | None = None
        self._buffer = bytearray()
        self._cancelled = False

    def run(self) -> tuple[str, int]:
        """
        Our address as the server sees it. Blocks until the time is over; :meth:`cancel` and the transport's end cut
        that short.

        Raises:
            OSError: There is no answer, or none about that port.
        """
        connection = self._dialling.run()
        self._connection = connection
        if self._cancelled or self._local_port not in (None, connection.local.port):
            connection.abort()
            raise OSError(errno.EADDRINUSE, "the way there from this port is in use", str(self._dialling.endpoint))
        request = Message(Class.REQUEST, os.urandom(TRANSACTION_SIZE))
        transaction = self.transaction = Transaction(request, self._io.now(), _ONCE)
        limit = self._io.call_later(self._timeout, lambda now: connection.abort())
        try:
            connection.send(transaction.request)
            connection.run(self)
        finally:
            limit.cancel()
            connection.abort()  # a reset leaves the way free for the next question
        found = transaction.answer.reflexive if transaction.answer is not None and not transaction.error else None
        if found is None:
            text = transaction.error or "no answer"
            raise OSError(errno.ETIMEDOUT, text, str(self._dialling.endpoint))
        return found

    def cancel(self) -> None:
        """Make :meth:`run` raise soon. Any thread; idempotent."""
        self._cancelled = True
        self._dialling.cancel()
        if self._connection is not None:
            self._connection.abort()

    # --- the connection's sink ----------------------------------------------------------------------------------------

    def data_received(self, data: memoryview) -> None:
        """Bytes of an answer came."""
        transaction = self.transaction
        assert transaction is not None and self._connection is not None
        self._buffer += data
        try:
            while len(self._buffer) >= HEADER_SIZE:
                size = stun_length(self._buffer[:HEADER_SIZE])
                if len(self._buffer) < size:
                    return
                message = parse_stun_untrusted(self._buffer[:size])
                del self._buffer[:size]
                if transaction.receive(message, self._io.now()):
                    self._connection.abort()
                    return
        except MalformedMessage as error:
            transaction.fail(f"what answers there speaks no STUN: {error}")
            self._connection.abort()

    def connection_lost(self, error: OSError | None) -> None:
        """It is over."""
        if self.transaction is not None:
            self.transaction.fail(str(error) if error is not None else "the connection was closed without an answer")
