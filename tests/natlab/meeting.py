"""
Two hosts that want to reach each other through their NATs, as plainly as it can be done, and with nothing of crust.

``python -m tests.natlab.meeting PROGRAM ARGUMENTS``: ``introduce`` runs on a server, ``udp`` or ``tcp`` on each host.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.natlab.stun import Address, family

PATIENCE = 2.0  # seconds until the two give up
GREETING = b"hello"


def introduce(address: str) -> None:
    """Tell two callers each other's addresses, over UDP and TCP: whatever comes is answered once both have called."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, 0), family=family(address)))
        sock = stack.enter_context(socket.socket(family(address), socket.SOCK_DGRAM))
        sock.bind(listener.getsockname())
        tell(port=sock.getsockname()[1])
        datagrams: dict[bytes, Address] = {}
        calls: list[tuple[socket.socket, Address]] = []
        while True:
            if sock in select.select([sock, listener], [], [])[0]:
                name, sender = sock.recvfrom(100)
                datagrams[name] = sender[:2]
                for each in datagrams.keys() - {name}:
                    sock.sendto(json.dumps(datagrams[each]).encode(), sender)
            else:
                call, caller = listener.accept()
                calls.append((stack.enter_context(call), caller[:2]))
                if len(calls) == 2:
                    for (one, _), (_, other) in zip(calls, reversed(calls), strict=True):
                        one.sendall(json.dumps(other).encode() + b"\n")


def udp(address: str, server: str, port: int, name: str) -> None:
    """Send to the other while listening, and answer to wherever something came from; whether both heard."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.settimeout(0.05)
        other: Address | None = None
        heard = False
        end = time.monotonic() + PATIENCE
        after = 0  # datagrams sent since something was heard: the other may not have been heard by then
        while time.monotonic() < end and after < 10:
            with contextlib.suppress(OSError):
                sock.sendto(GREETING, other) if other else sock.sendto(name.encode(), (server, port))
            after += heard
            with contextlib.suppress(OSError):
                data, sender = sock.recvfrom(100)
                if sender[:2] == (server, port):
                    other = tuple(json.loads(data))
                else:
                    heard, other = True, sender[:2]  # a symmetric NAT has another port for us than for the server
        tell(heard=heard)


def tcp(address: str, server: str, port: int, name: str) -> None:
    """Connect to the other and listen, both from the port that the server knows; whether one of the two came to be."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_reusing(address, 0))
        listener.listen()
        local = listener.getsockname()[1]
        call = stack.enter_context(_reusing(address, local))
        call.connect((server, port))
        with call.makefile("rb") as lines:
            other = tuple(json.loads(lines.readline()))
        tell(heard=any(_greeted(link) for link in _links(listener, address, local, other)))


def _links(listener: socket.socket, address: str, local: int, other: Address) -> Iterator[socket.socket]:
    """What is accepted, or connected; a refusal is followed by another attempt after a while that is never the same."""
    end = time.monotonic() + PATIENCE
    while (now := time.monotonic()) < end:
        with _reusing(address, local) as dial:
            dial.setblocking(False)
            with contextlib.suppress(OSError):  # the listener has it already
                dial.connect_ex(other)
            readable, writable, _ = select.select([listener], [dial], [], end - now)
            if readable:
                with listener.accept()[0] as link:
                    yield link
            elif writable and not dial.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                yield dial
            dial.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(random.uniform(0.005, 0.05))


def _greeted(link: socket.socket) -> bool:
    link.settimeout(PATIENCE)
    try:
        link.sendall(GREETING)
        return link.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
    except OSError:
        return False


def _reusing(address: str, port: int) -> socket.socket:
    sock = socket.socket(family(address), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    return sock


def tell(**found: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    programs = {each.__name__: each for each in (introduce, udp, tcp)}
    programs[sys.argv[1]](**json.loads(sys.argv[2]))
