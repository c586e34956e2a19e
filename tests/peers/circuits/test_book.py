"""What an introducer lends: shares of circuits and of bytes, in all and for each peer."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import PeerId
from crust.peers.circuits.book import Book, Meter
from tests.support.bitten import Bitten

PEERS = [PeerId(bytes([number]) * 32) for number in range(1, 7)]
ONE, OTHER, TARGET = PEERS[:3]


def book(serve: bool = True, circuits: int = 8, rate: int = 1_000_000, part: float = 1.0) -> Book:
    return Book(serve=serve, max_circuits=circuits, bytes_per_second=rate, part=part)


def test_nothing_is_lent_without_serving() -> None:
    """Circuits signal; data is for those who serve."""
    plain = book(serve=False)
    plain.open(ONE, TARGET)
    assert not plain.lend(ONE)
    assert plain.current == 1


def test_one_peer_gets_its_share() -> None:
    """A quarter of the circuits; the others still get theirs, until there are none left."""
    lender = book(circuits=8)
    lent: collections.Counter[PeerId] = collections.Counter()
    for peer in PEERS[:5]:
        for _ in range(4):
            lender.open(peer, TARGET)
            lender.answered(peer, TARGET)
            lent[peer] += lender.lend(peer)
    assert list(lent.values()) == [2, 2, 2, 2, 0]
    lender.close(ONE, True)
    assert lender.lend(PEERS[4])


def test_with_one_circuit_somebody_gets_it() -> None:
    """A share is never nothing."""
    lender = book(circuits=1)
    lender.open(ONE, TARGET)
    assert lender.lend(ONE)


def test_who_opens_too_many() -> None:
    """Is told; others are not kept from theirs."""
    lender = book()
    for _ in range(limits.CIRCUITS_PER_PEER):
        assert lender.objection(ONE, TARGET) == ""
        lender.open(ONE, TARGET)
        lender.answered(ONE, TARGET)
    assert "you have too many" in lender.objection(ONE, TARGET)
    assert lender.objection(OTHER, TARGET) == ""
    lender.close(ONE, False)
    assert lender.objection(ONE, TARGET) == ""


def test_a_peer_that_answers_nobody() -> None:
    """Gets no more offers until it answers, or they are over."""
    lender = book()
    for number in range(limits.CIRCUIT_OFFERS_PER_PEER):
        lender.open(PEERS[3 + number % 3], TARGET)
    assert "has not answered others" in lender.objection(ONE, TARGET)
    assert lender.objection(ONE, OTHER) == ""
    lender.answered(PEERS[3], TARGET)
    assert lender.objection(ONE, TARGET) == ""


@given(st.lists(st.tuples(st.sampled_from(PEERS), st.booleans(), st.booleans()), max_size=60))
def test_all_comes_back(steps: list[tuple[PeerId, bool, bool]]) -> None:
    """When every circuit is over, the books are empty, whatever became of it."""
    lender = book(circuits=4)
    circuits = []
    for opener, wants, takes_back in steps:
        place = opener.public_key[:1] if opener.public_key[0] % 2 else None
        if lender.objection(opener, TARGET, place):
            continue
        lender.open(opener, TARGET, place)
        lent = wants and lender.lend(opener, place)
        if lent and takes_back:
            lender.take_back(opener, place)
            lent = False
        circuits.append((opener, lent))
        if lent:
            lender.reserve(opener, 100, 0.0, place)
    assert lender.current == len(circuits)
    for opener, lent in circuits:
        place = opener.public_key[:1] if opener.public_key[0] % 2 else None
        lender.close(opener, lent, place)
        lender.answered(opener, TARGET, place)
    assert lender.current == 0
    assert not (lender._offers or lender._offers_by)
    assert not (lender._data or lender._signals or lender._data_at or lender._signals_at)
    fresh = PeerId(bytes([9]) * 32)
    lender.reserve(fresh, 1, 1000.0)
    assert set(lender._meters) == {fresh}


@pytest.mark.parametrize(("rate", "piece"), [(1024, 1000), (100_000, 1000), (10_000_000, 10_000)])
def test_the_meter_keeps_the_rate(rate: int, piece: int) -> None:
    """In the long run so many bytes a second go through, none of them lost; bursts are short."""
    meter = Meter(rate)
    now, sent = 0.0, 0
    while now < 100.0:
        now += meter.reserve(piece, now)
        sent += piece
    assert sent == pytest.approx(100 * rate, rel=0.02, abs=2000)


def test_one_peer_gets_half_of_the_rate() -> None:
    """Though nobody else wants anything; with several, all of it is used."""

    def carried(openers: list[PeerId]) -> dict[PeerId, int]:
        lender = book(rate=100_000)
        sent = dict.fromkeys(openers, 0)
        due = dict.fromkeys(openers, 0.0)
        while (now := min(due.values())) < 20.0:
            opener = min(due, key=lambda each: due[each])
            due[opener] = now + lender.reserve(opener, 1000, now)
            sent[opener] += 1000
        return sent

    assert carried([ONE])[ONE] == pytest.approx(20 * 50_000, rel=0.1)
    both = carried([ONE, OTHER, TARGET])
    assert sum(both.values()) == pytest.approx(20 * 100_000, rel=0.1)
    assert min(both.values()) > max(both.values()) * 0.8


def test_other_terms_while_it_lends() -> None:
    """What was lent stays lent; what is asked for next, and every byte from now on, is by the new ones."""
    lender = book(circuits=8, rate=1_000_000)
    for _ in range(2):
        lender.open(ONE, TARGET)
        lender.answered(ONE, TARGET)
        assert lender.lend(ONE)
    lender.reserve(ONE, 500_000, 0.0)
    lender.change(serve=True, max_circuits=1, bytes_per_second=1000, part=1.0)
    assert lender.current == 2
    assert lender.reserve(ONE, 1, 0.0) > 100.0
    lender.open(OTHER, TARGET)
    assert not lender.lend(OTHER)
    lender.change(serve=True, max_circuits=8, bytes_per_second=1_000_000, part=1.0)
    assert lender.lend(OTHER)
    assert lender.reserve(OTHER, 1, 1.0) == 0.0
    lender.change(serve=False, max_circuits=8, bytes_per_second=1_000_000, part=1.0)
    lender.close(OTHER, lent=True)
    lender.open(OTHER, TARGET)
    assert not lender.lend(OTHER)


HERE, THERE = b"here", b"there"


def test_many_keys_at_one_address_get_no_more_than_one() -> None:
    """Of circuits that carry, of those that signal, and of the rate; others still get theirs."""
    lender = book(circuits=8, part=0.25)
    lender.bites = bitten = Bitten()
    lent = []
    for peer in PEERS[:4]:
        lender.open(peer, TARGET, HERE)
        lender.answered(peer, TARGET, HERE)
        lent.append(lender.lend(peer, HERE))
    assert lent == [True, True, False, False] and bitten == {"limits.peers_per_address": 2}
    lender.open(OTHER, TARGET, THERE)
    assert lender.lend(OTHER, THERE)

    def rate(seconds: float = 20.0) -> float:
        carrying = book(rate=100_000, part=0.25)
        due = dict.fromkeys(PEERS[:3], 0.0)
        sent = 0
        while (now := min(due.values())) < seconds:
            peer = min(due, key=lambda each: due[each])
            due[peer] = now + carrying.reserve(peer, 1000, now, HERE)
            sent += 1000
        return sent / seconds

    assert rate() == pytest.approx(50_000, rel=0.1)


def test_an_address_gets_its_part_of_what_only_signals() -> None:
    """As of the places for peers: a quarter by default, all if a proxy is in front."""
    for part, most in ((0.25, limits.CIRCUITS_MAX // 4), (1.0, limits.CIRCUITS_MAX), (0.0, limits.CIRCUITS_PER_PEER)):
        lender = book(part=part)
        lender.bites = bitten = Bitten()
        for number in range(most):
            peer = PeerId(number.to_bytes(32, "big"))
            assert lender.objection(peer, TARGET, HERE) == ""
            lender.open(peer, TARGET, HERE)
            lender.answered(peer, TARGET, HERE)
        assert lender.objection(ONE, TARGET, HERE)
        assert bool(lender.objection(ONE, TARGET, THERE)) == (part == 1.0)
        assert bitten == {"limits.peers_per_address": 1, **({"CIRCUITS_MAX": 1} if part == 1.0 else {})}


def test_what_bites_is_told() -> None:
    """By its name, each time."""
    lender = book(circuits=4, rate=1000)
    lender.bites = bitten = Bitten()
    for _ in range(limits.CIRCUITS_PER_PEER):
        lender.open(ONE, TARGET)
    assert lender.objection(ONE, OTHER) and lender.objection(OTHER, TARGET)
    assert [lender.lend(ONE), lender.lend(ONE)] == [True, False]
    assert lender.reserve(ONE, 10_000, 0.0) == 0.0 and lender.reserve(ONE, 1, 0.0) > 0.0
    assert bitten == {
        "CIRCUITS_PER_PEER": 1,
        "CIRCUIT_OFFERS_PER_PEER": 1,
        "relay.max_circuits": 1,
        "relay.bytes_per_second": 1,
    }


def test_nobody_gets_all_the_patience_of_a_peer() -> None:
    """Who calls it and says nothing more keeps it from its own calls alone; those at one address count as one."""
    lender = book(part=0.25)
    lender.bites = bitten = Bitten()
    most = limits.CIRCUIT_OFFERS_PER_PEER // 4
    for _ in range(most):
        assert lender.objection(ONE, TARGET, HERE) == ""
        lender.open(ONE, TARGET, HERE)
    assert "has not answered you" in lender.objection(ONE, TARGET, HERE)
    assert "others at your address" in lender.objection(OTHER, TARGET, HERE)
    assert lender.objection(OTHER, TARGET, THERE) == lender.objection(ONE, PEERS[3], HERE) == ""
    assert bitten == {"CIRCUIT_OFFERS_PER_PEER": 1, "limits.peers_per_address": 1}
    lender.answered(ONE, TARGET, HERE)
    assert lender.objection(ONE, TARGET, HERE) == lender.objection(OTHER, TARGET, HERE) == ""
