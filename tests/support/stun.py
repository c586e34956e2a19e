"""A STUN server for tests that says what the test wants, right or wrong, on UDP and TCP."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from types import TracebackType

from crust.nat.stun.message import Address, Class, Message, build_stun, parse_stun_untrusted


def request(**fields: object) -> Message:
    """A question."""
    return Message(Class.REQUEST, os.urandom(12), **fields)  # type: ignore[arg-type]


def ask_udp(sock: socket.socket, server: Address, message: Message, timeout: float = 5.0) -> Message:
    """The answer of ``server`` to a question from ``sock``."""
    sock.settimeout(timeout)
    sock.sendto(build_stun(message), server)
    data, address = sock.recvfrom(2000)
    assert address[:2] == server[:2]
    return parse_stun_untrusted(data)


def read_message(sock: socket.socket) -> bytes:
    """The next whole message of a stream; empty at its end."""
    data = b""
    while len(data) < 20 or len(data) < 20 + int.from_bytes(data[2:4], "big"):
        more = sock.recv(1 if len(data) >= 20 else 20 - len(data))
        if not more:
            return b""
        data += more
    return data


class StunServer:
    """
    A context manager.

    Args:
        mapped: The address that it tells everybody; None: it says the truth.
        mute: It receives, and answers nothing.
    """

    def __init__(self, host: str = "127.0.0.1", mapped: Address | None = None, *, mute: bool = False) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.mapped = mapped
        self.mute = mute
        self.heard: list[tuple[str, Address]] = []
        """By which protocol, and from where, questions came."""
        self._tcp, self._udp = _one_port(host, family)
        self.address: Address = (host, self._tcp.getsockname()[1])
        self._near, self._far = socket.socketpair()
        self._callers: dict[socket.socket, bytes] = {}
        self._thread = threading.Thread(target=self._run, name="test-stun", daemon=True)

    @property
    def name(self) -> str:
        """As a configuration has it."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self) -> StunServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._near.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _answer(self, protocol: str, data: bytes, source: Address) -> bytes:
        message = parse_stun_untrusted(data)
        assert message.class_ is Class.REQUEST
        self.heard.append((protocol, source))
        return build_stun(Message(Class.SUCCESS, message.transaction, xor_mapped=self.mapped or source))

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self._tcp, self._udp, self._far):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._far:
                        for each in (*self._callers, self._tcp, self._udp, self._far):
                            each.close()
                        return
                    if sock is self._udp:
                        data, source = sock.recvfrom(2000)
                        answer = self._answer("udp", data, source[:2])
                        if not self.mute:
                            sock.sendto(answer, source)
                    elif sock is self._tcp:
                        caller, _ = sock.accept()
                        self._callers[caller] = b""
                        selector.register(caller, selectors.EVENT_READ)
                    else:
                        self._read(selector, sock)

    def _read(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            data = sock.recv(2000)
        except OSError:
            data = b""
        if not data:
            selector.unregister(sock)
            del self._callers[sock]
            sock.close()
            return
        self._callers[sock] += data
        if len(self._callers[sock]) >= 20:
            answer = self._answer("tcp", self._callers.pop(sock), sock.getpeername()[:2])
            self._callers[sock] = b""
            if not self.mute:
                sock.sendall(answer)


def _one_port(host: str, family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """A listener by TCP, and a UDP socket at the same port: one that others have by UDP will not do."""
    while True:
        tcp = socket.create_server((host, 0), family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, tcp.getsockname()[1]))
        except OSError as error:
            tcp.close()
            udp.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return tcp, udp
