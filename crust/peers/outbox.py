"""
The sending half of a session: queues by priority, numbers, credit, and what is kept until acknowledged.

Theory of operation (docs/wire-format.md, "Sessions"):

- A message waits in the *lane* of its priority. Lanes are emptied in order of urgency, each in order of arrival.
- A chunk (a small message, or a piece of a big one) gets its number when it is first put into a record, never before:
  only unnumbered messages may expire.
- The plaintext of every record with chunks is kept until the other side acknowledges it. After a resume the same
  plaintexts are sent again, so the receiver sees the same boundaries.
- A message begins only if the window that the receiver granted covers all of it (its length and ``MESSAGE_OVERHEAD``).
  Messages in pieces leave ``SMALL_RESERVE`` of the window to messages of one record, and at most
  ``PARTIAL_MESSAGES_MAX`` are under way: partial messages cannot deadlock each other, and urgent ones overtake.
- If an urgent message waits for window, less urgent ones do not begin: they would eat what it waits for.

Sans-IO and not thread-safe: the session's lock guards it. The hot paths work on slices of lists, so that the cost of
a message is a few C calls.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from typing import NamedTuple

from .. import limits
from ..exceptions import RemoteProtocolError
from ..wire import frames

__all__ = ["Outbox"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_BATCH_CANDIDATES = 2048  # messages looked at for one batch
_LANES_KEPT = 8  # empty lanes kept for the next message

SMALL_MAX = limits.RECORD_TARGET - frames.BATCH_OVERHEAD - frames.BATCH_PER_MESSAGE
"""Longest message that travels as one chunk, in bytes."""


class _Lane:
    """Messages of one priority and kind, in order of arrival; ``head`` is the first that has not been sent."""

    __slots__ = ("head", "key", "kind", "messages", "numbers", "offset", "priority", "slot", "times")

    def __init__(self, key: int) -> None:
        self.key = key
        self.priority = key >> 1
        self.kind = key & 1
        self.messages: list[bytes] = []
        self.numbers: list[int] = []
        self.times: list[float] | None = None
        self.head = 0
        self.offset = 0
        """Bytes of the head message already sent as pieces."""
        self.slot = -1
        """Slot of the head message while it is under way in pieces, else -1."""

    def advance(self, count: int) -> None:
        """Forget ``count`` messages from the head; the lists shrink now and then, not each time."""
        self.head += count
        if self.head == len(self.messages):
            self.messages.clear()
            self.numbers.clear()
            if self.times is not None:
                self.times.clear()
            self.head = 0
        elif self.head >= _BATCH_CANDIDATES:
            del self.messages[: self.head]
            del self.numbers[: self.head]
            if self.times is not None:
                del self.times[: self.head]
            self.head = 0


class _Kept(NamedTuple):
    """A record sent and not yet acknowledged."""

    end: int
    """Number after its last chunk."""
    plaintext: bytes
    begun: int
    """Window charged by the messages that begin in it."""
    released: int
    """Buffer freed when it is acknowledged."""
    numbers: list[int]
    """Messages whose last chunk it holds."""


class Outbox:
    """
    What one side of a session has to send.

    Args:
        max_messages: Messages that may be queued or unacknowledged.
        max_bytes: The same in bytes, each message counting its length and ``MESSAGE_OVERHEAD``. One message is always
            accepted while nothing else is held, so that no legal message is too big to ever fit.
        drop_priority: Messages of this priority or less urgent may expire; None: none may.
        window: Bytes that the receiver granted.
    """

    __slots__ = (
        "_acked",
        "_begun",
        "_drop_priority",
        "_keep",
        "_lanes",
        "_next_chunk",
        "_order",
        "_resend",
        "_slots",
        "_window",
        "held_bytes",
        "held_messages",
        "max_bytes",
        "max_messages",
        "next_message",
        "queued_bytes",
    )

    def __init__(self, *, max_messages: int, max_bytes: int, drop_priority: int | None, window: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.next_message = 0
        self.held_messages = 0
        self.held_bytes = 0
        self.queued_bytes = 0
        """Of those, bytes not yet put into a record."""
        self._drop_priority = limits.PRIORITY_MAX + 1 if drop_priority is None else drop_priority
        self._lanes: dict[int, _Lane] = {}
        self._order: list[_Lane] = []
        self._slots = 0  # bit set of the slots in use
        self._keep: collections.deque[_Kept] = collections.deque()
        self._resend = 0  # index in _keep of the next record to repeat; len(_keep) when none is
        self._next_chunk = 0
        self._acked = 0
        self._window = window
        self._begun = 0  # window charged by kept records

    # --- what the application adds ------------------------------------------------------------------------------------

    def push(self, data: bytes, priority: int, kind: int, now: float) -> int:
        """Queue a message and return its number, or -1 if the buffer is full (then nothing has changed)."""
        cost = len(data) + _OVERHEAD
        held = self.held_bytes + cost
        if self.held_messages >= self.max_messages or (held > self.max_bytes and self.held_messages):
            return -1
        key = priority << 1 | kind
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._add_lane(key)
        number = self.next_message
        self.next_message = number + 1
        lane.messages.append(data)
        lane.numbers.append(number)
        if lane.times is not None:
            lane.times.append(now)
        self.held_messages += 1
        self.held_bytes = held
        self.queued_bytes += cost
        return number

    def has_room(self, size: int) -> bool:
        """True if a message of ``size`` bytes would be accepted now."""
        if self.held_messages >= self.max_messages:
            return False
        return self.held_bytes + size + _OVERHEAD <= self.max_bytes or not self.held_messages

    @property
    def half_empty(self) -> bool:
        """True if at most half of the buffer is in use: when waiting senders go on."""
        return self.held_messages * 2 <= self.max_messages and self.held_bytes * 2 <= self.max_bytes

    def _add_lane(self, key: int) -> _Lane:
        lane = _Lane(key)
        if lane.priority >= self._drop_priority:
            lane.times = []
        if len(self._order) >= _LANES_KEPT:
            for empty in [other for other in self._order if not other.messages]:
                del self._lanes[empty.key]
                self._order.remove(empty)
        self._lanes[key] = lane
        bisect.insort(self._order, lane, key=lambda other: other.key)
        return lane

    # --- what goes out ------------------------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> bool:
        """True while a record with chunks awaits its acknowledgement."""
        return bool(self._keep)

    @property
    def resending(self) -> bool:
        """True while records are being repeated after a resume."""
        return self._resend < len(self._keep)

    def next_record(self, prefix: bytes = b"") -> bytes | None:
        """
        The plaintext of the next record with data, or None if there is nothing that may be sent now.

        Args:
            prefix: Frames to put in front (an acknowledgement). A repeated record keeps its own, older prefix.
        """
        if self._resend < len(self._keep):
            self._resend += 1
            return self._keep[self._resend - 1].plaintext
        if not self.queued_bytes:
            return None
        filler = _Filler(self, prefix)
        for lane in self._order:
            if lane.messages and not filler.fill(lane):
                break
        if not filler.numbered:
            return None
        plaintext = b"".join(filler.parts)
        self._next_chunk += filler.numbered
        self._begun += filler.begun
        self._keep.append(_Kept(self._next_chunk, plaintext, filler.begun, filler.released, filler.finished))
        self._resend = len(self._keep)
        self.queued_bytes -= filler.released
        return plaintext

    # --- what comes back ----------------------------------------------------------------------------------------------

    def receive_ack(self, next_number: int, window: int) -> bool:
        """
        The receiver has stored every chunk below ``next_number`` and will buffer ``window`` bytes more.

        Stale acknowledgements (they travel inside repeated records) change nothing.

        Returns:
            True if buffer became free.

        Raises:
            RemoteProtocolError: It acknowledges what was never sent.
        """
        if next_number > self._next_chunk:
            raise RemoteProtocolError(
                f"the peer acknowledged chunk {next_number - 1}, but only {self._next_chunk} have been sent"
            )
        if next_number < self._acked:
            return False
        if next_number == self._acked:
            self._window = max(self._window, window)
            return False
        self._acked = next_number
        self._window = window
        freed = False
        keep = self._keep
        while keep and keep[0].end <= next_number:
            record = keep.popleft()
            self._begun -= record.begun
            self.held_bytes -= record.released
            self.held_messages -= len(record.numbers)
            self._resend = max(0, self._resend - 1)
            freed = True
        return freed

    def resume(self, next_number: int, window: int) -> None:
        """
        A new link begins: the receiver expects ``next_number``; everything from there goes out again.

        Raises:
            RemoteProtocolError: That number was never reached.
        """
        if next_number >= self._acked:
            self.receive_ack(next_number, window)
        self._resend = 0

    def can_resume(self, next_number: int) -> bool:
        """
        True if the receiver's ``next_number`` can be continued from: it is not beyond what was sent.

        A number below what was acknowledged is merely stale: the acknowledgement overtook it on another link.
        """
        return next_number <= self._next_chunk

    # --- what is given up ---------------------------------------------------------------------------------------------

    def expire(self, before: float) -> list[tuple[int, list[int]]]:
        """Drop unsent messages queued before that moment from the lanes that allow it: (priority, numbers) each."""
        dropped: list[tuple[int, list[int]]] = []
        for lane in self._order:
            if lane.times is None or not lane.messages:
                continue
            begun = 1 if lane.slot >= 0 else 0
            first = lane.head + begun
            end = bisect.bisect_left(lane.times, before, first)
            if end <= first:
                continue
            numbers = lane.numbers[first:end]
            cost = sum(map(len, lane.messages[first:end])) + _OVERHEAD * (end - first)
            del lane.messages[first:end], lane.numbers[first:end], lane.times[first:end]
            lane.advance(0)
            self.held_messages -= len(numbers)
            self.held_bytes -= cost
            self.queued_bytes -= cost
            dropped.append((lane.priority, numbers))
        return dropped

    def next_expiry(self) -> float | None:
        """When the oldest message that may expire was queued; None if there is none."""
        times = []
        for lane in self._order:
            if lane.times is not None:
                first = lane.head + (1 if lane.slot >= 0 else 0)
                if first < len(lane.times):
                    times.append(lane.times[first])
        return min(times, default=None)

    def undelivered(self) -> tuple[int, ...]:
        """Numbers of all messages that have not been acknowledged, in order."""
        waiting = [number for lane in self._order for number in lane.numbers[lane.head :]]
        sent = [number for record in self._keep for number in record.numbers]
        return tuple(sorted(itertools.chain(waiting, sent)))

    def oldest_held(self) -> int | None:
        """The lowest number of a message that has not been acknowledged; None if all have been."""
        if not self.held_messages:
            return None
        waiting = [lane.numbers[lane.head] for lane in self._order if lane.messages]
        sent = [min(record.numbers) for record in self._keep if record.numbers]
        return min(itertools.chain(waiting, sent), default=None)

    def clear(self) -> None:
        """Let go of all data; the session is over."""
        self._lanes.clear()
        self._order.clear()
        self._keep.clear()
        self._resend = 0
        self.held_messages = self.held_bytes = self.queued_bytes = 0


class _Filler:
    """Gathers one record from the lanes, most urgent first."""

    __slots__ = ("begun", "blocked", "finished", "numbered", "outbox", "parts", "released", "room")

    def __init__(self, outbox: Outbox, prefix: bytes) -> None:
        self.outbox = outbox
        self.parts = [prefix] if prefix else []
        self.room = limits.RECORD_PLAINTEXT_MAX - len(prefix)
        self.numbered = 0
        self.begun = 0
        self.released = 0
        self.finished: list[int] = []
        self.blocked = False
        """A more urgent message waits for window: nothing less urgent may begin."""

    def fill(self, lane: _Lane) -> bool:
        """Take from ``lane`` what fits; False when the record is full."""
        while lane.messages:
            if lane.slot < 0:
                if self.blocked:
                    return True
                if len(lane.messages[lane.head]) <= SMALL_MAX:
                    if not self._take_batch(lane):
                        return self.blocked
                    continue
                if not self._begin_big(lane):
                    return True
            if not self._take_piece(lane):
                return False
        return True

    def _window_left(self) -> int:
        return self.outbox._window - self.outbox._begun - self.begun

    def _take_batch(self, lane: _Lane) -> bool:
        """Put small messages into one batch; False if not even one fits (``blocked`` tells why)."""
        head = lane.head
        batch = lane.messages[head : head + _BATCH_CANDIDATES]
        per_message = frames.BATCH_PER_MESSAGE
        room = min(self.room, limits.RECORD_TARGET) - frames.BATCH_OVERHEAD
        ends = list(itertools.accumulate(map(len, batch)))
        count = len(ends)
        if ends[-1] + per_message * count > room:
            # Room for the lengths is part of the room: the sums with them are monotonic too.
            count = bisect.bisect_right(
                range(len(ends)), room, key=lambda index: ends[index] + per_message * (index + 1)
            )
        if not count:
            return False
        left = self._window_left()
        if ends[count - 1] + _OVERHEAD * count > left:
            count = bisect.bisect_right(range(count), left, key=lambda index: ends[index] + _OVERHEAD * (index + 1))
            if not count:
                self.blocked = True
                return False
        if count < len(batch):
            batch = batch[:count]
        first = self.outbox._next_chunk + self.numbered
        part = frames.build_batch(first, lane.kind, lane.priority, batch)
        self.parts.append(part)
        self.room -= len(part)
        cost = ends[count - 1] + _OVERHEAD * count
        self.begun += cost
        self.released += cost
        self.numbered += count
        if self.finished:
            self.finished += lane.numbers[head : head + count]
        else:
            self.finished = lane.numbers[head : head + count]
        lane.advance(count)
        return True

    def _begin_big(self, lane: _Lane) -> bool:
        """Reserve window and a slot for the big message at the head; False if it must wait."""
        cost = len(lane.messages[lane.head]) + _OVERHEAD
        if cost + limits.SMALL_RESERVE > self._window_left():
            self.blocked = True
            return False
        slots = self.outbox._slots
        free = ~slots & ((1 << limits.PARTIAL_MESSAGES_MAX) - 1)
        if not free:
            return False
        if self.room < frames.PIECE_OVERHEAD + 1:
            return True  # the piece will not fit either; nothing has been reserved
        slot = (free & -free).bit_length() - 1
        self.outbox._slots = slots | 1 << slot
        lane.slot = slot
        lane.offset = 0
        self.begun += cost
        return True

    def _take_piece(self, lane: _Lane) -> bool:
        """Put the next piece of the message under way into the record; False if the record is full."""
        room = self.room - frames.PIECE_OVERHEAD
        if room < 1 or lane.slot < 0:
            return False
        message = lane.messages[lane.head]
        total = len(message)
        offset = lane.offset
        end = min(total, offset + room)
        last = end == total
        number = self.outbox._next_chunk + self.numbered
        with memoryview(message) as view:
            part = frames.build_piece(
                number, lane.kind, lane.priority, lane.slot, offset == 0, last, total, view[offset:end]
            )
        self.parts.append(part)
        self.room -= len(part)
        self.numbered += 1
        self.released += end - offset
        if not last:
            lane.offset = end
            return False
        self.released += _OVERHEAD
        self.finished = [*self.finished, lane.numbers[lane.head]]
        self.outbox._slots &= ~(1 << lane.slot)
        lane.slot = -1
        lane.offset = 0
        lane.advance(1)
        return True
