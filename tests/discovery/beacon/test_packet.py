"""The datagrams of the beacon: who can read them, what they look like, and what comes of those that were changed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import PeerId, network_id
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.packet import (
    ANSWER_SIZE,
    Answer,
    AskingKey,
    NetworkKey,
    Offer,
    Place,
    fact,
    open_answer_untrusted,
    open_query_untrusted,
    seal_answer,
    seal_query,
    unwrap_answer_untrusted,
)
from crust.exceptions import MalformedMessage
from crust.wire.handshake import Role

NETWORK = NetworkKey(network_id("home"), None)
OTHERS = (
    NetworkKey(network_id(None), None),
    NetworkKey(network_id("home"), bytes(range(32))),
    NetworkKey(network_id("away"), None),
)
ALICE, BOB = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
HERE: Place = ("192.168.1.5", 40_000)
THERE: Place = ("192.168.1.9", 50_000)
PORTS = st.integers(0, 65_535)
OFFERS = st.builds(Offer, st.sampled_from(Role), PORTS, PORTS).filter(lambda offer: offer.tcp or offer.utp)
PLACES = st.tuples(
    st.one_of(st.ip_addresses(v=4).map(str), st.sampled_from(["fe80::1", "fe80::1%eth0"])), st.integers(1, 65_535)
)
OFFER = Offer(Role.NODE, 5483, 5483)
SEEDS = st.integers()


def randomness(seed: int = 1) -> random.Random:
    return random.Random(seed)


def asking(seed: int = 1, network: NetworkKey = NETWORK) -> AskingKey:
    return AskingKey(network, randomness(seed).randbytes)


def answered(asked: AskingKey, *, ours: KeyPair = ALICE, offer: Offer = OFFER, seed: int = 2) -> bytes:
    random = randomness(seed)
    return seal_answer(ours, offer, asking(seed), asked.public, (HERE, THERE), True, random.randbytes)


def opened(asked: AskingKey, data: bytes, places: tuple[Place, Place] = (HERE, THERE)) -> Answer:
    return open_answer_untrusted(asked, unwrap_answer_untrusted(asked, places, data))


@given(place=PLACES, seed=st.integers())
def test_a_query_is_read_by_its_network(place: Place, seed: int) -> None:
    """And by nobody else; always of the same size."""
    key = asking(seed)
    data = seal_query(key, place, [], randomness(seed).randbytes)
    query, network = open_query_untrusted((OTHERS[0], NETWORK), place, data)
    assert (query.key, network, len(data)) == (key.public, NETWORK, limits.BEACON_QUERY_SIZE)
    with pytest.raises(MalformedMessage):
        open_query_untrusted(OTHERS, place, data)


@given(source=PLACES)
def test_a_query_from_elsewhere_is_none(source: Place) -> None:
    """One that was recorded and is sent again, or whose source is forged, does not open."""
    data = seal_query(asking(), THERE, [], randomness().randbytes)
    if source == THERE:
        return
    with pytest.raises(MalformedMessage):
        open_query_untrusted((NETWORK,), source, data)


@given(known=st.lists(st.binary(min_size=1), max_size=200), other=st.binary(min_size=60, max_size=60), seed=SEEDS)
def test_who_is_known_is_told(known: list[bytes], other: bytes, seed: int) -> None:
    """All that was given is known; of what was not, hardly anything, and something else in the next query."""
    taken = []
    for iv in range(2):
        data = seal_query(asking(), THERE, known, randomness(seed + iv).randbytes)
        query, _ = open_query_untrusted((NETWORK,), THERE, data)
        assert all(map(query.knows, known))
        taken.append(query.knows(other))
    assert other in known or taken != [True, True]


def test_of_many_hardly_any_is_mistaken() -> None:
    """With 200 known, at most one in a thousand others does not answer; with 800, most still do."""
    for count, most in ((200, 0.001), (800, 0.4)):
        data = seal_query(asking(), THERE, [b"%d" % n for n in range(count)], randomness().randbytes)
        query, _ = open_query_untrusted((NETWORK,), THERE, data)
        assert sum(query.knows(b"other %d" % n) for n in range(5000)) / 5000 <= most


@given(offer=OFFERS, wants=st.booleans(), seed=st.integers(), source=PLACES, to=PLACES)
def test_an_answer_is_read_by_the_asker(offer: Offer, wants: bool, seed: int, source: Place, to: Place) -> None:
    """All that it tells; it has always the same size, less than that of a query."""
    key, answering = asking(seed), asking(seed + 1)
    data = seal_answer(ALICE, offer, answering, key.public, (source, to), wants, randomness(seed).randbytes)
    assert len(data) == ANSWER_SIZE < limits.BEACON_QUERY_SIZE
    expected = Answer(ALICE.peer_id, offer, answering.public, wants)
    assert opened(key, data, (source, to)) == expected
    with pytest.raises(MalformedMessage):
        opened(asking(seed + 2), data, (source, to))


def test_an_answer_from_or_to_elsewhere_is_none() -> None:
    """Whoever hears one cannot pass it off as its own, nor repeat it to another asker."""
    data = answered(asking())
    for places in ((THERE, HERE), (HERE, HERE), (("192.168.1.5", 40_001), THERE), (("192.168.1.6", 40_000), THERE)):
        with pytest.raises(MalformedMessage):
            opened(asking(), data, places)


def test_nobody_answers_in_the_name_of_another() -> None:
    """Who answers must have the key of the id that it names."""

    class Liar:
        peer_id = BOB.peer_id
        dh_private = ALICE.dh_private

    with pytest.raises(MalformedMessage, match="in the name of another"):
        opened(asking(), answered(asking(), ours=Liar()))  # type: ignore[arg-type]


def test_an_id_that_is_no_key_is_refused() -> None:
    """Nobody can hold it."""

    class Nobody:
        peer_id = PeerId(bytes([2]) + bytes(31))
        dh_private = ALICE.dh_private

    with pytest.raises(MalformedMessage, match="nobody"):
        opened(asking(), answered(asking(), ours=Nobody()))  # type: ignore[arg-type]


def test_an_answer_to_a_weak_key_is_not_made() -> None:
    """A point of low order would make the secret known to all."""
    with pytest.raises(MalformedMessage):
        seal_answer(ALICE, OFFER, asking(), bytes(32), (HERE, THERE), False, randomness().randbytes)


@given(st.binary(max_size=700))
def test_garbage(data: bytes) -> None:
    """Nothing but the one error, whatever comes."""
    with pytest.raises(MalformedMessage):
        open_query_untrusted((NETWORK, *OTHERS), THERE, data)
    with pytest.raises(MalformedMessage):
        unwrap_answer_untrusted(asking(), (HERE, THERE), data)


@given(bit=st.integers(0, 8 * limits.BEACON_QUERY_SIZE - 1))
def test_changed_queries(bit: int) -> None:
    """One bit is enough."""
    data = bytearray(seal_query(asking(), THERE, [], randomness().randbytes))
    data[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(MalformedMessage):
        open_query_untrusted((NETWORK,), THERE, bytes(data))


@given(bit=st.integers(0, 8 * ANSWER_SIZE - 1))
def test_changed_answers(bit: int) -> None:
    """One bit is enough."""
    data = bytearray(answered(asking()))
    data[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(MalformedMessage):
        opened(asking(), bytes(data))


@given(unwrapped=st.binary(max_size=200))
def test_what_a_member_of_the_network_may_say(unwrapped: bytes) -> None:
    """Whoever knows the network's key can seal what it likes: nothing comes of it but the one error."""
    with pytest.raises(MalformedMessage):
        open_answer_untrusted(asking(), unwrapped)


def test_nothing_is_constant() -> None:
    """Of 300 queries and answers of one node, each bit of each position is set in 30 to 70 %."""
    draw = randomness(3).randbytes
    key = asking()
    queries = [seal_query(key, THERE, [], draw) for _ in range(300)]
    answers = [
        seal_answer(ALICE, OFFER, AskingKey(NETWORK, draw), key.public, (HERE, THERE), True, draw) for _ in range(300)
    ]
    for packets in (queries, answers):
        for position in range(8 * len(packets[0])):
            ones = sum(data[position >> 3] >> (position & 7) & 1 for data in packets)
            assert 90 < ones < 210, f"bit {position}: {ones} of 300"
        for text in (ALICE.peer_id.public_key, str(ALICE.peer_id).encode(), b"home", b"crust", key.public):
            assert not any(text in data for data in packets)


def test_a_fact_is_all_of_an_answer() -> None:
    """Another port, role, address or id is another fact; the scope of an address is not."""
    facts = {
        fact(ALICE.peer_id, OFFER, "10.0.0.1"),
        fact(BOB.peer_id, OFFER, "10.0.0.1"),
        fact(ALICE.peer_id, Offer(Role.CLIENT, 5483, 5483), "10.0.0.1"),
        fact(ALICE.peer_id, Offer(Role.NODE, 5483, 0), "10.0.0.1"),
        fact(ALICE.peer_id, Offer(Role.NODE, 0, 5483), "10.0.0.1"),
        fact(ALICE.peer_id, OFFER, "10.0.0.2"),
    }
    assert len(facts) == 6
    assert fact(ALICE.peer_id, OFFER, "fe80::1%eth0") == fact(ALICE.peer_id, OFFER, "fe80::1")


def test_keys_show_nothing() -> None:
    """Nobody reads them in a log."""
    assert (repr(NETWORK), repr(asking())) == ("NetworkKey(...)", "AskingKey(...)")
