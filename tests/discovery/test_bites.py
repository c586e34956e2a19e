"""Budgets of what nodes hear of each other: each says when it has bitten."""

from __future__ import annotations

import random

from crust import limits
from crust.addresses import network_id
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.announcer import Announcer
from crust.discovery.beacon.packet import AskingKey, NetworkKey, Offer, seal_query
from crust.discovery.beacon.seeker import Found, Seeker
from crust.discovery.gossip.announcing import Announcing
from crust.discovery.gossip.events import Misbehaved
from crust.discovery.gossip.gossip import Gossip, GossipSettings
from crust.discovery.gossip.link import Link
from crust.discovery.gossip.pulling import Pulling
from crust.discovery.gossip.record import read_with
from crust.discovery.gossip.store import Store
from crust.wire import gossip as wire
from crust.wire.handshake import Role
from tests.discovery.beacon.lan_world import a_link
from tests.discovery.gossip.mesh import NETWORK, WALL, key_pair, record_of
from tests.support.bitten import Bitten

LAN = NetworkKey(network_id(None), None)
RANDOM = random.Random(5)


def announcer(bitten: Bitten) -> Announcer:
    """One that has something to tell on one link."""
    made = Announcer(
        (LAN,),
        KeyPair(RANDOM.randbytes(32)),
        lambda link: Offer(Role.NODE, 5483, 0),
        lambda public: False,
        RANDOM.randbytes,
        RANDOM.uniform,
        bitten,
    )
    made.set_links({a_link(): 5484})
    return made


def ask(made: Announcer, host: str, now: float) -> bool:
    """A question from there."""
    source = (host, 40_000)
    query = seal_query(AskingKey(LAN, RANDOM.randbytes), source, [], RANDOM.randbytes)
    return made.receive(a_link(), source, query, now)


def test_questions_of_the_lan() -> None:
    """Too many of one address, of all, and more than can wait."""
    bitten = Bitten()
    made = announcer(bitten)
    assert [ask(made, "10.0.0.7", 1.0) for _ in range(20)].count(True) == limits.BEACON_ANSWERS_AT_ONCE
    assert bitten["BEACON_ANSWERS_PER_ADDRESS"] == 20 - limits.BEACON_ANSWERS_AT_ONCE
    taken = [ask(made, f"10.0.1.{number}", 1.0) for number in range(1, 150)]
    assert bitten["BEACON_ANSWERS_PER_SECOND"] == taken.count(False) > 0


def test_answers_that_wait_and_askers_that_are_known() -> None:
    """One more than there may be of either."""
    bitten = Bitten()
    made = announcer(bitten)
    for number in range(limits.BEACON_ASKERS + 1):
        ask(made, f"10.0.{1 + number // 250}.{1 + number % 250}", 1.0)
    assert bitten["BEACON_ASKERS"] == 1
    for number in range(limits.BEACON_PENDING + 1):
        made.introduce(a_link(), ("10.0.9.9", number), bytes(32), LAN, 1.0)
    assert bitten["BEACON_PENDING"] >= 1


def test_nodes_of_the_lan_that_make_room() -> None:
    """Who has been silent longest goes."""
    bitten = Bitten()
    made = Seeker((LAN,), RANDOM.randbytes, RANDOM.uniform, bitten)
    link = a_link()
    others = [KeyPair(RANDOM.randbytes(32)).peer_id for _ in range(2)]
    for number in range(limits.BEACON_PEERS):
        peer_id = others[number % 2]
        host = f"10.1.{number // 250}.{1 + number % 250}"
        made.remember([(Found(link, peer_id, host, Offer(Role.NODE, 1, 0), True, (host, 7)), float(number))])
    assert made._has_room(link, "10.0.0.7") and bitten["BEACON_PEERS"] == 1


def test_a_store_that_is_full() -> None:
    """What is given up, and what is no longer kept for sure."""
    bitten = Bitten()
    store = Store(bytes(32), 16, bitten)
    for number in range(1, 17):
        store.add(record_of(key_pair(number)), pinned=number > 11)
    assert bitten["GOSSIP_PINNED"] == 1 and not bitten["gossip.max_records"]
    store.add(record_of(key_pair(17)))
    assert bitten["gossip.max_records"] == 17 - len(store) > 0


def test_offers_that_are_not_noted() -> None:
    """Of one link, and of all."""
    bitten, links = Bitten(), [Link(bytes([number]) * 32, True, False, 16) for number in range(3)]
    pulling = Pulling({link.peer_id: link for link in links}, 16, bitten)
    names = iter(range(1000))
    for link in links:
        for _ in range(17):
            pulling.offered(link, next(names), 1, False, 0.0)
    assert bitten["gossip.max_records"] == 3 * 17 - 2 * 16


def test_records_that_wait_for_a_budget() -> None:
    """That of their link, or that of all links."""
    bitten = Bitten()
    link = Link(bytes(32), True, False, 4096)
    pulling = Pulling({link.peer_id: link}, 4096, bitten)
    link.checks.spend(0.0, limits.GOSSIP_CHECKS_LINK - 1)
    for number in range(3):
        pulling.offered(link, number, 1, False, 0.0)
    pulling.requests(0.0)
    assert bitten["GOSSIP_CHECKS_LINK"] == 1 and not bitten["GOSSIP_CHECKS"]
    pulling.checks.spend(0.0, pulling.checks.left(0.0))
    pulling.requests(0.0)
    assert bitten["GOSSIP_CHECKS"] == 1


def test_links_that_wait_to_be_told() -> None:
    """More than the burst."""
    bitten, store = Bitten(), Store(bytes(32), 64)
    links: dict[bytes, Link] = {}
    made = Announcing(links, store, bitten)
    for number in range(1, int(limits.GOSSIP_TELLS_BURST) + 2):
        link = links[number.to_bytes(32, "big")] = Link(number.to_bytes(32, "big"), False, False, 64)
        link.is_open = True
        made.opened(link)
    record = record_of(key_pair(1))
    store.add(record)
    made.spread(record.prefix, (), 0.0)
    assert len(made.flush(made.due)) == limits.GOSSIP_TELLS_BURST and bitten["GOSSIP_TELLS"] == 1


def test_questions_of_all_links_together() -> None:
    """Each asks little."""
    bitten = Bitten()
    core = Gossip(bytes(32), GossipSettings(), read_with(NETWORK), random.Random(1), bitten)
    for number in range(1, 32):
        peer_id = bytes([number]) * 32
        core.link_up(peer_id, True, 0.0)
        for question in range(1, 16):
            core.receive(peer_id, wire.Find(question, b"x" * 32), 0.0, WALL)
    seldom = 10 * limits.GOSSIP_FINDS_SELDOM  # those whom the bound of all leaves nothing
    assert bitten["GOSSIP_FINDS"] == 4 * (15 - seldom) and not bitten["GOSSIP_FINDS_LINK"]
    assert not [each for each in core.events() if isinstance(each, Misbehaved)]  # what all ask is nobody's doing
