"""A TCP proxy between two nodes that can cut every connection through it: the demonstration's broken cable."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["Proxy"]

_CHUNK = 65_536


class Proxy:
    """
    Listens on a port of its own and passes bytes to and from another one, until `cut`.

    Each of its threads only blocks in ``accept``, ``recv`` or ``sendall`` of a socket that `close` shuts down. The last
    of the two threads of a connection closes its sockets: the number of a descriptor that was closed under a thread may
    be another connection's by the time at which the thread reads from it.

    Args:
        host, port: Where to pass connections on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        """The port to connect to instead."""
        self.passed = 0
        """Bytes passed on so far, both ways."""
        self._lock = threading.Lock()  # guards _open and _threads
        self._open: set[_Way] = set()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def cut(self) -> int:
        """Break every connection that is open now; how many there were."""
        with self._lock:
            broken = list(self._open)
            self._open.clear()
            for way in broken:
                way.end()
        return len(broken)

    def close(self) -> None:
        """Take no more connections, break those there are, and end all threads."""
        self._closed.set()
        with contextlib.suppress(OSError):  # wakes accept(): closing alone does not
            socket.create_connection(self._listener.getsockname()[:2], timeout=1.0).close()
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(timeout=5.0)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="crust-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            if self._closed.is_set():
                inner.close()
                return
            try:
                outer = socket.create_connection(self._target, timeout=5.0)
            except OSError:
                inner.close()
                continue
            outer.settimeout(None)
            for sock in (inner, outer):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = _Way(inner, outer)
            with self._lock:
                self._open.add(way)
            self._spawn(self._pass_on, way, inner, outer)
            self._spawn(self._pass_on, way, outer, inner)

    def _pass_on(self, way: _Way, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                target.sendall(data)
                self.passed += len(data)
        except OSError:
            pass  # cut, or one of the nodes has closed: both ends here
        finally:
            with self._lock:
                self._open.discard(way)
                way.end()
                way.leave()


class _Way:
    """One connection through the proxy; what is called here is called with the proxy's lock."""

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self._sockets = (inner, outer)
        self._users = 2

    def end(self) -> None:
        """Let both threads find its end."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """A thread uses it no more."""
        self._users -= 1
        if not self._users:
            for sock in self._sockets:
                sock.close()
