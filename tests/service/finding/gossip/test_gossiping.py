"""Nodes that know only their neighbours find, and connect to, each other by key."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

import crust
from crust import Config, Contact, Identity, Service, limits
from crust.addresses import PeerId
from crust.discovery.gossip.record import Record
from crust.wire.handshake import Capability
from tests.support.nodes import Nodes, config
from tests.support.threads import Background
from tests.support.waiting import eventually, wait_until

PATIENCE = 10.0


def gossip_of(service: Service):  # type: ignore[no-untyped-def]
    assert service._finding is not None
    return service._finding.gossiping


def record(service: Service, of: Service | PeerId) -> Record | None:
    """What a node knows of another one."""
    found: Record | None = gossip_of(service).record(of if isinstance(of, PeerId) else of.id)
    return found


def knows(service: Service, of: Service, introduced: bool = False) -> None:
    """Wait until a node has a record of another one; ``introduced``: that names somebody who introduces it."""

    def look() -> bool:
        found = record(service, of)
        return found is not None and (bool(found.via) or not introduced)

    wait_until(look, PATIENCE, "a record")


def line(nodes: Nodes, length: int, **changes: object) -> list[Service]:
    """Nodes of which each has called the one before."""
    made = [nodes.start(config(**changes)) for _ in range(length)]
    for one, other in zip(made[1:], made, strict=False):
        one.connect(other.contact)
    return made


def test_a_line_from_end_to_end(nodes: Nodes) -> None:
    """By key alone, although each knows nobody but its neighbours."""
    made = line(nodes, 5)
    first, last = made[0], made[-1]
    knows(first, last)
    assert first.find(last.id) == last.contact
    assert first.find(str(last.id)) == last.contact
    peer = first.connect(last.id)
    assert peer.path is not None and peer.path.path_class == "direct-tcp"
    peer.send(b"over four hops")
    assert nodes.heard(last).wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"over four hops"


def test_at_once(nodes: Nodes) -> None:
    """Whoever has just joined, and is asked to connect, goes on asking for a while."""
    made = line(nodes, 5)
    assert made[0].connect(made[-1].id, timeout=PATIENCE).id == made[-1].id
    assert made[-1].dial(made[1].id, timeout=PATIENCE).result(PATIENCE).id == made[1].id


@pytest.mark.parametrize("age", [0.0, 600.0])
def test_who_finds_no_way_asks_again_for_a_while(age: float, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What a peer said before it had links itself names nobody who introduces it: it says more a moment later, and who is
    asked may know that before gossip has brought it. However long it is that who asks has been here.
    """
    made = line(nodes, 4, gossip__publish="via", relay__serve=True)
    first, last = made[0], made[-1]
    knows(first, last, introduced=True)
    gossiping, asked, newer = gossip_of(first), list[bytes](), list[int]()
    gossiping._began_at -= age
    real = gossiping.find

    def find(target: PeerId, found: Callable[[object, int], None], *, newer_than: int) -> Callable[[], None]:
        asked.append(target.public_key)
        newer.append(newer_than)
        if len(asked) > 1:
            return real(target, found, newer_than=newer_than)  # type: ignore[no-any-return]
        gossiping.put(lambda: found(SimpleNamespace(endpoints=(), via=(), sequence=0), 0))
        return lambda: None

    monkeypatch.setattr(gossiping, "find", find)
    assert first.connect(last.id, timeout=PATIENCE).id == last.id
    assert asked.count(last.id.public_key) == 2 and newer == [-1, 0]


def test_introduced_by_a_peer_of_the_other(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that tells nobody where it is is reached through those whom its record names; who are let go of later."""
    monkeypatch.setattr(limits, "BORROWED_SECONDS", 1.0)
    made = line(nodes, 5, gossip__publish="via", relay__serve=True)
    first, via, last = made[0], made[-2], made[-1]
    knows(first, last, introduced=True)
    assert first.find(last.id) == Contact(last.id)
    assert [each.peer_id for each in record(first, last).via] == [via.id]  # type: ignore[union-attr]
    peer = first.connect(last.id)
    assert first.is_connected(via.id)
    peer.send(b"by way of a stranger")
    assert nodes.heard(last).wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"by way of a stranger"
    wait_until(lambda: peer.path.path_class != "relay", PATIENCE, "a path of their own")  # type: ignore[union-attr]
    wait_until(lambda: not first.is_connected(via.id), PATIENCE, "the end of a session that nobody needs")
    assert peer.state == "connected"
    lost = nodes.heard(first).wait(crust.LostPeer)
    assert lost.reason is crust.LostReason.UNNEEDED and lost.peer.id == via.id
    dropped = first._finding.dropped  # type: ignore[union-attr]
    assert not dropped.covers(via.id, first._node.clock.now())  # type: ignore[union-attr]
    assert first.connect(via.id).id == via.id


def test_an_introducer_stays_while_it_is_needed(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the session is on a circuit through it; and if the application wants it, in any case."""
    monkeypatch.setattr(limits, "BORROWED_SECONDS", 1.0)
    no_punch = {f"nat.punch.{name}": False for name in ("tcp", "udp", "predict", "birthday")}
    made = [nodes.start(config(gossip__publish="via", relay__serve=True).replace(**no_punch)) for _ in range(4)]
    for one, other in zip(made[1:], made, strict=False):
        one.connect(other.contact)
    first, via, last = made[0], made[-2], made[-1]
    knows(first, last, introduced=True)
    peer = first.connect(last.id)
    if peer.path is not None and peer.path.path_class == "relay":
        assert not eventually(lambda: not first.is_connected(via.id), 3.0) or peer.path.path_class != "relay"
    first.connect(via.id)
    assert not eventually(lambda: not first.is_connected(via.id), 2.5)


def test_who_tells_nothing_is_not_found(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """``publish: none`` is respected; the error says that it was looked up."""
    monkeypatch.setattr(limits, "SEARCH_YOUNG", 0.0)
    made = [nodes.start(config(gossip__publish=how)) for how in ("full", "full", "none", "none")]
    for one, other in zip(made[1:], made, strict=False):
        one.connect(other.contact)
    first, last = made[0], made[-1]
    knows(first, made[1])
    with pytest.raises(crust.NoRoute, match="does not know"):
        first.find(last.id)
    with pytest.raises(crust.NoRoute, match="looked up and not found"):
        first.connect(last.id, timeout=PATIENCE)
    assert all(record(each, silent) is None for each in made for silent in made[2:])


def test_a_client_names_only_who_introduces_it(nodes: Nodes) -> None:
    server = nodes.start(config())
    client = nodes.start(config(network__role="client"))
    other = nodes.start(config())
    client.connect(server.contact)
    other.connect(server.contact)
    knows(other, client, introduced=True)
    found = record(other, client)
    assert found is not None and not found.endpoints and not found.is_public
    assert other.find(client.id) == Contact(client.id)


def test_other_ports_are_told(nodes: Nodes) -> None:
    """After a rotation the record is another one, and who looks for the node finds it there."""
    made = line(nodes, 3)
    first, last = made[0], made[-1]
    knows(first, last)
    before = first.find(last.id)
    opened = last.rotate_ports(0.0)
    assert opened
    wait_until(lambda: first.find(last.id) != before, 2 * PATIENCE, "another record")
    assert first.find(last.id) == last.contact
    assert first.connect(last.id).id == last.id


def test_a_lost_session_is_found_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was reached before it is not any more; its record says where it is."""
    monkeypatch.setattr(limits, "SEARCH_ROUND", 1)
    first, middle, last = (nodes.start(config(relay__use=False)) for _ in range(3))
    proxy = nodes.proxy(last)
    peer = first.connect(Contact(last.id, (crust.Endpoint.parse(proxy.endpoint),)))
    for each in (first, last):
        each.connect(middle.contact)
    knows(first, last)
    proxy.refuse()
    proxy.cut()
    heard = nodes.heard(first).wait(crust.PeerResumed, timeout=PATIENCE)
    assert heard.peer is peer


def test_gossip_switched_off(nodes: Nodes) -> None:
    """Nothing is announced, said or heard, and nobody is looked up."""
    quiet, other, third = nodes.start(config(gossip__enabled=False)), nodes.start(config()), nodes.start(config())
    peer = quiet.connect(other.contact)
    third.connect(other.contact)
    knows(other, third)
    at_other = nodes.heard(other).wait(crust.ConnectSuccess).peer
    assert not at_other._conversation.capabilities & Capability.GOSSIP
    assert peer._conversation.capabilities & Capability.GOSSIP
    assert record(other, quiet) is None and record(quiet, other) is None
    with pytest.raises(crust.NoRoute, match="gossip.enabled"):
        quiet.find(other.id)
    assert "crust-gossip" not in quiet._node.threads.alive()  # type: ignore[union-attr]


def test_find_says_why_not(nodes: Nodes) -> None:
    """Nobody to ask; not in time; and the end of the node."""
    lonely = nodes.start(config())
    nobody = Identity.generate().peer_id
    with pytest.raises(crust.NoRoute, match="nobody to ask"):
        lonely.find(nobody)
    with pytest.raises(crust.ContactSyntaxError):
        lonely.find("nonsense")
    over: list[bool] = []
    gossip_of(lonely)._worker.put(lambda: wait_until(lambda: over, PATIENCE))
    with pytest.raises(crust.Timeout):
        lonely.find(nobody, timeout=0.01)
    over.append(True)


def test_find_ends_with_the_node(nodes: Nodes) -> None:
    service = nodes.start(config())
    gossiping = gossip_of(service)
    gossiping._worker.put(lambda: wait_until(lambda: gossiping._closed, PATIENCE))
    waits = Background(lambda: service.find(Identity.generate().peer_id))
    wait_until(lambda: gossiping._quests, PATIENCE, "the search")
    service.close()
    with pytest.raises(crust.ServiceClosed):
        waits.result(PATIENCE)


def test_one_identity_twice(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs that publish under one key: each is told once, and both go on."""
    monkeypatch.setattr(limits, "GOSSIP_RIVAL_REST", 0.2)
    monkeypatch.setattr(limits, "GOSSIP_PUBLISH_REST", 0.1)
    identity = Identity.generate()
    left, right = nodes.start(config()), nodes.start(config())
    left.connect(right.contact)
    twins = [nodes.start(config(), identity=identity) for _ in range(2)]
    for twin, neighbour in zip(twins, (left, right), strict=True):
        twin.connect(neighbour.contact)
    shared = [nodes.heard(twin).wait(crust.IdentityShared, timeout=PATIENCE) for twin in twins]
    assert {each.endpoints for each in shared} == {twin.addresses for twin in twins}
    before = record(left, twins[0])
    wait_until(lambda: record(left, twins[0]) is not before, PATIENCE, "another record")
    assert [len(nodes.heard(twin).of(crust.IdentityShared)) for twin in twins] == [1, 1]


def test_a_clock_that_was_fast(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of an earlier run, made by a clock that was ahead, does not outlive the next one; nobody is warned."""
    monkeypatch.setattr(limits, "GOSSIP_PUBLISH_REST", 0.1)
    identity = Identity.generate()
    other = nodes.start(config())
    service = nodes.make(config(), identity=identity)
    service._machine.wall = lambda: other._node.wall() + 300.0  # type: ignore[method-assign,union-attr]
    service.start()
    service.connect(other.contact)
    knows(other, service)
    earlier = record(other, service)
    service.close()
    again = nodes.start(config(), identity=identity)
    again.connect(other.contact)

    def is_there() -> bool:
        found = record(other, again)
        return found is not None and found is not earlier and found.endpoints == again.addresses

    wait_until(is_there, PATIENCE, "the record of this run")
    assert not nodes.heard(again).of(crust.IdentityShared)


def test_a_source_of_first_peers(nodes: Nodes) -> None:
    """The directory has a node's places from its record, and public nodes for whoever needs a first peer."""
    made = line(nodes, 4)
    first, last = made[0], made[-1]
    knows(first, last)
    assert first._node is not None
    assert first._node.directory.places(last.id) == last.addresses
    places = gossip_of(first)
    wait_until(lambda: made[1].id in {each.peer_id for each in places.contacts()}, PATIENCE, "the nearest one's record")
    assert Config().gossip.enabled


def test_nobody_is_told_of_a_client(nodes: Nodes) -> None:
    """Whoever has dialled one does not name it as who introduces him."""
    client, node, near = (nodes.start(config(network__role=role)) for role in ("client", "node", "node"))
    for each in (client, node):
        near.connect(each.contact)
    knows(node, near, introduced=True)
    assert [each.peer_id for each in record(node, near).via] == [node.id]  # type: ignore[union-attr]
