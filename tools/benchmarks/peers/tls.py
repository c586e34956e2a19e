"""The standard library's ssl: TLS 1.3, length-prefixed messages, and a certificate from both sides."""

from __future__ import annotations

import contextlib
import socket
import ssl

from ..contract import Options
from . import tcp
from .framed import FramedChannel, dial

__all__ = ["Hub", "Spokes", "client_context", "server_context"]


def server_context(options: Options) -> ssl.SSLContext:
    """TLS 1.3 that asks the caller for its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _mutual(context, options)


def client_context(options: Options) -> ssl.SSLContext:
    """TLS 1.3 with a certificate of our own; the hub's is checked, its address too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _mutual(context, options)


def _mutual(context: ssl.SSLContext, options: Options) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(options.certificate, options.key)
    context.load_verify_locations(options.certificate)
    return context


class Hub(tcp.Hub):
    """Like the hub of raw TCP; the handshake runs on the connection's thread."""

    def listen(self) -> list[object]:
        self._context = server_context(self.options)
        return super().listen()

    def serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a caller that goes away
            self.attach(FramedChannel(self._context.wrap_socket(sock, server_side=True)))


class Spokes(tcp.Spokes):
    """One socket a connection, one context for all; no session is resumed."""

    _context: ssl.SSLContext | None = None

    def connect(self) -> FramedChannel:
        if self._context is None:
            self._context = client_context(self.options)
        sock = dial(self.address)
        return FramedChannel(self._context.wrap_socket(sock, server_hostname="127.0.0.1"))
