"""Where other programs of this machine look at a node: the status socket, and the page for Prometheus."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from ... import limits
from ...addresses import Endpoint
from ...exceptions import ListenError, ServiceClosed
from ...runtime.local_server import Exchange, LocalServer
from ...runtime.local_socket import LocalSocket, owner_of
from ...runtime.threads import abandon_socket
from ..node import Node
from .http import MetricsPage
from .lines import StatusLines
from .metrics import as_text
from .reporter import Reporter

__all__ = ["Outlets"]

_Welcome = Callable[[socket.socket], "tuple[Exchange, bytes] | None"]


class Outlets:
    """
    Thread-safe. Nothing is opened unless ``status.socket`` or ``status.metrics`` says so.

    Args:
        node: The node, not started.
        reporter: Takes the snapshots.
        opens: False: never, whatever is configured.
    """

    def __init__(self, node: Node, reporter: Reporter, *, opens: bool) -> None:
        self._node = node
        self._opens = opens
        self._reporter = reporter
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._server: LocalServer | None = None
        self._thread: threading.Thread | None = None
        self._socket: LocalSocket | None = None
        self._tcp: socket.socket | None = None
        self._opened = contextlib.ExitStack()
        self._is_local = True
        self._page = ""
        self._page_until = 0.0

    def start(self) -> None:
        """
        Open what is configured.

        Raises:
            ListenError: The socket or the address cannot be used.
            ServiceClosed: It is over already.
        """
        wanted = self._node.config.status
        if not self._opens or (wanted.socket is None and wanted.metrics is None):
            return
        with contextlib.ExitStack() as undo:
            listeners: list[tuple[socket.socket, _Welcome]] = []
            if wanted.socket is not None:
                listeners.append((self._open_socket(wanted.socket, undo), self._welcome_program))
            if wanted.metrics is not None:
                listeners.append((self._open_metrics(wanted.metrics, undo), self._welcome_http))
            server = LocalServer(
                listeners,
                self._node.clock.now,
                clients=limits.STATUS_CLIENTS,
                patience=limits.STATUS_PATIENCE,
                bites=self._node.refusals.count,
                report=lambda error: self._node.crashed("crust-status", error),
            )
            with self._lock:
                try:
                    if self._closed:
                        raise ServiceClosed("the service has been closed")
                    self._thread = self._node.spawn("crust-status", server.run)
                except BaseException:
                    server.release()
                    raise
                self._server = server
                self._opened = undo.pop_all()

    def _open_socket(self, wanted: str, undo: contextlib.ExitStack) -> socket.socket:
        path = os.path.expanduser(wanted.replace("{peer}", self._node.handshake.key_pair.peer_id.short))
        self._socket = LocalSocket(path, makes_folder=True)
        try:
            sock = undo.enter_context(self._socket)
        except ListenError as error:
            raise ListenError(f"status.socket: {error}") from error
        except OSError as error:
            where = error.filename or path
            raise ListenError(f"status.socket: {where}: {error.strerror}") from error
        self._reporter.socket = path
        return sock

    def _open_metrics(self, wanted: str, undo: contextlib.ExitStack) -> socket.socket:
        endpoint = Endpoint.parse(f"tcp://{wanted}", allow_port_zero=True)
        family = socket.AF_INET if endpoint.family == 4 else socket.AF_INET6
        sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if os.name != "nt":  # there it would let others take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((endpoint.host, endpoint.port))
            sock.listen(limits.STATUS_CLIENTS)
        except OSError as error:
            hint = "; is another node of this machine asked there?" if error.errno == errno.EADDRINUSE else ""
            raise ListenError(f"status.metrics: {wanted}: {error.strerror}{hint}") from error
        sock.setblocking(False)
        self._tcp = sock
        self._reporter.metrics = str(endpoint.with_port(sock.getsockname()[1])).partition("://")[2]
        self._is_local = endpoint.is_loopback
        if not self._is_local:
            self._node.log.warning("whoever reaches %s can read this node's figures", self._reporter.metrics)
        return sock

    # --- the thread -------------------------------------------------------------------------------------------------

    def _welcome_program(self, sock: socket.socket) -> tuple[Exchange, bytes] | None:
        user = owner_of(sock)
        if user not in (None, 0, os.geteuid()):  # the file's mode says so already, where it is heeded
            self._node.log.warning("turned a program of user %s away from the status socket", user)
            return None
        greeting = {"event": "started", "peer": str(self._node.handshake.key_pair.peer_id)}
        return StatusLines(self._snapshot), json.dumps(greeting).encode() + b"\n"

    def _welcome_http(self, _: socket.socket) -> tuple[Exchange, bytes] | None:
        return MetricsPage(self._metrics, local=self._is_local), b""

    def _snapshot(self) -> dict[str, Any]:
        return self._reporter.take().as_dict()

    def _metrics(self) -> str:
        """The page, made at most once in `STATUS_PAGE_LIFE`: asking often costs little."""
        now = self._node.clock.now()
        if now >= self._page_until:
            self._page, self._page_until = as_text(self._reporter.take()), now + limits.STATUS_PAGE_LIFE
        return self._page

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close both; questions under way get no answer. Idempotent; from any thread."""
        with self._lock:
            self._closed = True
            server, thread = self._server, self._thread
            opened, self._opened = self._opened, contextlib.ExitStack()
        if server is not None:
            server.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(limits.CLOSE_GRACE)
        opened.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock); the path is the parent's."""
        self._lock = threading.Lock()
        self._closed = True
        self._opened.pop_all()
        if self._server is not None:
            self._server.abandon()
        if self._socket is not None:
            self._socket.abandon()
        if self._tcp is not None:
            abandon_socket(self._tcp)
