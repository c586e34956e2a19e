"""What hostile peers can do by gossip: waste a bounded share of a node; nobody is dialled whom nobody asked for."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

import crust
from crust import Contact, Endpoint, Identity, Service, limits
from crust.addresses import network_id
from crust.discovery.gossip.record import Record, make_record
from crust.service.finding.dial_rules import DialRules
from crust.service.finding.neighbours import Neighbours
from crust.wire import gossip as wire
from crust.wire.handshake import Capability
from tests.support.bitten import Bitten
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.waiting import eventually, wait_until

EVERYTHING = (1 << 64) - 1
PATIENCE = 10.0


def gossip_of(service: Service) -> Any:
    assert service._finding is not None
    return service._finding.gossiping


def record_at(*endpoints: str, identity: Identity | None = None, via: tuple[Contact, ...] = ()) -> Record:
    """What an attacker may publish: an identity costs nothing."""
    keys = identity or Identity.generate()
    record = make_record(
        keys,
        network_id(None),
        wall=time.time(),
        endpoints=[Endpoint.parse(each) for each in endpoints],
        via=via,
        is_public=True,
    )
    assert record is not None
    return record


class Gossiper(Caller):
    """A puppet that takes part."""

    def __init__(self, service: Service) -> None:
        super().__init__(service, Identity.generate(), capabilities=Capability.GOSSIP)
        self.begin()
        self.send(wire.Summary(EVERYTHING, False, ()))

    def give(self, *records: Record) -> None:
        """Announce records, and bring them when they are asked for."""
        self.send(wire.Announce(tuple((each.prefix, each.version) for each in records)))
        wanted = {each.prefix: each.data for each in records}
        while wanted:
            request = self.expect(wire.Request)
            assert isinstance(request, wire.Request)
            for prefix in request.prefixes:
                self.send(wire.Records((wanted.pop(prefix),)))


class Bait:
    """A listener that no node has any business with: it hangs up at once, and counts."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        self.dials = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Bait:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        self._socket.close()

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                caller, _ = self._socket.accept()
                self.dials += 1
                caller.close()  # only now: the caller hears it, and the test counts


def test_a_flood_is_dropped(nodes: Nodes) -> None:
    """Frames without end: few wait, others are served meanwhile, and whose doing it is is told."""
    service, honest = nodes.start(config()), nodes.start(config())
    peer = honest.connect(service.contact)
    gossiping = gossip_of(service)
    rng = random.Random(1)
    frame = wire.Announce(tuple((rng.getrandbits(64), 1 << 20) for _ in range(256)))
    with Gossiper(service) as flooder:
        for _ in range(600):
            flooder.send(frame)
        peer.send(b"meanwhile")
        at_service = next(each for each in service.peers if each.id == honest.id)
        assert at_service.recv(PATIENCE) == b"meanwhile"
        event = nodes.heard(service).wait(crust.PeerMisbehaved, timeout=PATIENCE)
        assert event.kind == "gossip-flood" and event.peer.id.public_key == flooder.introduction.peer_id
        assert event.attributable
        wait_until(lambda: not gossiping._waiting, PATIENCE, "the end of the flood")
        assert len(gossiping._core.store) < 10
        assert service.is_connected(event.peer.id)


def test_no_more_frames_wait_than_may(nodes: Nodes) -> None:
    """While the thread is busy, what comes beyond ``GOSSIP_WAITING`` frames of a peer is dropped and counted."""
    service = nodes.start(config())
    gossiping = gossip_of(service)
    with Gossiper(service) as flooder:
        wait_until(lambda: gossiping._core.links, PATIENCE, "the link")
        busy: list[bool] = []
        gossiping.put(lambda: wait_until(lambda: busy, PATIENCE))
        count = limits.GOSSIP_WAITING + 20
        for _ in range(count):
            flooder.send(wire.Request((1,)))
        assert eventually(lambda: gossiping.dropped_frames == 20, PATIENCE)
        busy.append(True)
        assert service._node is not None
        assert service._node.sections.all()["gossip"]["dropped_frames_total"] == 20
        assert service.stats().refusals["GOSSIP_WAITING"] == 20


def test_forged_records_are_told_of_and_not_kept(nodes: Nodes) -> None:
    service = nodes.start(config())
    record = record_at("tcp://192.0.2.7:5483")
    with Gossiper(service) as liar:
        liar.send(wire.Announce(((record.prefix, record.version),)))
        liar.expect(wire.Request)
        liar.send(wire.Records((record.data[:-1] + bytes((record.data[-1] ^ 1,)),)))
        event = nodes.heard(service).wait(crust.PeerMisbehaved, timeout=PATIENCE)
        assert event.kind == "gossip-forged"
        assert gossip_of(service).record(record.peer_id) is None


def test_nobody_is_dialled_because_of_a_record(nodes: Nodes) -> None:
    """A record that names somebody's address stays a record, until the application wants that very peer."""
    service = nodes.start(config())
    with Bait() as bait, Gossiper(service) as liar:
        poisoned = [record_at(bait.endpoint) for _ in range(8)]
        liar.give(*poisoned)
        wait_until(lambda: gossip_of(service).record(poisoned[-1].peer_id) is not None, PATIENCE, "the record")
        assert not eventually(lambda: bait.dials, 0.5)
        with pytest.raises(crust.ConnectError):
            service.connect(poisoned[0].peer_id, timeout=PATIENCE)
        assert 1 <= bait.dials <= 2


def poison(service: Service, liar: Gossiper, count: int, bait: Bait, other: Bait) -> list[Record]:
    """Have the node know so many made-up nodes, all at one address, and introduced by others at another one."""
    records = []
    for _ in range(count):
        via = tuple(Contact(Identity.generate().peer_id, (Endpoint.parse(other.endpoint),)) for _ in range(3))
        records.append(record_at(bait.endpoint, via=via))
    for start in range(0, count, 16):
        liar.give(*records[start : start + 16])
    known = gossip_of(service).record
    wait_until(lambda: all(known(each.peer_id) is not None for each in records), PATIENCE, "the records")
    return records


def test_a_search_dials_an_address_once(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes a liar makes up at one address; and those who are said to introduce them are left alone."""
    monkeypatch.setattr(limits, "SEARCH_YOUNG", 0.0)
    monkeypatch.setattr(limits, "GOSSIP_FIND_TIMEOUT", 1.2)
    service = nodes.start(config())
    with Bait() as bait, Bait() as other, Gossiper(service) as liar:
        poison(service, liar, 32, bait, other)
        with pytest.raises(crust.NoRoute):
            service.find(Identity.generate().peer_id, timeout=2 * PATIENCE)
        assert (bait.dials, other.dials) == (1, 0)


def test_a_group_dials_an_address_once(nodes: Nodes) -> None:
    """A group that takes whoever is known, where all who are known are a liar's, at one address."""
    service = nodes.start(config())
    with Bait() as bait, Bait() as other, Gossiper(service) as liar:
        poison(service, liar, 32, bait, other)
        group = service.group("all", 4)
        wait_until(lambda: bait.dials, PATIENCE, "a dial")
        assert not group.wait(0.5)
        assert (bait.dials, other.dials) == (1, 0)


def test_introducers_that_are_lies_cost_few_dials(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may name three peers to be introduced by, at two addresses each."""
    monkeypatch.setattr(limits, "SEARCH_LOOKS", (0.2,))
    monkeypatch.setattr(limits, "GOSSIP_FIND_TIMEOUT", 1.0)
    service = nodes.start(config())
    with Bait() as bait, Gossiper(service) as liar:
        via = tuple(Contact(Identity.generate().peer_id, (Endpoint.parse(bait.endpoint),)) for _ in range(3))
        record = record_at(via=via)
        liar.give(record)
        wait_until(lambda: gossip_of(service).record(record.peer_id) is not None, PATIENCE, "the record")
        with pytest.raises(crust.ConnectError, match="was not reached"):
            service.connect(record.peer_id, timeout=2 * PATIENCE)
        assert bait.dials == 1


def rules(bound: str, networks: tuple[str, ...] = ("192.168.1.0/24",), **settings: Any) -> DialRules:
    """Of a node that listens there."""
    cfg = config().replace(**settings)
    node = SimpleNamespace(
        config=cfg,
        clock=SimpleNamespace(now=lambda: 0.0),
        access=SimpleNamespace(is_banned=lambda peer_id, host, now: False),
        handshake=SimpleNamespace(key_pair=Identity.generate()),
        refusals=SimpleNamespace(count=Bitten()),
    )
    network = SimpleNamespace(
        outlook=SimpleNamespace(networks=tuple(map(ipaddress.ip_network, networks))),
        listeners=SimpleNamespace(endpoints=lambda: (Endpoint.parse(bound),)),
    )
    dropped = SimpleNamespace(covers=lambda peer_id, now: False)
    return DialRules(node, network, dropped, Neighbours())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("tcp://45.0.0.1:5483", True),
        ("utp://[2a00::1]:5483", True),
        ("tcp://192.168.1.7:22", True),  # of our own network: it may be a node of it
        ("tcp://192.168.1.255:22", False),
        ("tcp://192.168.2.7:22", False),
        ("tcp://10.0.0.1:22", False),
        ("tcp://127.0.0.1:22", False),
        ("tcp://[::1]:22", False),
        ("tcp://169.254.169.254:80", False),
        ("tcp://224.0.0.1:22", False),
        ("tcp://255.255.255.255:22", False),
    ],
)
def test_what_others_name_is_dialled_by_the_rules(text: str, allowed: bool) -> None:
    endpoint = Endpoint.parse(text)
    assert rules("tcp://0.0.0.0:5483").usable([endpoint], 4) == ((endpoint,) if allowed else ())


def test_loopback_means_something_among_programs_of_one_machine() -> None:
    """To a node that listens there alone; and no more endpoints are used than asked for."""
    many = [Endpoint("tcp", "127.0.0.1", port) for port in range(1, 9)]
    assert rules("tcp://127.0.0.1:5483").usable(many, 4) == tuple(many[:4])
    assert rules("tcp://0.0.0.0:5483").usable(many, 4) == ()


def test_the_blacklist_holds_for_hearsay() -> None:
    peer_id = Identity.generate().peer_id
    endpoints = [Endpoint.parse("tcp://45.0.0.1:1"), Endpoint.parse("tcp://46.0.0.1:1")]
    listed = rules("tcp://0.0.0.0:1", **{"bootstrap.blacklist": ("45.0.0.0/8", str(peer_id))})
    assert listed.usable(endpoints, 4) == (endpoints[1],)
    assert listed.avoid("45.1.2.3") and not listed.avoid("46.0.0.1")
    assert not listed.may_dial(peer_id) and listed.may_dial(Identity.generate().peer_id)
