"""
``crust node --control SOCKET``: one node for several programs, by a Unix socket.

Each connection speaks the lines of `control`, with a `Control` of its own; `hub` decides who hears what.
docs/control-channel.md is the reference.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crust

from ..runtime.local_socket import LocalSocket
from .control import BadRequest, Control
from .errors import CommandError
from .hangup import Hangups
from .hub import Hub, Subscriber
from .lines import Lines
from .options import load_config, start_node
from .rendezvous import Links, rendezvous_of
from .signals import held

if TYPE_CHECKING:
    from .as_json import JSON
    from .context import Context

__all__ = ["ControlSocket", "Server", "run"]

_log = logging.getLogger("crust.cli.control_socket")

CLIENTS_MAX = 256  # connections at once; more are told so and closed
CLOSE_TIMEOUT = 2.0  # seconds that programs have to read what is left when the node has closed
_NO_THREAD = "a program at the control socket was turned away: %s (more memory, or a higher ulimit -u, would help)"
_ACCEPT_PAUSE = 1.0  # seconds without new connections after the system refused one
_PIECE = 8192  # bytes written at once: the system frees the room of one when all of it has been read,
_LOOK = struct.pack("@ll", 1, 0)  # and tells who waits when most is free; so a second is waited, then it is tried again


class ControlSocket(LocalSocket):
    """
    The socket of ``--control``: see there.

    Raises:
        CommandError: It cannot be had at that path; the text says why.
        OSError: The folder cannot be used.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, backlog=CLIENTS_MAX)

    def __enter__(self) -> socket.socket:
        if not hasattr(socket, "AF_UNIX"):
            raise CommandError("this system has no Unix sockets for Python: start the node with --json instead")
        try:
            with held():
                return super().__enter__()
        except crust.ListenError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            if self._socket is not None:  # it came meanwhile, and nobody else knows of the socket yet
                self.__exit__(None, None, None)
            raise


class Server:
    """
    Serves the programs that connect.

    Args:
        listener: From `ControlSocket`.
        hub: Where they meet.
        first: The first line that each gets.
        make_control: Makes a `Control`, given where its replies go and what does ``subscribe``.
        line_max: Bytes of the longest line.
    """

    def __init__(
        self,
        listener: socket.socket,
        hub: Hub,
        first: dict[str, JSON],
        make_control: Callable[..., Control],
        line_max: int,
    ) -> None:
        self._listener = listener
        self._hub = hub
        self._first = first
        self._make_control = make_control
        self._line_max = line_max
        self._lock = threading.Lock()  # guards _clients, _closed and the pipe
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._closed = False
        self._wake_out, self._wake_in = os.pipe()

    def run(self) -> None:
        """Accept programs until one of them says ``stop``."""
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_out, selectors.EVENT_READ)
                selector.register(self._listener, selectors.EVENT_READ)
                if any(key.fd == self._wake_out for key, _ in selector.select()):
                    return
                try:
                    sock, _ = self._listener.accept()
                except BlockingIOError:
                    continue  # it has gone already
                except OSError as error:
                    _log.warning("cannot take a program in: %s; trying again in a moment", error)
                    selector.unregister(self._listener)
                    if selector.select(_ACCEPT_PAUSE):
                        return
                    continue
            self._welcome(sock)

    def stop(self) -> None:
        """Make `run` return."""
        with self._lock:
            if not self._closed:
                os.write(self._wake_in, b"\0")

    def close(self, timeout: float) -> None:
        """After `Hub.close`: programs get what waits for them, as far as the time allows, then the end of the line."""
        end = time.monotonic() + timeout
        with self._lock:
            clients = dict(self._clients)
        for sock in clients.values():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        for thread, sock in clients.items():
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in clients:
            thread.join(1.0)
        with self._lock:
            self._closed = True
            os.close(self._wake_out)
            os.close(self._wake_in)

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        thread = threading.Thread(
            target=self._run_client, args=(sock,), name="crust-control-client", daemon=True
        )
        with self._lock:
            if len(self._clients) >= CLIENTS_MAX:
                _log.warning("refused a program: %d are connected already", CLIENTS_MAX)
                sock.close()
                return
            self._clients[thread] = sock
        try:
            thread.start()
        except RuntimeError as error:  # the system has none: the node goes on for the others
            _log.warning(_NO_THREAD, error)
            self._forget(thread, sock)

    def _run_client(self, sock: socket.socket) -> None:
        """Read one program's commands; its lines are written by a thread beside this one."""
        subscriber = self._hub.join(self._first, functools.partial(_shut, sock))
        writer = threading.Thread(
            target=_write, args=(sock, subscriber), name="crust-control-writer", daemon=True
        )
        try:
            writer.start()
        except RuntimeError as error:  # the system has none
            _log.warning(_NO_THREAD, error)
            self._hub.leave(subscriber)
            self._forget(threading.current_thread(), sock)
            return
        control = self._make_control(
            subscriber.reply, lambda events, peers: self._hub.subscribe(subscriber, events, peers)
        )
        try:
            with Lines(sock.fileno(), self._line_max) as lines:
                _read(lines, subscriber, control)
        except OSError as error:  # it has gone without reading everything
            _log.info("a program has gone: %s", error)
        finally:
            self._hub.leave(subscriber)
            if control.stopped:
                self.stop()
            control.close()  # its commands under way are still answered
            subscriber.finish()
            writer.join()
            self._forget(threading.current_thread(), sock)

    def _forget(self, thread: threading.Thread, sock: socket.socket) -> None:
        """The last thing that the thread of a program does, or that is done for one that cannot begin."""
        with self._lock:
            del self._clients[thread]
        sock.close()


def _read(lines: Lines, subscriber: Subscriber, control: Control) -> None:
    while not control.stopped:
        try:
            line = lines.read()
        except ValueError as error:
            if subscriber.may_ask():
                control.refuse(BadRequest(str(error)))
            continue
        if line is None:
            return
        if line.strip():
            if not subscriber.may_ask():
                return
            control.handle(line)


def _write(sock: socket.socket, subscriber: Subscriber) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _LOOK)
    while True:
        data = subscriber.take()
        if data is None:
            _shut(sock)
            return
        try:
            rest = memoryview(data)
            while rest:
                with contextlib.suppress(BlockingIOError):  # no room, or no word yet that there is
                    rest = rest[sock.send(rest[:_PIECE]) :]
                    subscriber.has_read()
        except OSError:
            subscriber.finish(cut=True)
            return


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def run(arguments: argparse.Namespace, context: Context, kinds: Iterable[type[Any]]) -> int:
    """Run a node for the programs that connect to the socket, until one says ``stop``, Ctrl-C or SIGTERM."""
    config = load_config(arguments, context.environ)
    hub = Hub(kinds)
    links = Links(rendezvous_of(arguments, context), context)

    def watch(node: crust.Service) -> None:
        links.watch(node)
        links.follow(node, functools.partial(rendezvous_of, arguments, context))
        for kind in kinds:
            if kind is not crust.NewMessage:
                node.on(kind, hub.tell)

    with Hangups(context.terminal) as hangups, ControlSocket(Path(arguments.control)) as listener, links:
        node = start_node(arguments, context, one_shot=False, prepare=watch)
        server = None
        try:
            server = Server(
                listener,
                hub,
                {"event": "started", "peer": str(node.id), "contact": str(node.contact)},
                functools.partial(
                    Control,
                    node,
                    config.network.role,
                    context.book,
                    arguments.only,
                ),
                2 * config.session.max_message_size + 65_536,  # base64 of the largest message, and the rest
            )
            hangups.serve(node)
            context.terminal.out(str(node.contact))
            links.begin(node)
            node.start_bootstrap()  # back into its network, as crust node for people
            server.run()
        finally:
            hub.end()
            node.close()
            hub.close(CLOSE_TIMEOUT)
            if server is not None:
                server.close(CLOSE_TIMEOUT)
    return 0
