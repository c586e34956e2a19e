"""
What other systems lack, taken away from this one: each function leaves crust with what Windows, macOS or a BSD has.

Names are taken out of the modules where crust looks for them, and calls fail as they fail there. It shows that crust's
fallbacks work, not that those systems behave as described.
"""

from __future__ import annotations

import _socket
import errno
import os
import selectors
import socket
import time
import types
from typing import Any

import pytest

from crust.transports import readiness
from tests.support.modes import on_greenlets

Patch = pytest.MonkeyPatch


def no_dontwait(patch: Patch) -> None:
    """Windows: a blocking socket cannot be told not to wait."""
    patch.delattr(socket, "MSG_DONTWAIT")


def _subclass(patch: Patch, **members: object) -> None:
    """Sockets that are made from now on have these members instead of their own."""
    patch.setattr(socket, "socket", type("socket", (socket.socket,), {"__slots__": (), **members}))


def no_sendmsg(patch: Patch) -> None:
    """Windows: sockets have no ``sendmsg``."""

    def missing(sock: socket.socket) -> object:
        raise AttributeError("sendmsg")

    if on_greenlets():  # whose accept() makes sockets of its own class
        patch.delattr(socket.socket, "sendmsg")
    else:
        _subclass(patch, sendmsg=property(missing))


def ignored_dontwait(patch: Patch) -> None:
    """macOS: ``MSG_DONTWAIT`` is there, and ``send`` waits all the same. No ``MSG_NOSIGNAL``, but ``SO_NOSIGPIPE``."""
    patch.setattr(readiness, "sys", types.SimpleNamespace(platform="darwin"))
    patch.delattr(socket, "MSG_NOSIGNAL")


def no_reuseport(patch: Patch) -> None:
    """Windows: two sockets cannot agree to share a port."""
    patch.delattr(socket, "SO_REUSEPORT")


def no_unix_sockets(patch: Patch) -> None:
    """Windows: no ``AF_UNIX``, and ``socketpair`` is made of TCP."""
    patch.delattr(socket, "AF_UNIX")
    patch.setattr(socket, "socketpair", _socketpair_of_tcp)


def _socketpair_of_tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def select_alone(patch: Patch) -> None:
    """Windows: of all the ways to wait for several sockets there is only ``select``."""
    patch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    for name in ("PollSelector", "EpollSelector", "DevpollSelector", "KqueueSelector"):
        patch.delattr(selectors, name, raising=False)


def no_ipv6_in_python(patch: Patch) -> None:
    """A Python that was built without IPv6."""
    real, inet6 = _socket.getaddrinfo, socket.AF_INET6

    def getaddrinfo(host: str, *arguments: Any, **named: Any) -> list[Any]:
        if ":" in host:
            raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
        return [each for each in real(host, *arguments, **named) if each[0] != inet6]

    patch.setattr(socket, "has_ipv6", False)
    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    patch.setattr(_socket, "getaddrinfo", getaddrinfo)  # what is written in digits goes there at once


def no_ipv6_in_the_system(patch: Patch) -> None:
    """A kernel without IPv6."""
    real, inet6 = socket.socket, socket.AF_INET6

    def init(sock: socket.socket, family: int = -1, *arguments: Any, **named: Any) -> None:
        if family == inet6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        real.__init__(sock, family, *arguments, **named)

    _subclass(patch, __init__=init)


def no_options(patch: Patch) -> None:
    """Old systems: no ``TCP_NOTSENT_LOWAT``, no ``MSG_NOSIGNAL``."""
    patch.delattr(socket, "TCP_NOTSENT_LOWAT")
    patch.delattr(socket, "MSG_NOSIGNAL")


def no_listener_shutdown(patch: Patch) -> None:
    """macOS, Windows: a listening socket cannot be shut down; it takes callers until it is closed."""
    real = socket.socket

    def shutdown(sock: socket.socket, how: int) -> None:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        real.shutdown(sock, how)

    _subclass(patch, shutdown=shutdown)


def coarse_clock(patch: Patch) -> None:
    """Windows before Python 3.13: the clock moves in steps of 15.6 ms."""
    real = time.monotonic
    patch.setattr(time, "monotonic", lambda: real() // 0.015625 * 0.015625)


ABSENCES = (
    no_dontwait,
    no_sendmsg,
    ignored_dontwait,
    no_reuseport,
    no_unix_sockets,
    select_alone,
    no_ipv6_in_python,
    no_ipv6_in_the_system,
    no_options,
    no_listener_shutdown,
    coarse_clock,
)


def windows(patch: Patch) -> None:
    """All that sockets lack on Windows, at once."""
    for take_away in (
        no_dontwait,
        no_sendmsg,
        no_reuseport,
        no_unix_sockets,
        select_alone,
        no_options,
        no_listener_shutdown,
        coarse_clock,
    ):
        take_away(patch)
