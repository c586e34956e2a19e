"""``Service.status``: the snapshot of a real node."""

from __future__ import annotations

import dataclasses
import json

import jsonschema
import pytest

import crust
from crust.testing import network
from tests.support.nodes import Nodes, config
from tests.support.source import ROOT
from tests.support.waiting import wait_until

SCHEMA = json.loads((ROOT / "conf" / "status.schema.json").read_text(encoding="utf-8"))


def is_as_described(status: crust.Status) -> None:
    """It survives JSON, and the schema in conf/ describes it."""
    jsonschema.validate(json.loads(json.dumps(status.as_dict())), SCHEMA)


def test_what_a_node_is(nodes: Nodes) -> None:
    """Itself, as configured and as started."""
    node = nodes.start(config(network__name="home", relay__serve=True, bootstrap__accept=True))
    status = node.status()
    assert (status.id, status.contact, status.addresses) == (node.id, node.contact, node.addresses)
    assert (status.network, status.role, status.serves_relay, status.accepts_bootstrap) == ("home", "node", True, True)
    assert status.version == crust.__version__ and status.listeners == node.addresses
    assert (status.peers, status.nat.public, status.socket, status.metrics) == ((), None, None, None)
    assert node.status().uptime > status.uptime > 0
    node.set_accept_bootstrap(False)
    assert not node.status().accepts_bootstrap
    is_as_described(status)


def test_who_its_peers_are(nodes: Nodes) -> None:
    """Paths, counts, what waits, and who introduces others."""
    pair = nodes.pair()
    pair.to_far.send(bytes(50_000))
    pair.to_far.flush()
    near, far = pair.near.status(), pair.far.status()
    (out,), (into,) = near.peers, far.peers
    assert (out.id, out.state, out.inbound, into.inbound) == (pair.far.id, "connected", False, True)
    assert out.path is not None and out.path.path_class == "direct-tcp" and out.path.rtt
    assert out.traffic.bytes_sent > 50_000 and into.traffic.bytes_received > 50_000
    assert (out.traffic.messages_sent, into.traffic.messages_received, into.unread_bytes > 50_000) == (1, 1, True)
    assert out.traffic == near.traffic and near.stats.peers_connected == 1
    assert [contact.peer_id for contact in near.via] == [pair.far.id]
    is_as_described(near)
    is_as_described(far)


def test_a_suspended_peer_keeps_its_figures(nodes: Nodes) -> None:
    pair = nodes.proxied()
    pair.to_far.send(bytes(10_000))
    pair.to_far.flush()
    before = pair.near.status().peers[0]
    pair.suspend()
    pair.to_far.send(b"it waits")
    (peer,) = pair.near.status().peers
    assert peer.state == "suspended" and peer.unacknowledged_messages == 1 and peer.path is not None
    assert peer.traffic.bytes_sent >= before.traffic.bytes_sent > 10_000
    is_as_described(pair.near.status())
    pair.wire.heal()


def test_what_was_is_not_forgotten(nodes: Nodes) -> None:
    """The node's counts have the sessions that are over, and never fall."""
    pair = nodes.pair()
    pair.to_far.send(bytes(30_000))
    pair.to_far.flush()
    pair.to_near.recv(5.0)
    before = pair.near.status()
    pair.near.disconnect(pair.far.id)
    pair.near_heard.wait(crust.LostPeer)
    status = pair.near.status()
    assert status.peers == () and status.traffic.messages_sent == 1
    counts = zip(dataclasses.astuple(before.traffic), dataclasses.astuple(status.traffic), strict=True)
    assert all(then <= now for then, now in counts)
    pair.near.connect(pair.far.contact).send(b"again")
    wait_until(lambda: pair.near.status().traffic.messages_sent == 2, what="the count of both sessions")
    assert pair.near.status().peers[0].traffic.messages_sent == 1


def test_counts_do_not_fall_while_a_session_ends(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment it is neither among those that are nor among those that were: none of the four shows that."""
    pair = nodes.pair()
    pair.to_far.send(b"out")
    assert pair.to_near.recv(5.0) == b"out"
    pair.to_near.send(b"and in")
    assert pair.to_far.recv(5.0) == b"and in"
    before = dataclasses.astuple(pair.near.status().traffic)
    assert all(before)
    assert pair.near._node is not None
    monkeypatch.setattr(pair.near._node.registry, "all", lambda: [])
    after = dataclasses.astuple(pair.near.status().traffic)
    assert all(then <= now for then, now in zip(before, after, strict=True))


def test_parts_of_the_node_add_sections(nodes: Nodes) -> None:
    node = nodes.start()
    assert node._node is not None
    node._node.sections.add("cheese", lambda: {"holes": 3})
    assert node.status().sections["cheese"] == {"holes": 3}
    is_as_described(node.status())


def test_it_needs_a_running_node(nodes: Nodes) -> None:
    node = nodes.make()
    with pytest.raises(crust.ServiceClosed, match="not been started"):
        node.status()
    node.start().close()
    with pytest.raises(crust.ServiceClosed):
        node.status()


def test_a_node_in_memory_opens_nothing() -> None:
    """But tells the same."""
    with network() as net:
        node = net.service(crust.Config().replace(**{"status.metrics": "127.0.0.1:0", "status.socket": "/no/where"}))
        status = node.status()
        assert (status.socket, status.metrics) == (None, None) and status.listeners
        is_as_described(status)
