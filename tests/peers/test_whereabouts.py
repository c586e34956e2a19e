"""How many sessions there are with peers at one address."""

from __future__ import annotations

from crust import Identity, limits
from crust.peers.whereabouts import Whereabouts


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
