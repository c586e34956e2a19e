"""How much of a stream is handed on at once: what its receiver deals with in a few milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from .. import limits
from .contract import Sink

__all__ = ["Pieces", "offer"]


def offer(sink: Sink, data: memoryview) -> int:
    """Hand data to a sink that may leave some of it; gives how many bytes it has taken."""
    some: Callable[[memoryview], int] | None = getattr(sink, "data_offered", None)
    if some is not None:
        return some(data)
    sink.data_received(data)
    return len(data)


class Pieces:
    """
    Of one connection. Large pieces are cheap for data, but a flood of small things is dear by the byte. What pauses a
    connection that costs too much counts from one piece to the next: with a second of work in each it would come too
    late, and greenlets stand still that long. And who sends cheap things first may send dear ones then, so a sink that
    knows better leaves what is too much at once. Not thread-safe: its reader's.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = limits.PIECE_BEGUN
        """Bytes in one, at most; from :data:`crust.limits.PIECE_MIN` to :data:`crust.limits.BURST_SIZE`."""

    def hand(self, sink: Sink, data: memoryview) -> int:
        """Hand on one piece, of at least one byte; gives how many bytes of it the sink has taken."""
        if len(data) < limits.PIECE_MIN:
            sink.data_received(data)
            return len(data)
        began = time.thread_time()  # what other threads do meanwhile says nothing about this sink
        size = offer(sink, data)
        self.taken(size, time.thread_time() - began)
        return size

    def hand_all(self, sink: Sink, data: memoryview, is_stopped: Callable[[], bool]) -> memoryview:
        """Hand on so many pieces, until that is to stop; gives what is left."""
        while data:
            data = data[self.hand(sink, data[: self.size]) :]
            if is_stopped():
                break
        return data

    def taken(self, size: int, seconds: float) -> None:
        """So many bytes have been dealt with; it took so many seconds of a core."""
        if seconds > limits.PIECE_SECONDS:
            self.size = max(limits.PIECE_MIN, int(size * limits.PIECE_SECONDS / seconds))
        elif size >= self.size:
            self.size = min(limits.BURST_SIZE, self.size + limits.PIECE_GROWTH)
