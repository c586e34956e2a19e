"""What 200 nodes on one LAN cost it."""

from __future__ import annotations

import random
import sys

import pytest

from crust.discovery.beacon.seeker import Found
from tests.discovery.beacon.cheap_packets import CheapPackets
from tests.discovery.beacon.lan_world import PORT, LanWorld

NODES = 200
COST_MAX = 50_000  # bytes a second


def test_a_crowd_comes_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second: each knows all that are there, and is known to them, within a second."""
    CheapPackets().install(monkeypatch)
    world = LanWorld()
    begin = world.now
    nodes = [world.node() for _ in range(NODES)]
    for count, node in enumerate(nodes):
        node.start()
        world.run(1)
        assert len(node.found) >= count
    assert all(len({found.peer_id for _, found in node.found}) == NODES - 1 for node in nodes)
    cost = world.rate(begin, world.now)
    sys.stdout.write(f"\n{NODES} nodes come, one a second: {cost / 1000:.1f} kB/s on the LAN\n")
    assert cost <= COST_MAX


def test_a_crowd_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute: nobody is forgotten, nobody is news, and the LAN is quiet."""
    CheapPackets().install(monkeypatch)
    world, rng = LanWorld(), random.Random(5)
    nodes = [world.node() for _ in range(NODES)]
    for node in nodes:
        here = [
            Found(node.link, other.ours.peer_id, other.link.host, other.offer, True, (other.link.host, PORT))
            for other in nodes
            if other is not node and other.offer is not None
        ]
        node.seeker.remember([(found, world.now - rng.uniform(0, 300)) for found in here])
        node.start()
        world.run(0.3)
    world.run(30)
    begin = world.now
    world.run(60)
    cost, worst = world.rate(begin, world.now), world.worst(begin, world.now, 10)
    kilobytes = f"{cost / 1000:.1f} kB/s, {worst / 1000:.1f} kB/s in the busiest ten seconds"
    sys.stdout.write(f"\n{NODES} nodes on a LAN: {kilobytes}\n")
    assert cost <= COST_MAX and worst <= COST_MAX
    assert all(len(node.seeker.known(world.now)) == NODES - 1 and not node.news() for node in nodes)
