"""The receiving half of a session, beside one that is written as plainly as can be.

Both refuse the same frames and give out the same messages; what is granted is never exceeded.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.inbox import Inbox
from crust.wire.frames import Batch, Piece
from tests.fuzz.source import Source, noise

_BUFFER, _LONGEST = 2000, 600
_OVERHEAD = limits.MESSAGE_OVERHEAD


class _Plain:
    """By the rules of docs/wire-format.md, chunk by chunk."""

    def __init__(self) -> None:
        self.next = self.used = 0
        self.slots: dict[int, tuple[Piece, bytes]] = {}

    def batch(self, batch: Batch) -> list[bytes] | None:
        if batch.first > self.next:
            return None
        fresh = batch.messages[self.next - batch.first :]
        cost = sum(len(message) + _OVERHEAD for message in fresh)
        if any(len(message) > _LONGEST for message in fresh) or self.used + cost > _BUFFER:
            return None
        self.next, self.used = self.next + len(fresh), self.used + cost
        return fresh

    def piece(self, piece: Piece) -> list[bytes] | None:
        if piece.number != self.next:
            return None if piece.number > self.next else []
        begun = self.slots.get(piece.slot)
        if piece.is_first == (begun is not None):
            return None
        if begun is None:
            if piece.total > _LONGEST or self.used + piece.total + _OVERHEAD > _BUFFER:
                return None
            first, data = piece, b""
        else:
            first, data = begun
            if (first.total, first.kind, first.priority) != (piece.total, piece.kind, piece.priority):
                return None
        data += piece.data
        if len(data) > piece.total or piece.is_last != (len(data) == piece.total):
            return None
        self.next += 1
        self.used += piece.total + _OVERHEAD if begun is None else 0
        if piece.is_last:
            self.slots.pop(piece.slot, None)
            return [data]
        self.slots[piece.slot] = first, data
        return []


def run(data: bytes) -> None:
    source = Source(data)
    inbox, plain = Inbox(buffer_size=_BUFFER, max_message_size=_LONGEST), _Plain()
    unread: list[int] = []
    while source:
        step = source.number(0, 3)
        if step == 3 and unread:
            cost = unread.pop(0)
            inbox.consumed(cost)
            plain.used -= cost
            continue
        frame: Batch | Piece
        expected: list[bytes] | None
        try:
            if step == 0:
                frame = Batch(source.near(plain.next), 0, 1, [source.some(700) for _ in range(source.number(1, 4))])
                expected = plain.batch(frame)
                got = list(inbox.receive_batch(frame))
            else:
                part = source.some(255) or b"x"
                total = max(len(part), source.number(0, 700))
                first, last = source.chance(), source.chance()
                priority, slot = source.number(0, 1), source.number(0, 3)
                frame = Piece(source.near(plain.next), 0, priority, slot, first, last, total, part)
                expected = plain.piece(frame)
                message = inbox.receive_piece(frame)
                got = [] if message is None else [message]
        except RemoteProtocolError:
            assert expected is None, f"{frame} is right, and was refused"
            return  # the link is closed
        assert expected is not None, f"{frame} is wrong, and was taken"
        assert got == expected
        assert (inbox.next, inbox.used) == (plain.next, plain.used) and inbox.used <= _BUFFER
        unread += [len(message) + _OVERHEAD for message in got]


def seeds() -> Iterable[bytes]:
    batch = bytes((0, 120, 1, 0, 3)) + b"one" + bytes((0, 3)) + b"two"
    yield batch * 3 + bytes((3, 3))
    piece = bytes((1, 3)) + b"abc" + bytes((0, 6))
    yield piece + bytes((1, 0, 120, 1, 2)) + piece + bytes((0, 1, 120, 1, 2))
    yield from noise(20, 300)
