"""
A STUN client of the laboratory's own (RFC 8489, RFC 5780), which shares nothing with crust's.

``python -m tests.natlab.stun await "ADDRESS PORT" …`` ends when all of these answer, over UDP and TCP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
import struct
import sys
import time

Address = tuple[str, int]

PATIENCE = 1.5  # seconds until silence is an answer
INTERVAL = 0.25  # seconds between two requests that are the same
CHANGE_PORT, CHANGE_BOTH = 2, 6  # flags of CHANGE-REQUEST

_COOKIE = 0x2112A442
_MAPPED, _CHANGE_REQUEST, _XOR_MAPPED, _OTHER = 0x0001, 0x0003, 0x0020, 0x802C


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server said."""

    mapped: Address
    """Where it saw the request come from."""

    other: Address | None
    """Its other address and port, if it has them."""


def request(change: int = 0) -> bytes:
    """A new Binding request; `change`: from where else it is to be answered."""
    attribute = struct.pack("!HHI", _CHANGE_REQUEST, 4, change) if change else b""
    return struct.pack("!HHI", 0x0001, len(attribute), _COOKIE) + os.urandom(12) + attribute


def answered(data: bytes, asked: bytes) -> Answer | None:
    """What a message says; None if it is no answer to that request."""
    if len(data) < 20 or data[:2] != b"\x01\x01" or data[4:20] != asked[4:20]:
        return None
    found: dict[int, Address] = {}
    rest = data[20 : 20 + int.from_bytes(data[2:4], "big")]
    while len(rest) >= 4:
        kind, length = struct.unpack_from("!HH", rest)
        value = rest[4 : 4 + length]
        if kind in (_MAPPED, _OTHER):
            found[kind] = _address(value)
        elif kind == _XOR_MAPPED:
            key = asked[4:20]
            found[kind] = _address(value[:2] + bytes(a ^ b for a, b in zip(value[2:], key[:2] + key, strict=False)))
        rest = rest[4 + (length + 3) // 4 * 4 :]
    return Answer(found[_XOR_MAPPED], found.get(_OTHER))


def _address(value: bytes) -> Address:
    family = {1: socket.AF_INET, 2: socket.AF_INET6}[value[1]]
    return socket.inet_ntop(family, value[4:]), int.from_bytes(value[2:4], "big")


def family(address: str) -> socket.AddressFamily:
    """That of an address in words."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def over_udp(sock: socket.socket, server: Address, change: int = 0) -> Answer | None:
    """Ask one server until it answers; None if it did not in `PATIENCE` seconds."""
    return all_over_udp([(sock, server, change)])[0]


def all_over_udp(questions: list[tuple[socket.socket, Address, int]]) -> list[Answer | None]:
    """Several questions at once, each over its own socket: socket, server, and where it is to answer from."""
    asked = {sock: request(change) for sock, _, change in questions}
    found: dict[socket.socket, Answer] = {}
    end = time.monotonic() + PATIENCE
    again = 0.0
    while len(found) < len(questions) and (now := time.monotonic()) < end:
        if now >= again:
            again = now + INTERVAL
            for sock, server, _ in questions:
                if sock not in found:
                    with contextlib.suppress(OSError):  # told by ICMP that there is no way: as good as silence
                        sock.sendto(asked[sock], server)
        for sock in select.select([each for each in asked if each not in found], [], [], min(again, end) - now)[0]:
            with contextlib.suppress(OSError):
                if answer := answered(sock.recv(2048), asked[sock]):
                    found[sock] = answer
    return [found.get(sock) for sock, _, _ in questions]


def over_tcp(sock: socket.socket) -> Answer | None:
    """Ask over a connection; None if it ended."""
    asked, data = request(), b""
    sock.sendall(asked)
    while len(data) < 20 or len(data) < 20 + int.from_bytes(data[2:4], "big"):
        if not (more := sock.recv(2048)):
            return None
        data += more
    return answered(data, asked)


def _answers(server: Address) -> bool:
    kind = family(server[0])
    with socket.socket(kind, socket.SOCK_DGRAM) as sock:
        if over_udp(sock, server) is None:
            return False
    try:
        with socket.create_connection(server, 1.0) as connection:
            return over_tcp(connection) is not None
    except OSError:
        return False


if __name__ == "__main__":
    assert sys.argv[1] == "await"
    deadline = time.monotonic() + 30.0
    for word in sys.argv[2:]:
        host, port = word.split()
        while not _answers((host, int(port))):
            if time.monotonic() > deadline:
                sys.exit(f"no answer from {word}")
            time.sleep(0.01)
