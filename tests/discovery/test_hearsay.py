"""What of that which others tell may be dialled."""

from __future__ import annotations

import ipaddress

import pytest

from crust import Contact, Endpoint, PeerId
from crust.discovery.hearsay import LOOPBACK, may_be_dialled, usable

NETWORKS = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "192.168.1.0/24", "2001:db8::/64", "fe80::/64")]


@pytest.mark.parametrize(
    ("address", "around", "allowed"),
    [
        ("tcp://1.2.3.4:5", "", True),
        ("utp://[2606:4700::1]:5", "", True),
        ("tcp://192.168.1.7:5", "", True),
        ("tcp://192.168.1.255:5", "", False),
        ("tcp://192.168.1.0:5", "", False),
        ("tcp://192.168.2.7:5", "", False),
        ("tcp://192.168.2.7:5", "192.168.1.0/24", True),
        ("tcp://10.9.9.9:5", "10.0.0.0/8", False),
        ("tcp://100.64.0.1:5", "", False),
        ("tcp://169.254.1.1:5", "", False),
        ("tcp://[fe80::1]:5", "", True),
        ("tcp://127.0.0.1:5", "", False),
        ("tcp://[::1]:5", "127.0.0.0/8", False),
        ("tcp://127.0.0.1:5", LOOPBACK, True),
        ("tcp://224.0.0.251:5", LOOPBACK, False),
        ("tcp://[ff02::1]:5", "", False),
        ("tcp://255.255.255.255:5", "", False),
        ("tcp://0.0.0.0:5", "", False),
        ("tcp://240.1.1.1:5", "", False),
        ("tcp://[64:ff9b::102:304]:5", "", False),
        ("tcp://example.org:5", "", False),
    ],
)
def test_what_may_be_dialled(address: str, around: str, allowed: bool) -> None:
    """Public addresses; private ones only where they mean the same; never what is no single machine, or a name."""
    endpoint = Endpoint.parse(address)
    assert may_be_dialled(endpoint, NETWORKS, around) is allowed
    assert endpoint.is_single_host or not allowed


def test_what_is_left_of_a_contact() -> None:
    """A few places of it, or none."""
    peer_id = PeerId(bytes(32))
    good = [Endpoint("tcp", f"1.2.3.{number}", 5) for number in range(9)]
    bad = Endpoint("tcp", "10.0.0.1", 5)
    assert usable(Contact(peer_id, [bad, *good]), NETWORKS, most=2) == Contact(peer_id, good[:2])
    assert usable(Contact(peer_id, [bad]), NETWORKS) is None
