"""How long a mapping lives, on a clock that the test turns."""

from __future__ import annotations

import random

import pytest

from crust.findings import Behaviour, PortAllocation
from crust.nat.probe.actions import Send
from crust.nat.probe.lifetime_plan import LifetimePlan
from crust.nat.probe.servers import Server
from crust.nat.stun.message import Class, Message, build_stun
from tests.nat.probe.world import OTHER, OUTER, PRIMARY, Nat, World


def plan() -> LifetimePlan:
    return LifetimePlan(4, Server("stun.example.org", PRIMARY), random.Random(1).randbytes)


@pytest.mark.parametrize("mapping", list(Behaviour))
@pytest.mark.parametrize(
    ("lifetime", "found"),
    [(10, (0.0, 20.0)), (31, (30.0, 45.0)), (125, (120.0, 180.0)), (1e6, (180.0, None))],
)
def test_lifetime(mapping: Behaviour, lifetime: float, found: tuple[float, float | None]) -> None:
    slow = plan()
    World([slow], Nat(mapping, ports=PortAllocation.RANDOM, lifetime=lifetime), loss=0.02).run(400.0)
    assert slow.lifetime() == found


def test_a_server_that_cannot() -> None:
    """It answers the asker instead: nothing is said."""
    slow = plan()
    World([slow], other_ports=False).run(400.0)
    assert slow.lifetime() is None


def test_no_answer() -> None:
    slow = plan()
    World([slow], Nat(blocked=lambda address: True)).run(400.0)
    assert slow.lifetime() is None


def test_strangers_say_nothing_of_it() -> None:
    """Whoever has seen a question can answer it, but not from the server's address."""
    slow = plan()
    slow.begin(0.0)
    sent = next(action for action in slow.actions() if isinstance(action, Send))
    answer = build_stun(Message(Class.SUCCESS, sent.data[8:20], xor_mapped=(OUTER, 9)))
    for source in (OTHER, PRIMARY):
        slow.received(sent.slot, answer, source, 0.1)
        assert bool(slow._mapped) is (source == PRIMARY)
