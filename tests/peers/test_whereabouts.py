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
    for number in range(most * limits.SITE_SHARE):
        host = f"2001:db8:1:{number:x}::1"
        assert not places.is_full([host], most, [])
        places.seen(Identity.generate().peer_id, host)
    assert places.is_full(["2001:db8:1:ff::1"], most, [])
    assert not places.is_full(["2001:db8:2::1"], most, [])
    begun = [[f"2001:db8:2::{number}"] for number in range(1, most + 1)]
    assert places.is_full(["2001:db8:2::9"], most, begun) and not places.is_full(["2001:db8:2::9"], most, begun[1:])
    assert not places.is_full(["2001:db8:2:1::9"], most, begun)
    assert not places.is_full(["192.0.2.1"], most, [["192.0.2.2"]] * 9)


def test_who_moves_where_no_room_is_counts_where_there_was() -> None:
    """And there alone again, when it moves back; where there is room, or has been, it counts as any other."""
    one, two, three = (Identity.generate().peer_id for _ in range(3))
    here, there, elsewhere = "192.0.2.7", "198.51.100.1", "203.0.113.5"
    known = Whereabouts()
    known.seen(one, here, most=1)
    known.seen(two, there, most=1)
    known.seen(two, here, most=1)
    assert (known.count(here), known.count(there)) == (2, 1)
    assert known.has_room(two, [there]) and not known.has_room(two, [here]) and not known.has_room(three, [here])
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
    one, two, three = (Identity.generate().peer_id for _ in range(3))
    here, introducer = "2001:db8::1", "198.51.100.1"
    known = Whereabouts()
    known.seen(two, introducer, Said(here), most=1)
    known.seen(one, here, most=1)
    known.seen(two, here, most=1)
    assert known.count(introducer) == 0 and known.is_full([introducer, Said("2001:db8::2")], 2, [])
    known.seen(three, introducer, Said("2001:db8:1::1"), most=1)
    known.seen(three, here, most=1)
    assert known.count(introducer) == 1
    for each in (one, two, three):
        known.seen(each)
    assert not known._counts and not known._keys
