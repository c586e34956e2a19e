"""TCP and µTP through firewalls that let only one of them pass: from the start, and in mid-session."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.natlab.lab import Lab
from tests.natlab.nodes import Node, two_nodes
from tests.support.waiting import busy

BOTH = ("tcp://{host.ipv4}:0", "utp://{host.ipv4}:0")
BOTH_6 = ("tcp://[{host.ipv6}]:0", "utp://[{host.ipv6}]:0")
DELAY = 0.02  # seconds one way


def stream(one: Node, other: Node, seconds: float, first: int = 0) -> int:
    """Messages one after the other for a while, each awaited; the number of the next."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        one.send(other, b"%d" % first)
        assert other.messages(1) == [b"%d" % first]
        first += 1
    return first


@pytest.mark.parametrize("listen", [BOTH, BOTH_6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("blocked", "used"), [("tcp", "utp"), ("udp", "tcp")])
@pytest.mark.parametrize("how", ["silent", "rejecting"])
def test_one_of_the_two_from_the_start(
    lab: Lab, tmp_path: Path, how: str, blocked: str, used: str, listen: tuple[str, ...]
) -> None:
    """The call succeeds by the other, within a second of its own time."""
    here, there = lab.pair(delay=DELAY)
    with two_nodes(here, there, tmp_path, listen=listen) as (alice, bob):
        if how == "silent":
            here.link.drop(blocked)
        else:
            there.firewall.reject(blocked)
        began = time.monotonic()
        path = alice.connect(bob)
        took = time.monotonic() - began
        assert path["transport"] == used
        assert took < 1.0 * busy()
        alice.send(bob, b"there")
        assert bob.messages(1) == [b"there"]


def test_tcp_where_both_pass(lab: Lab, tmp_path: Path) -> None:
    """It has won before µTP is even tried, at a round trip of 40 ms."""
    here, there = lab.pair(delay=DELAY)
    with two_nodes(here, there, tmp_path, listen=BOTH) as (alice, bob):
        assert alice.connect(bob)["class"] == "direct-tcp"


@pytest.mark.parametrize("sender", ["caller", "callee"])
@pytest.mark.parametrize(("blocked", "used"), [("tcp", "utp"), ("udp", "tcp")])
def test_a_firewall_in_mid_session(lab: Lab, tmp_path: Path, blocked: str, used: str, sender: str) -> None:
    """With data flowing the session has moved within five seconds, whoever sends, without a break and with all data."""
    here, there = lab.pair(delay=DELAY)
    with two_nodes(here, there, tmp_path, listen=BOTH) as (alice, bob):
        if blocked == "udp":
            there.firewall.reject("tcp")  # refused, it ends at once, and does not come late
        assert alice.connect(bob)["transport"] == ("tcp" if blocked == "tcp" else "utp")
        there.firewall.open()
        one, other = (alice, bob) if sender == "caller" else (bob, alice)
        following = stream(one, other, 0.5)
        here.link.drop(blocked)
        began = time.monotonic()
        one.send(other, b"%d" % following)
        assert other.messages(1) == [b"%d" % following]
        assert time.monotonic() - began < 5.0 * busy()
        for node in (alice, bob):
            assert node.process.ask("peers")["peers"][0]["path"]["transport"] == used
            assert node.told(event="path_changed")["new"]["transport"] == used
        for node in (alice, bob):
            node.process.interrupt()
            assert node.process.ends() in (0, 130)
            assert not [line for line in node.process.rest() if "peer_suspended" in line]


def test_tcp_that_comes_late_takes_over(lab: Lab, tmp_path: Path) -> None:
    """A firewall opens for TCP after the call: the session, begun on µTP at once, moves there with what it carries."""
    here, there = lab.pair(delay=DELAY)
    with two_nodes(here, there, tmp_path, listen=BOTH) as (alice, bob):
        here.link.drop("tcp")
        began = time.monotonic()
        assert alice.connect(bob)["transport"] == "utp"
        assert time.monotonic() - began < 1.0 * busy()
        sent = [b"%d" % number for number in range(300)]
        alice.send(bob, *sent[:100])
        here.link.drop()
        alice.send(bob, *sent[100:200])
        for node in (alice, bob):
            assert node.told(event="path_changed")["new"]["transport"] == "tcp"
        alice.send(bob, *sent[200:])
        assert bob.messages(300) == sent
