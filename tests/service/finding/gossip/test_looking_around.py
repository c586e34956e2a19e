"""A node dials somebody now and then that it has no link to: what becomes of a network that was in two parts."""

from __future__ import annotations

import pytest

import crust
import crust.testing
from crust import Config, Service, limits
from crust.addresses import network_id
from crust.discovery.gossip.record import Record, make_record
from crust.service.finding.gossip.gossiping import Gossiping
from crust.testing.network import Network

PLAIN = Config().replace(
    **{"lan.seek": "never", "bootstrap.cache.max_peers": 0, "bootstrap.accept": True, "bootstrap.links": 2}
)


def record(at: Service, of: Service) -> Record:
    assert at._finding is not None
    found: Record | None = at._finding.gossiping.record(of.id)
    assert found is not None, "no record"
    return found


def public(net: Network, host: str, **changes: object) -> Service:
    """A node that says that strangers get in."""
    listen = {"listen.addresses": ("tcp://0.0.0.0:5483",), "listen.advertise": (f"tcp://{host}:5483",)}
    return net.service(PLAIN.replace(**{**listen, **changes}), address=host)


def joined(net: Network, count: int, **changes: object) -> list[Service]:
    """Nodes, each in a network of its own, that have joined through the first; all know all."""
    nodes = [public(net, f"45.0.{number}.1", **changes) for number in range(count)]
    for each in nodes[1:]:
        each.bootstrap(contacts=[nodes[0].contact])
    net.advance(20.0)
    return nodes


def ids(service: Service) -> set[crust.PeerId]:
    return {peer.id for peer in service.peers}


def called(net: Network, callee: Service, caller: Service) -> bool:
    """Whether that node has had a session with the other."""
    kinds = (crust.ConnectSuccess, crust.BootstrapAccept, crust.BootstrapConnect)
    return any(event.peer.id == caller.id for kind in kinds for event in net.heard(callee, kind))


def change(service: Service) -> None:
    """Another record."""
    service.reload(service.config.replace(**{"gossip.publish": "via"}))


def apart(net: Network, nodes: list[Service]) -> tuple[list[Service], list[Service]]:
    """Two halves that have lost each other, each with enough links of its own."""
    ours, theirs = nodes[::2], nodes[1::2]
    net.partition(ours, theirs)
    net.advance(300.0)
    for half, other in ((ours, theirs), (theirs, ours)):
        strangers = {each.id for each in other}
        assert all(ids(each) and not ids(each) & strangers for each in half)
    return ours, theirs


@pytest.mark.parametrize("looks", [True, False])
def test_two_halves_find_together(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a minute and a quarter or so; and never if nobody looked around."""
    if not looks:
        monkeypatch.setattr(limits, "LOOK_AROUND", 1e9)
    with crust.testing.network() as net:
        nodes = joined(net, 10)
        ours, theirs = apart(net, nodes)
        before = record(theirs[0], ours[1])
        change(ours[1])
        net.advance(30.0)
        assert record(theirs[0], ours[1]) is before
        net.heal()
        net.advance(90.0)
        assert (record(theirs[0], ours[1]) is not before) is looks


@pytest.mark.parametrize("made_up", ["one address", "many addresses"])
def test_halves_find_together_beside_made_up_nodes(made_up: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar in each half tells of more public nodes than any node remembers, at its own address or anywhere."""
    monkeypatch.setattr(limits, "GOSSIP_CONTACTS", 32)
    with crust.testing.network() as net:
        nodes = [public(net, f"45.0.{number}.1") for number in range(10)]
        halves = nodes[::2], nodes[1::2]
        for half in halves:
            for each in half[1:]:
                each.bootstrap(contacts=[half[0].contact])
            half[0].start_bootstrap(contacts=[half[1].contact])
        for one, other in zip(*halves, strict=True):
            net.connect(one, other)
        net.advance(20.0)
        liars = [public(net, "66.0.0.1"), public(net, "66.0.0.2")]
        for liar, half in zip(liars, halves, strict=True):
            liar.bootstrap(contacts=[half[0].contact])
            liar.stop_bootstrap()
        ours, theirs = ([*half, liar] for half, liar in zip(halves, liars, strict=True))
        net.partition(ours, theirs)
        net.advance(320.0)
        for liar in liars:
            tell_of_made_up_nodes(liar, 5 * limits.GOSSIP_CONTACTS, made_up)
        net.advance(20.0)
        assert all(len(gossiping(each)._core.store) > 5 * limits.GOSSIP_CONTACTS for each in nodes)
        before = record(theirs[0], ours[1])
        change(ours[1])
        net.advance(20.0)
        assert record(theirs[0], ours[1]) is before
        net.heal()
        for _ in range(40):  # mostly it takes a minute
            net.advance(15.0)
            if record(theirs[0], ours[1]) is not before:
                break
        assert record(theirs[0], ours[1]) is not before


def gossiping(service: Service) -> Gossiping:
    assert service._finding is not None
    return service._finding.gossiping


def tell_of_made_up_nodes(liar: Service, count: int, where: str) -> None:
    """Public ones, of keys that nobody has."""
    source = gossiping(liar)
    node = liar._node
    assert node is not None
    records = []
    for number in range(count):
        host = "66.0.0.1" if where == "one address" else f"99.{number >> 8}.{number % 256}.1"
        endpoint = crust.Endpoint("tcp", host, 2000 + number)
        made = make_record(
            crust.Identity.generate(), network_id(None), wall=node.wall(), endpoints=[endpoint], via=(), is_public=True
        )
        assert made is not None
        records.append(made)

    def tell() -> None:
        core, now = source._core, node.clock.now()
        for each in records:
            core.store.add(each)
            core._announcing.spread(each.prefix, (), now)

    source.put(tell)


def test_a_guest_leaves_when_it_is_not_needed() -> None:
    """It stays for half a minute; the other side hears a word that is no quarrel, and both may dial again."""
    with crust.testing.network() as net:
        nodes = joined(net, 8)
        most = 0
        for _ in range(60):
            net.advance(5.0)
            most = max(most, *(len(each.peers) for each in nodes[1:]))
        lost = [event for node in nodes for event in net.heard(node, crust.LostPeer)]
        assert lost and {event.reason for event in lost} == {crust.LostReason.UNNEEDED}
        assert most < 8 and len(nodes[1].peers) >= 2
        for each in nodes:
            assert each._finding is not None
            assert not each._finding.dropped.all(each._node.clock.now())  # type: ignore[union-attr]


def test_a_guest_stays_if_a_link_is_lacking() -> None:
    """Whom the node would dial for its links anyway is not sent away; it is when fewer links will do."""
    with crust.testing.network() as net:
        nodes = joined(net, 3)
        net.advance(2 * limits.BOOTSTRAP_LOOK)
        first, *others = nodes
        links = [(each, peer) for each in others for peer in each.peers if peer.id != first.id]
        ((node, guest),) = [(each, peer.id) for each, peer in links if not peer._conversation.inbound]
        assert node._finding is not None and first.id in ids(node)
        node._finding.borrowed.use(guest, guest=True)
        net.advance(3 * limits.GUEST_SECONDS)
        assert guest in ids(node) and not net.heard(node, crust.LostPeer)
        node.reload(node.config.replace(**{"bootstrap.links": 1}))
        net.advance(limits.GUEST_SECONDS)
        assert [event.peer.id for event in net.heard(node, crust.LostPeer)] == [guest]


@pytest.mark.parametrize("kind", ["dropped", "banned", "blacklist", "full", "upkeep", "gossip"])
def test_who_is_not_dialled(kind: str) -> None:
    """Whom the application let go of, who is banned; nobody if there is no room, or links are not kept up."""
    changes: dict[str, object] = {"gossip.enabled": False} if kind == "gossip" else {}
    with crust.testing.network() as net:
        nodes = joined(net, 3, **changes)
        node, spare = nodes[2], public(net, "45.1.0.1")
        assert node._finding is not None and node._node is not None
        if kind == "dropped":
            node._finding.dropped.add(spare.id, node._node.clock.now())
        elif kind == "banned":
            node.ban(spare.id)
        elif kind == "blacklist":
            node.reload(node.config.replace(**{"bootstrap.blacklist": (str(spare.id),)}))
        elif kind == "full":
            node.reload(node.config.replace(**{"limits.max_peers": 1}))
        elif kind == "upkeep":
            node.stop_bootstrap()
        net.connect(spare, nodes[1])
        net.advance(10.0)
        spare.disconnect(nodes[1].id)
        net.advance(200.0)
        assert not called(net, spare, node)


def test_who_may_be_dialled_is() -> None:
    """The same without any of these."""
    with crust.testing.network() as net:
        nodes = joined(net, 3)
        spare = public(net, "45.1.0.1")
        net.connect(spare, nodes[1])
        net.advance(10.0)
        spare.disconnect(nodes[1].id)
        net.advance(200.0)
        assert called(net, spare, nodes[2])


def test_guests_introduce_nobody() -> None:
    """What a node tells of itself does not change with whoever is there for half a minute."""
    with crust.testing.network() as net:
        nodes = joined(net, 8, **{"bootstrap.links": 1})
        first = record(nodes[0], nodes[5])
        net.advance(300.0)
        assert record(nodes[0], nodes[5]) is first
