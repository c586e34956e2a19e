"""What the driver of gossip does after minutes and hours: on a clock that the test moves."""

from __future__ import annotations

import pytest

import crust
import crust.testing
from crust import Config, Service, limits
from crust.discovery.gossip.record import Record
from crust.testing.network import Network

PLAIN = Config().replace(**{"lan.seek": "never", "bootstrap.cache.max_peers": 0})


def gossip_of(service: Service):  # type: ignore[no-untyped-def]
    assert service._finding is not None
    return service._finding.gossiping


def record(at: Service, of: Service) -> Record:
    found: Record | None = gossip_of(at).record(of.id)
    assert found is not None, "no record"
    return found


def line(net: Network, length: int, **changes: object) -> list[Service]:
    """Nodes with public addresses of which each has called the one before; all records are known."""
    config = PLAIN.replace(**changes) if changes else PLAIN
    nodes = [net.service(config, address=f"45.0.0.{number + 1}") for number in range(length)]
    for one, other in zip(nodes[1:], nodes, strict=False):
        net.connect(one, other)
    net.advance(10.0)
    return nodes


def test_a_record_is_made_anew_before_it_is_old() -> None:
    """And nothing is said meanwhile, if nothing changes."""
    with crust.testing.network() as net:
        nodes = line(net, 3)
        first = record(nodes[0], nodes[2])
        net.advance(limits.GOSSIP_PUBLISH_AGAIN - 60.0)
        assert record(nodes[0], nodes[2]) is first
        net.advance(120.0)
        again = record(nodes[0], nodes[2])
        assert again.sequence > first.sequence and again.endpoints == first.endpoints


def test_a_question_leaves_no_session_behind() -> None:
    """The links of a search end ``BORROWED_SECONDS`` after it, with a word that is no quarrel."""
    with crust.testing.network() as net:
        nodes = line(net, 4)
        nobody = crust.Identity.generate().peer_id
        before = {peer.id for peer in nodes[0].peers}
        with pytest.raises(crust.NoRoute, match="nodes that were asked"):
            nodes[0].find(nobody)
        net.settle()
        assert {peer.id for peer in nodes[0].peers} > before
        net.advance(2 * limits.BORROWED_SECONDS)
        assert {peer.id for peer in nodes[0].peers} == before
        reasons = {event.reason for node in nodes for event in net.heard(node, crust.LostPeer)}
        assert reasons == {crust.LostReason.UNNEEDED}


def test_many_who_are_not_found_hide_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, far more than are looked for at once: then a peer is looked up as at the beginning."""
    monkeypatch.setattr(limits, "SEARCHES_MAX", 4)
    with crust.testing.network() as net:
        nodes = line(net, 4, **{"gossip.publish": "via"})
        for _ in range(3 * limits.SEARCHES_MAX):
            with pytest.raises(crust.NoRoute, match="looked up and not found"):
                nodes[0].connect(crust.Identity.generate().peer_id, timeout=60.0)
            net.settle()
        assert nodes[0].connect(nodes[3].id, timeout=60.0).id == nodes[3].id


def test_what_the_application_wants_stays() -> None:
    """A session that was made for a question, and is wanted then, is the application's."""
    with crust.testing.network() as net:
        nodes = line(net, 4)
        with pytest.raises(crust.NoRoute):
            nodes[0].find(crust.Identity.generate().peer_id)
        peer = nodes[0].connect(nodes[3].id)
        net.advance(3 * limits.BORROWED_SECONDS)
        assert peer.state == "connected" and nodes[0].is_connected(nodes[3].id)
        assert not nodes[0].is_connected(nodes[2].id)


def test_introducers_that_come_and_go_are_told_now_and_then() -> None:
    """Addresses are told at once; who introduces a node, if that is all that changes, every half minute at most."""
    with crust.testing.network() as net:
        nodes = line(net, 3)
        late = net.service(PLAIN, address="45.0.0.9")
        net.advance(60.0)
        first = record(nodes[0], nodes[2])
        net.connect(nodes[2], late)
        net.advance(5.0)
        second = record(nodes[0], nodes[2])
        assert second.sequence > first.sequence and {each.peer_id for each in second.via} == {nodes[1].id, late.id}
        third = net.service(PLAIN, address="45.0.0.10")
        net.connect(nodes[2], third)
        net.advance(15.0)
        assert record(nodes[0], nodes[2]) is second
        net.advance(20.0)
        assert {each.peer_id for each in record(nodes[0], nodes[2]).via} >= {third.id}


def test_a_banned_peer_is_not_dialled_for_others() -> None:
    """Not to ask it, and not to be introduced by it."""
    with crust.testing.network() as net:
        nodes = line(net, 5, **{"gossip.publish": "via"})
        nodes[0].ban(nodes[3].id)
        with pytest.raises(crust.ConnectError):
            nodes[0].connect(nodes[4].id, timeout=30.0)
        assert not [each for each in net.heard(nodes[0], crust.ConnectSuccess) if each.peer.id == nodes[3].id]


def test_the_end_of_a_node_ends_its_timers() -> None:
    with crust.testing.network() as net:
        nodes = line(net, 2)
        assert nodes[1].close()
        net.advance(limits.GOSSIP_PUBLISH_AGAIN * 2)
        assert not gossip_of(nodes[0])._core.links
