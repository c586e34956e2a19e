"""A TCP proxy on loopback that does to a connection what networks do: cut, stall, delay, corrupt, swallow, truncate."""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable

from crust.runtime.threads import Waker, close_socket

UP = "up"  # from who dialled the proxy to the target
DOWN = "down"
_RESET = struct.pack("ii", 1, 0)
_BUFFER = 256 * 1024  # bytes held per direction before the proxy stops reading: stalls are felt at the other end


class _Faults:
    """What happens to one direction."""

    def __init__(self) -> None:
        self.stalled = False
        self.swallow = False
        self.delay = 0.0
        self.corrupt_at: int | None = None  # byte of the stream to flip, counted on each connection
        self.end_after: int | None = None  # bytes of the stream to let through before an orderly end
        self.cut_after: int | None = None  # bytes of the stream to let through before a reset
        self.change: Callable[[int, bytes], bytes] | None = None


class Proxy:
    """
    Forwards connections from its own port to ``target`` on 127.0.0.1; a context manager. All methods are thread-safe.

    Faults hold for connections there are and those to come, until changed. ``connections`` counts what was accepted,
    ``forwarded[UP]`` and ``forwarded[DOWN]`` the bytes passed on, ``cuts`` what :meth:`cut_each` has cut.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        self.cuts = 0
        self.forwarded = {UP: 0, DOWN: 0}
        self._faults = {UP: _Faults(), DOWN: _Faults()}
        self._plan: Callable[[], tuple[str, int] | None] | None = None
        self._refusing = False
        self._taking = False
        self._changed = threading.Condition()  # guards all state; told of every change
        self._links: list[_Link] = []
        self._closed = False
        self._waker = Waker()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._spawn("proxy-accept", self._accept)

    @property
    def endpoint(self) -> str:
        """Where to dial, as text."""
        return f"tcp://127.0.0.1:{self.port}"

    # --- faults ------------------------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset all connections, both sides; how many there were. New ones are accepted."""
        with self._changed:
            while self._taking:  # the target may know of a connection before we have listed it
                self._changed.wait()
            links, self._links = self._links, []
        for link in links:
            link.cut()
        return len(links)

    def refuse(self, on: bool = True) -> None:
        """Close new connections at once, without a byte."""
        with self._changed:
            self._refusing = on

    def stall(self, *directions: str, on: bool = True) -> None:
        """Pass nothing on, but keep the connections; without directions both. The ends of streams wait too."""
        self._set(directions, "stalled", on)

    def swallow(self, *directions: str, on: bool = True) -> None:
        """Read and throw away."""
        self._set(directions, "swallow", on)

    def delay(self, seconds: float, *directions: str) -> None:
        """Let every byte take so long; throughput stays."""
        self._set(directions, "delay", seconds)

    def corrupt(self, direction: str, offset: int | None) -> None:
        """Flip the bits of byte number ``offset`` of each connection's stream; None: no more."""
        self._set((direction,), "corrupt_at", offset)

    def truncate(self, direction: str, offset: int | None) -> None:
        """End each connection in order after ``offset`` bytes of that direction."""
        self._set((direction,), "end_after", offset)

    def cut_after(self, direction: str, offset: int | None) -> None:
        """Reset each connection after ``offset`` bytes of that direction."""
        self._set((direction,), "cut_after", offset)

    def cut_each(self, plan: Callable[[], tuple[str, int] | None]) -> None:
        """
        Reset each new connection where ``plan()`` says: after so many bytes of that direction; None: nowhere.
        """
        with self._changed:
            self._plan = plan

    def change(self, direction: str, how: Callable[[int, bytes], bytes] | None) -> None:
        """
        Pass on what ``how`` makes of each piece of the stream that was read, nothing included. It is told the number
        of the connection, from 1, and runs on the thread of one direction of one connection.
        """
        self._set((direction,), "change", how)

    def heal(self) -> None:
        """No faults any more."""
        with self._changed:
            self._faults.update({UP: _Faults(), DOWN: _Faults()})
            self._plan = None
            self._refusing = False
            self._changed.notify_all()

    def _set(self, directions: tuple[str, ...], name: str, value: object) -> None:
        with self._changed:
            for direction in directions or (UP, DOWN):
                setattr(self._faults[direction], name, value)
            self._changed.notify_all()

    # --- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything and wait for the proxy's threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._waker.wake()
        self.cut()
        while self._threads:
            self._threads.pop().join(5.0)
        self._listener.close()
        self._waker.close()

    def _spawn(self, name: str, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, name=name, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker.fileno(), selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._closed:
                selector.select()
                with contextlib.suppress(OSError):
                    self._take(self._listener.accept()[0])
            selector.unregister(self._listener)
            selector.unregister(self._waker.fileno())

    def _take(self, inner: socket.socket) -> None:
        inner.setblocking(True)
        with self._changed:
            self.connections += 1
            self._taking = not self._refusing
            number, plan = self.connections, self._plan
        if not self._taking:
            close_socket(inner)
            return
        try:
            self._link(inner, number, None if plan is None else plan())
        finally:
            with self._changed:
                self._taking = False
                self._changed.notify_all()

    def _link(self, inner: socket.socket, number: int, cut: tuple[str, int] | None) -> None:
        try:
            outer = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            close_socket(inner)
            return
        for sock in (inner, outer):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self, inner, outer, number)
        with self._changed:
            self._links.append(link)
        for direction, source, target in ((UP, inner, outer), (DOWN, outer, inner)):
            pipe = _Pipe(direction, cut[1] if cut is not None and cut[0] == direction else None)
            self._spawn(f"proxy-read-{direction}", link.read, pipe, source)
            self._spawn(f"proxy-write-{direction}", link.write, pipe, target)


class _Pipe:
    """One direction of one connection: chunks with the time they are due; an empty chunk is the end."""

    def __init__(self, direction: str, cut_at: int | None) -> None:
        self.direction = direction
        self.cut_at = cut_at
        self.chunks: collections.deque[tuple[float, bytes]] = collections.deque()
        self.size = 0
        self.passed = 0


class _Link:
    """One connection through the proxy: two sockets, four threads. Each socket is closed when its users are done."""

    def __init__(self, proxy: Proxy, inner: socket.socket, outer: socket.socket, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.sockets = (inner, outer)
        self.users = 4
        self.dead = False

    def cut(self) -> None:
        with self.proxy._changed:
            self.dead = True
            self.proxy._changed.notify_all()
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)  # wakes the readers; the reset follows with closing
                with contextlib.suppress(OSError):
                    sock.setblocking(False)

    def _leave(self) -> None:
        with self.proxy._changed:
            self.users -= 1
            if self.users == 0:
                for sock in self.sockets:
                    sock.close()
                if self in self.proxy._links:
                    self.proxy._links.remove(self)

    def read(self, pipe: _Pipe, source: socket.socket) -> None:
        changed = self.proxy._changed
        try:
            data = b"?"
            while data and not self.dead:
                try:
                    data = source.recv(65536)
                except OSError:
                    self.cut()
                    return
                with changed:
                    faults = self.proxy._faults[pipe.direction]
                    if faults.swallow and data:
                        continue
                    pipe.chunks.append((time.monotonic() + faults.delay, data))
                    pipe.size += len(data)
                    changed.notify_all()
                    while pipe.size > _BUFFER and not self.dead:
                        changed.wait()
        finally:
            self._leave()

    def write(self, pipe: _Pipe, target: socket.socket) -> None:
        try:
            while True:
                data = self._next(pipe)
                if data is None:
                    return
                if not data:
                    with contextlib.suppress(OSError):
                        target.shutdown(socket.SHUT_WR)
                    return
                if not self._forward(pipe, target, bytearray(data)):
                    return
        finally:
            self._leave()

    def _next(self, pipe: _Pipe) -> bytes | None:
        """The next chunk when it is due; None when the connection is dead."""
        changed = self.proxy._changed
        with changed:
            while not self.dead:
                wait = None
                if pipe.chunks and not self.proxy._faults[pipe.direction].stalled:
                    wait = pipe.chunks[0][0] - time.monotonic()
                    if wait <= 0:
                        data = pipe.chunks.popleft()[1]
                        pipe.size -= len(data)
                        changed.notify_all()
                        return data
                changed.wait(wait)
        return None

    def _forward(self, pipe: _Pipe, target: socket.socket, data: bytearray) -> bool:
        """Pass ``data`` on as the faults of the moment have it; False when this was the end."""
        change = self.proxy._faults[pipe.direction].change
        if change is not None:
            data = bytearray(change(self.number, bytes(data)))
        with self.proxy._changed:
            faults = self.proxy._faults[pipe.direction]
            start, pipe.passed = pipe.passed, pipe.passed + len(data)
            if faults.corrupt_at is not None and start <= faults.corrupt_at < pipe.passed:
                data[faults.corrupt_at - start] ^= 0xFF
            ends = [each for each in (faults.end_after, faults.cut_after, pipe.cut_at) if each is not None]
            end = min(ends, default=pipe.passed)
            resets = end in (faults.cut_after, pipe.cut_at)
            last = bool(ends) and end <= pipe.passed
            self.proxy.cuts += last and end == pipe.cut_at
            piece = data[: max(0, end - start)] if last else data
            self.proxy.forwarded[pipe.direction] += len(piece)  # before: who has received something finds it counted
        try:
            target.sendall(piece)
        except OSError:
            self.cut()
            return False
        if last and resets:
            self.cut()
        elif last:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            with self.proxy._changed:
                self.dead = True
                self.proxy._changed.notify_all()
        return not last
