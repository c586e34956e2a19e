"""A connection between two nodes in memory; it keeps the contract that TCP connections keep."""

from __future__ import annotations

import collections
import errno
import threading
import time
from collections.abc import Callable

from .. import limits
from ..addresses import Endpoint
from ..exceptions import LocalProtocolError
from ..runtime.clock import Clock
from ..runtime.flusher import IoLoop
from ..runtime.threads import Spawn
from ..runtime.timers import Timer
from ..transports.contract import Sink
from .cables import Cables, Host, Line

__all__ = ["CAPACITY", "MemoryConnection", "connect"]

CAPACITY = 262_144  # bytes under way and unread in one direction, after which send() takes no more

_END = b""  # in the stream: nothing more will come, in order


class _Stream:
    """What is on its way to one end: when it arrives, and bytes, the end, or the error that breaks the connection."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: collections.deque[tuple[float, bytes | OSError]] = collections.deque()
        self.size = 0

    def add(self, arrival: float, chunk: bytes | OSError) -> None:
        self._chunks.append((arrival, chunk))  # behind the others, also if it arrives earlier: nothing overtakes
        self.size += 0 if isinstance(chunk, OSError) else len(chunk)

    def clear(self) -> None:
        self._chunks.clear()
        self.size = 0

    def first(self) -> tuple[float, bytes | OSError] | None:
        return self._chunks[0] if self._chunks else None

    def take(self) -> bytes | OSError:
        """The first; the end and an error stay."""
        chunk = self._chunks[0][1]
        if isinstance(chunk, bytes) and chunk:
            self._chunks.popleft()
            self.size -= len(chunk)
        return chunk


class MemoryConnection:
    """
    One end; see :class:`crust.transports.contract.Connection`. Made by :func:`connect`.

    A reader blocks only in its condition, which data, pause and resume, every kind of end and changes of the line
    notify.
    """

    __slots__ = (
        "__weakref__",
        "_cables",
        "_changed",
        "_clock",
        "_ending",
        "_incoming",
        "_io",
        "_linger",
        "_lock",
        "_on_writable",
        "_paused",
        "_severed",
        "_started",
        "host",
        "local",
        "other",
        "remote",
        "transport",
    )

    def __init__(
        self, cables: Cables, host: Host, io: IoLoop, lock: threading.Lock, local: Endpoint, remote: Endpoint
    ) -> None:
        self.host = host
        self.local = local
        self.remote = remote
        self.transport = local.transport
        self.other: MemoryConnection
        self._cables = cables
        self._clock: Clock = cables.clock
        self._io = io
        self._lock = lock  # of both ends; guards all below of both
        self._changed = self._clock.condition(lock)  # for the reader of this end
        self._incoming = _Stream()
        self._started = False
        self._ending = ""  # "", "close", "abort" or "done", never backwards
        self._paused = False
        self._severed = False  # the line has been cut: nothing that this end does reaches the other
        self._on_writable: Callable[[], object] | None = None
        self._linger: Timer | None = None

    def __repr__(self) -> str:
        return f"<MemoryConnection {self.local} - {self.remote} {self._ending}>"

    # --- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send what fits now; see the contract."""
        with self._lock:
            if self._ending:
                raise self._error(errno.EPIPE, "the connection is closed")
            broken = self._broken_locked()
            if broken is not None:
                raise broken
            accepted = bytes(data[: self._room_locked()])
            if accepted:
                self._give_locked(accepted)
            return len(accepted)

    def _room_locked(self) -> int:
        return max(0, CAPACITY - self.other._incoming.size)

    def _give_locked(self, chunk: bytes | OSError) -> None:
        """Let the other end have it, if there is still somebody to read."""
        other = self.other
        if other._ending not in ("abort", "done") and not self._severed:
            delay = self._cables.delay(self.host, other.host, self.transport)
            other._incoming.add(self._clock.now() + delay, chunk)
            other._changed.notify_all()
            if isinstance(chunk, OSError):
                other._tell_writable_locked()

    def _broken_locked(self) -> OSError | None:
        """The error that has reached us although nobody has read it yet."""
        first = self._incoming.first()
        if first is not None and isinstance(first[1], OSError) and self._has_arrived(first[0]):
            return first[1]
        return None

    def _has_arrived(self, arrival: float) -> bool:
        line = self._cables.line(self.host, self.other.host, self.transport)
        return arrival <= self._clock.now() and line is not Line.SILENT

    def when_writable(self, callback: Callable[[], object]) -> None:
        """Call back once when there is room; see the contract."""
        with self._lock:
            if not self._ending:
                self._on_writable = callback
                if self._room_locked() or self._broken_locked() is not None:
                    self._tell_writable_locked()

    def _tell_writable_locked(self) -> None:
        if self._on_writable is not None:
            callback, self._on_writable = self._on_writable, None
            self._io.call_at(self._io.now(), lambda _: callback())

    # --- ending -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the stream in order; see the contract."""
        with self._lock:
            if self._ending:
                return
            if not self._started:
                self._release_locked()
            elif not self._io.running:
                self._abort_locked()
            else:
                self._ending = "close"
                self._give_locked(_END)
                self._linger = self._io.call_later(limits.CLOSE_LINGER, lambda _: self.abort())
                self._changed.notify_all()

    def abort(self) -> None:
        """End it now; see the contract."""
        with self._lock:
            if self._ending not in ("abort", "done"):
                self._abort_locked()

    def _abort_locked(self) -> None:
        self._ending = "abort"
        if self.other._ending not in ("abort", "done") and not self._severed:
            self.other._incoming.clear()
            self._give_locked(self.other._error(errno.ECONNRESET, "the other side has reset the connection"))
        self._changed.notify_all()
        if not self._started:
            self._release_locked()

    def sever(self) -> None:
        """The line has been cut: this end learns it at once, and the other nothing from this one any more."""
        with self._lock:
            self._severed = True
            self._incoming.clear()
            self._incoming.add(self._clock.now(), self._error(errno.ECONNRESET, "the line has been cut"))
            self._changed.notify_all()
            self._tell_writable_locked()

    def look_again(self) -> None:
        """The line has changed."""
        with self._lock:
            for end in (self, self.other):
                end._changed.notify_all()
                if end._broken_locked() is not None:
                    end._tell_writable_locked()

    def _release_locked(self) -> None:
        """Nobody reads this end any more."""
        if self._ending == "":
            self._give_locked(_END)
        self._ending = "done"
        self._incoming.clear()
        self._on_writable = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.other._tell_writable_locked()

    # --- reading ------------------------------------------------------------------------------------------------------

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """Begin to push into ``sink`` on a new thread; see the contract."""
        self._claim()
        try:
            spawn(f"crust-memory-{self.remote.port}", self._run, sink)
        except BaseException:
            with self._lock:
                self._started = False
                if self._ending != "done":
                    self._abort_locked()
            raise

    def run(self, sink: Sink) -> None:
        """Like :meth:`start`, on the calling thread: returns after ``connection_lost``."""
        self._claim()
        self._run(sink)

    def _claim(self) -> None:
        with self._lock:
            if self._started:
                raise LocalProtocolError("this connection has been started already")
            self._started = True

    def _run(self, sink: Sink) -> None:
        lost: OSError | None = self._error(errno.ECONNABORTED, "its receiver failed")
        try:
            lost = self._read_all(sink)
        except BaseException:  # from the sink: an error of reading is returned
            self.abort()
            raise
        finally:
            with self._lock:
                if self._ending != "done":
                    self._release_locked()
            sink.connection_lost(lost)

    def _read_all(self, sink: Sink) -> OSError | None:
        """Read until the end; None if that was in order or ours, else the error."""
        turn_ends = time.monotonic() + limits.TURN_SECONDS
        while True:
            with self._lock:
                chunk = self._next_locked()
                discard = self._ending != ""
            if not isinstance(chunk, bytes):
                return None if discard else chunk
            if not chunk:
                return None
            if not discard:
                sink.data_received(memoryview(chunk))
            if time.monotonic() >= turn_ends:
                time.sleep(limits.TURN_PAUSE)  # greenlets run only if we let them
                turn_ends = time.monotonic() + limits.TURN_SECONDS

    def _next_locked(self) -> bytes | OSError | None:
        """The next that arrives; empty at the end, None after an abort of ours."""
        while self._ending not in ("abort", "done"):
            first = self._incoming.first()
            seconds: float | None = None
            if first is not None and (not self._paused or self._ending):
                if self._has_arrived(first[0]):
                    chunk = self._incoming.take()
                    self.other._tell_writable_locked()
                    return chunk
                left = first[0] - self._clock.now()
                seconds = left if left > 0 else None
            self._changed.wait(seconds)
        return None

    def pause(self) -> None:
        """Stop reading for now; see the contract."""
        with self._lock:
            if not self._ending:
                self._paused = True

    def resume(self) -> None:
        """Read on; see the contract."""
        with self._lock:
            self._paused = False
            self._changed.notify_all()

    # --- errors -------------------------------------------------------------------------------------------------------

    def _error(self, number: int, text: str) -> OSError:
        return OSError(number, text, str(self.remote))


def connect(
    cables: Cables, caller: tuple[Host, IoLoop, Endpoint], callee: tuple[Host, IoLoop, Endpoint]
) -> tuple[MemoryConnection, MemoryConnection]:
    """
    Join two nodes.

    Args:
        caller: Its host, I/O loop and local endpoint.
        callee: The same.

    Returns:
        The caller's end, and the callee's.
    """
    lock = threading.Lock()
    near = MemoryConnection(cables, caller[0], caller[1], lock, caller[2], callee[2])
    far = MemoryConnection(cables, callee[0], callee[1], lock, callee[2], caller[2])
    near.other, far.other = far, near
    cables.connected(near)
    return near, far
