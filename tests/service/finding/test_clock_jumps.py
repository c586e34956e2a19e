"""A clock that is set by a day while nodes run, and two nodes with one identity: real parts on a virtual clock."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib

import pytest

import crust
import crust.testing
from crust import Config, Identity, PeerId, Service, limits
from crust.discovery.gossip.record import Record
from crust.testing.network import Network

DAY = 86_400.0
PLAIN = Config().replace(**{"lan.seek": "never", "bootstrap.cache.max_peers": 0, "bootstrap.accept": True})


def public(net: Network, host: str, **changes: object) -> Service:
    """A node that says that strangers get in."""
    listen = {"listen.addresses": ("tcp://0.0.0.0:5483",), "listen.advertise": (f"tcp://{host}:5483",)}
    return net.service(PLAIN.replace(**{**listen, **changes}), address=host)


def line(net: Network, length: int, **changes: object) -> list[Service]:
    """Nodes of which each has called the one before; all records are known."""
    nodes = [public(net, f"45.0.{number}.1", **changes) for number in range(length)]
    for one, other in zip(nodes[1:], nodes, strict=False):
        net.connect(one, other)
    net.advance(10.0)
    return nodes


def record(at: Service, of: PeerId) -> Record | None:
    assert at._finding is not None
    found: Record | None = at._finding.gossiping.record(of)
    return found


def set_clock(service: Service, by: float) -> None:
    """From now on its wall clock is off by so many seconds."""
    assert service._node is not None
    machine = service._machine
    service._node.wall = lambda: machine.wall() + by  # type: ignore[method-assign]


def exchange(net: Network, one: Service, other: Service) -> None:
    """A message each way, on the session that stands."""
    (ours,) = [peer for peer in one.peers if peer.id == other.id]
    (theirs,) = [peer for peer in other.peers if peer.id == one.id]
    ours.send(b"there")
    assert theirs.recv(timeout=5.0) == b"there"
    theirs.send(b"back")
    assert ours.recv(timeout=5.0) == b"back"


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])
def test_a_day_off_and_right_again(by: float) -> None:
    """No session ends, what is known stays known, and after an hour, the clock set right, all is as before."""
    with crust.testing.network() as net:
        nodes = line(net, 5)
        odd, far = nodes[2], nodes[4]
        set_clock(odd, by)
        before = record(nodes[0], odd.id)
        assert before is not None
        for _ in range(6):
            net.advance(600.0)
            assert odd.find(nodes[0].id).endpoints and odd.find(far.id).endpoints
            assert nodes[0].find(odd.id).endpoints, "an old record holds for two hours"
        exchange(net, odd, nodes[1])
        set_clock(odd, 0.0)
        net.advance(limits.GOSSIP_PUBLISH_AGAIN + 60.0)
        after = record(nodes[0], odd.id)
        assert after is not None and after.sequence > before.sequence
        assert odd.connect(nodes[0].id, timeout=20.0).id == nodes[0].id
        assert not [event for node in nodes for event in net.heard(node, crust.IdentityShared)]
        reasons = {event.reason for node in nodes for event in net.heard(node, crust.LostPeer)}
        assert reasons <= {crust.LostReason.UNNEEDED}
        assert not [event for node in nodes for event in net.heard(node, crust.PeerMisbehaved)]


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["forward", "back"])
def test_the_cache_outlives_it(by: float, tmp_path: pathlib.Path) -> None:
    """Who was reached before is remembered, in the order in which it was, on disk too; and no crowd is knocked at."""
    path = tmp_path / "cache.json"
    with crust.testing.network() as net:
        near = public(net, "45.1.0.1", **{"bootstrap.cache": {"file": str(path), "max_peers": 9}})
        fars = [public(net, f"45.0.{number}.1") for number in range(3)]
        for far in fars:
            net.connect(near, far)
            net.advance(5.0)
        assert near._finding is not None and near._node is not None
        cache = near._finding.caching
        known = {far.id for far in fars}
        assert {each.peer_id for each in cache.entries} == known
        knocks: list[PeerId] = []
        knock = near._node.knocks.knock

        def counted(peer_id: PeerId, *args: object, **named: object) -> None:
            knocks.append(peer_id)
            knock(peer_id, *args, **named)  # type: ignore[arg-type]

        near._node.knocks.knock = counted  # type: ignore[method-assign]
        fars[0].disconnect(near.id)
        net.advance(5.0)
        set_clock(near, by)
        net.advance(1800.0)
        assert {each.peer_id for each in cache.entries} == known
        assert len(knocks) <= 1800.0 / limits.CACHE_PACE + len(limits.CACHE_CHECKS)
        set_clock(near, 0.0)
        net.advance(1800.0)
        assert {each.peer_id for each in cache.entries} == known
        assert near.close()
        listed = {each["contact"].partition("@")[0] for each in json.loads(path.read_text())["nodes"]}
        assert listed == {str(peer_id) for peer_id in known}


# --- one identity, two nodes ------------------------------------------------------------------------------------------


def test_one_identity_on_two_machines(caplog: pytest.LogCaptureFixture) -> None:
    """Each is told once, at a bounded cost to others; each keeps its sessions, and one that is left is found."""
    identity = Identity.generate()
    with caplog.at_level(logging.WARNING), crust.testing.network() as net:
        nodes = line(net, 3)
        twins = [net.service(PLAIN, address=f"45.2.{number}.1", identity=identity) for number in range(2)]
        for twin, neighbour in zip(twins, (nodes[0], nodes[2]), strict=True):
            net.connect(twin, neighbour)
        seen = set()
        for _ in range(120):
            net.advance(30.0)
            found = record(nodes[1], identity.peer_id)
            assert found is not None
            seen.add(found.sequence)
        for twin in twins:
            assert len(net.heard(twin, crust.IdentityShared)) == 1
        assert sum("another program publishes" in each.getMessage() for each in caplog.records) == 2
        assert len(seen) <= 3600.0 / limits.GOSSIP_RIVAL_REST + 10
        exchange(net, twins[0], nodes[0])
        exchange(net, twins[1], nodes[2])
        assert twins[0].close()
        net.advance(2 * limits.GOSSIP_RIVAL_REST + limits.GOSSIP_PUBLISH_AGAIN)
        assert nodes[0].find(identity.peer_id).endpoints == twins[1].addresses


def test_two_that_call_the_same_peer() -> None:
    """Both want it for good: whoever calls later ends the session of the other, ever more slowly; nothing fails."""
    identity = Identity.generate()
    with crust.testing.network() as net:
        server = public(net, "45.0.0.1")
        twins = [net.service(PLAIN, address=f"45.2.{number}.1", identity=identity) for number in range(2)]
        for twin in twins:
            with contextlib.suppress(crust.CrustError):
                twin.connect(server.contact, keep=True, timeout=30.0)
        net.advance(600.0)
        early = len(net.heard(server, crust.LostPeer))
        net.advance(600.0)
        late = len(net.heard(server, crust.LostPeer)) - early
        assert 0 < early <= 120 and late <= 60, (early, late)
        for each in (server, *twins):
            assert each._node is not None and each._node.crashes == 0
