"""The sending half of a session: pushes, acknowledgements that lie, resumes from anywhere, messages that expire.

Only RemoteProtocolError comes of a lie. A receiver that follows the rules takes every record that is sent, and gets
each message once, whole, in order within its priority; what was neither acknowledged nor dropped is named as
undelivered; nothing is held once all is acknowledged.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.inbox import Inbox
from crust.peers.outbox import Outbox
from crust.wire.frames import Ack, Batch, Piece, parse_record_untrusted
from tests.fuzz.source import Source, noise

_BUFFER = 400_000
_SIZES = (0, 3, 100, 5000, 66_000, 150_000)


class _World:
    def __init__(self) -> None:
        self.outbox = Outbox(max_messages=40, max_bytes=600_000, drop_priority=3, window=_BUFFER)
        self.inbox = Inbox(buffer_size=_BUFFER, max_message_size=150_000)
        self.sent: dict[int, collections.deque[tuple[int, bytes]]] = collections.defaultdict(collections.deque)
        self.now = 0.0
        self.cut = False

    def push(self, size: int, priority: int) -> None:
        data = bytes((self.outbox.next_message & 0xFF,)) * size
        number = self.outbox.push(data, priority, 0, self.now)
        if number >= 0:
            self.sent[priority].append((number, data))

    def pass_record(self, arrives: bool) -> None:
        """The next record goes out; it arrives unless the link is dead by now."""
        record = self.outbox.next_record()
        self.cut = self.cut or not arrives
        if record is None or self.cut:
            return
        for frame in parse_record_untrusted(record):
            if isinstance(frame, Batch):
                got = list(self.inbox.receive_batch(frame))
            else:
                assert isinstance(frame, Piece)
                message = self.inbox.receive_piece(frame)
                got = [] if message is None else [message]
            for message in got:
                _, data = self.sent[frame.priority].popleft()
                assert data == message
                self.inbox.consumed(len(message) + limits.MESSAGE_OVERHEAD)

    def resume(self) -> None:
        self.cut = False
        self.outbox.resume(self.inbox.next, self.inbox.window)

    def settle(self) -> None:
        self.resume()
        for _ in range(1000):
            if not self.outbox.held_messages:
                break
            self.pass_record(True)
            self.outbox.receive_ack(self.inbox.next, self.inbox.window)
        assert not self.outbox.held_messages and not any(self.sent.values()), "something does not go out"
        assert self.outbox.undelivered() == () and self.outbox.held_bytes == self.outbox.sent_bytes == 0


def run(data: bytes) -> None:
    source = Source(data)
    world = _World()
    while source:
        step = source.number(0, 7)
        if step <= 1:
            world.push(source.pick(_SIZES), source.number(0, 4))
        elif step <= 3:
            world.pass_record(bool(source.number(0, 7)))
        elif step == 4:
            ack = Ack(source.near(world.inbox.next), world.inbox.window)
            if ack.next <= world.inbox.next or ack.next > world.outbox._next_chunk:  # true, stale, or a plain lie
                try:
                    world.outbox.receive_ack(*ack)
                except RemoteProtocolError:
                    assert ack.next > world.outbox._next_chunk
        elif step == 5:
            world.resume()
        elif step == 6:
            world.now += 1.0
        else:
            for priority, numbers in world.outbox.expire(world.now, 2.0):
                gone = set(numbers)
                kept = [each for each in world.sent[priority] if each[0] not in gone]
                assert len(kept) + len(gone) == len(world.sent[priority])
                world.sent[priority] = collections.deque(kept)
        held = set(world.outbox.undelivered())
        assert held >= {number for lane in world.sent.values() for number, _ in lane}
        assert len(held) == world.outbox.held_messages
    world.settle()


def seeds() -> Iterable[bytes]:
    yield bytes((0, 1, 1, 2, 1, 4, 120, 0, 4, 1, 2, 1, 2, 0, 2, 0, 5, 2, 1, 6, 6, 7))
    yield from noise(20, 120)
