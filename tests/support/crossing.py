"""Two TCP sockets that have connected to each other: both have called connect(), nobody has listened."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys

import pytest

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # a program of BPF: "return 0"


def crossed_pair(family: int = 4) -> tuple[socket.socket, socket.socket]:
    """
    Non-blocking sockets on loopback with a connection that began as a simultaneous open. Skips where that cannot be
    had.

    The first one is deaf while its SYN is refused, and hears again before the SYN of the second one comes.
    """
    if sys.platform != "linux":
        pytest.skip("a simultaneous open is forced by a filter of Linux")
    host = "127.0.0.1" if family == 4 else "::1"
    pair = tuple(socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6) for _ in range(2))
    one, other = pair
    for sock in pair:
        sock.setblocking(False)
        sock.bind((host, 0))
    program = ctypes.create_string_buffer(_DROP_ALL)
    one.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", 1, ctypes.addressof(program)))
    one.connect_ex(other.getsockname())
    one.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
    other.connect_ex(one.getsockname())
    for sock in pair:
        select.select([], [sock], [], 5.0)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.getpeername()  # raises if there is no connection
    return one, other
