"""websockets.sync over TLS 1.3, without compression, its other settings as they come."""

from __future__ import annotations

import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from ..contract import Options
from ..sides import ChannelSpokes, ThreadedHub
from .tls import client_context, server_context

__all__ = ["Hub", "Spokes"]


class SocketChannel:
    """A :class:`~benchmarks.contract.Channel` over a WebSocket."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.send = connection.send

    def receive(self) -> bytes:
        try:
            data: bytes = self._connection.recv()
        except ConnectionClosed:
            return b""
        return data

    def count(self, size: int) -> int | None:
        recv = self._connection.recv
        count = 0
        try:
            while len(recv()) == size:
                count += 1
        except ConnectionClosed:
            return None
        return count

    def close(self) -> None:
        self._connection.close()


class Hub(ThreadedHub):
    """The library's threaded server."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        self._closing = threading.Event()

    def listen(self) -> list[object]:
        """Begin; returns the address to dial."""
        context = server_context(self.options)
        # Session tickets come right after the handshake; while the client's reader takes them, its first request can
        # get stuck (one connection in fifty or so). Nobody resumes a session here.
        context.num_tickets = 0
        self._server = serve(
            self._serve, "127.0.0.1", 0, ssl=context, compression=None, max_size=None, reuse_port=False
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return list(self._server.socket.getsockname())

    def _serve(self, connection: ServerConnection) -> None:
        self.attach(SocketChannel(connection))
        if self.role == "stream":
            self._closing.wait()  # the connection is closed when this returns

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()


class Spokes(ChannelSpokes):
    """One connection each, one TLS context for all."""

    _context: Any = None

    def connect(self) -> SocketChannel:
        if self._context is None:
            self._context = client_context(self.options)
        host, port = self.address
        url = f"wss://{host}:{port}"
        return SocketChannel(connect(url, ssl=self._context, compression=None, max_size=None, proxy=None))
