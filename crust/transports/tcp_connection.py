"""
A TCP connection: a blocking socket, one reader thread, writes by whoever has something to write.

Who may block on what, and what ends it:

* a connection's reader: ``recv``, ended by ``shutdown``; or its own pause, ended by resume, close and abort.
  The reader alone closes the socket, so a descriptor is never reused under it.
* ``send`` never waits (``MSG_DONTWAIT``). The lock it holds is held elsewhere for a moment only.

Where that flag does not work the socket does not block, and ``readiness`` is what the reader waits with.

Memory: an idle reader holds :data:`crust.limits.READ_SIZE` bytes. When a read fills them, it borrows a large
buffer, if one is free, for as long as there is more to read at once; how much of it a read fills, ``pieces`` says.
(``recv``, which makes bytes of what has come, would cost a thread more: glibc keeps some of each size that it has
freed, for each thread.)
"""

from __future__ import annotations

import collections
import contextlib
import errno
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import limits
from ..addresses import Endpoint
from ..exceptions import LocalProtocolError
from ..runtime.flusher import IoLoop
from ..runtime.threads import Spawn, abandon_socket
from ..runtime.timers import Timer
from .contract import Sink
from .errors import LeftUnread
from .pieces import Pieces
from .readiness import Readiness, without_signal

if TYPE_CHECKING:
    from .lobby import Lobby

__all__ = ["BufferPool", "TcpConnection", "endpoint_of", "prepare"]

_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
# SO_LINGER: on, 0 seconds: close() sends a reset.
_LINGER_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class BufferPool:
    """
    Large read buffers shared by the connections of a node. Thread-safe.

    At most :data:`crust.limits.BURST_POOL` are out at once, so memory is bounded; they are kept for the next.
    """

    __slots__ = ("_free", "_left", "_lock")

    def __init__(self) -> None:
        self._free: collections.deque[memoryview] = collections.deque()
        self._left = limits.BURST_POOL
        self._lock = threading.Lock()  # guards both

    def borrow(self) -> memoryview | None:
        """A buffer of :data:`crust.limits.BURST_SIZE` bytes, or None if all are out."""
        with self._lock:
            if self._left == 0:
                return None
            self._left -= 1
            if self._free:
                return self._free.pop()
        return memoryview(bytearray(limits.BURST_SIZE))

    def give_back(self, buffer: memoryview) -> None:
        """Return a borrowed buffer."""
        with self._lock:
            self._left += 1
            self._free.append(buffer)


class TcpConnection:
    """A connected TCP socket; see :class:`crust.transports.contract.Connection`. Takes the socket over."""

    __slots__ = (
        "__weakref__",
        "_ending",
        "_io",
        "_linger",
        "_lock",
        "_pool",
        "_readiness",
        "_resumed",
        "_send_flags",
        "_sink",
        "_sock",
        "_started",
        "_watched",
        "lobby",
        "local",
        "remote",
    )

    transport = "tcp"

    def __init__(
        self, sock: socket.socket, io: IoLoop, pool: BufferPool, local: Endpoint, remote: Endpoint
    ) -> None:
        self.local = local
        self.remote = remote
        self.lobby: Lobby | None = None
        """Reads it without a thread until the sink has greeted; set by the listener before it is started."""
        self._sock = sock
        self._readiness = Readiness.if_needed(sock)
        self._send_flags = without_signal(sock) | (_DONTWAIT if self._readiness is None else 0)
        self._io = io
        self._pool = pool
        self._lock = threading.Lock()  # guards the fields below, and the socket against closing during a send
        self._started = False
        self._ending = ""  # "", "close", "abort" or "done" (the socket is closed), never backwards
        self._watched = False  # the I/O loop may know the socket
        self._sink: Sink | None = None  # while it reads
        self._resumed: threading.Event | None = None  # set: go on; None: never paused
        self._linger: Timer | None = None

    def __repr__(self) -> str:
        return f"<TcpConnection {self.local} - {self.remote} {self._ending}>"

    # --- writing --------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send what fits now; see the contract."""
        with self._lock:
            if self._ending:
                raise self._error(errno.EPIPE, "the connection is closed")
            try:
                if self._readiness is None:
                    return self._sock.sendmsg((data,), (), self._send_flags)
                return self._sock.send(data, self._send_flags)
            except (BlockingIOError, InterruptedError):
                return 0
            except (BrokenPipeError, ConnectionResetError) as error:
                if self._started and (self._resumed is None or self._resumed.is_set()):
                    raise LeftUnread(error.errno, error.strerror, str(self.remote)) from error
                raise self._named(error) from error
            except OSError as error:
                raise self._named(error) from error

    def when_writable(self, callback: Callable[[], object]) -> None:
        """Call back once when there is room; see the contract."""
        with self._lock:
            if self._ending:
                return
            self._watched = True
        # Outside the lock, for it may call back at once. A socket closed meanwhile is noticed there.
        self._io.wait_writable(self._sock, callback)

    # --- ending ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the stream in order; see the contract."""
        with self._lock:
            if self._ending:
                return
            if not self._started:  # nobody reads, and the kernel sees to what was sent
                self._release_locked()
                return
            if not self._io.running:
                self._abort_locked()
                return
            self._ending = "close"
            # Only the sending half: with both shut, the kernel answers data of the other side with a reset,
            # and that would destroy what we sent last.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            self._linger = self._io.call_later(limits.CLOSE_LINGER, lambda now: self.abort())
            if self._resumed is not None:
                self._resumed.set()

    def abort(self) -> None:
        """End it now; see the contract."""
        with self._lock:
            if self._ending not in ("abort", "done"):
                self._abort_locked()

    def _abort_locked(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        if not self._started:
            self._release_locked()
            return
        self._ending = "abort"
        # Wakes the reader, whose closing then sends the reset; a shutdown of both halves would send an
        # orderly end first.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)
        if self._readiness is not None:
            self._readiness.ring()
        if self._resumed is not None:
            self._resumed.set()

    def _release_locked(self) -> None:
        """Close the socket: nobody reads it now, or ever will."""
        self._ending = "done"
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._readiness is not None:
            self._readiness.close()
        if self._watched:
            self._io.forget(self._sock, then=self._sock.close)
        else:
            self._sock.close()

    def abandon(self) -> Sink | None:
        """In a forked child: close the copy of the descriptor, and say nothing more to the sink, which is returned."""
        self._lock = threading.Lock()
        self._ending = "done"
        sink, self._sink = self._sink, None
        abandon_socket(self._sock)
        if self._readiness is not None:
            self._readiness.abandon()
        if self._resumed is not None:
            self._resumed = None
        return sink

    # --- reading --------------------------------------------------------------------------------------------

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """Begin to push into ``sink`` on a new thread; see the contract."""
        self._claim(sink)
        lobby, self.lobby = self.lobby, None
        if lobby is not None and lobby.take(self, sink, spawn):
            return
        try:
            self.start_reader(sink, spawn)
        except BaseException:
            with self._lock:
                self._started = False
                if self._ending != "done":
                    self._abort_locked()
            raise

    def start_reader(self, sink: Sink, spawn: Spawn) -> None:
        """Begin, or after a lobby go on, to read on a new thread."""
        spawn(f"crust-tcp-{self.remote.port}", self._run, sink)

    def run(self, sink: Sink) -> None:
        """Like :meth:`start`, on the calling thread: returns after ``connection_lost``."""
        self._claim(sink)
        self._run(sink)

    def _claim(self, sink: Sink) -> None:
        with self._lock:
            if self._started:
                raise LocalProtocolError("this connection has been started already")
            self._started = True
            self._sink = sink

    def _run(self, sink: Sink) -> None:
        lost: OSError | None = None
        try:
            lost = self._read_all(sink)
        except BaseException:  # from the sink: an error of reading is returned
            lost = self._error(errno.ECONNABORTED, "its receiver failed")
            self.abort()
            raise
        finally:
            self._finish(sink, lost)

    def _finish(self, sink: Sink, lost: OSError | None) -> None:
        """The last step of whoever reads."""
        with self._lock:
            if self._ending != "done":
                self._release_locked()
        known, self._sink = self._sink, None
        if known is not None:  # else this is a greenlet that a forked child has inherited
            sink.connection_lost(lost)

    def _read_all(self, sink: Sink) -> OSError | None:
        """Read until the end; None if that was in order or ours, else the error."""
        sock = self._sock
        small = bytearray(limits.READ_SIZE)
        clock = time.monotonic
        busy = 0.0
        pieces = Pieces()
        left = memoryview(b"")  # what the sink did not take at once
        while True:
            if self._resumed is not None:
                self._resumed.wait()
            if left:
                time.sleep(limits.TURN_PAUSE)
                left = left[pieces.hand(sink, left[: pieces.size]) :] if not self._ending else left[:0]
                continue
            try:
                got = sock.recv_into(small)
            except InterruptedError:
                continue
            except OSError as error:
                if self._readiness is None or not isinstance(error, BlockingIOError):
                    return None if self._ending else self._named(error)
                self._readiness.wait()
                if self._ending in ("abort", "done"):
                    return None
                continue
            if not got or self._ending == "abort":
                return None
            began = clock()
            buffer = self._pool.borrow() if got == limits.READ_SIZE else None
            if buffer is not None:
                left = self._read_burst(sink, small, buffer, pieces, began + limits.TURN_SECONDS)
            elif not self._ending:
                sink.data_received(memoryview(small)[:got])
            busy += clock() - began
            if busy >= limits.TURN_SECONDS:
                busy = 0.0
                time.sleep(limits.TURN_PAUSE)  # a busy peer must not keep the other greenlets waiting

    def _read_burst(
        self, sink: Sink, first: bytearray, buffer: memoryview, pieces: Pieces, until: float
    ) -> memoryview:
        """
        Read on with a borrowed buffer, behind what is there already, while there is more and the turn lasts.

        Returns:
            What the sink has left.
        """
        filled = len(first)
        buffer[:filled] = first
        try:
            while True:
                size = pieces.size
                try:
                    filled += _read_now(self._sock, buffer[filled:size])
                except OSError:  # nothing there now, or an error that the next plain read meets again
                    pass
                if not filled or self._ending == "abort":
                    break
                if not self._ending:
                    taken = pieces.hand(sink, buffer[:filled])
                    if taken < filled:
                        return memoryview(bytes(buffer[taken:filled]))
                if filled < size or time.monotonic() >= until:
                    break
                if self._resumed is not None and not self._resumed.is_set():
                    break
                filled = 0
        finally:
            self._pool.give_back(buffer)
        return memoryview(b"")

    # --- reading in a lobby: by its thread alone, until it starts the reader -----------------------------------

    def waiting_fileno(self) -> int:
        """What to watch for reading; -1 if this connection is over, or needs a thread to be read."""
        return self._sock.fileno() if self._readiness is None else -1

    @property
    def paused(self) -> bool:
        """True if nothing is to be read now."""
        return self._resumed is not None and not self._resumed.is_set()

    def read_waiting(self, sink: Sink, buffer: memoryview, leave: Callable[[], object]) -> bool:
        """
        One read, without waiting, into ``buffer``.

        Args:
            leave: Called when the stream is over, while the socket is still open; ``connection_lost`` comes next.

        Returns:
            False if it was over.
        """
        over = True
        lost: OSError | None = self._error(errno.ECONNABORTED, "its receiver failed")
        try:
            got, error = 0, None
            try:
                got = _read_now(self._sock, buffer)
                over = not got
            except (BlockingIOError, InterruptedError):
                over = False
            except OSError as failure:
                error = failure
            if got and not self._ending:
                over = True  # if the sink raises
                sink.data_received(buffer[:got])
                over = False
            over = over or self._ending == "abort"
            lost = None if error is None or self._ending else self._named(error)
        except BaseException:  # from the sink
            self.abort()
            raise
        finally:
            if over:
                leave()
                self._finish(sink, lost)
        return not over

    def give_up(self, sink: Sink, error: OSError) -> None:
        """No thread could be had for the rest."""
        self.abort()
        self._finish(sink, error)

    def pause(self) -> None:
        """Stop reading for now; see the contract."""
        with self._lock:
            if self._ending:
                return
            if self._resumed is None:
                self._resumed = threading.Event()
            self._resumed.clear()

    def resume(self) -> None:
        """Read on; see the contract."""
        with self._lock:
            if self._resumed is not None:
                self._resumed.set()

    # --- errors ---------------------------------------------------------------------------------------------

    def _error(self, number: int, text: str) -> OSError:
        return OSError(number, text, str(self.remote))

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), str(self.remote))


def _read_now(sock: socket.socket, buffer: memoryview) -> int:
    """``recv_into`` that raises BlockingIOError instead of waiting (threads and gevent)."""
    # gevent ignores MSG_DONTWAIT in recv_into of its socket, not in that of the plain one inside.
    plain: Any = getattr(sock, "_sock", sock)
    got: int = plain.recv_into(buffer, 0, _DONTWAIT)
    return got


def prepare(sock: socket.socket) -> None:
    """
    Set what every TCP connection of crust wants: no delay for small writes, little waiting unsent in the
    kernel.
    """
    sock.setblocking(True)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, limits.NOTSENT_LOWAT)


def endpoint_of(address: tuple[Any, ...]) -> Endpoint:
    """The endpoint of a socket address as ``getsockname`` and ``accept`` give it."""
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:
        with contextlib.suppress(OSError):
            host = f"{host}%{socket.if_indextoname(address[3])}"
    return Endpoint("tcp", host, address[1])
