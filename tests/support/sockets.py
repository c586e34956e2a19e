"""Plain sockets for tests that look at crust from outside."""

from __future__ import annotations

import os
import random
import select
import socket


def loopback(family: int = 4) -> str:
    """The loopback address of IPv4 or IPv6."""
    return "127.0.0.1" if family == 4 else "::1"


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
_held: list[socket.socket] = []


def unused_port() -> int:
    """
    A TCP port of 127.0.0.1 that refuses connections, as nothing listens there, until the test ends.

    It is held by a socket that does not listen: the system gives it to nobody else. A listener with `SO_REUSEADDR`,
    such as crust's, gets it by its number.
    """
    sock = _hold(socket.SOCK_STREAM, "127.0.0.1", 0)
    assert sock is not None, "no port is free"
    _held.append(sock)
    port: int = sock.getsockname()[1]
    return port


def reserved_port(*hosts: str) -> int:
    """
    A port for UDP, or for both, that is free at these addresses, 127.0.0.1 if none is named, until the test ends.

    The system gives no such port to who does not ask for it by number, and no two tests that run beside each other have
    the same one, as each holds its own for TCP.
    """
    for port in random.sample(range(20_000, 32_768), 1000):
        held = [_hold(kind, host, port) for host in hosts or ("127.0.0.1",) for kind in _KINDS]
        for sock in held:
            if sock is not None and sock.type == socket.SOCK_STREAM and None not in held:
                _held.append(sock)
            elif sock is not None:
                sock.close()
        if None not in held:
            return port
    raise AssertionError("no port is free")


def _hold(kind: int, host: str, port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        return None
    if os.name == "posix":  # after bind(): another one that holds ports does not get this one
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def release_ports() -> None:
    """At the end of a test: nobody holds what `unused_port` gave it any more."""
    while _held:
        _held.pop().close()


def silent_listener() -> tuple[list[socket.socket], int]:
    """
    Sockets that make 127.0.0.1:port swallow further dials without an answer, and the port; close them all.

    The queue of a listener that never accepts is full, and Linux then drops new SYNs.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = listener.getsockname()
    sockets = [listener]
    for number in range(4):
        filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(address)
        sockets.append(filler)
        if not number:  # the first is in the queue before anybody else calls: on a busy machine that takes a moment
            assert select.select([listener], [], [], 30.0)[0], "a listener does not hear of a call"
    return sockets, address[1]
