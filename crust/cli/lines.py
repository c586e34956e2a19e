"""Lines from a descriptor, read so that another thread can end the waiting."""

from __future__ import annotations

import os
import selectors
import sys
from types import TracebackType

__all__ = ["Lines"]

_CHUNK = 65_536
_LOOK_INTERVAL = 1.0  # seconds


class Lines:
    """
    Reads lines of bytes from a descriptor without the buffers of `sys.stdin`.

    A thread that sits in ``sys.stdin.readline()`` can be woken by nobody and holds a lock that crashes the
    interpreter's exit. Here `read` waits for the descriptor or for `stop`. (On Windows a pipe cannot be waited
    for: there `stop` takes effect at the next line.)

    Args:
        descriptor: An open file descriptor, such as 0; it is not closed here.
        limit: Bytes of the longest line; what a longer one has beyond it is dropped.
    """

    def __init__(self, descriptor: int, limit: int) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._pending = bytearray()
        self._overlong = False
        self._ended = False
        self._stopped = False
        self._wake_out, self._wake_in = os.pipe()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        os.close(self._wake_out)
        os.close(self._wake_in)

    def stop(self) -> None:
        """Make `read` return None from now on; from any thread or signal handler, before ``__exit__``."""
        self._stopped = True
        os.write(self._wake_in, b"\0")

    def read(self) -> bytes | None:
        """
        The next line without its end; None at the end of the input or after `stop`.

        Raises:
            ValueError: The line was longer than the limit; the next call goes on behind it.
        """
        while not self._stopped:
            end = self._pending.find(b"\n")
            if end < 0 and not self._ended:
                self._shorten()
                self._receive()
                continue
            if end < 0:
                line, self._pending = bytes(self._pending), bytearray()
                if not line and not self._overlong:
                    return None
            else:
                line = bytes(self._pending[:end])
                del self._pending[: end + 1]
            if self._overlong or len(line) > self._limit:
                self._overlong = False
                raise ValueError(f"the line is longer than {self._limit:,} bytes")
            return line.removesuffix(b"\r")
        return None

    def _shorten(self) -> None:
        if len(self._pending) > self._limit:
            self._overlong = True
            self._pending.clear()

    def _receive(self) -> None:
        if os.name != "nt":
            # Not DefaultSelector: epoll refuses plain files and /dev/null, and `crust node --json <script` is one.
            # Poll is missing in a few systems, and on macOS is not for terminals.
            select_alone = sys.platform == "darwin" and os.isatty(self._descriptor)
            poll: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
            with selectors.SelectSelector() if select_alone else poll() as selector:
                selector.register(self._descriptor, selectors.EVENT_READ)
                selector.register(self._wake_out, selectors.EVENT_READ)
                ready = {key.fd for key, _ in selector.select(_LOOK_INTERVAL)}
            if self._wake_out in ready or not ready:  # stopped; or to hear a signal that came just before the wait
                return
        data = os.read(self._descriptor, _CHUNK)
        self._pending += data
        self._ended = not data
