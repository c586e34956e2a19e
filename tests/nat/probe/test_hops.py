"""The first routers on the way out, by what they report."""

from __future__ import annotations

import random

import pytest

from crust import limits
from crust.nat.probe.actions import Open, Send
from crust.nat.probe.hops_plan import HopsPlan
from crust.nat.probe.servers import Server

SERVER = Server("stun.example.org", ("20.0.9.1", 3478))


def begun() -> HopsPlan:
    plan = HopsPlan(SERVER, random.Random(1).randbytes)
    plan.begin(0.0)
    return plan


def test_a_datagram_for_each_distance() -> None:
    actions = begun().actions()
    opened = {action.slot: action.hops for action in actions if isinstance(action, Open)}
    assert opened == {f"hop{distance}": distance for distance in range(1, limits.PROBE_HOPS + 1)}
    assert {action.slot for action in actions if isinstance(action, Send)} == set(opened)


@pytest.mark.parametrize(
    ("routers", "second"),
    [
        (["192.168.1.1", "20.0.0.254"], ""),
        (["192.168.1.1", "100.64.3.1", "20.0.0.254"], "100.64.3.1"),
        (["192.168.1.1", "192.168.0.1", "20.0.0.254"], "192.168.0.1"),
        (["192.168.1.1", "", "10.20.0.1"], "10.20.0.1"),
        (["", "20.0.0.254"], ""),
        ([], ""),
    ],
)
def test_a_second_translator(routers: list[str], second: str) -> None:
    """A private or shared address beyond the first router gives it away; silence says nothing."""
    plan = begun()
    for distance, router in enumerate(routers, 1):
        if router:
            plan.reported(f"hop{distance}", router, 0.1)
    assert plan.hops == tuple(routers)
    assert plan.second_translator == second
    assert not plan.done
    plan.handle_timer(limits.PROBE_SCHEDULE[-1])
    assert plan.done


def test_it_ends_when_all_have_spoken() -> None:
    """Near ones report, the server itself answers the rest; what it reports is no router's word."""
    plan = begun()
    plan.reported("hop1", "192.168.1.1", 0.1)
    plan.received("hop2", b"", SERVER.address, 0.1)
    plan.reported("hop3", SERVER.address[0], 0.1)
    plan.failed("hop4", "no such option", 0.1)
    assert plan.done and plan.hops == ("192.168.1.1",)
