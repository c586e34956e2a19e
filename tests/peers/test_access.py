"""Bans and allow lists."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.addresses import ConnectionInfo, Contact, Endpoint, PeerId
from crust.config import AccessConfig, BanConfig
from crust.exceptions import ContactSyntaxError
from crust.peers.access import Access, Entry, target_of
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
    assert access.banned() == (Entry(ANN, None), Entry(BOB, 90.0))


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
    assert access.verdict(ANN, Role.NODE, None, 0.0) is DenialCode.ROLE  # as by a circuit: nothing shows where it is


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


# --- another configuration --------------------------------------------------------------------------------------------


def banning(*who: object) -> AccessConfig:
    return AccessConfig(
        ban=BanConfig(
            peers=tuple(str(each) for each in who if isinstance(each, PeerId)),
            networks=tuple(str(each) for each in who if not isinstance(each, PeerId)),
        )
    )


def test_bans_of_a_configuration_come_and_go() -> None:
    """Those that are no longer in it are lifted; those made while running stay, whichever came first."""
    access = Access(banning(ANN, "192.0.2.0/24"))
    access.ban(ANN, now=0.0, seconds=10.0)
    access.configure(banning(BOB))
    assert access.is_banned(ANN, None, 5.0) and not access.is_banned(ANN, None, 10.0)
    assert access.is_banned(BOB, None, 1e9)
    assert access.address_allowed("192.0.2.7", 0.0)
    assert [each.who for each in access.banned(20.0)] == [BOB]
    assert access.ban(BOB, now=0.0) == 0
    access.configure(banning())
    assert access.is_banned(BOB, None, 1e9)


def test_what_was_lifted_does_not_come_back() -> None:
    """Not as long as the configuration goes on naming it; a lift counts once, however often it was banned."""
    access = Access(banning(ANN, BOB))
    access.ban(ANN, now=0.0)
    assert access.unban(ANN) == 1
    access.configure(banning(ANN, BOB, "192.0.2.7"))
    assert not access.is_banned(ANN, None, 0.0)
    access.configure(banning(BOB))
    access.configure(banning(ANN, BOB))
    assert access.is_banned(ANN, None, 0.0)


def test_lists_are_replaced_as_a_whole() -> None:
    access = open_access()
    access.configure(AccessConfig(allow_peers=(str(ANN),), node_networks=("10.0.0.0/8",)))
    assert access.verdict(BOB, Role.CLIENT, "10.0.0.1", 0.0) is DenialCode.ROLE
    assert access.verdict(ANN, Role.NODE, "192.0.2.7", 0.0) is DenialCode.ROLE
    assert access.verdict(ANN, Role.NODE, "10.0.0.1", 0.0) is None
    access.configure(AccessConfig())
    assert access.verdict(BOB, Role.NODE, None, 0.0) is None


@given(st.lists(st.tuples(st.sampled_from(["configure", "ban", "unban"]), st.sets(st.sampled_from([ANN, BOB])))))
def test_neither_undoes_the_other(steps: list[tuple[str, set[PeerId]]]) -> None:
    """A model: who is banned is in one of two sets, of which a configuration changes one, and a name lifts both."""
    access, made, configured, wanted = open_access(), set[PeerId](), set[PeerId](), set[PeerId]()
    for step, who in steps:
        if step == "configure":
            access.configure(banning(*who))
            configured = (configured - (wanted - who)) | (who - wanted)
            wanted = who
        elif step == "ban":
            assert access.ban(*who, now=0.0) == len(who - made - configured)
            made |= who
        else:
            assert access.unban(*who) == len(who & (made | configured))
            made, configured = made - who, configured - who
        assert {each.who for each in access.banned()} == made | configured
        assert {each for each in (ANN, BOB) if access.is_banned(each, None, 0.0)} == made | configured


def count_networks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each network that is built from now on."""
    built: list[int] = []
    make: Callable[..., None] = ipaddress.IPv4Network.__init__

    def counted(self: ipaddress.IPv4Network, *args: object, **options: object) -> None:
        built.append(1)
        make(self, *args, **options)

    monkeypatch.setattr(ipaddress.IPv4Network, "__init__", counted)
    return built


class CountedLock:
    """How much was looked up while it was held, at the most."""

    def __init__(self) -> None:
        self.held = self.most = 0

    def __enter__(self) -> None:
        self.held = 0

    def __exit__(self, *_: object) -> None:
        self.most = max(self.most, self.held)


def test_nobody_waits_for_all_of_many_bans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every caller needs the lock: thousands are banned and lifted in parts."""
    access, lock = open_access(), CountedLock()
    access._lock = lock  # type: ignore[assignment]
    remove, make = Access._remove_locked, Access._ban_locked

    def removed(self: Access, table: Any, target: Any) -> float | None:
        lock.held += 1
        return remove(self, table, target)

    def made(self: Access, target: Any, until: float) -> bool:
        lock.held += 1
        return make(self, target, until)

    monkeypatch.setattr(Access, "_remove_locked", removed)
    monkeypatch.setattr(Access, "_ban_locked", made)
    many = [ipaddress.IPv4Address(number) for number in range(10_000)]
    assert access.ban(*many, now=0.0) == len(many)
    assert access.count(0.0) == (0, len(many)) and 0 < lock.most <= 1024
    assert access.unban(*many, now=0.0) == len(many)
    assert access.count(0.0) == (0, 0) and lock.most <= 3 * 1024  # each is looked for in three tables


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_a_ban_looks_at_no_others(monkeypatch: pytest.MonkeyPatch, seconds: float | None) -> None:
    """However many there are: everybody who comes waits meanwhile. The same for a count of them."""
    access = open_access()
    networks = [ipaddress.ip_network(f"10.{number // 256}.{number % 256}.0/24") for number in range(2000)]
    assert access.adopt(dict.fromkeys(networks, seconds), 0.0) == networks
    assert access.adopt(dict.fromkeys(networks, seconds), 0.0) == []
    built = count_networks(monkeypatch)
    for number in range(100):
        access.ban(f"192.0.2.{number}", now=1.0, seconds=5.0)
        assert access.count(1.0) == (0, 2001 + number)
    assert len(built) < 1000
    assert access.count(6.0) == (0, 2000)


def test_bans_made_longer_or_lifted_do_not_pile_up() -> None:
    """The ends that they had are forgotten, too, long before they come."""
    access = open_access()
    for number in range(5000):
        access.ban(ANN, now=float(number), seconds=1e6)
        access.ban(BOB, now=float(number), seconds=1e6)
        access.unban(BOB)
        access.condemn(BOB, access, now=float(number), until=1e6)
        access.release(access)
    assert len(access._made.ends) < 100 and len(access._condemned.ends) < 100
    assert access.count(5000.0) == (1, 0)
    assert access.banned(1e6 + 4999) == ()


WHO = st.sampled_from([ANN, BOB, "192.0.2.0/24", "2001:db8::/32"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["configure", "ban", "adopt", "unban", "condemn", "release", "wait"]),
            st.lists(WHO, max_size=3),
            st.none() | st.integers(1, 9),
        )
    )
)
def test_who_is_counted_is_on_the_list(steps: list[tuple[str, list[PeerId | str], int | None]]) -> None:
    """Whatever comes, ends and is lifted in whatever order, in one table or another."""
    access, now = open_access(), 0.0
    for step, who, seconds in steps:
        before = {each.who for each in access.banned(now)}
        targets = [target_of(each) for each in who]
        new = len(set(targets) - before)
        if step == "configure":
            access.configure(banning(*who))
        elif step == "ban":
            assert access.ban(*who, now=now, seconds=seconds) == new
        elif step == "adopt":
            assert len(access.adopt(dict.fromkeys(targets, seconds), now)) == new
        elif step == "unban":
            assert access.unban(*who, now=now) == len(set(targets) & before)
        elif step == "condemn":
            access.condemn(ANN, BOB, now=now, until=now + (seconds or 100))
        elif step == "release":
            access.release(BOB)
        else:
            now += seconds or 0
        entries = access.banned(now)
        peers = sum(isinstance(each.who, PeerId) for each in entries)
        assert access.count(now) == (peers, len(entries) - peers)
        for each in (ANN, BOB):
            assert access.is_banned(each, None, now) == (each in {entry.who for entry in entries})
