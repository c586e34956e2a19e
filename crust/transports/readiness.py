"""
Sockets on systems where a blocking one cannot be told, for a single call, not to wait.

Linux can do that (``MSG_DONTWAIT``), and there a connection's reader simply blocks in ``recv``. Windows lacks the flag,
macOS has it and ignores it when sending, and of the others nothing is known here: on all of these the socket is
non-blocking, and its reader waits in a selector. A waker ends that, since not every system wakes who waits for a socket
that another thread has shut down.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys

from ..runtime.threads import Waker

__all__ = ["Readiness", "without_signal"]

_SO_NOSIGPIPE = 0x1022  # macOS' sys/socket.h; the socket module does not name it


class Readiness:
    """
    What one reader waits with for its socket, which becomes non-blocking. Only :meth:`wait` belongs to the reader.

    Raises:
        OSError: There are no descriptors left for it.
    """

    __slots__ = ("_sock", "_waker")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._waker = Waker()

    @classmethod
    def if_needed(cls, sock: socket.socket) -> Readiness | None:
        """None if this socket may stay a blocking one."""
        if sys.platform == "linux" and hasattr(socket, "MSG_DONTWAIT") and hasattr(sock, "sendmsg"):
            return None
        return cls(sock)

    def wait(self) -> None:
        """Return when the socket has something to read, or at once after :meth:`ring`."""
        # Poll needs no descriptor, unlike epoll and kqueue; Windows has only select, which takes 512 sockets: enough.
        kind: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.DefaultSelector)
        with kind() as selector, contextlib.suppress(ValueError):  # -1: the socket has been taken from us
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._waker.fileno(), selectors.EVENT_READ)
            selector.select()

    def ring(self) -> None:
        """End :meth:`wait`, now and whenever it is called again."""
        self._waker.wake()

    def close(self) -> None:
        """Free the descriptors, once nobody waits any more."""
        self._waker.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors."""
        self._waker.abandon()


def without_signal(sock: socket.socket) -> int:
    """
    Let no write to this socket raise SIGPIPE, which kills a program that has set it back to its default.

    Returns:
        The flag to give to each ``send``; 0 where the socket itself is told, or nothing need be done (Windows).
    """
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):  # it is closed already: the first write says so
            sock.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
    return getattr(socket, "MSG_NOSIGNAL", 0)
