"""Public nodes that gossip tells of: each record's addresses are parsed once, and held against what is so now."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, cast

import pytest

from crust import Endpoint, Identity, PeerId, limits
from crust.addresses import address_key
from crust.discovery.gossip.record import Record
from crust.service.finding.gossip.public_nodes import PublicNodes

REAL = Identity.generate().peer_id


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


def learn(
    nodes: PublicNodes, *hosts: str, peer_id: PeerId | None = None, is_public: bool = True, linked: str = ""
) -> FakeRecord:
    record = FakeRecord(peer_id or some_id(), *hosts, is_public=is_public)
    nodes.learned(cast(Record, record), address_key(linked) if linked else None)
    return record


def some_id() -> PeerId:
    """Not a key of anybody: made quickly."""
    return PeerId(os.urandom(4) + REAL.public_key[4:])


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


def test_who_was_met_elsewhere_counts_there(nodes: PublicNodes) -> None:
    """And where it was before, if it does not say to be at the new place."""
    one = learn(nodes, "45.0.0.1", "45.0.0.2", linked="45.0.0.1")
    for linked in ("45.0.0.2", "45.0.0.1", "66.0.0.1", ""):
        learn(nodes, "45.0.0.2", "45.0.0.1", peer_id=one.peer_id, linked=linked)
        (contact,) = nodes.contacts(met=True)
        assert contact.endpoints[0].host == ("45.0.0.2" if linked == "45.0.0.2" else "45.0.0.1")


def test_there_is_an_end_to_them(nodes: PublicNodes) -> None:
    for number in range(limits.GOSSIP_CONTACTS + 10):
        learn(nodes, "45.0.0.1", linked="45.0.0.1" if number % 2 else "")
    assert len(nodes.contacts()) == limits.GOSSIP_CONTACTS


@pytest.mark.parametrize("linked", [False, True])
def test_one_address_with_many_keys_drives_nobody_out(nodes: PublicNodes, linked: bool) -> None:
    """Nor does a /48; and who is alone at an address comes before most of theirs."""
    honest = {f"45.0.0.{number}" for number in range(1, 100)}
    for host in honest:
        learn(nodes, host)
    for number in range(4 * limits.GOSSIP_CONTACTS):
        host = f"2001:db8:1:{number:x}::1" if number % 2 else "66.0.0.1"
        learn(nodes, host, linked=host if linked and not number % 2 else "")
    found = [contact.endpoints[0].host for contact in nodes.contacts()]
    assert len(found) == limits.GOSSIP_CONTACTS and honest <= set(found[: len(honest) + 3])


def test_made_up_addresses_leave_half_of_the_room_to_who_had_a_link(nodes: PublicNodes) -> None:
    """But only if it is where that led."""
    honest = {f"45.0.0.{number}" for number in range(1, 100)}
    for host in honest:
        learn(nodes, "99.0.0.1", host, linked=host)
    assert [each.endpoints[0].host for each in nodes.contacts(met=True) if each.endpoints[0].host not in honest] == []
    for number in range(8 * limits.GOSSIP_CONTACTS):
        host = f"66.{number >> 8}.{number % 256}.1"
        learn(nodes, host, linked="77.0.0.1" if number % 2 else "")
    assert len(nodes.contacts()) == limits.GOSSIP_CONTACTS
    assert {each.endpoints[0].host for each in nodes.contacts(met=True)} == honest


def test_who_had_a_link_counts_as_such_while_it_says_to_be_there(nodes: PublicNodes) -> None:
    one = learn(nodes, "45.0.0.1", linked="45.0.0.1")
    learn(nodes, "45.0.0.1", peer_id=one.peer_id)
    assert [contact.peer_id for contact in nodes.contacts(met=True)] == [one.peer_id]
    learn(nodes, "45.0.0.2", peer_id=one.peer_id)
    assert not nodes.contacts(met=True) and hosts(nodes) == ["45.0.0.2"]
