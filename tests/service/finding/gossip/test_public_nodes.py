"""Public nodes that gossip tells of: each record's addresses are parsed once, and held against what is so now."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

import pytest

from crust import Endpoint, Identity, PeerId, limits
from crust.discovery.gossip.record import Record
from crust.service.finding.gossip.public_nodes import PublicNodes


class Rules:
    """Those for what may be dialled, of which the test decides."""

    def __init__(self) -> None:
        self.grounds: object = ((ipaddress.ip_network("10.0.0.0/8"),), "", ())
        self.refused: set[str] = set()
        self.poor: set[str] = set()
        self.looks = 0

    def usable(self, endpoints: tuple[Endpoint, ...], most: int) -> tuple[Endpoint, ...]:
        self.looks += 1
        return tuple(each for each in endpoints if each.host not in self.refused)[:most]

    def can_afford(self, endpoints: tuple[Endpoint, ...]) -> bool:
        return any(each.host not in self.poor for each in endpoints)


class FakeRecord:
    """A record that counts how often its addresses are parsed."""

    def __init__(self, peer_id: PeerId, *hosts: str, is_public: bool = True) -> None:
        self.peer_id, self.hosts, self.is_public = peer_id, hosts, is_public
        self.parsed = 0

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        self.parsed += 1
        return tuple(Endpoint("tcp", host, 5483) for host in self.hosts)


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def nodes(rules: Rules) -> PublicNodes:
    return PublicNodes(cast(Any, rules))


def learn(nodes: PublicNodes, *hosts: str, peer_id: PeerId | None = None, is_public: bool = True) -> FakeRecord:
    record = FakeRecord(peer_id or Identity.generate().peer_id, *hosts, is_public=is_public)
    nodes.learned(cast(Record, record))
    return record


def hosts(nodes: PublicNodes) -> list[str]:
    return sorted(place.host for contact in nodes.contacts() for place in contact.endpoints)


def test_addresses_are_parsed_and_looked_at_once(nodes: PublicNodes, rules: Rules) -> None:
    records = [learn(nodes, f"45.0.0.{number}", f"45.0.1.{number}") for number in range(1, 5)]
    first = {contact.peer_id: contact for contact in nodes.contacts()}
    for _ in range(5):
        assert all(first[contact.peer_id] is contact for contact in nodes.contacts())
    assert first.keys() == {each.peer_id for each in records}
    assert [each.parsed for each in records] == [1] * 4 and rules.looks == 4


def test_other_networks_or_another_blacklist_count_at_once(nodes: PublicNodes, rules: Rules) -> None:
    record = learn(nodes, "45.0.0.1", "45.0.0.2")
    assert hosts(nodes) == ["45.0.0.1", "45.0.0.2"]
    rules.refused, rules.grounds = {"45.0.0.1"}, ((), "", ("45.0.0.1",))
    assert hosts(nodes) == ["45.0.0.2"]
    rules.refused, rules.grounds = {"45.0.0.1", "45.0.0.2"}, ((), "", ("45.0.0.0/8",))
    assert hosts(nodes) == []
    rules.refused, rules.grounds = set(), ((), "", ())
    assert hosts(nodes) == ["45.0.0.1", "45.0.0.2"]
    assert record.parsed == 1


def test_what_has_been_dialled_lately_is_left_out_for_now(nodes: PublicNodes, rules: Rules) -> None:
    learn(nodes, "45.0.0.1")
    learn(nodes, "45.0.0.2")
    rules.poor = {"45.0.0.1"}
    assert hosts(nodes) == ["45.0.0.2"]
    rules.poor = set()
    assert hosts(nodes) == ["45.0.0.1", "45.0.0.2"]


def test_a_new_record_holds_in_place_of_the_old_one(nodes: PublicNodes) -> None:
    one = learn(nodes, "45.0.0.1")
    assert hosts(nodes) == ["45.0.0.1"]
    learn(nodes, "45.0.0.9", peer_id=one.peer_id)
    assert hosts(nodes) == ["45.0.0.9"]
    learn(nodes, "45.0.0.9", peer_id=one.peer_id, is_public=False)
    assert hosts(nodes) == []


def test_there_is_an_end_to_them(nodes: PublicNodes) -> None:
    peer_id = Identity.generate().peer_id.public_key
    for number in range(limits.GOSSIP_CONTACTS + 10):
        learn(nodes, "45.0.0.1", peer_id=PeerId(number.to_bytes(4, "big") + peer_id[4:]))
    assert len(nodes.contacts()) == limits.GOSSIP_CONTACTS
