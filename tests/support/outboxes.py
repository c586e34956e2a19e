"""Outboxes, and what comes out of them, for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from crust import limits
from crust.peers.outbox import Outbox
from crust.wire import frames
from crust.wire.frames import Batch, Frame, Kind, Piece

PLENTY = 1 << 30
OVERHEAD, RESERVE = limits.MESSAGE_OVERHEAD, limits.SMALL_RESERVE
BIG = 300_000  # bytes: five records
PIECE = limits.RECORD_PLAINTEXT_MAX - frames.PIECE_OVERHEAD  # bytes of the longest piece
SLOTS = limits.PARTIAL_MESSAGES_MAX


def make(
    *,
    messages: int = 100_000,
    size: int = PLENTY,
    drop: int | None = limits.DROP_MIN_PRIORITY,
    window: int = PLENTY,
) -> Outbox:
    return Outbox(max_messages=messages, max_bytes=size, drop_priority=drop, window=window)


def push(outbox: Outbox, data: bytes, priority: int = 1, kind: int = Kind.MESSAGE, now: float = 0.0) -> int:
    number = outbox.push(data, priority, kind, now)
    assert number >= 0
    return number


def take(outbox: Outbox) -> list[Frame]:
    """The frames of the next record; none if there is no record."""
    record = outbox.next_record()
    return [] if record is None else frames.parse_record_untrusted(record)


def take_all(outbox: Outbox) -> list[Frame]:
    """The frames of all records that may go out now."""
    return list(itertools.chain.from_iterable(iter(lambda: take(outbox), [])))


def records_of(outbox: Outbox) -> list[bytes]:
    return list(iter(outbox.next_record, None))


def chunks_in(sent: Iterable[Frame]) -> int:
    return sum(len(frame.messages) if isinstance(frame, Batch) else 1 for frame in sent)


def put_together(sent: Iterable[Frame]) -> list[tuple[int, int, bytes]]:
    """The messages of these frames as (priority, kind, data), in the order of their ends; numbers must be gapless."""
    messages = []
    partial: dict[int, bytes] = {}
    expected = None
    for frame in sent:
        assert isinstance(frame, (Batch, Piece))
        first = frame.first if isinstance(frame, Batch) else frame.number
        assert expected in (None, first)
        expected = first + chunks_in([frame])
        if isinstance(frame, Batch):
            messages += [(frame.priority, frame.kind, data) for data in frame.messages]
            continue
        assert frame.is_first == (frame.slot not in partial)
        partial[frame.slot] = partial.get(frame.slot, b"") + frame.data
        assert frame.is_last == (len(partial[frame.slot]) == frame.total)
        if frame.is_last:
            messages.append((frame.priority, frame.kind, partial.pop(frame.slot)))
    assert not partial
    return messages
