"""
From standard input into a stream, and from it to standard output, until both directions have ended.

The end of the input ends our direction of the stream alone; what the peer sends still comes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from crust.exceptions import Timeout
from crust.runtime.threads import Spawn
from crust.transports.blocking import BlockingStream
from crust.transports.utp.stream import UtpStream

__all__ = ["Copy", "Idle"]

_SIZE = 262_144  # bytes copied at once
_TICK = 1.0  # seconds between two lines of progress, and between two looks at what has moved
_INPUT, _OUTPUT = 0, 1


class Idle(Exception):
    """Nothing has moved for too long."""


class Copy:
    """
    Both directions of one connection.

    Args:
        connection: Not started yet; it belongs to the copy.
        idle: Seconds without a byte in either direction after which it fails; None: for ever.
        say: Gets a line of progress a second, and one at the end; None: nobody wants them.
    """

    def __init__(
        self, connection: UtpStream, spawn: Spawn, idle: float | None, say: Callable[[str], object] | None
    ) -> None:
        connection.half_open = True
        self._connection = connection
        self._stream = BlockingStream(connection, spawn)
        self._idle = idle
        self._say = say
        self._sent = self._received = 0
        self._input_error: OSError | None = None
        self._finished = False
        self.acknowledged_last = False
        """After :meth:`run`: the peer's direction ended after ours, so it may ask again whether we know that."""
        self._began = self._said_at = self._moved_at = time.monotonic()
        self._said = self._moved = (0, 0)
        # Not one of the node's threads: nothing can wake it while it waits for a terminal, and nobody waits for it.
        self._reader = threading.Thread(target=self._send_input, name="utp-cat-input", daemon=True)

    def run(self) -> None:
        """
        Copy until both directions have ended in order.

        Raises:
            OSError: The connection broke, or standard input or output did.
            Idle: Nothing has moved for too long.
        """
        try:
            self._reader.start()
            while self._receive():
                pass
            self.acknowledged_last = self._finished
            _end_output()
            while not self._stream.wait_lost(_TICK):
                self._look()
            if self._input_error is not None:
                raise self._input_error
            self._stream.recv(1)  # raises what broke it
            self._report("done")
        except BaseException:
            self._stream.abort()
            raise

    def _receive(self) -> bool:
        """Take what comes next; False after the end."""
        try:
            data = self._stream.recv(_SIZE, _TICK)
        except Timeout:
            data = None
        if data:
            self._received += len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(_OUTPUT, rest) :]
        self._look()
        return data != b""

    def _send_input(self) -> None:
        try:
            while data := os.read(_INPUT, _SIZE):
                self._stream.sendall(data)
                self._sent += len(data)
        except OSError as error:
            # Of the stream: whoever receives hears of it as well, and better.
            if not self._stream.wait_lost(0):
                self._input_error = error
                self._stream.abort()
            return
        self._finished = True
        self._connection.finish()

    # --- progress -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic()
        moved = (self._sent, self._received)
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        elif self._idle is not None and now - self._moved_at >= self._idle:
            raise Idle(f"nothing has moved for {self._idle:g} s")
        if now - self._said_at >= _TICK:
            self._report()

    def _report(self, end: str = "") -> None:
        if self._say is None:
            return
        now = time.monotonic()
        before, since = ((0, 0), self._began) if end else (self._said, self._said_at)
        seconds = max(now - since, 1e-6)
        self._said, self._said_at = moved, now = (self._sent, self._received), now
        words = [
            f"{size_text(count)} {what} ({size_text((count - earlier) / seconds)}/s)"
            for count, earlier, what in zip(moved, before, ("sent", "received"), strict=True)
        ]
        core = self._connection.core
        rtt = self._connection.rtt
        if rtt is not None:
            words.append(f"round trip {rtt * 1e3:.3g} ms")
        words += [
            f"window {size_text(core.congestion.window)}",
            f"packets of {core.mtu.size} B",
            f"{core.sender.lost_packets} lost",
        ]
        self._say(", ".join([*filter(None, [end]), *words]))


def _end_output() -> None:
    """Whoever reads our output sees its end now, although our own direction may go on."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, _OUTPUT)
    os.close(nothing)


def size_text(size: float) -> str:
    """``1.5 MB``: at least two digits, in steps of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
