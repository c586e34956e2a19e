"""Who asks when, and who is answered: the cores of the beacon on a LAN in memory."""

from __future__ import annotations

import random

import pytest

from crust import limits
from crust.addresses import network_id
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import AskingKey, NetworkKey, Offer, seal_answer, seal_query
from crust.discovery.beacon.seeker import Found
from crust.wire.handshake import Role
from tests.discovery.beacon.lan_world import NETWORK, PORT, LanNode, LanWorld, a_link

SECRET = bytes(range(32))


def met(node: LanNode) -> list[LanNode]:
    """Whom it has found, in order."""
    found = [each.peer_id for _, each in node.found]
    return [each for each in node.world.nodes if each.ours.peer_id in found]


def queries(world: LanWorld) -> list[float]:
    """When queries were sent, since the beginning."""
    return [round(at - 1000.0, 3) for at, size in world.bytes if size > limits.BEACON_QUERY_SIZE]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_link_is_asked_three_times_and_then_every_minute() -> None:
    """At once, after 0.3 s and 1 s; from then on every 60 s, a quarter more or less."""
    world = LanWorld()
    world.node().start()
    world.run(600)
    times = queries(world)
    assert times[:3] == [0, 0.3, 1.0]
    pauses = [later - earlier for earlier, later in zip(times[2:], times[3:], strict=False)]
    assert len(pauses) >= 7 and all(45 <= each <= 75 for each in pauses) and len(set(pauses)) > 4


def test_who_seeks_once_asks_three_times() -> None:
    """And nothing more; a second call meanwhile changes nothing."""
    world = LanWorld()
    node = world.node(seeks=False)
    node.start()
    world.run(10)
    assert queries(world) == []
    for _ in range(5):
        node.seeker.seek(world.now)
    node.turn()
    world.run(100)
    assert queries(world) == [10, 10.3, 11]


def test_an_interface_that_runs_again_is_asked_again() -> None:
    """Three times, as at the beginning; who is known need not answer."""
    world = LanWorld()
    one, other = world.node(), world.node(seeks=False)
    other.start()
    one.start()
    world.run(10)
    one.seeker.ask(world.now)
    one.turn()
    world.run(20)
    assert queries(world) == [0, 0.3, 1, 10, 10.3, 11] and len(one.found) == 1


def test_two_nodes_find_each_other_when_the_second_comes() -> None:
    """Within half a second, long after the first has asked: it is told in turn."""
    world = LanWorld()
    one, other = world.node(), world.node()
    one.start()
    world.run(20)
    other.start()
    world.run(0.5)
    assert met(one) == [other] and met(other) == [one]
    found = one.found[0][1]
    assert (found.host, found.offer, found.is_new) == (other.link.host, other.offer, True)


def test_who_only_seeks_is_heard_by_nobody() -> None:
    """It finds those that announce, and they do not find it."""
    world = LanWorld()
    one, other = world.node(), world.node(announces=False)
    one.start()
    other.start()
    world.run(200)
    assert met(one) == [] and met(other) == [one]


def test_who_only_announces_asks_nobody() -> None:
    """It is found, and learns nothing."""
    world = LanWorld()
    one, other = world.node(), world.node(seeks=False)
    other.start()
    one.start()
    world.run(200)
    assert met(one) == [other] and met(other) == [] and other.sent == 158


@pytest.mark.parametrize(
    ("keys", "meet"),
    [
        ((NETWORK,), True),
        ((NetworkKey(network_id("other"), None),), False),
        ((NetworkKey(network_id(None), SECRET),), False),
        ((NetworkKey(network_id(None), SECRET), NETWORK), True),
    ],
    ids=["the same", "another name", "with a secret", "the old secret, too"],
)
def test_networks(keys: tuple[NetworkKey, ...], meet: bool) -> None:
    """Nodes of one network find each other, and nobody else gets a byte back."""
    world = LanWorld()
    one, other = world.node(), world.node(keys=keys, seeks=False)
    other.start()
    one.start()
    world.run(5)
    assert bool(met(one)) == bool(other.sent) == meet


def test_losses_are_made_up_for() -> None:
    """With 20 % of all datagrams lost, ten nodes know each other within ten minutes."""
    world = LanWorld(loss=0.2)
    nodes = [world.node() for _ in range(10)]
    for node in nodes:
        node.start()
    world.run(600)
    assert all(len(met(node)) == 9 for node in nodes)


# --- what becomes of peers --------------------------------------------------------------------------------------------


def test_a_peer_is_new_once() -> None:
    """However often it answers; it is asked to do so every five minutes or so, and stays known."""
    world = LanWorld()
    one, other = world.node(), world.node(seeks=False)
    other.start()
    one.start()
    world.run(3600)
    assert len(one.news()) == 1 and len(one.seeker.known(world.now)) == 1
    assert 9 <= len(one.found) <= 16


def test_new_ports_are_told() -> None:
    """Who has asked lately hears of them at once, without asking; it is news."""
    world = LanWorld()
    one, other = world.node(), world.node(seeks=False)
    other.start()
    one.start()
    world.run(30)
    sent = one.sent
    other.offer = Offer(Role.NODE, 6000, 6001)
    other.announcer.changed(world.now)
    other.turn()
    world.run(0.3)
    assert one.sent == sent and [each.offer.tcp for each in one.news()] == [5002, 6000]


def test_new_ports_are_not_told_to_whom_nobody_answers_any_more() -> None:
    """Who asked long ago takes no answer to that: none is sent."""
    world = LanWorld()
    one, other = world.node(seeks=False), world.node(seeks=False)
    for node in (one, other):
        node.start()
    one.seeker.seek(world.now)
    one.turn()
    world.run(limits.BEACON_KEY_LIFE + 2)
    assert met(one) == [other]
    sent = other.sent
    other.offer = Offer(Role.NODE, 6000, 6001)
    other.announcer.changed(world.now)
    other.turn()
    world.run(10)
    assert other.sent == sent


def test_who_is_silent_is_forgotten() -> None:
    """After ten minutes; when it comes back, it is news."""
    world = LanWorld()
    one, other = world.node(), world.node()
    other.start()
    one.start()
    world.run(10)
    other.leave()
    world.run(500)
    assert len(one.seeker.known(world.now)) == 1
    world.run(100)
    assert one.seeker.known(world.now) == []
    other.start()
    world.run(80)
    assert len(one.news()) == 2


def test_seeking_anew_makes_all_answer() -> None:
    """Whoever wants to know who is there now hears from those that are, known or not, once each."""
    world = LanWorld()
    one = world.node(seeks=False)
    others = [world.node(seeks=False) for _ in range(10)]
    for node in (one, *others):
        node.start()
    for _ in range(2):
        before = len(one.found)
        one.seeker.seek(world.now)
        one.turn()
        world.run(5)
        assert len(one.found) - before == 10
    assert len(one.news()) == 10


def test_a_link_that_goes_takes_its_peers_along() -> None:
    """They are found again when it is back."""
    world = LanWorld()
    one, other = world.node(), world.node()
    one.start()
    other.start()
    world.run(5)
    one.seeker.set_links({}, world.now, ask=True)
    assert one.seeker.known(world.now) == [] and one.seeker.get_timer() is None
    one.seeker.set_links({one.link: PORT}, world.now, ask=True)
    one.turn()
    world.run(1)
    assert len(one.seeker.known(world.now)) == 1


def test_what_was_known_before_is_remembered() -> None:
    """A seeker that takes the place of another knows whom that one had found, and does not call it news."""
    world = LanWorld()
    one, other, later = world.node(), world.node(), world.node(number=1)
    one.start()
    other.start()
    world.run(5)
    known = one.seeker.known(world.now)
    one.leave()
    later.seeker.remember(known)
    later.start()
    world.run(500)
    assert later.found and later.news() == []


# --- attackers --------------------------------------------------------------------------------------------------------


def attacked() -> tuple[LanWorld, LanNode]:
    world = LanWorld()
    node = world.node()
    node.start()
    world.run(5)
    return world, node


def a_query(source: tuple[str, int], seed: int = 1) -> bytes:
    rng = random.Random(seed)
    return seal_query(AskingKey(NETWORK, rng.randbytes), source, [], rng.randbytes)


def test_off_link_queries_get_no_answer() -> None:
    """Whatever network they name, and all that is no address of a machine."""
    world, node = attacked()
    elsewhere = ("192.0.2.1", "10.1.0.1", "0.0.0.0", "10.0.255.255", "10.0.0.0", "224.0.0.1", "fe80::1")
    for host in elsewhere:
        assert not node.announcer.receive(node.link, (host, 9), a_query((host, 9)), world.now)
    assert node.announcer.receive(node.link, ("10.0.0.77", 9), a_query(("10.0.0.77", 9)), world.now)


def test_a_repeated_query_is_answered_once() -> None:
    """However often it comes, and by however many interfaces."""
    world, node = attacked()
    source = ("10.0.0.77", 9)
    heard = [node.announcer.receive(node.link, source, a_query(source), world.now) for _ in range(10)]
    assert heard == [True, *[False] * 9]


def test_a_flood_of_queries_gets_few_answers() -> None:
    """10,000 in ten seconds: of one address 32 answers at most, of all of the link 600; fewer bytes than came."""
    for hosts, most in ((["10.0.0.77"], 32), ([f"10.0.1.{n}" for n in range(250)], 600)):
        world, node = attacked()
        sent, rng = node.sent, random.Random(7)
        key = AskingKey(NETWORK, rng.randbytes)
        for number in range(10_000):
            source = (hosts[number % len(hosts)], 9)
            node.hear_query(source, seal_query(key, source, [], rng.randbytes))
            world.run(0.001)
        world.run(1)
        answers = (node.sent - sent) // 158
        assert 12 <= answers <= most


def test_a_flood_of_queries_leaves_answers_to_newcomers() -> None:
    """From two hundred addresses: who has not asked lately is answered at once."""
    world, node = attacked()
    rng = random.Random(7)
    key = AskingKey(NETWORK, rng.randbytes)

    def asks(host: str) -> bool:
        return node.announcer.receive(node.link, (host, 9), seal_query(key, (host, 9), [], rng.randbytes), world.now)

    start, answered = world.now, []
    for number in range(5000):
        asks(f"10.0.1.{number % 200}")
        if number >= 2000 and number % 300 == 0:
            answered.append(asks(f"10.0.2.{number // 300}"))
        world.now = start + number / 500
        node.announcer.handle_timer(world.now, wants=False)
    assert len(answered) == 10 and all(answered)
    assert node.bitten["BEACON_ANSWERS_PER_SECOND"] > 0


def test_oversized_and_undersized_datagrams() -> None:
    """Not even looked at."""
    world, node = attacked()
    source = ("10.0.0.77", 9)
    query = a_query(source)
    for data in (b"", query[:-1], query + b"\0", bytes(65_000)):
        assert not node.announcer.receive(node.link, source, data, world.now)
        assert node.seeker.receive(node.link, source, data, world.now) is None


def test_queries_of_keys_that_are_none() -> None:
    """A point of low order: nothing is sent."""
    world, node = attacked()
    source = ("10.0.0.77", 9)
    key = AskingKey(NETWORK, random.Random(1).randbytes)
    key.public = bytes(32)
    sent = node.sent
    assert node.announcer.receive(node.link, source, seal_query(key, source, [], random.Random(1).randbytes), world.now)
    node.turn()
    world.run(1)
    assert node.sent == sent


class Liar:
    """A member of the network who answers with as many identities as it likes, from any address on the link."""

    def __init__(self, world: LanWorld, victim: LanNode) -> None:
        self.world, self.victim, self.rng = world, victim, random.Random(11)
        victim.seeker.seek(world.now)
        victim.turn()
        self.key = victim.seeker._links[victim.link].keys[-1].asking.public

    def answer(self, host: str, ours: KeyPair | None = None) -> Found | None:
        ours = ours or KeyPair(self.rng.randbytes(32))
        place = (host, 7)
        to = (self.victim.link.host, PORT)
        answering = AskingKey(NETWORK, self.rng.randbytes)
        data = seal_answer(ours, Offer(Role.NODE, 1, 0), answering, self.key, (place, to), True, self.rng.randbytes)
        return self.victim.seeker.receive(self.victim.link, place, data, self.world.now)


def test_a_thousand_identities_of_one_address() -> None:
    """64 of them are known, and nobody else is forgotten for them."""
    world, node = attacked()
    honest = world.node()
    honest.start()
    world.run(2)
    liar = Liar(world, node)
    taken = [liar.answer("10.0.0.77") for _ in range(300)]
    assert sum(each is not None for each in taken) == limits.BEACON_PEERS_PER_ADDRESS
    assert node.bitten["BEACON_PEERS_PER_ADDRESS"] == limits.BEACON_PEERS_PER_ADDRESS
    assert node.bitten["BEACON_FOUND_PER_ADDRESS"] == 300 - 2 * limits.BEACON_PEERS_PER_ADDRESS  # not even opened
    assert honest.ours.peer_id in {found.peer_id for found, _ in node.seeker.known(world.now)}


def test_identities_at_many_addresses_make_room_for_each_other() -> None:
    """Who has more at its address than others has not driven them out, however long they have been silent."""
    world, node = attacked()
    honest = world.node()
    honest.start()
    world.run(2)
    liar = Liar(world, node)
    for number in range(limits.BEACON_PEERS + 200):
        assert liar.answer(f"10.0.1.{number % 200}") is not None
        world.now += 0.01
    assert node.bitten["BEACON_PEERS"] > 100
    assert honest.ours.peer_id in {found.peer_id for found, _ in node.seeker.known(world.now)}


def test_a_flood_of_answers_is_bounded() -> None:
    """So many are opened a second; so many are known."""
    world, node = attacked()
    liar = Liar(world, node)
    taken = [liar.answer(f"10.0.{n >> 6}.{n & 63 | 64}") for n in range(700)]
    assert sum(each is not None for each in taken) <= 2 * limits.BEACON_FOUND_PER_SECOND
    assert node.bitten["BEACON_FOUND_PER_SECOND"] == sum(each is None for each in taken) > 0
    world.run(3)
    for n in range(700, 1400):
        liar.answer(f"10.0.{n >> 6}.{n & 63 | 64}")
        world.now += 0.01
    assert len(node.seeker.known(world.now)) <= limits.BEACON_PEERS


@pytest.mark.parametrize("addresses", [1, 100])
def test_a_flood_of_answers_leaves_newcomers(addresses: int) -> None:
    """Who has hardly answered is heard, whoever answers all the time, and has used up what one asking takes."""
    world, node = attacked()
    liar = Liar(world, node)
    start, opened = world.now, 0
    for number in range(4000):
        world.now = start + number / 500
        opened += liar.answer(f"10.0.1.{number % addresses}") is not None
        if number % 400 == 399:
            assert liar.answer(f"10.0.2.{number // 400 + 1}") is not None
    assert node.bitten["BEACON_FOUND_PER_ADDRESS" if addresses == 1 else "BEACON_FOUND_PER_SECOND"] > 1000
    assert addresses == 1 or opened > 2 * limits.BEACON_PEERS


def test_a_repeated_answer_counts_once() -> None:
    """A recorded one neither costs nor keeps anybody alive."""
    world, node = attacked()
    liar = Liar(world, node)
    ours = KeyPair(bytes([9]) * 32)
    place, to, rng = ("10.0.0.77", 7), (node.link.host, PORT), random.Random(1)
    answering = AskingKey(NETWORK, rng.randbytes)
    data = seal_answer(ours, Offer(Role.NODE, 1, 0), answering, liar.key, (place, to), True, rng.randbytes)
    assert node.seeker.receive(node.link, place, data, world.now) is not None
    assert node.seeker.receive(node.link, place, data, world.now + 1) is None
    world.run(300)
    assert node.seeker.receive(node.link, place, data, world.now) is None


def test_answers_from_off_the_link_are_none() -> None:
    """Only a source on the link counts."""
    world, node = attacked()
    liar = Liar(world, node)
    assert liar.answer("192.0.2.1") is None and liar.answer("10.0.0.77") is not None


def test_answers_when_nobody_asked() -> None:
    """After a hundred seconds without a query no key is good any more."""
    world = LanWorld()
    node = world.node(seeks=False)
    node.start()
    liar = Liar(world, node)
    assert liar.answer("10.0.0.77") is not None
    world.run(limits.BEACON_KEY_LIFE + 1)
    assert liar.answer("10.0.0.78") is None


def test_links_of_another_interface() -> None:
    """A datagram that came by another link is not this one's."""
    world, node = attacked()
    other = a_link("10.0.9.9", "eth1", 3)
    source = ("10.0.0.77", 9)
    assert not node.announcer.receive(other, source, a_query(source), world.now)
    assert node.seeker.receive(other, source, bytes(130), world.now) is None
    assert isinstance(other, Link)
