"""The method of docs/examples/crust-knock, on a simulated network."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from crust import MalformedMessage, traversal
from tests.nat.punch.world import DEPENDENT, RANDOM, Nat, World
from tests.support.example_method import imported


@pytest.fixture
def knock() -> Iterator[ModuleType]:
    with imported() as module:
        yield module


def test_importing_it_registers_it(knock: ModuleType) -> None:
    """Once: a second copy is an error, since its plans would hear what is meant for the first one's."""
    (method,) = [each for each in traversal.methods() if each.name == "knock"]
    assert (method.path_class, method.plan) == ("punched-utp", knock.Knock)
    with pytest.raises(ValueError, match="knock"), imported():
        raise AssertionError("it was registered twice")


@pytest.mark.parametrize("skew", [0.0, 0.4])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_two_behind_home_routers_meet(knock: ModuleType, skew: float, loss: float) -> None:
    """Also when packets get lost, and when one end begins later: the word to knock waits for it."""
    met = [World(Nat(), Nat(), knock.Knock, skew=skew, loss=loss, seed=seed).run().met_at for seed in range(20)]
    assert all(at is not None and at < skew + 1.2 for at in met), met


def test_where_it_cannot_work_it_ends(knock: ModuleType) -> None:
    """Two routers with another port for each destination: ten knocks each, a reason, and nothing is left to be done."""
    world = World(Nat(DEPENDENT, ports=RANDOM), Nat(DEPENDENT, ports=RANDOM), knock.Knock).run()
    for end in world.ends:
        assert end.finished == "nobody has answered 10 knocks" and not end.wins
        assert len(end.probes) == knock.KNOCKS


def test_it_trusts_nobody(knock: ModuleType) -> None:
    """Datagrams of others are left alone; what the other end may not say is refused."""
    world = World(Nat(), Nat(), knock.Knock)
    leading, other = (end.plan for end in world.ends)
    assert leading is not None and other is not None
    for plan in (leading, other):
        plan.start(0.0)
        tuple(plan.actions())
        plan.receive_datagram("udp4", ("198.51.100.7", 9), b"\x80" * 80, 0.0)
        assert tuple(plan.actions()) == ()
    for plan, body in ((leading, knock.WORD), (other, b""), (other, b"\xff" * 2048)):
        with pytest.raises(MalformedMessage):
            plan.receive_signal(body, 0.0)
