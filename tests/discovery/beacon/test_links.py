"""Which interfaces a beacon uses, and who is on their links."""

from __future__ import annotations

import ipaddress

import pytest

from crust import limits
from crust.discovery.beacon.links import Link, links_of
from crust.runtime.interfaces import InterfaceAddress


def address(interface: str, text: str, index: int | None = 2) -> InterfaceAddress:
    ip, _, prefix = text.partition("/")
    return InterfaceAddress(interface, ipaddress.ip_address(ip), int(prefix), index)


def used(*addresses: InterfaceAddress, include: tuple[str, ...] | None = None) -> set[str]:
    return {link.host for link in links_of(addresses, include)}


def test_usable_addresses() -> None:
    """IPv4 with room for others, loopback included; IPv6 that is link-local."""
    assert used(
        address("lo", "127.0.0.1/8", 1),
        address("lo", "::1/128", 1),
        address("eth0", "192.168.1.5/24"),
        address("eth0", "192.168.1.6/32"),
        address("eth0", "192.168.2.1/31"),
        address("eth0", "fe80::1%eth0/64"),
        address("eth0", "2001:db8::5/64"),
        address("eth1", "169.254.3.4/16", 3),
        address("mem0", "10.0.0.1/8", None),
    ) == {"127.0.0.1", "192.168.1.5", "fe80::1%eth0", "169.254.3.4"}


@pytest.mark.parametrize("name", ["tun0", "wg0", "wg-home", "tailscale0", "utun3", "ppp0", "docker0", "br-1a"])
def test_vpn_and_container_interfaces(name: str) -> None:
    """Only if they are asked for by name."""
    here = (address(name, "10.8.0.2/24"), address("eth0", "192.168.1.5/24"))
    assert used(*here) == {"192.168.1.5"}
    assert used(*here, include=("eth*",)) == {"192.168.1.5"}
    assert used(*here, include=("eth*", name)) == {"192.168.1.5", "10.8.0.2"}


def test_who_is_on_a_link() -> None:
    """Machines of its network, that came by its interface."""
    link = Link("eth0", 2, "192.168.1.5", 24)
    assert link.to_all == "192.168.1.255" and link.with_scope("192.168.1.9") == "192.168.1.9"
    assert link.has("192.168.1.9") and link.has("192.168.1.9", 2) and link.has("192.168.1.5")
    for host in ("192.168.2.9", "192.168.1.255", "192.168.1.0", "0.0.0.0", "255.255.255.255", "224.0.0.1", "fe80::1"):
        assert not link.has(host)
    assert not link.has("192.168.1.9", 3)
    link = Link("eth0", 2, "fe80::5%eth0", 64)
    assert link.to_all == limits.BEACON_GROUP and link.with_scope("fe80::9") == "fe80::9%eth0"
    assert link.has("fe80::9", 2) and not link.has("fe80::9", 3)
    for host in ("2001:db8::1", "ff02::1", "::", "::1", "192.168.1.9", "::ffff:192.168.1.9"):
        assert not link.has(host)
