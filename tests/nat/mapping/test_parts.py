"""The small parts of port mapping: gateways, layers, leases, the search's answers, errors of the library."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.nat.mapping import gateway, ssdp
from crust.nat.mapping.gateway import Gateway, default_gateways
from crust.nat.mapping.igd import IgdError, IgdRouter, refusal_of
from crust.nat.mapping.layers import is_global, judge_layers
from crust.nat.mapping.lease import Lease, first_port, other_port
from crust.nat.mapping.natpmp_way import NatPmpEpoch
from crust.nat.mapping.pcp_way import PcpEpoch
from crust.nat.mapping.ways import Ask, Granted, Refusal, Wanted

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"


# --- gateways ---------------------------------------------------------------------------------------------------------


def test_linux_names_its_gateways_by_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways out; a route that is down, one to a network, and one without a gateway are none."""
    monkeypatch.setattr("sys.byteorder", "little")
    lines = [
        HEAD,
        "wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0",
        "eth0 00000000 FE01000A 0003 0 0 100 00000000 0 0 0",
        "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0",
        "eth1 00000000 0102A8C0 0002 0 0 0 00000000 0 0 0",
        "tun0 00000000 00000000 0001 0 0 0 00000000 0 0 0",
        "short",
    ]
    assert gateway.parse_linux_routes(lines) == [("10.0.1.254", "eth0"), ("192.168.1.1", "wlan0")]


def test_linux_names_its_gateways_over_ipv6() -> None:
    zero = "0" * 32
    lines = [
        f"{zero} 00 {zero} 00 fe80000000000000021122fffe334455 00000400 00000001 00000000 00000003     eth0",
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo",
        f"{zero} 00 {zero} 00 20010db8000000000000000000000001 00000064 00000001 00000000 00000003     eth1",
        f"20010db8{'0' * 24} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0",
    ]
    found = [("2001:db8::1", "eth1"), ("fe80::211:22ff:fe33:4455%eth0", "eth0")]
    assert gateway.parse_linux_routes_6(lines) == found


def test_macos_and_windows_name_theirs() -> None:
    netstat = """
Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.1.1        UGScg                 en0
default            link#20            UCSIg             bridge100      !
127                127.0.0.1          UCS                   lo0
default            10.8.0.1           UGScIg                utun3
"""
    assert gateway.parse_netstat(netstat.splitlines(), 4) == [("192.168.1.1", "en0"), ("10.8.0.1", "utun3")]
    route = """
Network Destination        Netmask          Gateway       Interface  Metric
          0.0.0.0          0.0.0.0      10.0.0.138       10.0.0.5     50
          0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.23     25
          0.0.0.0          0.0.0.0         On-link       10.9.9.9     5
        127.0.0.0        255.0.0.0         On-link         127.0.0.1    331
"""
    assert gateway.parse_route_print(route.splitlines(), 4) == [("192.168.1.1", ""), ("10.0.0.138", "")]
    assert gateway.parse_route_print([" 3    281 ::/0                     fe80::1"], 6) == [("fe80::1", "")]


def test_the_environment_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every test: no gateway is named, whatever the system has."""
    assert gateway.is_switched_off() and default_gateways() == []
    monkeypatch.delenv(gateway.SWITCH)
    monkeypatch.setattr(gateway, "_routes", lambda family: [("127.0.0.9", "lo"), ("127.0.0.9", "lo")])
    assert default_gateways() == [Gateway("127.0.0.9", "lo", "127.0.0.1")]
    monkeypatch.setattr(gateway, "_routes", lambda family: int("no number"))
    assert default_gateways() == []


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("external", "seen", "kind"),
    [
        ("20.0.1.1", None, ""),
        ("20.0.1.1", "20.0.1.1", ""),
        ("20.0.1.1", "20.0.2.2", "double"),
        ("20.0.1.1", "2001:4860::1", ""),
        ("20.0.1.1", "192.168.1.1", ""),
        ("100.64.0.1", None, "carrier"),
        ("100.127.255.255", "20.0.1.1", "carrier"),
        ("192.168.0.2", None, "double"),
        ("10.1.1.1", "20.0.1.1", "double"),
        ("0.0.0.0", "20.0.1.1", ""),
        ("", "20.0.1.1", ""),
        ("what", None, ""),
    ],
)
def test_another_nat(external: str, seen: str | None, kind: str) -> None:
    found = judge_layers(external, seen=seen)
    assert found.kind == kind
    assert bool(found.reason) == bool(kind)


def test_addresses_of_the_internet() -> None:
    """Carriers' shared addresses are neither private nor global for Python."""
    assert [is_global(each) for each in ("20.0.1.1", "100.64.0.1", "10.0.0.1", "224.0.0.1", "x")] == [
        True
    ] + [False] * 4


# --- leases -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0, 10**6))
def test_a_lease_is_renewed_before_it_ends(lifetime: int, now: float) -> None:
    ask = Ask(Wanted("tcp", 1), 5000, lifetime)
    lease = Lease.of(Granted(ask, 5001, lifetime, "20.0.1.1"), now)
    assert lease.ask.external == 5001
    if lifetime == 0:
        assert lease.renew_at == lease.expires_at == float("inf")
        return
    lifetime = min(lifetime, limits.MAPPING_LIFE_MAX)  # more is not believed
    assert now < lease.renew_at <= lease.expires_at == now + lifetime
    if lifetime >= 2 * limits.MAPPING_RENEW_MIN:
        assert lease.renew_at == now + lifetime / 2
    before = lease.renew_at
    lease.missed(before)
    assert lease.renew_at >= before + limits.MAPPING_RENEW_MIN


@given(st.integers(1, 65535), st.integers(0, 2**32))
def test_ports_to_ask_for(internal: int, seed: int) -> None:
    source = random.Random(seed)
    assert first_port(internal, source) >= limits.MAPPING_PORT_MIN
    assert internal < limits.MAPPING_PORT_MIN or first_port(internal, source) == internal
    assert other_port(internal, source) not in (internal, 0)


def test_epochs() -> None:
    """Younger than it should be: the router has lost its table. Clocks may drift a little."""
    for kind in (PcpEpoch, NatPmpEpoch):
        epoch = kind()
        assert not epoch.restarted(1000, 0.0)
        assert not epoch.restarted(1095, 100.0)
        assert epoch.restarted(3, 200.0)
        assert not epoch.restarted(103, 300.0)
    for kind in (PcpEpoch, NatPmpEpoch):
        epoch = kind()
        assert not epoch.restarted(1000, 0.0)
        assert epoch.restarted(9000, 10.0), "our machine slept for two hours"
    older = PcpEpoch()
    assert not older.restarted(0, 0.0)
    assert older.restarted(5000, 100.0)  # it has become older than it can be


# --- the search -------------------------------------------------------------------------------------------------------


def answer(location: str, *more: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, f"LOCATION: {location}", *more, "", ""]).encode("latin-1")


def test_an_answer() -> None:
    found = ssdp.read_answer(
        answer("http://192.168.1.1:5000/a", "Server: X/1 \x07é"), "192.168.1.1", "192.168.1.1"
    )
    assert found == ssdp.SearchAnswer("http://192.168.1.1:5000/a", "X/1 ")


@pytest.mark.parametrize(
    "location", ["http://10.1.1.1:80/x", "http://evil.example:80/x", "http://8.8.8.8:80/x"]
)
def test_an_answer_cannot_send_us_to_others(location: str) -> None:
    found = ssdp.read_answer(answer(location), "192.168.1.7", "192.168.1.1")
    assert found is not None and found.url == "http://192.168.1.7:80/x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer("ftp://192.168.1.1/x"),
        answer("http://192.168.1.1:99999/x"),
        answer("http://192.168.1.1:0/x"),
        answer("http://192.168.1.1/" + "x" * 600),
        answer("http://192.168.1.1/a b"),
        answer("http://192.168.1.1/x", status="NOTIFY * HTTP/1.1"),
        answer("http://192.168.1.1/x", status="HTTP/1.1 404 no"),
        answer("http://192.168.1.1/x") + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff" * 100,
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    assert ssdp.read_answer(data, "192.168.1.1", "192.168.1.1") is None


def test_strangers_do_not_answer() -> None:
    """From the Internet nobody answers a search on the link."""
    assert ssdp.read_answer(answer("http://20.0.0.7/x"), "20.0.0.7", "192.168.1.1") is None


@given(st.binary(max_size=300))
def test_any_datagram_is_borne(tail: bytes) -> None:
    ssdp.read_answer(b"HTTP/1.1 200 OK\r\nLOCATION: http://" + tail, "192.168.1.1", "192.168.1.1")


# --- the library's errors ---------------------------------------------------------------------------------------------


def test_errors_of_the_library_are_texts() -> None:
    assert refusal_of(Exception("OnlyPermanentLeasesSupported")).kind is Refusal.PERMANENT_ONLY
    assert refusal_of(Exception("ConflictInMappingEntry")).kind is Refusal.CONFLICT
    assert refusal_of(Exception("Success")).kind is Refusal.NO_ANSWER  # what it says when nothing was found
    unknown = refusal_of(Exception("new\x1b[31m words"))
    assert unknown.kind is Refusal.OTHER and str(unknown) == "it says: new[31m words"


@pytest.mark.parametrize("port", [0, 1, 80, 1023, 65536])
def test_ports_that_are_never_asked_for(port: int) -> None:
    router = IgdRouter("http://127.0.0.1/x", "127.0.0.1", "crust")
    with pytest.raises(IgdError, match="not to be asked for") as caught:
        router.add(Ask(Wanted("tcp", 5000), port, 60))
    assert caught.value.kind is Refusal.CONFLICT


def test_every_refusal_is_a_sentence() -> None:
    assert str(IgdError("it does not")) == "it does not"
