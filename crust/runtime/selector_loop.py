"""A thread's wait for sockets, which others can end."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Iterable

from .threads import Waker, abandon_selector

__all__ = ["SelectorLoop"]


class SelectorLoop:
    """
    A selector, what wakes it, and the loop around it, for a thread of the owner's. :meth:`wake` and :meth:`close` are
    for any thread and never block; the rest is for the one that runs, or for the owner before and after it.

    Args:
        sockets: To be watched for reading from the beginning.

    Raises:
        OSError: There are no descriptors for it.
    """

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self.closed = False
        """It has been closed: nothing is to be done any more."""
        with contextlib.ExitStack() as undo:
            self._waker = Waker()
            undo.callback(self._waker.close)
            self.selector: selectors.BaseSelector = selectors.DefaultSelector()
            """What the owner registers its sockets with."""
            undo.callback(self.selector.close)
            self.selector.register(self._waker.fileno(), selectors.EVENT_READ)
            for sock in sockets:
                self.selector.register(sock, selectors.EVENT_READ)
            undo.pop_all()

    def run(self, turn: Callable[[], object], release: Callable[[], object]) -> None:
        """
        Call ``turn`` until :meth:`close`. Once only.

        Args:
            turn: Waits in :meth:`select`, and does what there is to do.
            release: Frees what the owner has, and calls :meth:`release`; called in the end, whatever that is.
        """
        try:
            while not self.closed:
                turn()
        finally:
            if self._waker.fileno() >= 0:  # else this is a greenlet that a forked child has inherited
                release()

    def select(self, seconds: float | None) -> list[tuple[socket.socket, int]]:
        """Wait at most so long (None: without end), or until woken. Which sockets are ready; none once it is closed."""
        ready = self.selector.select(seconds)
        if self.closed:
            return []
        if any(key.fd == self._waker.fileno() for key, _ in ready):
            self._waker.drain()
        return [(key.fileobj, events) for key, events in ready if isinstance(key.fileobj, socket.socket)]

    def wake(self) -> None:
        """End the wait, this one or the next. Any thread."""
        self._waker.wake()

    def close(self) -> None:
        """End :meth:`run` soon. Any thread; idempotent."""
        self.closed = True
        self._waker.wake()

    def release(self) -> None:
        """Free the descriptors."""
        self.selector.close()
        self._waker.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self.closed = True
        abandon_selector(self.selector)
        self._waker.abandon()
