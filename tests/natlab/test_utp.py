"""Nodes on two hosts talk over µTP, through what the network between them does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.natlab.lab import Lab
from tests.natlab.nodes import Node, two_nodes
from tests.support.waiting import busy

DELAY = 0.04
ONLY = ["utp://{host.ipv4}:0"]
ONLY_6 = ["utp://[{host.ipv6}]:0"]
LONGEST_STALL = 9.0  # seconds: three times what is allowed, since the machine may be busy

FAMILIES = pytest.mark.parametrize("listen", [ONLY, ONLY_6], ids=["ipv4", "ipv6"])
ICMP = pytest.mark.parametrize("tells", [True, False], ids=["told", "silent"])


def numbered(count: int, size: int) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(size - 4) for number in range(count)]


@FAMILIES
def test_messages_arrive_through_delay_and_loss(lab: Lab, tmp_path: Path, listen: list[str]) -> None:
    """All of them, in order, both ways at once; the path knows how far it is."""
    here, there = lab.pair(delay=DELAY, loss=0.01)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        path = alice.connect(bob)
        assert path["class"] == "direct-utp" and 2 * DELAY <= path["rtt"] < 1.0 * busy()
        messages = numbered(500, 1000)
        alice.send(bob, *messages)
        bob.send(alice, *messages)
        assert bob.messages(500) == messages
        assert alice.messages(500) == messages
    assert here.link.up.counts().lost > 0 and here.link.down.counts().lost > 0


def received_while_timed(node: Node, count: int) -> tuple[list[bytes], float]:
    """The next messages, and the longest that one was waited for."""
    messages, longest, last = [], 0.0, time.monotonic()
    for _ in range(count):
        messages += node.messages(1)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return messages, longest


@FAMILIES
@ICMP
@pytest.mark.parametrize("mtu", [1400, 1280])
def test_a_narrow_link(lab: Lab, tmp_path: Path, mtu: int, tells: bool, listen: list[str]) -> None:
    """Narrow from the beginning: nothing stops for it, nothing has to be cut, and the packets fill it in the end."""
    here, there = lab.pair(delay=0.01, rate=50e6, mtu=mtu, tells=tells)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        alice.connect(bob)
        messages = numbered(20, 200_000)
        alice.send(bob, *messages)
        received, longest = received_while_timed(bob, 20)
        assert received == messages and longest < LONGEST_STALL
        before = here.link.up.counts()
        assert before.too_big > 0 and not before.cut
        alice.send(bob, *messages)
        assert bob.messages(20) == messages
        after = here.link.up.counts()
    assert not after.cut
    assert (after.bytes - before.bytes) / (after.sent - before.sent) > 0.8 * mtu


@FAMILIES
@ICMP
def test_a_link_that_gets_narrow(lab: Lab, tmp_path: Path, tells: bool, listen: list[str]) -> None:
    """From 1,500 to 1,280 in the middle of a transfer: it goes on within seconds."""
    here, there = lab.pair(delay=0.01, rate=20e6)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        alice.connect(bob)
        messages = numbered(40, 100_000)
        alice.send(bob, *messages)
        received = bob.messages(10)
        here.link.set(mtu=1280, tells=tells)
        rest, longest = received_while_timed(bob, 30)
        assert received + rest == messages
    assert longest < LONGEST_STALL
    counts = here.link.up.counts()
    assert counts.too_big + counts.cut > 0
