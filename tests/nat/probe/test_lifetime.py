"""How long a mapping lives, on a clock that the test turns."""

from __future__ import annotations

import random

import pytest

from crust.findings import Behaviour, PortAllocation
from crust.nat.probe.lifetime_plan import LifetimePlan
from crust.nat.probe.servers import Server
from tests.nat.probe.world import PRIMARY, Nat, World


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
