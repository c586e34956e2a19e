"""A STUN server with two addresses and two ports on loopback, for UDP and TCP (RFC 5780): threads in this process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from crust.nat.stun.message import Class, Message, build_stun, parse_stun_untrusted

HOSTS = ("127.0.0.1", "127.0.0.2")


class StunServer:
    """Answers until closed. Not all systems have 127.0.0.2: Linux does."""

    def __init__(self) -> None:
        self.answering = True
        self.port, self._ends = _find_ports()
        self._threads: list[threading.Thread] = []
        self._callers: list[threading.Thread] = []
        for (host, port), (datagrams, listener) in self._ends.items():
            self._threads.append(threading.Thread(target=self._serve_udp, args=(datagrams, (host, port)), daemon=True))
            self._threads.append(threading.Thread(target=self._serve_tcp, args=(listener, (host, port)), daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def name(self) -> str:
        """What a survey is told."""
        return f"{HOSTS[0]}:{self.port}"

    def _answer(self, data: bytes, at: tuple[str, int], source: tuple[str, int]) -> tuple[bytes, tuple[str, int]]:
        message = parse_stun_untrusted(data)
        ports = sorted({port for _, port in self._ends}, key=lambda port: port != self.port)
        elsewhere = (HOSTS[at[0] == HOSTS[0]], ports[at[1] == ports[0]])
        host = elsewhere[0] if message.change_ip else at[0]
        port = elsewhere[1] if message.change_port else at[1]
        reply = Message(
            Class.SUCCESS, message.transaction, xor_mapped=source, other=elsewhere, padding=message.padding
        )
        return build_stun(reply), (host, port)

    def _serve_udp(self, sock: socket.socket, at: tuple[str, int]) -> None:
        while True:
            try:
                data, source = sock.recvfrom(65536)
            except OSError:
                return
            if not data:
                return
            if self.answering:
                reply, origin = self._answer(data, at, source)
                self._ends[origin][0].sendto(reply, source)

    def _serve_tcp(self, listener: socket.socket, at: tuple[str, int]) -> None:
        while True:
            try:
                sock, source = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=(sock, at, source), daemon=True)
            self._callers.append(thread)
            thread.start()

    def _talk(self, sock: socket.socket, at: tuple[str, int], source: tuple[str, int]) -> None:
        with sock, contextlib.suppress(OSError):
            data = sock.recv(4096)
            if data and self.answering:
                sock.sendall(self._answer(data, at, source)[0])
            sock.recv(1)  # until the other side closes

    def close(self) -> None:
        """End it, and wait for its threads."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            for datagrams, listener in self._ends.values():
                waker.sendto(b"", datagrams.getsockname())
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                if hasattr(listener, "_sock"):  # a greenlet is not woken by that
                    listener.close()
        for thread in (*self._threads, *self._callers):
            thread.join(10)
            assert not thread.is_alive(), "the server does not end"
        for datagrams, listener in self._ends.values():
            datagrams.close()
            listener.close()


def _bind(kind: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _find_ports() -> tuple[int, dict[tuple[str, int], tuple[socket.socket, socket.socket]]]:
    """Two ports that are free on both addresses for UDP and TCP; the first, and the sockets."""
    ends: dict[tuple[str, int], tuple[socket.socket, socket.socket]] = {}
    first = 0
    for _ in range(100):
        got = _try_port()
        if got is None:
            continue
        ends.update(got)
        if first:
            return first, ends
        first = next(iter(got))[1]
    raise AssertionError("no ports are free")


def _try_port() -> dict[tuple[str, int], tuple[socket.socket, socket.socket]] | None:
    made: list[socket.socket] = []
    ends = {}
    port = 0
    try:
        for host in HOSTS:
            made.append(_bind(socket.SOCK_DGRAM, host, port))
            port = made[-1].getsockname()[1]
            made.append(_bind(socket.SOCK_STREAM, host, port))
            made[-1].listen(16)
            ends[host, port] = (made[-2], made[-1])
    except OSError:
        for sock in made:
            sock.close()
        return None
    return ends


@contextlib.contextmanager
def stun_server(use: Callable[[], StunServer] = StunServer) -> Iterator[StunServer]:
    """One for a while."""
    server = use()
    try:
        yield server
    finally:
        server.close()
