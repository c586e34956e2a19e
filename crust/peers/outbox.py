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

Interrupts: ``push`` and ``next_record`` run on the application's thread, where an exception (of a signal handler, say)
may strike after any call and at the head of any loop, though not between two plain statements. Each therefore changes
nothing up to one point, and everything after it: what ``push`` changes, it changes by stores and one last call in a
row; ``next_record`` writes down what is to be done (``_redo``), and whoever comes next does the rest. The steps of that
may be repeated without harm.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .. import limits
from ..exceptions import RemoteProtocolError
from ..wire import frames
from .filler import SMALL_MAX, Filler
from .lanes import Lane, Move, Run

__all__ = ["Outbox"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_LANES_KEPT = 8  # empty lanes kept for the next message


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


# Until the first record, every outbox has this one, which stays empty: a deque takes 0.7 KiB.
_NONE_KEPT: collections.deque[_Kept] = collections.deque(maxlen=0)

_Redo = tuple[_Kept, list[Move], int, int, int]
"""What a record changes: itself, the lanes, and the new values of ``_slots``, ``_begun`` and ``sent_bytes``."""


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
        "_begun",
        "_drop_priority",
        "_file_count",
        "_keep",
        "_lanes",
        "_last_message",
        "_next_chunk",
        "_open",
        "_open_first",
        "_open_key",
        "_order",
        "_redo",
        "_resend",
        "_slots",
        "_window",
        "acked",
        "held_bytes",
        "max_bytes",
        "max_messages",
        "next_message",
        "quick_append",
        "quick_bytes",
        "quick_count",
        "quick_key",
        "sent_bytes",
        "settled_messages",
        "signs",
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
        self.signs = False
        """There have been signed messages among those of the application."""
        # What Sending.send needs to queue a message without asking further; see allow_quick.
        self.quick_bytes = self.quick_count = self.quick_key = -1
        self.quick_append: Callable[[bytes], object] = _refuse
        self._drop_priority = limits.PRIORITY_MAX + 1 if drop_priority is None else drop_priority
        self._lanes: dict[int, Lane] = {}
        self._order: list[Lane] = []
        # The run of numbers that grows with each message, without being written anywhere: from _open_first on, all
        # belong to _open, the lane that was used last.
        self._open: Lane | None = None
        self._open_key = -1
        self._open_first = 0
        self._slots = 0  # bit set of the slots in use
        self._keep = _NONE_KEPT
        self._resend = 0  # index in _keep of the next record to repeat; len(_keep) when none is
        self._next_chunk = 0
        self.acked = 0
        """The other side has stored every chunk below this one."""
        self._window = window
        self._begun = 0  # window charged by kept records
        self._redo: _Redo | None = None  # a record that has been decided on; see _finish
        # Of the closed runs: numbers that went to file transfers, and the last that went to a message.
        self._file_count = 0
        self._last_message = -1

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
        if lane.times is not None:
            lane.align()
            lane.times.append(now)
        # No call from here to the last one, and nothing after that one: an interrupt finds all of it done, or nothing.
        self.next_message = number + 1
        self.held_bytes = held
        lane.messages.append(data)
        return number

    def has_room(self, size: int) -> bool:
        """Whether a message of that size would be queued."""
        held = self.held_bytes + size + _OVERHEAD
        return self.held_messages < self.max_messages and (held <= self.max_bytes or not self.held_bytes)

    def allow_quick(self, held_bytes: int) -> None:
        """
        Until :meth:`forbid_quick`, messages like the last one may be pushed without a call, as :meth:`push` does it:
        those of ``quick_key`` (priority and kind), while ``held_bytes`` stays at or below ``quick_bytes`` and
        ``next_message`` below ``quick_count``. ``quick_append`` is the last step.

        Args:
            held_bytes: So much may be held, if nothing is acknowledged meanwhile.
        """
        lane = self._open
        if lane is not None and lane.times is None:
            self.quick_append = lane.messages.append
            self.quick_key = self._open_key
            self.quick_count = self.settled_messages + self.max_messages
            self.quick_bytes = min(held_bytes, self.max_bytes)

    def forbid_quick(self) -> None:
        """From now on every message asks again."""
        self.quick_bytes = -1

    @property
    def accepted(self) -> tuple[int, int]:
        """How many messages of the application have been queued so far, and the number of the last, or -1."""
        self._close_run()
        return self.next_message - self._file_count, self._last_message

    @property
    def held_messages(self) -> int:
        """Messages queued or unacknowledged."""
        return self.next_message - self.settled_messages

    @property
    def numbered(self) -> int:
        """Messages, or pieces of them, that have gone out at least once."""
        return self._next_chunk

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
        lane = self._open
        if lane is not None:
            first, end = self._open_first, self.next_message
            if end != first:
                runs = lane.runs
                if lane.kind == frames.Kind.MESSAGE:
                    self._last_message = end - 1
                    self._open_first = end
                    runs.append((first, end - first))
                else:
                    self._file_count += end - first
                    self._open_first = end
                    runs.append((first, end - first))

    def _switch(self, key: int) -> Lane:
        """Messages go to another lane from now on."""
        self.forbid_quick()
        self._close_run()
        self._open = None  # it may be among the empty lanes that go now
        lane = self._lanes.get(key) or self._add_lane(key)
        self._open_key, self._open_first, self._open = key, self.next_message, lane
        return lane

    def _add_lane(self, key: int) -> Lane:
        lane = Lane(key)
        if lane.priority >= self._drop_priority and lane.kind == frames.Kind.MESSAGE:  # no part of a file expires
            lane.times = []
        order = self._order
        if len(order) >= _LANES_KEPT:
            order = [other for other in order if other.messages]
        order = sorted([*order, lane], key=lambda other: other.key)
        lanes = {other.key: other for other in order}
        self._lanes, self._order = lanes, order
        return lane

    # --- what goes out ------------------------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> bool:
        """True while a record with chunks awaits its acknowledgement."""
        return bool(self._keep)

    @property
    def resending(self) -> bool:
        """True while records are being repeated after a resume."""
        if self._redo is not None:
            self._finish(self._redo)
        return self._resend < len(self._keep)

    def most_urgent(self) -> int:
        """Priority of the most urgent message that is not sent whole; beyond the least urgent if there is none."""
        return next((lane.priority for lane in self._order if lane.messages), limits.PRIORITY_MAX + 1)

    def next_record(self, prefix: bytes = b"") -> bytes | None:
        """
        The plaintext of the next record with data, or None if there is nothing that may be sent now.

        Args:
            prefix: Frames to put in front (an acknowledgement). A repeated record keeps its own, older prefix.
        """
        if self._redo is not None:
            self._finish(self._redo)
        if self._resend < len(self._keep):
            self._resend += 1
            return self._keep[self._resend - 1].plaintext
        queued = self.held_bytes - self.sent_bytes
        if not queued:
            return None
        self._close_run()
        lane = self._open
        if lane is not None and queued <= SMALL_MAX and not self.signs:
            head = lane.head
            if head == len(lane.messages) - 1 and len(lane.messages[head]) + _OVERHEAD == queued:
                return self._lone_record(prefix, lane, queued)
        filler = Filler(prefix, self._next_chunk, self._slots, self._window - self._begun, self.signs)
        for lane in self._order:
            if lane.messages and not filler.fill(lane):
                break
        numbered = filler.numbered
        if not numbered:
            return None
        plaintext = b"".join(filler.parts)
        kept = _Kept(self._next_chunk + numbered, plaintext, filler.begun, filler.released, filler.finished)
        begun, sent_bytes = self._begun + filler.begun, self.sent_bytes + filler.released
        redo = self._redo = (kept, filler.moves, filler.slots, begun, sent_bytes)
        self._finish(redo)
        return plaintext

    def _lone_record(self, prefix: bytes, lane: Lane, cost: int) -> bytes | None:
        """
        The same if one small message waits, the one queued last: what :class:`Filler` would do, at a third of the time,
        which is half of what it takes to answer.
        """
        begun = self._begun + cost
        if begun > self._window:
            return None
        message = lane.messages[lane.head]
        number = self.next_message - 1
        chunk = self._next_chunk
        plaintext = prefix + frames.build_batch(chunk, lane.kind, lane.priority, (message,))
        kept = _Kept(chunk + 1, plaintext, cost, cost, [(number, 1)])
        moves = [(lane, lane.head + 1, 0, -1, number + 1)]
        redo = self._redo = (kept, moves, self._slots, begun, self.held_bytes)
        self._finish(redo)
        return plaintext

    def _finish(self, redo: _Redo) -> None:
        """Do what a record that has been decided on brings with it. May be interrupted, and begun again."""
        kept, moves, slots, begun, sent_bytes = redo
        for lane, head, offset, slot, end in moves:
            lane.move(head, offset, slot, end)
        keep = self._keep
        if keep is _NONE_KEPT:
            keep = self._keep = collections.deque()
        if not keep or keep[-1] is not kept:
            keep.append(kept)
        self._slots = slots
        self._begun = begun
        self.sent_bytes = sent_bytes
        self._next_chunk = kept.end
        self._resend = len(keep)
        self._redo = None
        for move in moves:
            move[0].tidy()

    def _settle(self) -> None:
        """Make up for interrupts: the lanes are what they should be afterwards, and every number is in a run."""
        if self._redo is not None:
            self._finish(self._redo)
        self._close_run()

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
        if self._redo is not None:
            self._finish(self._redo)
        if next_number > self._next_chunk:
            raise RemoteProtocolError(
                f"the peer acknowledged chunk {next_number - 1}, but only {self._next_chunk} have been sent"
            )
        if next_number < self.acked:
            return False
        if next_number == self.acked:
            self._window = max(self._window, window)
            return False
        self.acked = next_number
        self._window = window
        freed = False
        keep = self._keep
        while keep and keep[0].end <= next_number:
            record = keep.popleft()
            self._begun -= record.begun
            self.held_bytes -= record.released
            self.sent_bytes -= record.released
            self.quick_bytes -= record.released
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
        self._settle()
        if next_number >= self.acked:
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
        self._settle()
        for lane in self._order:
            if lane.times is None or not lane.messages:
                continue
            lane.align()
            begun = 1 if lane.slot >= 0 else 0
            first = lane.head + begun
            # The same sum that a timer is set to, so that what it was set for is found when it fires.
            end = bisect.bisect_right(lane.times, now, first, key=lambda time: time + max_age)
            if end <= first:
                continue
            under_way = lane.first_numbers(begun)[0]
            taken, after = lane.first_numbers(begun + end - first)
            numbers = _expanded(taken)[begun:]
            lane.move(lane.head, lane.offset, lane.slot, after)
            lane.runs[:0] = under_way
            cost = sum(map(len, lane.messages[first:end])) + _OVERHEAD * (end - first)
            del lane.messages[first:end], lane.times[first:end]
            lane.tidy()
            self.settled_messages += len(numbers)
            self.held_bytes -= cost
            dropped.append((lane.priority, numbers))
        return dropped

    def next_expiry(self) -> float | None:
        """When the oldest message that may expire was queued; None if there is none."""
        times = []
        if self._redo is not None:
            self._finish(self._redo)
        for lane in self._order:
            if lane.times is not None:
                lane.align()
                first = lane.head + (1 if lane.slot >= 0 else 0)
                if first < len(lane.times):
                    times.append(lane.times[first])
        return min(times, default=None)

    def undelivered(self) -> tuple[int, ...]:
        """Numbers of all messages that have not been acknowledged, in order."""
        self._settle()
        waiting = itertools.chain.from_iterable(lane.runs for lane in self._order)
        sent = itertools.chain.from_iterable(record.finished for record in self._keep)
        return tuple(sorted(_expanded(itertools.chain(waiting, sent))))

    def oldest_held(self) -> int | None:
        """The lowest number of a message that has not been acknowledged; None if all have been."""
        if not self.held_messages:
            return None
        self._settle()
        waiting = [lane.runs[0][0] for lane in self._order if lane.runs]
        sent = [first for record in self._keep for first, _ in record.finished]
        return min(itertools.chain(waiting, sent), default=None)

    def clear(self) -> None:
        """Let go of all data; the session is over."""
        self._settle()
        self.forbid_quick()
        self._lanes.clear()
        self._order.clear()
        self._keep.clear()
        self._open = None
        self._open_key = -1
        self._resend = 0
        self.settled_messages = self.next_message
        self.held_bytes = self.sent_bytes = 0


def _refuse(data: bytes) -> None:
    raise AssertionError("quick_bytes allows nothing")


def _expanded(runs: Iterable[Run]) -> list[int]:
    return [number for first, count in runs for number in range(first, first + count)]
