"""Messages with their length in front, over any stream socket; what raw TCP and ssl have in common."""

from __future__ import annotations

import contextlib
import socket
import struct

from ..contract import WAIT

__all__ = ["FramedChannel", "tune"]

_LENGTH = struct.Struct(">I")
_BUFFER = 65_536  # larger ones make recv() map and unmap memory at each call
_BIG = 16_384  # from here on length and body are written apart, and bodies are received in place


def tune(sock: socket.socket) -> socket.socket:
    """No delays, and no waiting for ever."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)
    return sock


class FramedChannel:
    """
    A :class:`~benchmarks.contract.Channel` over a socket.

    Small messages are joined with their length and cut out of what one ``recv`` returns; big ones are neither joined
    nor cut, which is the fastest of the ways tried for TLS.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""
        self._ready: list[bytes | bytearray] = []
        self._big = False

    def send(self, data: bytes) -> None:
        if len(data) < _BIG:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        else:
            self._send_big(data)

    def _send_big(self, data: bytes) -> None:
        self._socket.sendall(_LENGTH.pack(len(data)))
        self._socket.sendall(data)

    def receive(self) -> bytes | bytearray:
        if not self._ready:
            self._ready = self._take()[::-1]
        return self._ready.pop()

    def _take(self) -> list[bytes | bytearray]:
        """The whole messages that have arrived, at least one; [b""] at the end of the stream."""
        messages: list[bytes | bytearray] = []
        rest, recv, unpack_from = self._rest, self._socket.recv, _LENGTH.unpack_from
        while not messages:
            chunk = recv(4 - len(rest) if self._big else _BUFFER)
            if not chunk:
                return [b""]
            data = rest + chunk if rest else chunk
            end = len(data)
            position = 0
            while end - position >= 4:
                stop = position + 4 + unpack_from(data, position)[0]
                if stop > end:
                    break
                messages.append(data[position + 4 : stop])
                position = stop
            rest = data[position:]
            self._big = False
            if len(rest) >= 4:
                size = unpack_from(rest)[0]
                if size >= _BIG:
                    messages.append(self._take_big(size, rest))
                    rest = b""
        self._rest = rest
        return messages

    def _take_big(self, size: int, begun: bytes) -> bytearray:
        self._big = True  # the next one probably too: ask for its length alone
        message = bytearray(size)
        filled = len(begun) - 4
        message[:filled] = begun[4:]
        view = memoryview(message)
        while filled < size:
            count = self._socket.recv_into(view[filled:])
            if not count:
                raise EOFError("the connection ended inside a message")
            filled += count
        return message

    def count(self, size: int) -> int | None:
        count = 0
        while True:
            for message in self._take():
                if len(message) != size:
                    return count if message else None
                count += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def dial(address: list[object]) -> socket.socket:
    """A tuned connection to a hub."""
    host, port = address
    return tune(socket.create_connection((str(host), int(str(port))), timeout=WAIT))
