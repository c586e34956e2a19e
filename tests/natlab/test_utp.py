"""Nodes on two hosts talk over µTP, through what the network between them does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.natlab.lab import Lab
from tests.natlab.nodes import two_nodes

DELAY = 0.04
ONLY = ["utp://{host.ipv4}:0"]
ONLY_6 = ["utp://[{host.ipv6}]:0"]
LONGEST_STALL = 3.0  # seconds


def numbered(count: int, size: int) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(size - 4) for number in range(count)]


@pytest.mark.parametrize("listen", [ONLY, ONLY_6], ids=["ipv4", "ipv6"])
def test_messages_arrive_through_delay_and_loss(lab: Lab, tmp_path: Path, listen: list[str]) -> None:
    """All of them, in order, both ways at once; the path knows how far it is."""
    here, there = lab.pair(delay=DELAY, loss=0.01)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        path = alice.connect(bob)
        assert path["class"] == "direct-utp" and 2 * DELAY <= path["rtt"] < 1.0
        messages = numbered(500, 1000)
        alice.send(bob, *messages)
        bob.send(alice, *messages)
        assert bob.messages(500) == messages
        assert alice.messages(500) == messages
    assert here.link.up.counts().lost > 0 and here.link.down.counts().lost > 0


@pytest.mark.parametrize(
    ("mtu", "tells", "listen"),
    [(1400, True, ONLY), (1280, False, ONLY), (1280, True, ONLY_6)],
    ids=["1400 ipv4", "1280 ipv4 silent", "1280 ipv6"],
)
def test_a_narrow_link(lab: Lab, tmp_path: Path, mtu: int, tells: bool, listen: list[str]) -> None:
    """Narrow from the beginning, whether ICMP tells of it or not; and the packets fill it in the end."""
    here, there = lab.pair(delay=0.01, rate=50e6, mtu=mtu, tells=tells)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        alice.connect(bob)
        messages = numbered(20, 200_000)
        alice.send(bob, *messages)
        assert bob.messages(20) == messages
        before = here.link.up.counts()
        alice.send(bob, *messages)
        assert bob.messages(20) == messages
        after = here.link.up.counts()
    assert after.cut == before.cut
    assert (after.bytes - before.bytes) / (after.sent - before.sent) > 0.8 * mtu


@pytest.mark.parametrize(
    ("tells", "listen"),
    [(True, ONLY), (False, ONLY), (True, ONLY_6)],
    ids=["ipv4", "ipv4 silent", "ipv6"],
)
def test_a_link_that_gets_narrow(lab: Lab, tmp_path: Path, tells: bool, listen: list[str]) -> None:
    """From 1,500 to 1,280 in the middle of a transfer: it goes on within seconds."""
    here, there = lab.pair(delay=0.01, rate=20e6)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        alice.connect(bob)
        messages = numbered(40, 100_000)
        alice.send(bob, *messages)
        received = bob.messages(10)
        here.link.set(mtu=1280, tells=tells)
        longest, last = 0.0, time.monotonic()
        for _ in range(30):
            received += bob.messages(1)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert received == messages
    assert longest < LONGEST_STALL
    counts = here.link.up.counts()
    assert counts.too_big + counts.cut > 0
