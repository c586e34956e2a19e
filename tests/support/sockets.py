"""Plain sockets for tests that look at crust from outside."""

from __future__ import annotations

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


def unused_port() -> int:
    """A TCP port of 127.0.0.1 that refuses connections, as nothing listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


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
    for _ in range(4):
        filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(address)
        sockets.append(filler)
    return sockets, address[1]
