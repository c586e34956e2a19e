"""Raw TCP with length-prefixed messages: no encryption, no proof of identity; what the system can do at best."""

from __future__ import annotations

import socket
import threading

from ..sides import ChannelSpokes, ThreadedHub
from .framed import FramedChannel, dial, tune

__all__ = ["Hub", "Spokes"]

_BACKLOG = 1024


class TcpChannel(FramedChannel):
    """Writes length and body of a big message in one system call, without joining them."""

    def _send_big(self, data: bytes) -> None:
        head = len(data).to_bytes(4, "big")
        sent = self._socket.sendmsg([head, data])
        if sent < len(head):
            raise OSError("no room for four bytes")
        if sent < len(head) + len(data):
            self._socket.sendall(memoryview(data)[sent - len(head) :])


class Hub(ThreadedHub):
    """A thread accepts, a thread for each connection serves."""

    def listen(self) -> list[object]:
        """Begin; returns the address to dial."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        threading.Thread(target=self._accept, daemon=True).start()
        return list(self._listener.getsockname())

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(tune(sock),), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        """Serve one connection, on its own thread."""
        self.attach(TcpChannel(sock))

    def close(self) -> None:
        self._listener.close()
        super().close()


class Spokes(ChannelSpokes):
    """One socket a connection."""

    def connect(self) -> FramedChannel:
        return TcpChannel(dial(self.address))
