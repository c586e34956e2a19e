"""An outbox that is interrupted, at every place in turn, loses nothing, doubles nothing and forgets no account."""

from __future__ import annotations

import itertools
import random

import pytest

from crust.peers.outbox import Outbox
from crust.wire import frames
from tests.support.modes import on_greenlets
from tests.support.strikes import Places, strike

pytestmark = pytest.mark.skipif(on_greenlets(), reason="signals strike threads; greenlets are struck at switches only")


def delivered(plaintexts: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Priority, kind and data of the messages in these records, as a receiver puts them together."""
    found: list[tuple[int, int, bytes]] = []
    partial: dict[int, bytes] = {}
    for plaintext in plaintexts:
        for frame in frames.parse_record_untrusted(plaintext):
            if isinstance(frame, frames.Batch):
                found += [(frame.priority, frame.kind, bytes(data)) for data in frame.messages]
            elif isinstance(frame, frames.Piece):
                data = (b"" if frame.is_first else partial[frame.slot]) + bytes(frame.data)
                partial[frame.slot] = data
                if frame.is_last:
                    found.append((frame.priority, frame.kind, partial.pop(frame.slot)))
    return found


class Run:
    """An application that repeats each step until it is through, told only by ``accepted`` what an interrupt left."""

    def __init__(self, messages: list[tuple[int, int, bytes]]) -> None:
        self.messages = messages
        self.outbox = Outbox(max_messages=10_000, max_bytes=1 << 26, drop_priority=2, window=1 << 24)
        self.records: list[bytes] = []

    def push(self) -> None:
        while self.outbox.next_message < len(self.messages):
            priority, kind, data = self.messages[self.outbox.next_message]
            self.outbox.push(data, priority, kind, float(self.outbox.next_message))

    def drain(self) -> None:
        while True:
            plaintext = self.outbox.next_record()
            if plaintext is None:
                return
            self.records.append(plaintext)

    def resume(self) -> None:
        """A strike may have hit between numbering a record and our having it: a new link repeats them all."""
        self.records.clear()
        self.outbox.resume(0, 1 << 24)


def check(run: Run) -> None:
    """Everything is in the records, once, in order in each lane; numbers and accounts agree with it."""
    outbox = run.outbox
    assert outbox.held_bytes == outbox.sent_bytes == sum(len(data) + 64 for *_, data in run.messages)
    assert outbox.undelivered() == tuple(range(len(run.messages)))
    got = delivered(run.records)
    for lane in {message[:2] for message in run.messages}:
        assert [data for *of, data in got if tuple(of) == lane] == [d for *of, d in run.messages if tuple(of) == lane]
    assert len(got) == len(run.messages)
    files = sum(kind for _, kind, _ in run.messages)
    plain = [number for number, (_, kind, _) in enumerate(run.messages) if not kind]
    assert outbox.accepted == (len(run.messages) - files, plain[-1] if plain else -1)
    outbox.receive_ack(outbox._next_chunk, 1 << 24)
    assert (outbox.held_bytes, outbox.sent_bytes, outbox.held_messages, outbox._begun) == (0, 0, 0, 0)
    assert outbox.undelivered() == ()


def messages(seed: int) -> list[tuple[int, int, bytes]]:
    """A mixture of priorities, kinds and sizes, each message with its own beginning."""
    chance = random.Random(seed)
    found = []
    for number in range(14):
        size = chance.choice([0, 5, 100, 30_000, 70_000, 140_000])
        kind = chance.random() < 0.2
        priority = 1 if kind else chance.choice([0, 1, 1, 3, *range(12)])
        found.append((priority, int(kind), b"%d:" % number + bytes(size)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_queueing_can_be_struck_anywhere(seed: int) -> None:
    """``push`` is done or not, whatever it was doing: choosing a lane, dropping empty ones, keeping times."""
    for number in itertools.count(1):
        run = Run(messages(seed))
        struck = strike(number, run.push)
        run.push()
        run.drain()
        check(run)
        if struck is None:
            assert number > 50
            return


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_making_records_can_be_struck_anywhere(seed: int) -> None:
    """``next_record`` is done or not; the record that nobody got is repeated on the next link."""
    places = Places()
    for number in itertools.count(1):
        run = Run(messages(seed))
        run.push()
        struck = places.strike(run.drain)
        run.resume()
        run.drain()
        check(run)
        if struck is None:
            assert number > 100
            return


@pytest.mark.slow
def test_strikes_in_a_row() -> None:
    """Many interrupts, one after the other, while messages are queued and records made by turns."""
    chance = random.Random(7)
    for seed in range(25):
        run = Run(messages(seed))

        def step(run: Run = run) -> None:
            run.push()
            run.drain()

        while strike(chance.randint(1, 1500), step) is not None:
            pass
        run.resume()
        run.drain()
        check(run)


def test_expiry_after_a_strike() -> None:
    """A message struck on its way in leaves no time behind that belongs to another."""
    for number in itertools.count(1):
        run = Run([(5, 0, b"%d" % index) for index in range(3)])
        struck = strike(number, run.push)
        run.push()
        assert run.outbox.next_expiry() == 0.0
        assert run.outbox.expire(11.5, 10.0) == [(5, [0, 1])]
        run.drain()
        assert delivered(run.records) == [(5, 0, b"2")]
        if struck is None:
            return
