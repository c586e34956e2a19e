"""Bans and allow lists."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.addresses import ConnectionInfo, Contact, Endpoint, PeerId
from crust.config import AccessConfig, BanConfig
from crust.exceptions import ContactSyntaxError
from crust.peers.access import Access, Ban
from crust.wire.handshake import DenialCode, Role

ANN = PeerId(bytes(range(32)))
BOB = PeerId(bytes(range(1, 33)))


def open_access() -> Access:
    return Access(AccessConfig())


def test_everybody_may_connect_by_default() -> None:
    """Without a ban or a list nobody is refused."""
    access = open_access()
    assert access.address_allowed("192.0.2.1", 0.0)
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is None
    assert access.verdict(ANN, Role.CLIENT, "2001:db8::1", 0.0) is None
    assert access.banned() == ()


@pytest.mark.parametrize(
    "who",
    [
        ANN,
        str(ANN),
        str(ANN).upper(),
        Contact(ANN, [Endpoint.parse("tcp://192.0.2.7:1")]),
        str(Contact(ANN, [Endpoint.parse("tcp://192.0.2.7:1")])),
        ConnectionInfo(Contact(ANN), bytes(32)),
        str(ConnectionInfo(Contact(ANN), bytes(32))),
        f" {ANN}\n",
    ],
    ids=range(8),
)
def test_a_peer_is_banned_by_any_of_its_names(who: object) -> None:
    """The id counts, however it is given; the addresses in a contact are not banned with it."""
    access = open_access()
    assert access.ban(who, now=0.0) == 1  # type: ignore[arg-type]
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is DenialCode.BANNED
    assert access.verdict(BOB, Role.NODE, "192.0.2.1", 0.0) is None
    assert access.address_allowed("192.0.2.7", 0.0)
    assert access.unban(who) == 1  # type: ignore[arg-type]
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is None


@pytest.mark.parametrize(
    ("who", "inside", "outside"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        (ipaddress.ip_address("192.0.2.1"), "192.0.2.1", "192.0.2.2"),
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        (ipaddress.ip_network("192.0.2.0/24"), "192.0.2.255", "192.0.3.0"),
        ("0.0.0.0/0", "255.0.0.1", "2001:db8::1"),
        ("::/0", "2001:db8::1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("fe80::1", "fe80::1%eth0", "fe80::2%eth0"),
        ("fe80::1%eth0", "fe80::1%eth1", "fe80::2"),
    ],
    ids=str,
)
def test_addresses_and_networks_are_banned(who: object, inside: str, outside: str) -> None:
    """Before the handshake and after it, in every spelling; the neighbours are not touched."""
    access = open_access()
    assert access.ban(who, now=0.0) == 1  # type: ignore[arg-type]
    assert not access.address_allowed(inside, 0.0)
    assert not access.address_allowed(ipaddress.ip_address(inside), 0.0)
    assert access.verdict(ANN, Role.NODE, inside, 0.0) is DenialCode.BANNED
    assert access.address_allowed(outside, 0.0)
    assert access.verdict(ANN, Role.NODE, outside, 0.0) is None
    assert access.unban(who) == 1  # type: ignore[arg-type]
    assert access.address_allowed(inside, 0.0)


def test_ban_counts_what_is_new() -> None:
    """Repeated and overlapping names are told apart from new ones; unban counts what it lifts."""
    access = open_access()
    assert access.ban(ANN, str(ANN), "10.0.0.0/8", "10.0.0.1", now=0.0) == 3
    assert access.ban(ANN, BOB, now=0.0) == 1
    assert access.ban(now=0.0) == 0
    assert access.unban("10.0.0.1", "10.0.0.2", BOB) == 2
    assert not access.address_allowed("10.0.0.1", 0.0)  # the network's ban stands


def test_a_ban_ends() -> None:
    """It holds up to its last moment, and then counts no more, not for unban either."""
    access = open_access()
    access.ban(ANN, "192.0.2.1", now=100.0, seconds=5.0)
    assert access.verdict(ANN, Role.NODE, "198.51.100.1", 104.9) is DenialCode.BANNED
    assert not access.address_allowed("192.0.2.1", 104.9)
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 105.0) is None
    assert access.address_allowed("192.0.2.1", 105.0)
    assert access.banned(105.0) == ()
    assert access.unban(ANN, now=105.0) == 0
    assert access.ban("192.0.2.1", now=105.0) == 1


def test_ended_bans_are_forgotten() -> None:
    """A node that bans addresses for a minute at a time does not grow for ever."""
    access = open_access()
    for number in range(100):
        access.ban(f"192.0.2.{number}", PeerId(bytes([number]) * 32), now=number * 10.0, seconds=5.0)
    assert len(access.banned()) == 2


def test_a_ban_is_made_longer_never_shorter() -> None:
    """Somebody banned for ever stays so when automatic code bans them for a minute."""
    access = open_access()
    access.ban(ANN, now=0.0)
    assert access.ban(ANN, now=0.0, seconds=60.0) == 0
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 1e9) is DenialCode.BANNED
    access.ban(BOB, now=0.0, seconds=60.0)
    access.ban(BOB, now=30.0, seconds=60.0)
    assert access.banned() == (Ban(ANN, None), Ban(BOB, 90.0))


@pytest.mark.parametrize(
    ("who", "error"),
    [
        ("", ContactSyntaxError),
        ("nobody", ContactSyntaxError),
        (str(ANN)[:-1], ContactSyntaxError),
        (str(ANN)[:-1] + ("a" if str(ANN)[-1] != "a" else "b"), ContactSyntaxError),
        ("192.0.2.1/24", ContactSyntaxError),
        ("192.0.2.300", ContactSyntaxError),
        ("192.0.2.0/33", ContactSyntaxError),
        ("tcp://192.0.2.1:80", ContactSyntaxError),
        (b"192.0.2.1", TypeError),
        (7, TypeError),
        (None, TypeError),
    ],
    ids=str,
)
def test_a_mistake_bans_nobody(who: object, error: type[Exception]) -> None:
    """All or nothing, in ban and unban; an integer is no address, although ipaddress would take it."""
    access = open_access()
    with pytest.raises(error):
        access.ban(BOB, who, "10.0.0.0/8", now=0.0)  # type: ignore[arg-type]
    assert access.banned() == ()
    access.ban(BOB, now=0.0)
    with pytest.raises(error):
        access.unban(BOB, who)  # type: ignore[arg-type]
    assert len(access.banned()) == 1


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_ban_needs_a_length(seconds: float) -> None:
    """Zero, negative and not-a-number are mistakes, not bans."""
    access = open_access()
    with pytest.raises(ValueError, match="longer than"):
        access.ban(ANN, now=0.0, seconds=seconds)
    assert access.banned() == ()


def test_the_configured_bans_hold_and_can_be_lifted() -> None:
    """access.ban is in force from the start, without end."""
    access = Access(AccessConfig(ban=BanConfig(peers=(str(ANN),), networks=("192.0.2.0/24",))))
    assert access.verdict(ANN, Role.NODE, "198.51.100.1", 1e9) is DenialCode.BANNED
    assert not access.address_allowed("192.0.2.1", 1e9)
    assert access.unban(ANN, "192.0.2.0/24") == 2
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is None


def test_each_role_has_its_networks() -> None:
    """Outside its role's networks a peer is told that its role is not allowed; an empty list allows nobody."""
    access = Access(AccessConfig(node_networks=("10.0.0.0/8", "2001:db8::/32"), client_networks=()))
    assert access.verdict(ANN, Role.NODE, "10.1.2.3", 0.0) is None
    assert access.verdict(ANN, Role.NODE, "::ffff:10.1.2.3", 0.0) is None
    assert access.verdict(ANN, Role.NODE, "2001:db8::1", 0.0) is None
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is DenialCode.ROLE
    assert access.verdict(ANN, Role.CLIENT, "10.1.2.3", 0.0) is DenialCode.ROLE
    assert access.address_allowed("192.0.2.1", 0.0)  # so that the reason can be told


def test_only_listed_peers_may_connect() -> None:
    """allow_peers names all who may; a ban weighs more."""
    access = Access(AccessConfig(allow_peers=(str(ANN),)))
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is None
    assert access.verdict(BOB, Role.NODE, "192.0.2.1", 0.0) is DenialCode.ROLE
    access.ban(ANN, now=0.0)
    assert access.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is DenialCode.BANNED
    nobody = Access(AccessConfig(allow_peers=()))
    assert nobody.verdict(ANN, Role.NODE, "192.0.2.1", 0.0) is DenialCode.ROLE


def test_existing_sessions_can_be_checked() -> None:
    """After a ban the service asks about each peer it has, known by id, by address, or both."""
    access = open_access()
    access.ban(ANN, "192.0.2.0/24", now=0.0)
    assert access.is_banned(ANN, "198.51.100.1", 0.0)
    assert access.is_banned(BOB, "192.0.2.7", 0.0)
    assert access.is_banned(ANN, None, 0.0)
    assert not access.is_banned(BOB, None, 0.0)
    assert not access.is_banned(None, "198.51.100.1", 0.0)


@given(
    st.lists(st.ip_addresses().flatmap(lambda ip: st.tuples(st.just(ip), st.integers(0, ip.max_prefixlen)))),
    st.ip_addresses(),
)
def test_lookup_agrees_with_ipaddress(
    nets: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """The table by prefix length says the same as asking every network in turn."""
    access = open_access()
    networks = [ipaddress.ip_network(f"{ip}/{length}", strict=False) for ip, length in nets]
    mapped = ipaddress.ip_network("::ffff:0:0/96")
    for network in networks:
        access.ban(network, now=0.0)
    probes = [address, *(network.network_address for network in networks), *(ip for ip, _ in nets)]
    for probe in probes:
        if (
            probe.version == 6
            and probe in mapped
            or any(n.version == 6 and n.overlaps(mapped) for n in networks)
        ):
            continue
        expected = any(probe.version == network.version and probe in network for network in networks)
        assert access.address_allowed(probe, 0.0) is not expected
