"""Who joins is tried from outside, and named to others if that worked; whom a full node names, and what is in it."""

from __future__ import annotations

import pathlib
import time
from types import SimpleNamespace
from typing import Any

import pytest

import crust
from crust import Contact, Endpoint, Identity, PeerId, Service, limits
from crust.discovery.cache.core import Entry
from crust.service.finding.reachability import Reachability
from crust.wire.frames import Candidates, Place, PlaceKind, TransportCode
from crust.wire.handshake import Role
from tests.service.finding import shared
from tests.support.nodes import LOOPBACK, Nodes
from tests.support.waiting import wait_until

PATIENCE = 10.0
BOTH = (LOOPBACK, "utp://127.0.0.1:0")


def config(**changes: Any) -> crust.Config:
    return shared.config(**{"bootstrap__accept": True, **changes})


def reachability(service: Service) -> Reachability:
    assert service._finding is not None
    return service._finding.reachability


def knocked(service: Service) -> list[Endpoint]:
    """Where a node knocks from now on."""
    assert service._node is not None
    places: list[Endpoint] = []
    knock = service._node.knocks.knock

    def noted(peer_id: PeerId, endpoint: Endpoint, heard: Any, **others: Any) -> None:
        places.append(endpoint)
        knock(peer_id, endpoint, heard, **others)

    service._node.knocks.knock = noted  # type: ignore[method-assign]
    return places


# --- who joins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [(LOOPBACK,), ("utp://127.0.0.1:0",), BOTH])
def test_a_node_that_strangers_reach_is_told_apart(nodes: Nodes, listen: tuple[str, ...]) -> None:
    """By TCP or µTP; it hears nothing of it, but for the handshake."""
    middle = nodes.start(config(listen__addresses=BOTH))
    near = nodes.start(config(listen__addresses=listen))
    near.bootstrap(contacts=[middle.contact])
    is_alone = listen == ("utp://127.0.0.1:0",) and near.peers[0].path is not None
    if is_alone and near.peers[0].path.transport == "utp":  # type: ignore[union-attr]
        assert not reachability(middle).is_public(near.id)  # its link uses that very port: that would show nothing
        return
    wait_until(lambda: reachability(middle).is_public(near.id), PATIENCE, "the trial")
    assert [peer.id for peer in near.peers] == [middle.id]
    assert set(nodes.heard(near).names(middle.id)) <= {"BootstrapConnect", "PathChanged"}
    near.close()
    wait_until(lambda: not reachability(middle).is_public(near.id), PATIENCE, "its end")


def test_a_node_that_nobody_reaches_is_no_worse_a_peer(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is somewhere, and is not: it stays, and is told to nobody."""
    middle, near = nodes.start(config()), nodes.start(config())
    assert near._network is not None
    wrong = Endpoint("tcp", "127.0.0.1", 1024)
    monkeypatch.setattr(near._network, "candidates", lambda: ())
    monkeypatch.setattr(near._network.listeners, "endpoints", lambda: (wrong,))
    places = knocked(middle)
    peer = near.bootstrap(contacts=[middle.contact])
    wait_until(lambda: places == [wrong], PATIENCE, "the trial")
    peer.send(b"still here")
    assert nodes.heard(middle).wait(crust.BootstrapAccept).peer.recv(PATIENCE) == b"still here"
    assert not reachability(middle).is_public(near.id)
    assert reachability(middle).suggest(Identity.generate().peer_id, "127.0.0.1") == []


@pytest.mark.parametrize("kind", ["off", "client", "connect"])
def test_who_is_not_tried(nodes: Nodes, kind: str) -> None:
    """Nobody if that is switched off; no clients; nobody who only connects."""
    middle = nodes.start(config(bootstrap__reachability_test=kind != "off"))
    near = nodes.start(config(network__role="client" if kind == "client" else "node"))
    places = knocked(middle)
    peer = near.connect(middle.contact) if kind == "connect" else near.bootstrap(contacts=[middle.contact])
    peer.send(b"first")
    assert nodes.heard(middle).wait(crust.ConnectSuccess if kind == "connect" else crust.BootstrapAccept).peer.recv(5)
    peer.send(b"and last")
    assert middle.peers[0].recv(PATIENCE) == b"and last"
    assert places == []


def test_nobody_has_somebody_else_tried(nodes: Nodes) -> None:
    """Only the address that its link comes from, no low ports, three at most, once a minute."""
    middle, near = nodes.start(config()), nodes.start(config(bootstrap__reachability_test=False))
    near.bootstrap(contacts=[middle.contact])
    assert middle._node is not None
    wait_until(lambda: reachability(middle).is_public(near.id), PATIENCE, "the trial")
    places = knocked(middle)
    part = reachability(middle)
    part._tried_at.clear()
    conversation = middle._node.registry.all()[0]
    assert conversation.link is not None

    def told(*addresses: tuple[str, int]) -> None:
        found = tuple(Place(PlaceKind.INTERFACE, TransportCode.TCP, True, address) for address in addresses)
        assert conversation.link is not None
        part._told(conversation, conversation.link, Candidates(0, (), found))

    used = conversation.link.connection.remote.port
    told(("192.0.2.7", 5000), ("127.0.0.2", 5000), ("127.0.0.1", 80), ("127.0.0.1", used))
    assert places == []
    told(*(("127.0.0.1", 2000 + number) for number in range(9)))
    assert places == [Endpoint("tcp", "127.0.0.1", 2000 + number) for number in range(limits.REACHABILITY_PLACES)]
    told(("127.0.0.1", 3000))
    assert len(places) == limits.REACHABILITY_PLACES and middle.stats().refusals["REACHABILITY_REST"] == 1
    wait_until(lambda: not part.is_public(near.id), PATIENCE, "the end of the trial")


class Joined:
    """A session, as far as matters here."""

    def __init__(self) -> None:
        self.peer_id, self.inbound, self.role = Identity.generate().peer_id, True, Role.NODE


def test_one_address_does_not_keep_others_from_being_tried(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys come from there: others are next. Who leaves waits no more."""
    monkeypatch.setattr(limits, "REACHABILITY_PER_SECOND", 1e-9)
    middle = nodes.start(config())
    part = reachability(middle)
    tried: list[Any] = []
    part._try = lambda conversation, places, local: tried.append(conversation)  # type: ignore[method-assign]

    def joins(address: str) -> Any:
        connection = SimpleNamespace(remote=Endpoint("tcp", address, 2000), local=Endpoint("tcp", "127.0.0.1", 2001))
        peer: Any = Joined()
        link: Any = SimpleNamespace(circuit=None, connection=connection)
        part._began(peer)
        for port in (5000, 5001):
            named = Place(PlaceKind.INTERFACE, TransportCode.TCP, True, (address, port))
            part._told(peer, link, Candidates(0, (), (named,)))
        return peer

    def turn() -> None:
        part._bucket._tokens = 1.0
        part._try_next()

    bad = [joins("127.0.0.1") for _ in range(20)]
    good = joins("127.0.0.2")
    gone = joins("127.0.0.2")
    part._lost(gone)
    assert tried == bad[:1]  # the bucket begins with one
    refusals = middle.stats().refusals
    assert refusals["REACHABILITY_PER_SECOND"] == 2 * 21 and refusals["REACHABILITY_REST"] == 1
    turn()
    turn()
    assert good in tried and len(tried) == 3
    for _ in range(40):
        turn()
    assert tried[0] == bad[0] and sorted(map(id, tried)) == sorted(map(id, [*bad, good]))


def test_what_is_told_by_way_of_a_circuit_is_not_tried(nodes: Nodes) -> None:
    """Its link shows where the introducer is, who would be knocked at in the peer's name."""
    middle, near = nodes.start(config()), nodes.start(config(bootstrap__reachability_test=False))
    near.bootstrap(contacts=[middle.contact])
    assert middle._node is not None
    part = reachability(middle)
    wait_until(lambda: part.is_public(near.id), PATIENCE, "the trial")
    part._tried_at.clear()
    places = knocked(middle)
    conversation = middle._node.registry.all()[0]
    connection = SimpleNamespace(remote=Endpoint("tcp", "127.0.0.1", 2000), local=Endpoint("tcp", "127.0.0.1", 2001))
    named = Candidates(0, (), (Place(PlaceKind.INTERFACE, TransportCode.TCP, True, ("127.0.0.1", 5000)),))
    for circuit in (object(), None):
        part._tried_at.clear()
        link: Any = SimpleNamespace(circuit=circuit, connection=connection)
        part._told(conversation, link, named)
        assert places == ([] if circuit else [Endpoint("tcp", "127.0.0.1", 5000)])


def test_a_trial_that_ends_after_its_session_names_nobody(nodes: Nodes) -> None:
    """Nobody would ever forget that peer; the cache has not heard of it either."""
    middle, near = nodes.start(config()), nodes.start(config())
    near.bootstrap(contacts=[middle.contact])
    assert middle._node is not None
    part = reachability(middle)
    wait_until(lambda: part.is_public(near.id), PATIENCE, "the trial")
    [conversation] = middle._node.registry.all()
    place = near.addresses[0]
    near.close()
    wait_until(lambda: not part.is_public(near.id), PATIENCE, "its end")
    heard: list[object] = []
    part.on_tried.append(heard.append)
    part._tried(conversation, [place], "127.0.0.1")
    assert not part.is_public(near.id) and heard == []


def test_who_moves_says_so(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is tried again."""
    monkeypatch.setattr(limits, "REACHABILITY_DELAY", 0.05)
    middle, near = nodes.start(config()), nodes.start(config())
    near.bootstrap(contacts=[middle.contact])
    part = reachability(middle)
    wait_until(lambda: part.is_public(near.id), PATIENCE, "the trial")
    part._tried_at.clear()
    places = knocked(middle)
    near.rotate_ports()
    wait_until(lambda: near.addresses[0] in places, PATIENCE, "the next one")


def test_who_was_proven_gets_into_the_cache(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """A node that called us, and is reached by strangers, is somebody to call after a restart."""
    setting = config(bootstrap__cache={"file": str(tmp_path / "cache.json"), "max_peers": 9})
    middle, near = nodes.start(setting), nodes.start(config())
    near.bootstrap(contacts=[middle.contact])
    assert middle._finding is not None
    cache = middle._finding.caching
    wait_until(lambda: [each.peer_id for each in cache.contacts()] == [near.id], PATIENCE, "the cache")
    assert cache.contacts()[0].endpoints == near.contact.endpoints


def test_gossip_hears_who_is_reached(nodes: Nodes) -> None:
    """A peer that called us counts as public from when it has answered a stranger; who was dialled does at once."""
    middle = nodes.start(config(gossip__enabled=True))
    near, other = nodes.start(config(gossip__enabled=True)), nodes.start(config(gossip__enabled=True))
    assert middle._node is not None
    knock, held = middle._node.knocks.knock, []
    middle._node.knocks.knock = lambda *args, **named: held.append((args, named))  # type: ignore[method-assign]

    def is_public(at: Service, who: Service) -> bool | None:
        assert at._finding is not None
        link = at._finding.gossiping._core._links.get(who.id.public_key)
        return None if link is None else link.is_public

    near.bootstrap(contacts=[middle.contact])
    wait_until(lambda: held and is_public(middle, near) is not None, PATIENCE, "the link")
    assert is_public(middle, near) is False
    for args, named in held:
        knock(*args, **named)
    wait_until(lambda: is_public(middle, near), PATIENCE, "the trial")
    wait_until(lambda: is_public(near, middle), PATIENCE, "the link")
    other.connect(middle.contact)
    wait_until(lambda: is_public(middle, other) is not None, PATIENCE, "the link")
    assert is_public(middle, other) is False


# --- who is full ------------------------------------------------------------------------------------------------------


def test_a_crowd_finds_places(nodes: Nodes) -> None:
    """Through one contact that has room for two: the others are led on, by whoever is full."""
    middle = nodes.start(config(limits__max_peers=2))
    for _ in range(8):
        near = nodes.start(config(limits__max_peers=4))
        assert near.bootstrap(contacts=[middle.contact]).state == "connected"
        parent = near.peers[0].id
        known = [each for each in nodes._services if each.id == parent]
        wait_until(lambda: reachability(known[0]).is_public(near.id), PATIENCE, "the trial")  # noqa: B023
    assert len(middle.peers) == 2


def test_whom_a_full_node_names(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight at most, of many networks, seen lately; not the one who asks, no client of bans, nothing private afar."""
    middle = nodes.start(config())
    assert middle._finding is not None and middle._node is not None
    now = time.time()

    def entry(address: str, age: float = 0.0) -> Entry:
        return Entry(Contact(Identity.generate().peer_id, (Endpoint("tcp", address, 5000),)), now - age)

    crowd = [entry(f"8.8.8.{number}") for number in range(40)]
    lonely = [entry(f"9.{number}.1.1") for number in range(7)]
    others = [entry("10.1.1.1"), entry("127.0.0.1"), entry("9.99.1.1", age=2 * 3600)]
    monkeypatch.setattr(middle._finding.caching, "_entries", (*crowd, *lonely, *others))
    part = reachability(middle)
    named = part.suggest(Identity.generate().peer_id, "1.2.3.4")
    assert len(named) == limits.ALTERNATES_MAX
    assert {each.peer_id for each in lonely} <= {each.peer_id for each in named}
    middle.ban(lonely[0].peer_id)
    for _ in range(20):
        found = {each.peer_id for each in part.suggest(lonely[1].peer_id, "1.2.3.4")}
        assert found.isdisjoint({lonely[0].peer_id, lonely[1].peer_id, *(each.peer_id for each in others)})
    monkeypatch.setattr(middle._finding.caching, "_entries", tuple(others))
    stranger = Identity.generate().peer_id
    assert [each.peer_id for each in part.suggest(stranger, "127.0.0.1")] == [others[1].peer_id]
    assert [each.peer_id for each in part.suggest(stranger, "192.168.7.7")] == [others[0].peer_id]
    assert part.suggest(stranger, None) == []
    assert all(len(text) < limits.CONTACT_WIRE_MAX for text in middle._node.alternates(stranger, "127.0.0.1"))
