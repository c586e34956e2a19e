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
from collections.abc import Iterable
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


Run = tuple[int, int]
"""Consecutive message numbers: the first, and how many."""


class _Lane:
    """
    Messages of one priority and kind, in order of arrival; ``head`` is the first that has not been sent.

    Their numbers are kept as runs, since they are consecutive while nothing is sent in another lane.
    """

    __slots__ = ("head", "key", "kind", "messages", "offset", "priority", "runs", "slot", "times")

    def __init__(self, key: int) -> None:
        self.key = key
        self.priority = key >> 1
        self.kind = key & 1
        self.messages: list[bytes] = []
        self.runs: collections.deque[Run] = collections.deque()
        """Numbers of the messages from ``head`` on, but those of the outbox's open run."""
        self.times: list[float] | None = None
        self.head = 0
        self.offset = 0
        """Bytes of the head message already sent as pieces."""
        self.slot = -1
        """Slot of the head message while it is under way in pieces, else -1."""

    def advance(self, count: int) -> list[Run]:
        """Let go of ``count`` messages from the head and return their numbers (no run of theirs is open)."""
        self.head += count
        if self.head == len(self.messages):
            self.messages.clear()
            if self.times is not None:
                self.times.clear()
            self.head = 0
        elif self.head >= _BATCH_CANDIDATES:  # the lists shrink now and then, not each time
            del self.messages[: self.head]
            if self.times is not None:
                del self.times[: self.head]
            self.head = 0
        return self.take_numbers(count)

    def take_numbers(self, count: int) -> list[Run]:
        """The first ``count`` numbers of the runs."""
        taken: list[Run] = []
        runs = self.runs
        while count:
            first, length = runs[0]
            if length > count:
                runs[0] = (first + count, length - count)
                taken.append((first, count))
                break
            taken.append(runs.popleft())
            count -= length
        return taken


class _Kept(NamedTuple):
    """A record sent and not yet acknowledged."""

    end: int
    """Number after its last chunk."""
    plaintext: bytes
    begun: int
    """Window charged by the messages that begin in it."""
    released: int
    """Buffer freed when it is acknowledged."""
    finished: list[Run]
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
        "_open",
        "_open_first",
        "_open_key",
        "_order",
        "_resend",
        "_slots",
        "_window",
        "held_bytes",
        "max_bytes",
        "max_messages",
        "next_message",
        "sent_bytes",
        "settled_messages",
    )

    def __init__(self, *, max_messages: int, max_bytes: int, drop_priority: int | None, window: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.next_message = 0
        """Number of the next message."""
        self.settled_messages = 0
        """Messages acknowledged or dropped."""
        self.held_bytes = 0
        """Cost of all messages queued or unacknowledged."""
        self.sent_bytes = 0
        """Of those, bytes put into records."""
        self._drop_priority = limits.PRIORITY_MAX + 1 if drop_priority is None else drop_priority
        self._lanes: dict[int, _Lane] = {}
        self._order: list[_Lane] = []
        # The run of numbers that grows with each message, without being written anywhere: from _open_first on, all
        # belong to _open, the lane that was used last.
        self._open: _Lane | None = None
        self._open_key = -1
        self._open_first = 0
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
        number = self.next_message
        held = self.held_bytes + len(data) + _OVERHEAD
        if number - self.settled_messages >= self.max_messages or (held > self.max_bytes and self.held_bytes):
            return -1
        key = priority << 1 | kind
        lane = self._open
        if lane is None or key != self._open_key:
            lane = self._switch(key)
        lane.messages.append(data)
        self.next_message = number + 1
        self.held_bytes = held
        if lane.times is not None:
            lane.times.append(now)
        return number

    @property
    def held_messages(self) -> int:
        """Messages queued or unacknowledged."""
        return self.next_message - self.settled_messages

    @property
    def queued_bytes(self) -> int:
        """Cost of what has not been put into a record."""
        return self.held_bytes - self.sent_bytes

    @property
    def half_empty(self) -> bool:
        """True if at most half of the buffer is in use: when waiting senders go on."""
        return self.held_messages * 2 <= self.max_messages and self.held_bytes * 2 <= self.max_bytes

    def _close_run(self) -> None:
        """Write the open run down; the next message opens another."""
        if self._open is not None:
            count = self.next_message - self._open_first
            if count:
                self._open.runs.append((self._open_first, count))
            self._open_first = self.next_message

    def _switch(self, key: int) -> _Lane:
        """Messages go to another lane from now on."""
        self._close_run()
        lane = self._lanes.get(key) or self._add_lane(key)
        self._open, self._open_key, self._open_first = lane, key, self.next_message
        return lane

    def _add_lane(self, key: int) -> _Lane:
        lane = _Lane(key)
        if lane.priority >= self._drop_priority and lane.kind == frames.Kind.MESSAGE:  # no part of a file expires
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
        if self.held_bytes == self.sent_bytes:
            return None
        self._close_run()
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
        self.sent_bytes += filler.released
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
            self.sent_bytes -= record.released
            for _, count in record.finished:
                self.settled_messages += count
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

    def expire(self, now: float, max_age: float) -> list[tuple[int, list[int]]]:
        """Drop unsent messages of that age from the lanes that allow it: (priority, numbers) each."""
        dropped: list[tuple[int, list[int]]] = []
        self._close_run()
        for lane in self._order:
            if lane.times is None or not lane.messages:
                continue
            begun = 1 if lane.slot >= 0 else 0
            first = lane.head + begun
            # The same sum that a timer is set to, so that what it was set for is found when it fires.
            end = bisect.bisect_right(lane.times, now, first, key=lambda time: time + max_age)
            if end <= first:
                continue
            under_way = lane.take_numbers(begun)
            numbers = _expanded(lane.take_numbers(end - first))
            lane.runs.extendleft(under_way)
            cost = sum(map(len, lane.messages[first:end])) + _OVERHEAD * (end - first)
            del lane.messages[first:end], lane.times[first:end]
            lane.advance(0)
            self.settled_messages += len(numbers)
            self.held_bytes -= cost
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
        self._close_run()
        waiting = itertools.chain.from_iterable(lane.runs for lane in self._order)
        sent = itertools.chain.from_iterable(record.finished for record in self._keep)
        return tuple(sorted(_expanded(itertools.chain(waiting, sent))))

    def oldest_held(self) -> int | None:
        """The lowest number of a message that has not been acknowledged; None if all have been."""
        if not self.held_messages:
            return None
        self._close_run()
        waiting = [lane.runs[0][0] for lane in self._order if lane.runs]
        sent = [first for record in self._keep for first, _ in record.finished]
        return min(itertools.chain(waiting, sent), default=None)

    def clear(self) -> None:
        """Let go of all data; the session is over."""
        self._lanes.clear()
        self._order.clear()
        self._keep.clear()
        self._open = None
        self._open_key = -1
        self._resend = 0
        self.settled_messages = self.next_message
        self.held_bytes = self.sent_bytes = 0


def _expanded(runs: Iterable[Run]) -> list[int]:
    return [number for first, count in runs for number in range(first, first + count)]


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
        self.finished: list[Run] = []
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
        per_message = frames.BATCH_PER_MESSAGE
        room = min(self.room, limits.RECORD_TARGET) - frames.BATCH_OVERHEAD
        first_size = len(lane.messages[head]) + per_message
        if first_size > room:
            return False
        # Messages in a row tend to be of one size: look at about as many as would fit then.
        likely = room // first_size + 2
        batch = lane.messages[head : head + min(likely, _BATCH_CANDIDATES)]
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
        first = self.outbox._next_chunk + self.numbered
        part = frames.build_batch(first, lane.kind, lane.priority, batch)
        self.parts.append(part)
        self.room -= len(part)
        cost = ends[count - 1] + _OVERHEAD * count
        self.begun += cost
        self.released += cost
        self.numbered += count
        self.finished += lane.advance(count)
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
        self.outbox._slots &= ~(1 << lane.slot)
        lane.slot = -1
        lane.offset = 0
        self.finished += lane.advance(1)
        return True
