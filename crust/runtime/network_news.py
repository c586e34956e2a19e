"""
Word that the machine's network may have changed: interfaces, addresses, routes.

Linux says so on a NETLINK_ROUTE socket, which needs no privilege (rtnetlink(7)). Elsewhere, and where that is not to be
had, somebody has to look every few seconds.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
from collections.abc import Callable

from .. import limits
from .selector_loop import SelectorLoop
from .threads import abandon_socket

__all__ = ["LinkStates", "NetworkNews"]

# rtnetlink(7), <linux/rtnetlink.h>: links; addresses and routes of IPv4 and IPv6.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_NEWLINK, _DELLINK = 16, 17
_RUNNING = 0x40  # IFF_RUNNING: the cable is plugged in
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BBHiII")  # family, padding, type, index, flags, change
_READ = 65_536


class LinkStates:
    """Which interfaces run, as far as messages of the kernel have said (sans-IO)."""

    def __init__(self) -> None:
        self._runs: dict[int, bool] = {}

    def receive(self, data: bytes) -> bool:
        """Take what was read at once; True if an interface runs again that did not."""
        came_up = False
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if length < _HEADER.size:
                break
            if kind in (_NEWLINK, _DELLINK) and min(length, len(data)) >= _HEADER.size + _LINK.size:
                _, _, _, index, flags, _ = _LINK.unpack_from(data, _HEADER.size)
                runs = kind == _NEWLINK and bool(flags & _RUNNING)
                came_up = came_up or (runs and not self._runs.get(index, True))
                self._runs[index] = runs
            data = data[length + 3 & ~3 :]
        return came_up


class NetworkNews:
    """
    What waits for news, on a thread of the caller's: :meth:`run`. It blocks in a selector, which :meth:`close` ends.

    Args:
        look: Called on that thread when something may have changed, with whether an interface runs again that did not;
            also every ``NETWORK_POLL`` seconds where the system says nothing.

    Raises:
        OSError: There are no descriptors for it.
    """

    def __init__(self, look: Callable[[bool], object]) -> None:
        self._look = look
        self._states = LinkStates()
        with contextlib.ExitStack() as undo:
            self._loop = SelectorLoop()
            undo.callback(self._loop.release)
            self._sock = _netlink()
            undo.pop_all()

    def close(self) -> None:
        """End :meth:`run` soon. Any thread; idempotent; never blocks."""
        self._loop.close()

    def release(self) -> None:
        """Free the descriptors, if :meth:`run` does not come."""
        self._loop.release()
        if self._sock is not None:
            self._sock.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._loop.abandon()
        if self._sock is not None:
            abandon_socket(self._sock)

    def run(self) -> None:
        """Wait for news until :meth:`close`. Once only."""
        self._loop.run(self._turn, self.release)

    def _turn(self) -> None:
        sock = self._sock
        if sock is not None:
            self._loop.selector.register(sock, selectors.EVENT_READ)
        self._loop.select(limits.NETWORK_POLL if sock is None else limits.NETWORK_LOOK)
        if self._loop.closed:
            return
        came_up = False
        if sock is not None:
            self._loop.selector.unregister(sock)
            came_up, heard = self._read(sock)
            if heard:  # one change brings several messages
                self._loop.select(limits.NETWORK_SETTLE)
                if self._loop.closed:
                    return
                came_up = self._read(sock)[0] or came_up
        self._look(came_up)

    def _read(self, sock: socket.socket) -> tuple[bool, bool]:
        """All that waits: whether an interface runs again, and whether there was anything."""
        came_up = heard = False
        for _ in range(limits.NETWORK_READS):
            try:
                data = sock.recv(_READ)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                heard = True
                if error.errno != errno.ENOBUFS:  # else there was more than the kernel keeps
                    self._sock = None
                    sock.close()
                    break
            else:
                heard = True
                came_up = self._states.receive(data) or came_up
        return came_up, heard


def _netlink() -> socket.socket | None:
    """The kernel's words about the network; None: it has none for us."""
    family: int | None = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    with contextlib.suppress(OSError):
        sock = socket.socket(family, socket.SOCK_RAW, getattr(socket, "NETLINK_ROUTE", 0))
        try:
            sock.setblocking(False)
            sock.bind((0, _GROUPS))
        except OSError:
            sock.close()
            raise
        return sock
    return None
