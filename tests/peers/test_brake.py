"""Links that are not read while the node's memory is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from crust.peers.brake import Brake
from crust.peers.conversation import Conversation
from crust.peers.link import Link
from crust.runtime.budget import Budget
from crust.runtime.flusher import IoLoop


class FakeLoop:
    """An I/O loop that works when the test says so."""

    def __init__(self) -> None:
        self.flushes: list[Any] = []
        self.timers: list[tuple[float, Callable[[float], object]]] = []

    def flush_soon(self, target: Any) -> None:
        self.flushes.append(target)

    def call_later(self, delay: float, callback: Callable[[float], object]) -> None:
        self.timers.append((delay, callback))

    def turn(self) -> None:
        flushes, self.flushes = self.flushes, []
        for each in flushes:
            each.flush()

    def pass_time(self) -> None:
        timers, self.timers = self.timers, []
        for delay, callback in timers:
            callback(delay)


class Reader:
    """A link and its conversation in one: whether it is read, and whether it must not be."""

    def __init__(self) -> None:
        self.connection = self
        self.must_pause = True
        self.owed = 0.0
        self.paused = False
        self.reassured = 0
        self.longer: list[float] = []
        self.asked = 0

    @property
    def must_rest(self) -> bool:
        self.asked += 1
        return self.must_pause or self.owed > 0

    def owes(self) -> float:
        return self.owed

    def rests_on(self, link: object, wait: float) -> None:
        assert link is self
        self.longer.append(wait)

    def reassure(self, link: object) -> None:
        assert link is self
        self.reassured += 1

    def pause(self) -> None:
        self.paused = True

    def read_on(self, link: object) -> None:
        assert link is self
        self.paused = False


class World:
    def __init__(self) -> None:
        self.budget = Budget(100)
        self.io = FakeLoop()
        self.brake = Brake(self.budget, cast(IoLoop, self.io))

    def hold(self, reader: Reader, wait: float = 0.0) -> None:
        self.brake.hold(cast(Link, reader), cast(Conversation, reader), wait)

    def holds(self, reader: Reader) -> bool:
        return self.brake.holds(cast(Link, reader))


def test_readers_wait_until_there_is_room() -> None:
    """All of them go on, on the I/O thread, when the budget is below its limit; nobody is asked before."""
    world = World()
    readers = [Reader() for _ in range(3)]
    world.budget.take(150)
    for reader in readers:
        world.hold(reader)
    assert all(reader.paused and world.holds(reader) for reader in readers)
    world.budget.give(20)
    assert world.io.flushes == []
    world.budget.give(40)
    assert all(reader.paused for reader in readers), "not on the thread that made room"
    for reader in readers:
        reader.must_pause = False
    world.io.turn()
    assert not any(reader.paused or world.holds(reader) for reader in readers)
    world.budget.give(1)
    assert world.io.flushes == [] and not world.budget.awaited


def test_room_that_comes_at_the_same_moment_is_not_missed() -> None:
    """Whoever made it looked before we said that we wait."""
    world = World()
    reader = Reader()
    reader.must_pause = False
    world.hold(reader)
    world.io.turn()
    assert not reader.paused


def test_one_whose_messages_are_consumed_goes_on_although_there_is_no_room() -> None:
    """What it holds is not what fills the memory; the others stay, and hear that we live. It sees that itself."""
    world = World()
    one, other = Reader(), Reader()
    world.budget.take(150)
    world.hold(one)
    world.hold(other)
    one.must_pause = False
    assert [delay for delay, _ in world.io.timers] == [0.5]
    world.io.pass_time()
    assert (one.paused, other.paused) == (False, True)
    assert (one.reassured, other.reassured) == (0, 1)
    assert world.budget.awaited and len(world.io.timers) == 1
    other.must_pause = False
    world.io.pass_time()
    assert not other.paused and world.io.timers == []


def test_the_end_of_a_rest_is_that_of_one_link() -> None:
    """However many are held, each timer asks after its own; one whose rest has become longer is asked again."""
    world = World()
    readers = [Reader() for _ in range(20)]
    for reader in readers:
        reader.must_pause, reader.owed = False, 1.0
        world.hold(reader, 1.0)
    [_look, *timers], world.io.timers = world.io.timers, []
    first = readers[0]
    first.owed = 0.0
    for _, callback in timers:
        callback(0.0)
    assert not first.paused and all(reader.paused for reader in readers[1:])
    assert [reader.asked for reader in readers] == [1] * 20
    assert [delay for delay, _ in world.io.timers] == [1.0] * 19 and world.budget.awaited
    for reader in readers:
        reader.owed = 0.0
    world.io.pass_time()
    assert not any(reader.paused for reader in readers) and world.io.timers == [] and not world.budget.awaited


def test_closing_lets_everybody_go() -> None:
    """Those who wait now, and those who come later."""
    world = World()
    one, other = Reader(), Reader()
    world.budget.take(150)
    world.hold(one)
    world.brake.close()
    assert not one.paused
    world.hold(other)
    assert not other.paused


def test_one_looks_for_all() -> None:
    """However often links are held, and it goes on until none is."""
    world = World()
    one, other = Reader(), Reader()
    world.budget.take(150)
    world.hold(one)
    world.hold(other)
    world.io.pass_time()
    world.io.pass_time()
    assert len(world.io.timers) == 1 and one.reassured == 2


def test_a_rest_that_is_longer_than_a_moment() -> None:
    """However little is owed, the link is not looked at all the time; and not at all when nobody is held any more."""
    world = World()
    one = Reader()
    one.must_pause, one.owed = False, 1.0
    world.hold(one, 1.0)
    one.owed = 0.001
    world.io.pass_time()
    assert sorted(delay for delay, _ in world.io.timers) == [0.02, 0.5]
    world.brake.close()
    world.io.pass_time()
    assert not one.paused and world.io.timers == []


def test_a_rest_that_becomes_longer_is_told() -> None:
    """Those at its address have got their part meanwhile: it is held back all the same, so it counts."""
    world = World()
    reader = Reader()
    reader.must_pause = False
    reader.owed = 0.5
    world.hold(reader, 0.1)
    assert reader.longer == []
    world.io.pass_time()
    assert world.holds(reader) and reader.longer == [0.5]
    reader.owed = 0.0
    world.io.pass_time()
    assert not world.holds(reader) and reader.longer == [0.5]
