"""A session core whose authenticated peer sends any frames at all, across resumes, on a virtual clock.

Only RemoteProtocolError comes of it. What is held stays within the buffers; numbers never go back; deliveries are what
the frames said; timers move on; what a session sends parses; when it ends, every message that was not acknowledged is
named, and nothing is held any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.session import Session, Settings, State
from crust.wire import frames
from tests.fuzz.source import Source, noise

ROUNDS = 300

_PLAIN = Settings(heartbeat_interval=20.0, resume_timeout=100.0, drop_age=2.0)
_SMALL = dataclasses.replace(
    _PLAIN,
    max_message_size=3000,
    receive_buffer=3000 + limits.SMALL_RESERVE + limits.MESSAGE_OVERHEAD,
    send_messages=5,
    drop_priority=2,
)


class _Side:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.settings = source.pick((_PLAIN, _SMALL))
        self.now = 100.0
        self.session = Session(
            self.settings, window=self.settings.receive_buffer, now=self.now, uniform=lambda: 0.5, rtt=0.01
        )
        self.session.attach(0, self.settings.receive_buffer, self.now)
        self.unread: list[int] = []
        self.pushed: set[int] = set()
        self.dropped: set[int] = set()

    def frame(self) -> frames.Frame:
        source, inbox = self.source, self.session.inbox
        kind = source.number(0, 6)
        if kind <= 1:
            messages = [source.some(40) for _ in range(source.number(1, 3))]
            return frames.Batch(source.near(inbox.next), source.number(0, 1), source.number(0, 255), messages)
        if kind == 2:
            data = source.some(200) or b"x"
            total = max(len(data), source.near(len(data), 32))
            return frames.Piece(
                source.near(inbox.next), 0, 1, source.number(0, 3), source.chance(), source.chance(), total, data
            )
        if kind == 3:
            return frames.Ack(source.near(self.session.outbox._next_chunk), source.number(0, 0xFFFFFFFF))
        if kind == 4:
            return frames.Ping(source.number(0, 0xFFFFFFFF))
        if kind == 5:
            return frames.Pong(source.number(0, 3))
        return source.pick((frames.Use(1), frames.KeyUpdate(), frames.Retire()))

    def hear(self) -> None:
        sent = [self.frame() for _ in range(self.source.number(1, 4))]
        before = self.session.inbox.next
        try:
            deliveries = self.session.receive_frames(sent, self.now)
        except RemoteProtocolError:
            self.session.detach()
            return
        finally:
            assert self.session.inbox.next >= before
        small = [message for each in sent if isinstance(each, frames.Batch) for message in each.messages]
        whole = [message for each in deliveries for message in each.messages if len(message) <= 40]
        assert all(message in small or len(message) > 0 for message in whole)
        self.unread += [each.cost for each in deliveries]

    def say(self) -> None:
        sent = 0
        while (record := self.session.record_to_send(self.now)) is not None:
            assert frames.parse_record_untrusted(record)
            sent += 1
            assert sent < 1000, "records without end"

    def wait(self) -> None:
        end = self.now + self.source.pick((0.001, 0.03, 1.0, 10.0, 101.0))
        turns = 0
        while (due := self.session.get_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            tick = self.session.handle_timer(self.now)
            for _, numbers in tick.dropped:
                self.dropped.update(numbers)
            turns += 1
            assert turns < 1000, "a timer that stays due"
            if tick.lost:
                self.end()
                return
            if tick.send and self.session.state is State.CONNECTED:
                self.say()
        self.now = end

    def end(self) -> None:
        waiting = set(self.session.outbox.undelivered())
        told = self.session.end()
        assert set(told) == waiting <= self.pushed - self.dropped
        assert self.session.outbox.held_bytes == 0 and self.session.get_timer() is None

    def check(self) -> None:
        session, settings = self.session, self.settings
        assert 0 <= session.inbox.used <= settings.receive_buffer
        assert session.outbox.held_messages <= settings.send_messages
        assert 0 <= session.outbox.sent_bytes <= session.outbox.held_bytes
        held = session.outbox.undelivered()
        assert len(held) == session.outbox.held_messages and set(held) <= self.pushed - self.dropped


def run(data: bytes) -> None:
    source = Source(data)
    side = _Side(source)
    session = side.session
    while source and session.state is not State.LOST:
        step = source.number(0, 7)
        if step <= 2 and session.state is State.CONNECTED:
            side.hear()
        elif step == 3:
            size = source.pick((0, 10, 3000, 70_000))
            number = session.outbox.push(
                bytes(min(size, side.settings.max_message_size)), source.number(0, 3), 0, side.now
            )
            if number >= 0:
                side.pushed.add(number)
        elif step == 4 and session.state is State.CONNECTED:
            side.say()
        elif step == 5:
            side.wait()
        elif step == 6 and side.unread:
            session.consumed(side.unread.pop(0))
        elif step == 7 and session.state is State.SUSPENDED:
            asked = source.near(session.outbox._next_chunk)
            if session.outbox.can_resume(asked):  # else the answer is that the session is gone
                session.attach(asked, source.number(0, 0xFFFFFFFF), side.now, control_only=not source.number(0, 3))
        elif step == 7 and session.state is State.CONNECTED:
            session.detach()
        side.check()
    if session.state is not State.LOST:
        side.end()


def seeds() -> Iterable[bytes]:
    batch = bytes((0, 0, 120, 0, 1, 0, 0, 5)) + b"hello"  # one frame: a batch of one message, where it is expected
    yield bytes((0, 0)) + batch + bytes((6, 4)) + bytes((0, 0)) + batch
    yield bytes((0, 3, 1, 1, 4, 0, 0, 3, 121)) + bytes(4) + bytes((7, 7, 120)) + bytes(4) + bytes((1, 4, 5, 4))
    yield from noise(20, 500)
