"""How much of a stream is handed on at once: what its receiver deals with in a few milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from .. import limits
from .contract import Sink

__all__ = ["Pieces"]


class Pieces:
    """
    Of one connection. Large pieces are cheap for data, but a flood of small things is dear by the byte. What pauses a
    connection that costs too much counts from one piece to the next: with a second of work in each it would come too
    late, and greenlets stand still that long. Not thread-safe: its reader's.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = limits.PIECE_BEGUN
        """Bytes in one, at most; from :data:`crust.limits.PIECE_MIN` to :data:`crust.limits.BURST_SIZE`."""

    def hand(self, sink: Sink, data: memoryview) -> None:
        """Hand on one piece, of at least one byte."""
        if len(data) < limits.PIECE_MIN:
            sink.data_received(data)
            return
        began = time.thread_time()  # what other threads do meanwhile says nothing about this sink
        sink.data_received(data)
        self.taken(len(data), time.thread_time() - began)

    def hand_all(self, sink: Sink, data: memoryview, is_stopped: Callable[[], bool]) -> memoryview:
        """Hand on so many pieces, until that is to stop; gives what is left."""
        while data:
            piece = data[: self.size]
            self.hand(sink, piece)
            data = data[len(piece) :]
            if is_stopped():
                break
        return data

    def taken(self, size: int, seconds: float) -> None:
        """So many bytes have been dealt with; it took so many seconds of a core."""
        if seconds > limits.PIECE_SECONDS:
            self.size = max(limits.PIECE_MIN, int(size * limits.PIECE_SECONDS / seconds))
        elif size >= self.size:
            self.size = min(limits.BURST_SIZE, self.size + limits.PIECE_GROWTH)
