"""A µTP connection against bad networks on a virtual clock: all arrives, once and in order, or it says why not."""

from __future__ import annotations

import pytest

from tests.simulation.network import Behaviour, Link, World
from tests.simulation.robustness import trial
from tests.simulation.runs import RUNS
from tests.simulation.scenarios import share
from tests.simulation.utp import connect

BLOCK = 100


@pytest.mark.parametrize("first", range(0, RUNS, BLOCK))
def test_whatever_the_network_does(first: int) -> None:
    """Loss up to 20 %, duplicates, reordering, jitter, narrow links, small MTUs, changes and outages on the way."""
    outcomes = [trial(seed) for seed in range(first, first + BLOCK)]
    assert [(each.seed, each.problem, each.story) for each in outcomes if each.problem] == []
    assert sum(each.complete for each in outcomes) >= 0.75 * BLOCK


def test_a_trial_repeats_exactly() -> None:
    """A seed that fails can be looked at."""
    first, second = trial(7), trial(7)
    assert first == second


def path(mtu: int, tells: bool, fragments: bool) -> tuple[World, Link, Link]:
    world = World()
    way = Behaviour(delay=0.02, rate=2_500_000.0, queue=200_000.0, mtu=mtu, tells_mtu=tells, fragments=fragments)
    return world, Link(world, way, seed=1), Link(world, Behaviour(delay=0.02, mtu=mtu), seed=2)


KINDS_OF_PATHS = [
    pytest.param(True, True, id="told"),
    pytest.param(False, True, id="silent"),
    pytest.param(False, False, id="black-hole"),
]


@pytest.mark.parametrize(("tells", "fragments"), KINDS_OF_PATHS)
@pytest.mark.parametrize("mtu", [1400, 1280])
def test_a_path_with_a_small_mtu(mtu: int, tells: bool, fragments: bool) -> None:
    """Found from the start, with ICMP passing or dropped; packets fill it nearly."""
    world, there, back = path(mtu, tells, fragments)
    data = bytes(range(256)) * 12_000
    caller, callee = connect(world, there, back, data=data, keep=True, finish=True)
    world.run(world.now + 30.0, lambda: callee.ended is not None)
    assert bytes(callee.kept or b"") == data
    assert callee.ended is not None and callee.ended.error is None
    assert caller.core is not None
    assert mtu - 48 <= caller.core.mtu.size + 28 <= mtu
    assert world.now < 1006.0


@pytest.mark.parametrize(("tells", "fragments"), KINDS_OF_PATHS)
def test_the_mtu_falls_in_mid_transfer(tells: bool, fragments: bool) -> None:
    """1,500 to 1,280: it goes on after a stall of 3 s at the most."""
    world, there, back = path(1500, tells, fragments)
    caller, callee = connect(world, there, back)
    world.run(world.now + 5.0)
    assert there.longest == 1500
    there.change(mtu=1280)
    before, longest, last = callee.received, 0.0, world.now

    def look() -> None:
        nonlocal before, longest, last
        if callee.received > before:
            before = callee.received
            longest = max(longest, world.now - last)
            last = world.now

    callee.on_round = look
    world.run(world.now + 10.0)
    assert max(longest, world.now - last) <= 3.0
    assert caller.core is not None
    assert fragments or caller.core.mtu.size + 28 <= 1280
    at = callee.received
    world.run(world.now + 5.0)
    assert callee.received - at > 0.8 * 5.0 * 2_500_000


def test_a_burst_is_no_longer_than_a_millisecond_of_the_rate() -> None:
    """Two packets, or a millisecond: a whole window at once would be a queue by itself."""
    world, there, back = path(1500, True, True)
    sizes: dict[float, int] = {}
    send = there.send

    def counting(payload: bytes, size: int, *rest: object, **named: object) -> int | None:
        sizes[world.now] = sizes.get(world.now, 0) + size
        return send(payload, size, *rest, **named)  # type: ignore[arg-type]

    there.send = counting  # type: ignore[method-assign]
    caller, callee = connect(world, there, back)
    world.run(world.now + 3.0)
    sizes.clear()
    world.run(world.now + 3.0)
    assert len(sizes) > 1000
    assert max(sizes.values()) <= 4 * 2 * 1472


def test_a_slow_path_is_not_sent_everything_twice() -> None:
    """A round trip longer than the first timeouts: what is sent again stays the exception."""
    world = World()
    there, back = Link(world, Behaviour(delay=0.4)), Link(world, Behaviour(delay=0.4))
    caller, callee = connect(world, there, back, to_send=0)
    for _ in range(60):
        caller.to_send += 10_000
        caller.work()
        world.run(world.now + 1.0)
    assert callee.received == 600_000
    assert caller.core is not None
    assert caller.core.sender.resent_packets < 30


def test_after_a_pause_no_burst_overflows_a_small_queue() -> None:
    """The window of before is old: slow start leads back to it."""
    result = share(["fair"], 20, 0.04, 10)
    assert result.shares(3)[0] >= 0.85
    world = World()
    there = Link(world, Behaviour(delay=0.02, rate=2_500_000.0, queue=100_000.0), seed=3)
    back = Link(world, Behaviour(delay=0.02), seed=4)
    caller, callee = connect(world, there, back, to_send=8_000_000)
    world.run(world.now + 20.0)
    assert callee.received == 8_000_000
    dropped = there.dropped
    caller.to_send += 150_000
    caller.work()
    world.run(world.now + 5.0)
    assert callee.received == 8_150_000
    assert there.dropped == dropped
