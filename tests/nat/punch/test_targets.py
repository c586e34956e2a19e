"""Which of another node's places may be tried from here, and in which order."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import IPNetwork
from crust.nat.punch.contract import Terrain
from crust.nat.punch.targets import hosts_of, targets
from crust.wire.frames import Place, PlaceKind, TransportCode

LAN = ipaddress.ip_network("192.168.1.0/24")
CARRIER = ipaddress.ip_network("100.64.7.0/24")
GLOBAL_6 = ipaddress.ip_network("2a10:20:1::/64")
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
OURS, THEIRS = "20.0.1.1", "20.0.2.1"


def place(text: str, kind: PlaceKind = PlaceKind.INTERFACE, *, is_open: bool = False) -> Place:
    """``tcp 20.0.1.1 5483``."""
    transport, host, port = text.split()
    code = TransportCode.TCP if transport == "tcp" else TransportCode.UTP
    return Place(kind, code, is_open, (host, int(port)))


def hosts(found: tuple[Place, ...]) -> list[str]:
    return [each.address[0] for each in found]


def seen_at(host: str) -> Terrain:
    """A node behind a router."""
    return Terrain(places=(place(f"utp {host} 40000", PlaceKind.REFLEXIVE), place("utp 192.168.1.10 5483")))


@pytest.mark.parametrize(
    ("theirs", "networks", "expected"),
    [
        pytest.param(["192.168.1.20"], [LAN], ["192.168.1.20"], id="same LAN"),
        pytest.param(["192.168.2.20"], [LAN], [], id="another LAN"),
        pytest.param([THEIRS, "192.168.2.20"], [LAN], [THEIRS], id="each at home"),
        pytest.param([OURS, "192.168.2.20"], [LAN], [OURS, "192.168.2.20"], id="one NAT, two networks behind it"),
        pytest.param([OURS, "192.168.1.20"], [LAN], ["192.168.1.20", OURS], id="one NAT, one LAN: that first"),
        pytest.param([OURS, "100.64.7.9"], [LAN], [OURS, "100.64.7.9"], id="same carrier"),
        pytest.param([THEIRS, "100.64.7.9"], [LAN], [THEIRS], id="other carrier"),
        pytest.param(["100.64.7.9"], [CARRIER], ["100.64.7.9"], id="on the carrier's own network"),
        pytest.param([OURS, "fd00::1"], [LAN, GLOBAL_6], [OURS, "fd00::1"], id="ULA behind one NAT"),
        pytest.param([THEIRS, "fd00::1"], [LAN, GLOBAL_6], [THEIRS], id="ULA elsewhere"),
        pytest.param(["2a10:20:2::1"], [LAN], [], id="a family that we lack"),
        pytest.param(["2a10:20:2::1"], [GLOBAL_6], ["2a10:20:2::1"], id="IPv6"),
        pytest.param(["127.0.0.1", "::1"], [LAN, LOOPBACK], [], id="loopback from elsewhere"),
        pytest.param(["224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::"], [LAN, GLOBAL_6], [], id="nobody's"),
        pytest.param([OURS, "169.254.3.4"], [LAN], [OURS], id="link-local behind one NAT"),
        pytest.param(["169.254.3.4"], [ipaddress.ip_network("169.254.0.0/16")], ["169.254.3.4"], id="on one link"),
    ],
)
def test_where_a_node_may_be(theirs: list[str], networks: list[IPNetwork], expected: list[str]) -> None:
    """Private addresses count on a shared network, or behind a NAT at whose address others see both."""
    offered = [place(f"utp {host} 5483") for host in theirs]
    seen = [host for host in theirs if host in (OURS, THEIRS)]
    assert hosts(targets(seen_at(OURS), offered, (), networks, seen=seen)) == expected


@pytest.mark.parametrize("seen", [[], [THEIRS], ["192.168.2.20"], ["fd00::1"], [THEIRS, "100.64.7.9"]])
def test_who_only_says_that_it_shares_our_nat_does_not(seen: list[str]) -> None:
    """It knows our outer address; that it names it, too, opens neither private networks nor our own machine."""
    named = (OURS, "192.168.2.20", "192.168.1.10", "fd00::1", THEIRS)
    offered = [place(f"{transport} {host} 22") for host in named for transport in ("tcp", "utp")]
    assert {*hosts(targets(seen_at(OURS), offered, (), [LAN, GLOBAL_6], seen=seen))} == {THEIRS}


def test_another_node_of_our_machine_is_tried() -> None:
    """If it is seen where we are."""
    offered = [place("tcp 192.168.1.10 4000")]
    assert hosts(targets(seen_at(OURS), offered, (), [LAN], seen=[OURS])) == ["192.168.1.10"]
    assert hosts(targets(seen_at(OURS), offered, (), [LAN], seen=["192.168.1.10"])) == ["192.168.1.10"]
    assert targets(seen_at(OURS), offered, (), [LAN], seen=[THEIRS]) == ()
    for host in ("127.0.0.1", "::1"):  # by an introducer that is on it, too
        assert hosts(targets(seen_at(OURS), offered, (), [LAN], seen=[host])) == ["192.168.1.10"]


@pytest.mark.parametrize("host", ["64:ff9b::1400:201", "2002:1400:201::1", "2001:0:1400:201::1", "64:ff9b:1::1400:201"])
def test_what_stands_for_another_address_is_not_tried(host: str) -> None:
    """By such names a victim would get the same again and again."""
    assert targets(seen_at(OURS), [place(f"tcp {host} 80")], (), [LAN, GLOBAL_6], seen=[host]) == ()


def test_where_others_see_us_counts_like_a_place() -> None:
    """A node that has not listed its outer address is told by those who see it."""
    offered = [place(f"utp {OURS} 5483"), place("utp 192.168.2.20 5483")]
    assert hosts(targets(Terrain(), offered, (), [LAN], seen=[OURS])) == [OURS]
    assert hosts(targets(Terrain(), offered, [OURS], [LAN], seen=[OURS])) == [OURS, "192.168.2.20"]


def test_two_nodes_of_one_machine() -> None:
    """Loopback is tried if we are there, too."""
    ours = Terrain(places=(place("tcp 127.0.0.1 4000"),))
    offered = [place("tcp 127.0.0.1 5000"), place("tcp ::1 5000")]
    assert len(targets(ours, offered, (), [LOOPBACK], seen=["127.0.0.1"])) == 2


def test_the_order() -> None:
    """TCP before µTP, our own networks first, then as the other has them; each once, and never ourselves."""
    ours = seen_at(OURS)
    offered = [
        place("utp 20.0.2.1 1", PlaceKind.CONFIGURED, is_open=True),
        place("tcp 20.0.2.1 2"),
        place("utp 192.168.1.20 3"),
        place("tcp 192.168.1.20 4"),
        place("tcp 20.0.2.1 2", PlaceKind.REFLEXIVE),
        place("tcp 20.0.2.1 5"),
        place("utp 192.168.1.10 5483"),
    ]
    assert [each.address[1] for each in targets(ours, offered, (), [LAN])] == [4, 2, 5, 3, 1]
    only = targets(ours, offered, (), [LAN], [TransportCode.UTP])
    assert [each.address[1] for each in only] == [3, 1]


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.sampled_from([*LAN.hosts()][:8])).map(str)
placed = st.builds(
    Place,
    st.sampled_from(PlaceKind),
    st.sampled_from(TransportCode),
    st.booleans(),
    st.tuples(addresses, st.integers(1, 65535)),
)
networks = st.lists(st.sampled_from([LAN, CARRIER, GLOBAL_6, LOOPBACK]), unique=True)


@given(
    st.lists(placed, max_size=40),
    st.lists(placed, max_size=8),
    networks,
    st.lists(addresses, max_size=3),
    st.lists(addresses, max_size=2),
)
def test_what_holds_for_all(
    theirs: list[Place], ours: list[Place], nets: list[IPNetwork], public: list[str], seen: list[str]
) -> None:
    """Nothing is made up, doubled, too much, or sent to an address that none or a foreign private machine has."""
    found = targets(Terrain(places=tuple(ours)), theirs, public, nets, seen=seen)
    assert set(found) <= set(theirs) - set(ours)
    assert len({(each.transport, each.address) for each in found}) == len(found)
    shares = {*seen} & ({*public} | hosts_of(ours))
    for family in (4, 6):
        assert sum((":" in each.address[0]) == (family == 6) for each in found) <= limits.CANDIDATES_MAX
    for each in found:
        ip = ipaddress.ip_address(each.address[0])
        assert not (ip.is_multicast or ip.is_unspecified)
        if not ip.is_global and not ip.is_loopback:
            assert shares or any(ip in net for net in nets)
