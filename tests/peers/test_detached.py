"""Sessions without a link: who makes room when there are too many, or when they hold too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from crust import Identity, limits
from crust.addresses import address_key
from crust.peers.conversation import Conversation
from crust.peers.detached import Detached


def session(address: str | None, held: int, behind: str = "") -> Conversation:
    """As far as it matters here; ``behind``: the address of its introducer, who says that it is at ``address``."""
    identity, at = Identity.generate(), behind or address
    made = SimpleNamespace(
        peer_id=identity.peer_id,
        address=address,
        place=identity.peer_id if at is None else address_key(at),
        session=SimpleNamespace(outbox=SimpleNamespace(held_bytes=held)),
    )
    return cast("Conversation", made)


def test_many_with_much_at_one_address_take_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They make room for each other, the longest detached first, however long others have waited."""
    monkeypatch.setattr(limits, "DETACHED_BYTES_MAX", 1000)
    detached = Detached()
    others = [session("192.0.2.7", 100), session("2001:db8:0:1::1", 100), session(None, 100)]
    for each in others:
        assert detached.add(each) == []
    here = [session(f"2001:db8::{number}", 200) for number in range(1, 6)]  # an IPv6 address stands for its /64
    given_up = [each for one in here for each in detached.add(one)]
    assert given_up == [(each, "DETACHED_BYTES_MAX") for each in here[:2]]
    assert len(detached) == len(others) + 3


def test_those_who_are_said_to_be_there_take_nothing_from_who_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Introducers may lie."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 4)
    detached = Detached()
    assert detached.add(session("192.0.2.7", 100)) == []
    said = [session("192.0.2.7", 0, "198.51.100.1") for _ in range(5)]
    given_up = [each for one in said for each in detached.add(one)]
    assert given_up == [(each, "DETACHED_SESSIONS_MAX") for each in said[:2]]


def test_one_introducer_has_one_share_wherever_those_are_whom_it_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may say of each that it is somewhere else, or nothing."""
    monkeypatch.setattr(limits, "DETACHED_BYTES_MAX", 1000)
    detached = Detached()
    assert detached.add(session("192.0.2.7", 300)) == []
    brought = [session(f"203.0.113.{number}" if number % 2 else None, 200, "198.51.100.1") for number in range(5)]
    given_up = [each for one in brought for each in detached.add(one)]
    assert given_up == [(each, "DETACHED_BYTES_MAX") for each in brought[:2]]


def test_keys_at_one_address_take_nothing_from_others_behind_their_introducer(monkeypatch: pytest.MonkeyPatch) -> None:
    """If that says where they are."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 4)
    detached = Detached()
    others = [session(f"203.0.113.{number}", 0, "198.51.100.1") for number in range(2)]
    here = [session("192.0.2.7", 0, "198.51.100.1") for _ in range(4)]
    given_up = [each for one in (*others, *here) for each in detached.add(one)]
    assert given_up == [(each, "DETACHED_SESSIONS_MAX") for each in here[:2]]


def test_nor_do_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they hold nothing."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 4)
    detached = Detached()
    assert detached.add(session("192.0.2.7", 100)) == []
    here = [session("198.51.100.1", 0) for _ in range(5)]
    given_up = [each for one in here for each in detached.add(one)]
    assert given_up == [(each, "DETACHED_SESSIONS_MAX") for each in here[:2]]


def test_who_has_most_data_makes_room_where_there_is_too_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not who has most sessions, which hold little."""
    monkeypatch.setattr(limits, "DETACHED_BYTES_MAX", 1000)
    detached = Detached()
    many, heavy = [session("198.51.100.1", 1) for _ in range(5)], session("192.0.2.7", 990)
    assert [detached.add(each) for each in (*many, heavy)] == [[]] * 6
    assert detached.add(session("203.0.113.5", 10)) == [(heavy, "DETACHED_BYTES_MAX")]


def test_one_that_is_added_again_has_waited_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nobody has said that it had come back."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 2)
    detached = Detached()
    one, two = session("192.0.2.7", 0), session("192.0.2.7", 0)
    assert detached.add(one) == detached.add(two) == detached.add(one) == []
    assert detached.add(session("192.0.2.7", 0)) == [(two, "DETACHED_SESSIONS_MAX")]


def test_among_equals_the_longest_detached_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at an address of its own; one that comes back and goes again has waited least."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 2)
    detached = Detached()
    one, two, three = (session(f"192.0.2.{number}", 0) for number in range(3))
    assert detached.add(one) == detached.add(two) == []
    detached.remove(one)
    assert detached.add(one) == []
    assert detached.add(three) == [(two, "DETACHED_SESSIONS_MAX")]
