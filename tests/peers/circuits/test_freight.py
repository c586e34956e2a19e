"""What a link carries beside its session: after it, in turns, and never more than the link takes."""

from __future__ import annotations

import collections
from types import SimpleNamespace
from typing import Any

from crust import limits
from crust.peers.circuits.freight import Freight
from crust.wire import frames
from crust.wire.frames import CircuitClose, CircuitData, CircuitFrame, CircuitReason


class Source:
    """Has so many frames to say, of so many bytes."""

    def __init__(self, number: int, count: int, size: int = limits.WORTH_BYTES) -> None:
        self.number = number
        self.left = count
        self.size = size

    def next_frame(self) -> CircuitFrame | None:
        if not self.left:
            return None
        self.left -= 1
        return CircuitData(self.number, bytes(self.size))


class World:
    """A link, its session, and an I/O thread that runs when the test wants."""

    def __init__(self) -> None:
        self.time = 100.0
        self.room = 10_000
        self.written: list[Any] = []
        self.soon: collections.deque[Any] = collections.deque()
        self.later: list[Any] = []
        self.verdict = ""
        self.has_more = False
        this: Any = self
        self.link = this
        self.freight = Freight(this, this, this)

    def now(self) -> float:
        return self.time

    @property
    def blocked(self) -> bool:
        return len(self.written) >= self.room

    def write(self, plaintexts: tuple[bytes], now: float) -> bool:
        assert not self.blocked and len(plaintexts) == 1
        (frame,) = frames.parse_record_untrusted(plaintexts[0])
        self.written.append(frame)
        return True

    def flush_soon(self, target: Any) -> None:
        self.soon.append(target)

    def call_later(self, delay: float, callback: Any) -> Any:
        self.later.append(callback)
        return SimpleNamespace(cancel=lambda: None)

    def turn(self) -> None:
        while self.soon:
            self.soon.popleft().flush()

    def numbers(self) -> list[int]:
        found, self.written = [each.number for each in self.written], []
        return found


def test_sources_take_turns() -> None:
    """A record each; one that has nothing more to say is no longer asked."""
    world = World()
    world.room = 0
    for number, count in ((1, 3), (2, 1), (3, 2)):
        world.freight.wants(Source(number, count))
    assert world.numbers() == []
    world.room = 100
    world.freight.pump()
    assert world.numbers() == [1, 2, 3, 1, 3, 1]
    world.freight.pump()
    assert world.numbers() == []


def test_a_link_gets_no_more_than_it_takes() -> None:
    """The rest stays with its sources."""
    world = World()
    world.room = 2
    source = Source(1, 50)
    world.freight.wants(source)
    assert (world.numbers(), source.left) == ([1, 1], 48)
    world.room = 0
    world.freight.pump()
    assert source.left == 48


def test_one_thread_does_not_write_for_ever() -> None:
    """What is left is for the I/O thread, a turn at a time."""
    world = World()
    source = Source(1, 1000)
    world.freight.wants(source)
    assert 0 < len(world.written) < 100 and world.soon
    world.turn()
    assert source.left == 0 and len(world.written) == 1000


def test_the_session_goes_first() -> None:
    """But it starves nobody: after a while one record comes between, and after another while the next."""
    world = World()
    world.has_more = True
    source = Source(1, 5)
    world.freight.wants(source)
    world.freight.pump()
    assert world.numbers() == []
    world.time += limits.CIRCUIT_PATIENCE
    world.freight.pump()
    world.freight.pump()
    assert world.numbers() == [1]
    world.has_more = False
    world.later.pop()(world.time)  # nobody has to tell: it looks by itself
    assert world.numbers() == [1, 1, 1, 1]


def test_a_link_without_its_session() -> None:
    """Carries nothing: the session has moved, or the link is dead."""
    world = World()
    for attribute, value in (("link", None), ("verdict", "failed")):
        before = getattr(world, attribute)
        setattr(world, attribute, value)
        world.freight.wants(Source(1, 1))
        assert world.numbers() == []
        setattr(world, attribute, before)


def test_refusals_are_not_collected_without_end() -> None:
    """Who asks for thousands and reads nothing hears of the last few."""
    world = World()
    world.room = 0
    for number in range(5000):
        world.freight.refuse(CircuitClose(number, CircuitReason.BUSY))
    world.room = 10_000
    world.freight.pump()
    world.turn()
    assert world.numbers() == list(range(5000 - limits.CIRCUIT_REFUSALS_MAX, 5000))


def test_what_brings_little_is_gathered() -> None:
    """The other end makes us pay for tiny records, whoever has sent them: at first they go, then so many a second."""
    world = World()
    rate, burst = limits.CIRCUIT_SMALL_PER_SECOND, limits.CIRCUIT_SMALL_BURST
    assert rate * limits.COST_CARRIED < limits.OVERHEAD_PER_PEER / 2  # what is left is for what we say ourselves
    bitten: list[str] = []
    world.freight.bites = bitten.append
    source = Source(1, 10**6, 1)
    world.freight.wants(source)
    world.turn()
    assert burst <= len(world.numbers()) <= burst + 2 and not world.soon
    sent, began = 0, world.time
    while world.time - began < 2.0:
        world.time += limits.CIRCUIT_GATHER
        world.freight.wants(source)  # its data comes all the time, and makes nobody speak
        if world.later:
            world.later.pop(0)(world.time)
        world.turn()
        sent += len(world.numbers())
        assert len(world.later) == 1  # one look is due, and nobody else has to ask
    assert rate * 1.9 < sent < rate * 2.1
    assert set(bitten) == {"CIRCUIT_SMALL_PER_SECOND"}


def test_what_brings_much_is_never_gathered() -> None:
    """However many records that are."""
    world = World()
    source = Source(1, 5000, limits.WORTH_BYTES)
    world.freight.wants(source)
    world.turn()
    assert source.left == 0 and not world.later


def test_after_the_end() -> None:
    """Nothing is kept."""
    world = World()
    world.room = 0
    world.freight.wants(Source(1, 1))
    world.freight.close()
    world.freight.wants(Source(2, 1))
    world.freight.refuse(CircuitClose(3, CircuitReason.BUSY))
    world.room = 10
    world.freight.pump()
    assert world.numbers() == []
    assert not world.freight._row and not world.freight._refusals
