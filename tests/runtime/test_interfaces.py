"""Which addresses of this machine are found, filtered and classified how."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

import ifaddr
import pytest

from crust.runtime.interfaces import InterfaceAddress, local_addresses


def adapter(name: str, index: int | None, *ips: tuple[str, int]) -> ifaddr.Adapter:
    """As ifaddr gives them: IPv6 addresses as (address, flow, scope)."""
    entries = [ifaddr.IP((ip, 0, index or 0) if ":" in ip else ip, prefix, name) for ip, prefix in ips]
    return ifaddr.Adapter(name, name, entries, index)


Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend that the machine has these adapters."""

    def pretend(*adapters: ifaddr.Adapter) -> None:
        monkeypatch.setattr(ifaddr, "get_adapters", lambda: list(adapters))

    return pretend


LO = adapter("lo", 1, ("127.0.0.1", 8), ("::1", 128))
ETH = adapter("eth0", 2, ("10.0.0.7", 24), ("2606:4700::7", 64), ("fe80::7", 64))
DOCKER = adapter("docker0", 3, ("172.17.0.1", 16))


def shown(found: list[InterfaceAddress]) -> list[str]:
    return [f"{address.interface} {address.ip}" for address in found]


def test_what_reaches_farthest_comes_first(machine: Machine) -> None:
    """Global, private, link-local, loopback; IPv4 before IPv6; link-local IPv6 with its scope."""
    machine(LO, DOCKER, ETH)
    assert shown(local_addresses()) == [
        "eth0 2606:4700::7",
        "docker0 172.17.0.1",
        "eth0 10.0.0.7",
        "eth0 fe80::7%eth0",
        "lo 127.0.0.1",
        "lo ::1",
    ]


@pytest.mark.parametrize(
    ("include", "exclude", "interfaces"),
    [
        (None, (), {"lo", "eth0", "docker0"}),
        (None, ("docker*", "veth*"), {"lo", "eth0"}),
        (("eth*",), (), {"eth0"}),
        (("eth?", "lo"), ("lo",), {"eth0"}),
        (("ETH*",), (), set()),
        ((), (), set()),
        (iter(["eth0", "lo"]), iter(["e*"]), {"lo"}),
    ],
)
def test_patterns(
    machine: Machine, include: Iterable[str] | None, exclude: Iterable[str], interfaces: set[str]
) -> None:
    """Included by any pattern and excluded by none."""
    machine(LO, ETH, DOCKER)
    assert {address.interface for address in local_addresses(include, exclude)} == interfaces


def test_addresses_are_classified(machine: Machine) -> None:
    """So that the caller can say which are worth telling to whom."""
    machine(LO, ETH, adapter("wlan0", 4, ("169.254.3.4", 16), ("8.8.8.8", 32)))
    found = {str(address.ip): address for address in local_addresses()}
    assert {ip for ip, address in found.items() if address.is_loopback} == {"127.0.0.1", "::1"}
    assert {ip for ip, address in found.items() if address.is_link_local} == {"169.254.3.4", "fe80::7%eth0"}
    assert {ip for ip, address in found.items() if address.is_global} == {"8.8.8.8", "2606:4700::7"}
    assert found["10.0.0.7"].network == ipaddress.ip_network("10.0.0.0/24")
    assert found["fe80::7%eth0"].network == ipaddress.ip_network("fe80::/64")
    assert found["fe80::7%eth0"].family == 6 and found["10.0.0.7"].family == 4


def test_what_nobody_can_use_is_left_out(machine: Machine) -> None:
    """Unspecified and multicast addresses, link-local ones without a usable scope, and repetitions."""
    machine(
        adapter("Ethernet 2", None, ("fe80::1", 64), ("0.0.0.0", 0), ("224.0.0.1", 4), *2 * [("10.0.0.1", 8)]),
        adapter("Ethernet 3", 7, ("fe80::1", 64)),
    )
    assert shown(local_addresses()) == ["Ethernet 2 10.0.0.1", "Ethernet 3 fe80::1%7"]


def test_windows_names_match_by_either_name(machine: Machine) -> None:
    """There an adapter has a long identifier and a name that people know."""
    machine(ifaddr.Adapter("{4D36E972}", "Ethernet", [ifaddr.IP("10.0.0.1", 8, "Ethernet")], 3))
    assert shown(local_addresses(["Ether*"])) == shown(local_addresses(["{4D*"])) == ["Ethernet 10.0.0.1"]
    assert local_addresses(exclude=["Ether*"]) == []


def test_this_machine_has_a_loopback_address() -> None:
    """The real thing."""
    found = local_addresses()
    assert ipaddress.ip_address("127.0.0.1") in [address.ip for address in found if address.is_loopback]
    assert len(set(found)) == len(found)
