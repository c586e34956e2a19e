"""
Real threads for calls into C that block: such a call stops every greenlet of the process unless it runs elsewhere.

This is the one place that tells the two worlds apart for that. On threads a worker is a daemon thread like any other;
after gevent's patching it is a thread of the operating system beside the hub's. Either way it is told by a byte in a
socket that a result waits, which a selector of either world can watch, and nothing ever waits for the thread itself: a
call that never returns costs one thread, not the end of the process, nor of ``close()``.
"""

from __future__ import annotations

import _socket
import _thread
import collections
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Any

from .threads import abandon_socket, close_socket, mode, spawn

__all__ = ["NativeWorker", "native_workers"]

_alive: dict[int, str] = {}  # by the id of the worker's part in its own thread


def native_workers() -> list[str]:
    """Names of the workers whose threads run, sorted."""
    return sorted(list(_alive.values()))


class NativeWorker:
    """
    One real thread that makes calls, one after another.

    A call must touch nothing that gevent patches (locks, sockets, ``time.sleep``, logging): it runs outside the hub.
    ``submit``, ``results``, ``close`` are for one thread, the owner's.

    Args:
        name: Of the thread; ``crust-`` is put before it if missing.

    Raises:
        OSError, RuntimeError: No descriptors, or no thread, are to be had.
    """

    def __init__(self, name: str) -> None:
        self.name = name if name.startswith("crust-") else f"crust-{name}"
        self._reader, writer = socket.socketpair()
        self._reader.setblocking(False)
        writer.setblocking(False)
        self._inside = _Inside(self.name, writer.detach())
        try:
            self._inside.start()
        except BaseException:
            self._inside.end()
            close_socket(self._reader)
            raise

    def fileno(self) -> int:
        """Becomes readable when results wait."""
        return self._reader.fileno()

    def submit(self, tag: Any, call: Callable[[], Any]) -> None:
        """Have ``call()`` made after those before it; ``tag`` comes back with its result."""
        self._inside.calls.append((tag, call))
        self._inside.ring()

    def results(self) -> list[tuple[Any, Any, BaseException | None]]:
        """What has come since the last time: each call's tag, and what it returned or raised."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        found = []
        results = self._inside.results
        while results:
            found.append(results.popleft())
        return found

    def close(self) -> None:
        """Make no more calls; the thread ends after the one that it is in. Does not wait for it. Idempotent."""
        self._inside.closing = True
        self._inside.calls.clear()
        self._inside.ring()
        close_socket(self._reader)

    def abandon(self) -> None:
        """In a forked child, which has no such thread: close the copies of the descriptors."""
        self._inside.closing = True
        abandon_socket(self._reader)
        self._inside.end()


class _Inside:
    """
    The part of a worker that its thread has: nothing here belongs to the hub, nor to the owner's descriptors, since it
    may outlive the owner.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self._name = name
        self._writer = _socket.socket(fileno=descriptor)  # the C class, which gevent does not patch
        start, make_lock = _originals()
        self._start = start
        self._bell = make_lock()
        self._bell.acquire()
        self.calls: collections.deque[tuple[Any, Callable[[], Any]]] = collections.deque()
        self.results: collections.deque[tuple[Any, Any, BaseException | None]] = collections.deque()
        self.closing = False

    def start(self) -> None:
        _alive[id(self)] = self._name
        try:
            if self._start is None:
                spawn(self._name, self._run)
            else:
                self._start(self._run, ())
        except BaseException:
            _alive.pop(id(self), None)
            raise

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._bell.release()

    def _run(self) -> None:
        try:
            while True:
                self._bell.acquire()
                while self.calls and not self.closing:
                    self._make_call()
                if self.closing:
                    return
        finally:
            self.end()
            _alive.pop(id(self), None)

    def _make_call(self) -> None:
        try:
            tag, call = self.calls.popleft()
        except IndexError:  # the owner has just closed
            return
        try:
            self.results.append((tag, call(), None))
        except BaseException as error:  # for the owner
            self.results.append((tag, None, error))
        with contextlib.suppress(OSError):  # full: it is readable anyway; closed: nobody asks
            self._writer.send(b"\0")

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()


def _originals() -> tuple[Callable[..., object] | None, Callable[[], Any]]:
    """What starts a thread of the operating system (None: ``spawn`` does), and its kind of lock."""
    if mode() == "threads":
        return None, _thread.allocate_lock
    monkey: Any = sys.modules["gevent.monkey"]
    start, make_lock = monkey.get_original("_thread", ["start_new_thread", "allocate_lock"])
    return start, make_lock
