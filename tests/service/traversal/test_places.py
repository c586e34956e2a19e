"""Keys cost nothing, addresses do: who looks for a path, and who searches first, where not all can."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import Endpoint
from crust.service.traversal.places import Lately, SpotsByPlace, Where, seen_hosts, where_is
from crust.service.traversal.search import SearchTurns

MOST = 8
BAD, GOOD = (b"bad introducer", b"bad"), (b"good introducer", b"good")


def filled(*wheres: Where) -> SpotsByPlace[int]:
    spots = SpotsByPlace[int]()
    for number, where in enumerate(wheres):
        assert spots.take(number, where, MOST) == (True, None)
    return spots


def test_one_address_does_not_keep_others_from_looking() -> None:
    """Its oldest one gives way, until both have as much."""
    spots = filled(*[BAD] * MOST)
    assert [spots.take(10 + number, GOOD, MOST) for number in range(5)] == [
        *((True, number) for number in range(4)),
        (False, None),
    ]
    assert spots.take(20, BAD, MOST) == (False, None) and len(spots) == MOST
    assert spots.take(10, GOOD, MOST) == (True, None)


def test_an_introducer_gains_nothing_by_callers_that_it_invents() -> None:
    """Wherever it says that they are, they count as its own."""
    spots = filled(*((BAD[0], bytes((number,))) for number in range(MOST)))
    assert spots.take(10, GOOD, MOST) == (True, 0)
    assert spots.take(11, (BAD[0], b"another"), MOST) == (False, None)


def test_peers_of_one_honest_introducer_are_told_apart() -> None:
    """By where it sees them."""
    spots = filled(*[(GOOD[0], b"bad")] * MOST)
    assert spots.take(10, GOOD, MOST) == (True, 0)
    assert spots.take(11, (GOOD[0], b"bad"), MOST) == (False, None)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"x", b"y"])), max_size=60))
def test_there_are_never_too_many_nor_fewer_than_could_be(wheres: list[Where]) -> None:
    """Whoever gives way has none any more, and an address with one keeps it against those that have as much."""
    spots, has = SpotsByPlace[int](), set[int]()
    for number, where in enumerate(wheres):
        may, weaker = spots.take(number, where, 4)
        if may:
            has.add(number)
        if weaker is not None:
            has.remove(weaker)
            lost = wheres[weaker]
            rest = sum(wheres[each][0] == lost[0] for each in has)
            assert rest >= 1, "the last of an introducer's gives way to nobody"
        assert set(spots) == has and len(has) == min(4, number + 1)


def test_who_leaves_makes_room() -> None:
    """Once is enough."""
    spots = filled(*[BAD] * MOST)
    for _ in range(2):
        spots.leave(0)
    assert spots.take(9, BAD, MOST) == (True, None)


def test_where_a_peer_is_by_its_link() -> None:
    """The introducer's address comes first, and what it says second."""
    remote = Endpoint("tcp", "192.0.2.1", 443)
    link: Any = SimpleNamespace(connection=SimpleNamespace(remote=remote, observed=("198.51.100.7", 5)))
    assert where_is(link) == (b"\xc0\0\2\1", b"\xc6\x33\x64\7")
    link.connection.observed = None
    assert where_is(link) == (b"\xc0\0\2\1", b"\xc0\0\2\1")


@pytest.mark.parametrize(
    ("introducer", "observed", "believed"),
    [
        ("20.0.9.1", "20.0.2.1", True),
        ("20.0.9.1", "192.168.1.1", False),
        ("20.0.9.1", "127.0.0.1", False),
        ("20.0.9.1", "100.64.0.7", False),
        ("192.168.1.5", "192.168.1.1", True),
        ("192.168.1.5", "20.0.2.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("192.168.1.5", "127.0.0.1", False),
    ],
)
def test_where_an_introducer_may_have_seen_somebody(introducer: str, observed: str, believed: bool) -> None:
    """One on the Internet sees nobody in our private network; if it says so, we are to search there for somebody."""
    remote = Endpoint("relay", introducer, 443)
    connection = SimpleNamespace(transport="relay", observed=(observed, 4000), remote=remote)
    link: Any = SimpleNamespace(connection=connection)
    found = seen_hosts(link)
    assert found == (frozenset((observed,)) if believed else frozenset())


def test_who_had_no_turn_to_search_has_the_next() -> None:
    """However many at another address have asked before."""
    turns, called = SearchTurns(), list[str]()
    bad, good, again = [f"bad {number}" for number in range(9)], "good", "good again"
    for who in bad:
        turns.ask(who, BAD, functools.partial(called.append, who))
    turns.ask(good, GOOD, functools.partial(called.append, good))
    turns.done(bad[0])
    assert called == [bad[0], good]
    turns.ask(again, GOOD, functools.partial(called.append, again))
    turns.done(good)
    turns.done(bad[1])
    assert called == [bad[0], good, bad[1], again]


def test_only_so_many_places_are_remembered() -> None:
    """Those whose turn was longest ago are forgotten."""
    lately = Lately()
    for number in range(limits.ALLOWANCES_MAX):
        lately.had((b"one", number.to_bytes(4, "big")))
    assert len(lately._turns) == limits.ALLOWANCES_MAX
    assert lately.rank((b"one", bytes(4)))[1] == 0 < lately.rank((b"one", number.to_bytes(4, "big")))[1]
