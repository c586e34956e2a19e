"""Nodes on two hosts talk over TCP, through what the network between them does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.natlab.lab import Lab
from tests.natlab.nodes import Node, two_nodes
from tests.support.waiting import busy, wait_until

DELAY = 0.04


def numbered(count: int, size: int) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(size - 4) for number in range(count)]


@pytest.mark.parametrize("listen", ["tcp://{host.ipv4}:0", "tcp://[{host.ipv6}]:0"], ids=["ipv4", "ipv6"])
def test_messages_arrive_through_delay_and_loss(lab: Lab, tmp_path: Path, listen: str) -> None:
    """All of them, in order, both ways at once; the path knows how far it is."""
    here, there = lab.pair(delay=DELAY, loss=0.01)
    with two_nodes(here, there, tmp_path, listen=[listen]) as (alice, bob):
        path = alice.connect(bob)
        assert path["class"] == "direct-tcp" and 2 * DELAY <= path["rtt"] < 1.0 * busy()
        messages = numbered(500, 1000)
        alice.send(bob, *messages)
        bob.send(alice, *messages)
        assert bob.messages(500) == messages
        assert alice.messages(500) == messages
    assert here.link.up.counts().lost > 0 and here.link.down.counts().lost > 0


def test_large_messages_pass_a_narrow_link(lab: Lab, tmp_path: Path) -> None:
    """A slow bottleneck with a short queue, and packets of 1,280 bytes from the middle on."""
    here, there = lab.pair(delay=0.01, rate=20e6, queue=30_000)
    with two_nodes(here, there, tmp_path) as (alice, bob):
        alice.connect(bob)
        messages = numbered(6, 500_000)
        alice.send(bob, *messages)
        received = bob.messages(2)
        here.link.set(mtu=1280)
        received += bob.messages(4)
        assert received == messages


def test_a_session_outlives_an_outage(lab: Lab, tmp_path: Path) -> None:
    """A firewall drops TCP in mid-session, and lets it pass again: what was sent meanwhile arrives, in order, once."""
    here, there = lab.pair(delay=0.005)
    with two_nodes(here, there, tmp_path) as (alice, bob):
        alice.connect(bob)
        messages = numbered(300, 1000)
        alice.send(bob, *messages[:100])
        received = bob.messages(100)
        here.link.drop("tcp")
        alice.send(bob, *messages[100:200])
        wait_until(lambda: here.link.up.counts().firewall >= 8, 20.0, "the repetitions of what is not acknowledged")
        here.link.drop()
        alice.send(bob, *messages[200:])
        received += bob.messages(200)
        assert received == messages


@pytest.mark.parametrize("firewall", ["drop", "reject"])
def test_a_firewall_that_lets_nobody_in(lab: Lab, tmp_path: Path, firewall: str) -> None:
    """The error tells one that drops from one that refuses, and the next call works once it is open."""
    here, there = lab.pair(delay=0.005)
    with two_nodes(here, there, tmp_path) as (alice, bob):
        getattr(there.firewall, firewall)("tcp")
        reply = alice.process.ask("connect", peer=bob.contact, timeout=2)
        if firewall == "drop":
            assert reply["error"] == "timeout"
        else:
            assert {each["verdict"] for each in reply["attempts"]} == {"refused"}
        there.firewall.open()
        alice.connect(bob)


def test_a_host_without_a_way_there(lab: Lab, tmp_path: Path) -> None:
    """Its attempts are told as unreachable."""
    here, there = lab.pair()
    with Node(here, tmp_path) as alice, Node(there, tmp_path) as bob:
        here.run("ip", "route", "delete", "default")
        reply = alice.process.ask("connect", peer=bob.contact, timeout=2)
        assert (reply["ok"], {each["verdict"] for each in reply["attempts"]}) == (False, {"unreachable"})
