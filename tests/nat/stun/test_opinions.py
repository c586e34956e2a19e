"""Whom a node believes where it is."""

from __future__ import annotations

from crust import limits
from crust.nat.stun.opinions import Opinions, network_of

HERE, ELSEWHERE = ("20.0.1.1", 5), ("20.0.9.9", 5)


def test_a_server_of_ours_is_believed() -> None:
    """Alone, and against others."""
    opinions = Opinions()
    opinions.heard("server", "30.0.0.1", HERE, 0.0, trusted=True)
    assert opinions.settled(1.0) == (HERE,)
    opinions.heard("liar", "30.0.1.1", ELSEWHERE, 0.0, trusted=False)
    assert opinions.settled(1.0) == (HERE,)


def test_peers_are_believed_if_two_agree() -> None:
    """Of different networks; port and address both."""
    opinions = Opinions()
    opinions.heard("a", "30.0.0.1", HERE, 0.0, trusted=False)
    opinions.heard("b", "30.0.0.2", HERE, 0.0, trusted=False)
    opinions.heard("c", "30.0.1.1", (HERE[0], 6), 0.0, trusted=False)
    assert opinions.settled(1.0) == ()
    opinions.heard("c", "30.0.1.1", HERE, 1.0, trusted=False)
    assert opinions.settled(1.0) == (HERE,)


def test_whoever_changes_its_mind_has_one_voice() -> None:
    """The last word counts, and the address that has most voices comes first."""
    opinions = Opinions()
    opinions.heard("server", "30.0.0.1", ELSEWHERE, 0.0, trusted=True)
    for name, host in (("a", "30.0.1.1"), ("b", "30.0.2.1")):
        opinions.heard(name, host, ELSEWHERE, 0.0, trusted=False)
        opinions.heard(name, host, HERE, 0.0, trusted=False)
    assert opinions.settled(1.0) == (HERE, ELSEWHERE)


def test_who_spoke_last_changes_nothing() -> None:
    """Two servers that see us at two addresses, as behind routers with several: the first one stays the first."""
    opinions = Opinions()
    for now in range(10):
        opinions.heard("one", "30.0.0.1", HERE, now, trusted=True)
        assert opinions.settled(now)[0] == HERE
        opinions.heard("other", "30.0.1.1", ELSEWHERE, now, trusted=True)
        assert opinions.settled(now) == (HERE, ELSEWHERE)
    opinions.heard("third", "30.0.2.1", ELSEWHERE, 10.0, trusted=True)
    assert opinions.settled(10.0) == (ELSEWHERE, HERE)
    opinions.forget(["third"])
    assert opinions.settled(10.0) == (ELSEWHERE, HERE)


def test_opinions_grow_old() -> None:
    """Whoever is not heard again is forgotten."""
    opinions = Opinions()
    opinions.heard("server", "30.0.0.1", HERE, 0.0, trusted=True)
    assert opinions.settled(limits.REFLEXIVE_LIFE - 1) == (HERE,)
    assert opinions.settled(limits.REFLEXIVE_LIFE) == ()


def test_not_everybody_is_remembered() -> None:
    """Peers come and go; servers of ours stay."""
    opinions = Opinions()
    opinions.heard("server", "30.0.0.1", HERE, 0.0, trusted=True)
    for number in range(2 * limits.REFLEXIVE_SOURCES_MAX):
        opinions.heard(f"peer {number}", f"30.1.{number}.1", (ELSEWHERE[0], number), 0.0, trusted=False)
    assert opinions.settled(1.0) == (HERE,)
    assert len(opinions._opinions) == limits.REFLEXIVE_SOURCES_MAX


def test_networks() -> None:
    """As large as what one party usually has."""
    assert network_of("30.0.0.1") == network_of("30.0.0.254") != network_of("30.0.1.1")
    assert network_of("2a10:1:2:3::4") == network_of("2a10:1:2:ffff::1%eth0") != network_of("2a10:1:3::1")


def test_who_counts_no_more() -> None:
    """What a former server said is forgotten, what others said is not."""
    opinions = Opinions()
    opinions.heard("old", "192.0.2.1", ("20.0.0.1", 1), 0.0, trusted=True)
    opinions.heard("new", "192.0.2.2", ("20.0.0.2", 2), 0.0, trusted=True)
    opinions.forget({"old", "never heard of"})
    assert opinions.settled(0.0) == (("20.0.0.2", 2),)
    opinions.forget({"new"})
    assert opinions.settled(0.0) == () and not opinions.is_trusted(0.0)
