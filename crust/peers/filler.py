"""
What goes into one record: messages and pieces of messages from the lanes, most urgent first.

Sans-IO; part of :mod:`crust.peers.outbox`, which see. Changes nothing, so that an interrupt can do no harm: what is to
change is in the filler's fields, and the outbox does it.
"""

from __future__ import annotations

import bisect
import itertools

from .. import limits
from ..wire import frames
from .lanes import Lane, Move, Run, Signed

__all__ = ["SMALL_MAX", "Filler"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_BATCH_CANDIDATES = 2048  # messages looked at for one batch

SMALL_MAX = limits.RECORD_TARGET - frames.BATCH_OVERHEAD - frames.BATCH_PER_MESSAGE
"""Longest message that travels as one chunk, in bytes."""


class Filler:
    """
    Gathers one record.

    Args:
        prefix: Frames to put in front.
        next_chunk: Number of the first chunk that goes in.
        slots: Bit set of the slots in use.
        window: Bytes that may still begin.
        signs: There may be signed messages among those that wait.
    """

    __slots__ = (
        "begun",
        "blocked",
        "finished",
        "head",
        "moves",
        "next_chunk",
        "numbered",
        "offset",
        "parts",
        "released",
        "room",
        "signs",
        "slot",
        "slots",
        "window",
    )

    def __init__(self, prefix: bytes, next_chunk: int, slots: int, window: int, signs: bool = False) -> None:
        self.next_chunk = next_chunk
        self.signs = signs
        self.window = window
        self.parts: list[bytes | memoryview] = [prefix] if prefix else []
        self.room = limits.RECORD_PLAINTEXT_MAX - len(prefix)
        self.numbered = 0
        self.begun = 0
        self.released = 0
        self.finished: list[Run] = []
        self.moves: list[Move] = []
        self.slots = slots
        # Of the lane in hand, which does not change before the record is decided on:
        self.head = self.offset = 0
        self.slot = -1
        self.blocked = False
        """A more urgent message waits for window: nothing less urgent may begin."""

    def fill(self, lane: Lane) -> bool:
        """Take from ``lane`` what fits; False when the record is full."""
        head, self.offset, self.slot = lane.head, lane.offset, lane.slot
        self.head = head
        numbered = self.numbered
        goes_on = self._fill(lane)
        if self.numbered != numbered:
            finished, end = lane.first_numbers(self.head - head)
            self.finished += finished
            self.moves.append((lane, self.head, self.offset, self.slot, end))
        return goes_on

    def _fill(self, lane: Lane) -> bool:
        while self.head < len(lane.messages):
            if self.slot < 0:
                if self.blocked:
                    return True
                if len(lane.messages[self.head]) <= SMALL_MAX:
                    if not self._take_batch(lane):
                        return self.blocked
                    continue
                if not self._begin_big(lane):
                    return True
            if not self._take_piece(lane):
                return False
        return True

    def _window_left(self) -> int:
        return self.window - self.begun

    def _take_batch(self, lane: Lane) -> bool:
        """Put small messages into one batch; False if not even one fits (``blocked`` tells why)."""
        head = self.head
        per_message = frames.BATCH_PER_MESSAGE
        room = min(self.room, limits.RECORD_TARGET) - frames.BATCH_OVERHEAD
        first_size = len(lane.messages[head]) + per_message
        if first_size > room:
            return False
        # Messages in a row tend to be of one size: look at about as many as would fit then.
        likely = room // first_size + 2
        batch = lane.messages[head : head + min(likely, _BATCH_CANDIDATES)]
        kind = lane.kind
        if self.signs:
            batch = _of_one_sort(batch)
            if type(batch[0]) is Signed:
                kind = frames.Kind.SIGNED
        ends = list(itertools.accumulate(map(len, batch)))
        count = len(ends)
        if ends[-1] + per_message * count > room:
            # Room for the lengths is part of the room: the sums with them are monotonic too.
            count = bisect.bisect_right(
                range(len(ends)), room, key=lambda index: ends[index] + per_message * (index + 1)
            )
        left = self._window_left()
        if ends[count - 1] + _OVERHEAD * count > left:
            count = bisect.bisect_right(range(count), left, key=lambda index: ends[index] + _OVERHEAD * (index + 1))
            if not count:
                self.blocked = True
                return False
        if count < len(batch):
            batch = batch[:count]
        first = self.next_chunk + self.numbered
        part = frames.build_batch(first, kind, lane.priority, batch)
        self.parts.append(part)
        self.room -= len(part)
        cost = ends[count - 1] + _OVERHEAD * count
        self.begun += cost
        self.released += cost
        self.numbered += count
        self.head = head + count
        return True

    def _begin_big(self, lane: Lane) -> bool:
        """Reserve window and a slot for the big message at the head; False if it must wait."""
        cost = len(lane.messages[self.head]) + _OVERHEAD
        if cost + limits.SMALL_RESERVE > self._window_left():
            self.blocked = True
            return False
        free = ~self.slots & ((1 << limits.PARTIAL_MESSAGES_MAX) - 1)
        if not free:
            return False
        if self.room < frames.PIECE_OVERHEAD + 1:
            return True  # the piece will not fit either; nothing has been reserved
        slot = (free & -free).bit_length() - 1
        self.slots |= 1 << slot
        self.slot = slot
        self.offset = 0
        self.begun += cost
        return True

    def _take_piece(self, lane: Lane) -> bool:
        """Put the next piece of the message under way into the record; False if the record is full."""
        room = self.room - frames.PIECE_OVERHEAD
        if room < 1 or self.slot < 0:
            return False
        message = lane.messages[self.head]
        total = len(message)
        offset = self.offset
        end = min(total, offset + room)
        last = end == total
        number = self.next_chunk + self.numbered
        kind = frames.Kind.SIGNED if type(message) is Signed else lane.kind
        head = frames.build_piece_head(
            number, kind, lane.priority, self.slot, offset == 0, last, total, end - offset
        )
        self.parts.append(head)
        self.parts.append(memoryview(message)[offset:end])  # copied once, when the parts are joined
        self.room -= frames.PIECE_OVERHEAD + end - offset
        self.numbered += 1
        self.released += end - offset
        if not last:
            self.offset = end
            return False
        self.released += _OVERHEAD
        self.slots &= ~(1 << self.slot)
        self.slot = -1
        self.offset = 0
        self.head += 1
        return True


def _of_one_sort(messages: list[bytes]) -> list[bytes]:
    """Those in front that are signed, if the first one is; else those that are not."""
    sort = type(messages[0])
    return list(itertools.takewhile(lambda message: type(message) is sort, messages))
