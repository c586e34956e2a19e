"""
``recv`` and ``sendall`` over any connection, as over a socket: for tools and tests, where a thread has time
to wait.
"""

from __future__ import annotations

import collections
import errno
import threading

from ..exceptions import Timeout
from ..runtime.threads import Deadline, Spawn
from .contract import Connection

__all__ = ["BlockingStream"]

_HIGH_WATER = 1024 * 1024  # bytes kept for the reader before the connection is paused
_LOW_WATER = 256 * 1024  # bytes at which it goes on


class BlockingStream:
    """
    A connection with a buffer in front. Thread-safe; one thread may receive while another sends.

    Args:
        connection: Not started yet; it is started here and belongs to the stream.
        spawn: Makes the reader's thread.
    """

    def __init__(self, connection: Connection, spawn: Spawn) -> None:
        self.connection = connection
        self._changed = threading.Condition()  # guards all below; told of every change
        self._chunks: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._lost = False
        self._closed = False
        self._error: OSError | None = None
        self._writable = False
        self._sending = threading.Lock()  # one sendall at a time
        connection.start(self, spawn)

    # --- the sink -------------------------------------------------------------------------------------------

    def data_received(self, data: memoryview) -> None:
        """For the connection only."""
        with self._changed:
            self._chunks.append(bytes(data))
            self._size += len(data)
            if self._size >= _HIGH_WATER and not self._paused:
                self._paused = True
                self.connection.pause()
            self._changed.notify_all()

    def eof_received(self) -> None:
        """For the connection only, if it is one that can be half open."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def connection_lost(self, error: OSError | None) -> None:
        """For the connection only."""
        with self._changed:
            self._lost = True
            self._error = error
            self._changed.notify_all()

    def _now_writable(self) -> None:
        with self._changed:
            self._writable = True
            self._changed.notify_all()

    # --- receiving ------------------------------------------------------------------------------------------

    def recv(self, size: int, timeout: float | None = None) -> bytes:
        """
        The next bytes, 1 to ``size``; ``b""`` once the stream has ended in order or has been closed here.

        Raises:
            Timeout: Nothing came within ``timeout`` seconds (None: for ever).
            OSError: The connection broke.
        """
        deadline = Deadline(timeout)
        with self._changed:
            while not self._chunks and not self._ended and not self._lost and not self._closed:
                self._wait(deadline, "nothing was received")
            if self._closed:
                return b""
            if not self._chunks:
                if self._error is not None:
                    raise self._error
                return b""
            return self._take_locked(size)

    def recv_exactly(self, size: int, timeout: float | None = None) -> bytes:
        """
        The next ``size`` bytes.

        Raises:
            Timeout: They were not all there within ``timeout`` seconds (None: for ever); what had come is
                lost.
            EOFError: The stream ended before.
            OSError: The connection broke before.
        """
        deadline = Deadline(timeout)
        parts = bytearray()
        while len(parts) < size:
            part = self.recv(size - len(parts), deadline.remaining())
            if not part:
                raise EOFError(f"the stream ended after {len(parts)} of {size} bytes")
            parts += part
        return bytes(parts)

    def _take_locked(self, size: int) -> bytes:
        chunk = self._chunks.popleft()
        if len(chunk) > size:
            self._chunks.appendleft(chunk[size:])
            chunk = chunk[:size]
        self._size -= len(chunk)
        if self._paused and self._size <= _LOW_WATER:
            self._paused = False
            self.connection.resume()
        return chunk

    # --- sending --------------------------------------------------------------------------------------------

    def sendall(self, data: bytes, timeout: float | None = None) -> None:
        """
        Send all of ``data``.

        Raises:
            Timeout: Not all was accepted within ``timeout`` seconds (None: for ever); some of it may have
                been.
            OSError: The connection is closed or broken.
        """
        deadline = Deadline(timeout)
        rest = memoryview(data)
        with self._sending:
            while rest:
                self._writable = False
                sent = self.connection.send(rest)
                rest = rest[sent:]
                if rest and not sent:
                    self._await_room(deadline, len(rest))

    def _await_room(self, deadline: Deadline, left: int) -> None:
        self.connection.when_writable(self._now_writable)
        with self._changed:
            while not self._writable and not self._closed:
                if self._lost:
                    raise self._error or OSError(errno.EPIPE, "the stream has ended", str(self.connection.remote))
                self._wait(deadline, f"{left} bytes could not be sent")
            if self._closed:
                raise OSError(errno.EPIPE, "the stream was closed", str(self.connection.remote))

    def _wait(self, deadline: Deadline, what: str) -> None:
        if deadline.expired:
            raise Timeout(f"{what} in time ({self.connection.remote})")
        self._changed.wait(deadline.remaining())

    # --- ending ---------------------------------------------------------------------------------------------

    def wait_lost(self, timeout: float | None = None) -> bool:
        """
        Wait until the connection has ended; False if it has not within ``timeout`` seconds (None: for ever).
        """
        deadline = Deadline(timeout)
        with self._changed:
            while not self._lost and not deadline.expired:
                self._changed.wait(deadline.remaining())
            return self._lost

    def close(self) -> None:
        """End the stream in order, and wake all who wait. Never blocks; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.connection.close()

    def abort(self) -> None:
        """End it now, and wake all who wait. Never blocks; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.connection.abort()

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
