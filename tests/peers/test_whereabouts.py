"""How many sessions there are with peers at one address."""

from __future__ import annotations

from crust import Identity, limits
from crust.peers.whereabouts import Said, Whereabouts


def test_who_moves_is_counted_where_it_is_now() -> None:
    """An IPv6 address stands for its /64; who is over, or nowhere to be seen, counts nowhere."""
    one, two = (Identity.generate().peer_id for _ in range(2))
    known = Whereabouts()
    known.seen(one, "192.0.2.7")
    known.seen(two, "192.0.2.7")
    assert (known.count("192.0.2.7"), known.count("192.0.2.8")) == (2, 0)
    known.seen(two, "fe80::1%eth0")
    assert (known.count("192.0.2.7"), known.count("fe80::2%eth1"), known.count("fe80:0:0:1::1")) == (1, 1, 0)
    for each in (one, two, two):
        known.seen(each)
    assert (known.count("192.0.2.7"), known.count("fe80::1")) == (0, 0)
    assert not known._counts and not known._keys


def test_who_comes_through_another_counts_at_both() -> None:
    """Where the other one is, and where that says it is; once if that is the same network."""
    one = Identity.generate().peer_id
    known = Whereabouts()
    known.seen(one, "192.0.2.7", "198.51.100.1")
    assert (known.count("192.0.2.7"), known.count("198.51.100.1")) == (1, 1)
    known.seen(one, "2001:db8::1", "2001:db8::2")
    assert (known.count("192.0.2.7"), known.count("2001:db8::3")) == (0, 1)
    known.seen(one)
    assert not known._counts and not known._keys


def test_a_site_is_full_of_a_multiple() -> None:
    """An address with so many, those that are about to begin included; a /48 with more of them, wherever in it."""
    places, most = Whereabouts(), 3
    one = Identity.generate().peer_id
    for number in range(most * limits.SITE_SHARE):
        host = f"2001:db8:1:{number:x}::1"
        assert not places.is_full(one, [host], most)
        places.seen(Identity.generate().peer_id, host)
    assert places.is_full(one, ["2001:db8:1:ff::1"], most)
    assert not places.is_full(one, ["2001:db8:2::1"], most)
    for number in range(1, most + 1):
        assert not places.is_full(one, ["2001:db8:2::9"], most)
        places.promise(number, Identity.generate().peer_id, [f"2001:db8:2::{number}"])
    assert places.is_full(one, ["2001:db8:2::9"], most) and not places.is_full(one, ["2001:db8:2:1::9"], most)
    places.redeem(1)
    assert not places.is_full(one, ["2001:db8:2::9"], most)
    for number in range(9):
        places.promise(number, Identity.generate().peer_id, ["192.0.2.2"])
    assert not places.is_full(one, ["192.0.2.1"], most)


def test_promises_to_one_peer_take_one_place() -> None:
    """Also of those places that all have; none if it has one. Too many calls wait, but for the first of each peer."""
    one, two, three = (Identity.generate().peer_id for _ in range(3))
    here, there = "192.0.2.7", "198.51.100.1"
    known = Whereabouts()
    known.seen(one, here)
    for call in range(4):
        assert known.has_place(one, [one], 4) and not known.is_full(one, [here], 1)
        known.promise(("one", call), one, [here])
    assert not known.has_place(one, [one], 4) and known.has_place(two, [one], 4)
    assert known.has_place(two, [one], 2) and not known.has_place(two, [one], 1)
    assert not known.is_full(two, [here], 2) and known.is_full(two, [here], 1)
    known.promise("two", two, [there])
    assert known.has_place(two, [one], 9) and not known.is_full(two, [there], 1), "its own call is not in its way"
    assert not known.has_place(three, [one], 2) and known.is_full(three, [there], 1)
    for call in range(4):
        known.redeem(("one", call))
    known.redeem("two")
    known.seen(one)
    assert not known._counts and not known._keys and not known._promised


def test_who_moves_where_others_have_been_promised_room_counts_where_there_was_room() -> None:
    """Else those begin besides, and as many again get in."""
    one, two, three = (Identity.generate().peer_id for _ in range(3))
    here, there = "192.0.2.7", "198.51.100.1"
    known = Whereabouts()
    known.seen(one, there, most=1)
    known.promise("call", two, [here])
    known.seen(one, here, most=1)
    known.redeem("call")
    known.seen(two, here, most=1)
    assert known.is_full(three, [here], 1) and known.is_full(three, [there], 1)


def test_who_calls_anew_from_where_it_is_does_not_count_twice() -> None:
    """It had no room there when it moved; there is some now."""
    one, two = (Identity.generate().peer_id for _ in range(2))
    here, there = "192.0.2.7", "198.51.100.1"
    known = Whereabouts()
    known.seen(two, here, most=1)
    known.seen(one, there, most=1)
    known.seen(one, here, most=1)
    assert known.is_full(one, [here], 1)
    known.seen(two)
    assert not known.is_full(one, [here], 1) and known.is_full(two, [here], 1)


def test_who_moves_where_no_room_is_counts_where_there_was() -> None:
    """And there alone again, when it moves back; where there is room, or has been, it counts as any other."""
    one, two, three = (Identity.generate().peer_id for _ in range(3))
    here, there, elsewhere = "192.0.2.7", "198.51.100.1", "203.0.113.5"
    known = Whereabouts()
    known.seen(one, here, most=1)
    known.seen(two, there, most=1)
    known.seen(two, here, most=1)
    assert (known.count(here), known.count(there)) == (2, 1)
    assert not known.is_full(two, [there], 1) and known.is_full(two, [here], 1) and known.is_full(three, [there], 1)
    known.seen(three, elsewhere, most=1)
    known.seen(two, elsewhere, most=1)
    assert (known.count(here), known.count(there), known.count(elsewhere)) == (1, 1, 2)
    known.seen(one)
    known.seen(two, here, most=1)
    assert (known.count(here), known.count(there), known.count(elsewhere)) == (1, 0, 1)
    for each in (two, three):
        known.seen(each)
    assert not known._counts and not known._keys


def test_an_introducer_pays_no_longer_for_who_has_moved_where_he_was_said_to_be() -> None:
    """Though there is no room; he counts among those who are said to be there."""
    one, two, three, four = (Identity.generate().peer_id for _ in range(4))
    here, introducer = "2001:db8::1", "198.51.100.1"
    known = Whereabouts()
    known.seen(two, introducer, Said(here), most=1)
    known.seen(one, here, most=1)
    known.seen(two, here, most=1)
    assert known.count(introducer) == 0 and known.is_full(four, [introducer, Said("2001:db8::2")], 2)
    known.seen(three, introducer, Said("2001:db8:1::1"), most=1)
    known.seen(three, here, most=1)
    assert known.count(introducer) == 1
    for each in (one, two, three):
        known.seen(each)
    assert not known._counts and not known._keys
