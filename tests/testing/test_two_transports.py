"""Lines in memory for TCP and µTP apart: what a test of an application can do to either."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust.testing import Network

BOTH = crust.Config.from_dict({"listen": {"addresses": ["tcp://0.0.0.0:0", "utp://0.0.0.0:0"]}})


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()


def only(node: crust.Service, transport: str) -> crust.Contact:
    """How to call a node by one of the two."""
    return crust.Contact(node.id, tuple(each for each in node.addresses if each.transport == transport))


def test_a_node_has_one_port_for_both(net: Network) -> None:
    """The same random number, and each is reached by its own transport alone."""
    alice = net.service(BOTH)
    assert {endpoint.transport for endpoint in alice.addresses} == {"tcp", "utp"}
    assert len({endpoint.port for endpoint in alice.addresses}) == 1
    for transport in ("tcp", "utp"):
        bob = net.service(BOTH)
        peer = bob.connect(only(alice, transport))
        assert peer.path is not None
        assert (peer.path.transport, peer.path.remote) == (transport, str(only(alice, transport).endpoints[0]))
        assert peer.path.local.startswith(transport)


def test_one_number_for_two_transports_is_no_conflict(net: Network) -> None:
    """But two nodes of one transport on one loopback port are."""
    config = BOTH.replace(**{"listen.addresses": ("tcp://127.0.0.1:4000", "utp://127.0.0.1:4000")})
    net.service(config)
    for transport in ("tcp", "utp"):
        with pytest.raises(crust.ListenError, match=f"{transport}://127.0.0.1:4000"):
            net.service(config.replace(**{"listen.addresses": (f"{transport}://127.0.0.1:4000",)}))


@pytest.mark.parametrize("transport", ["tcp", "utp"])
@pytest.mark.parametrize("how", ["cut", "partition", "refuse"])
def test_a_line_can_be_closed_for_one_of_them(net: Network, how: str, transport: str) -> None:
    """The other one goes through; healing that one, or all, opens it again."""
    alice, bob = net.service(BOTH), net.service(BOTH)
    other = "utp" if transport == "tcp" else "tcp"
    for heal in ({"transport": transport}, {}):
        getattr(net, how)(alice, bob, transport=transport)
        with pytest.raises(crust.CrustError):
            alice.connect(only(bob, transport), timeout=5)
        alice.connect(only(bob, other), timeout=5).disconnect()
        net.heal(alice, bob, transport=other)
        with pytest.raises(crust.CrustError):
            alice.connect(only(bob, transport), timeout=5)
        net.heal(alice, bob, **heal)  # type: ignore[arg-type]  # one of the two keywords
        alice.connect(only(bob, transport), timeout=5).disconnect()
        net.settle()


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_a_delay_for_one_of_them(net: Network, transport: str) -> None:
    """It adds to nothing, and does not touch the other."""
    alice, bob = net.service(BOTH), net.service(BOTH)
    net.delay(seconds=0.01)
    net.delay(alice, bob, seconds=1.0, transport=transport)
    for name, delay in (("tcp", 0.01), ("utp", 0.01), (transport, 1.0)):
        if (name == transport) is not (delay == 1.0):
            continue
        began = net.now
        alice.connect(only(bob, name), timeout=30).disconnect()
        assert 4 * delay <= net.now - began <= 6 * delay + 0.001
        net.advance(10)


def test_what_is_connected_breaks_for_one_of_them(net: Network) -> None:
    """``reset`` and ``cut`` leave the other alone."""
    alice, bob, carol = (net.service(BOTH) for _ in range(3))
    alice.connect(only(bob, "tcp"))
    alice.connect(only(carol, "utp"))
    net.reset(transport="utp")
    net.advance(1)
    assert [event.peer.id for event in net.heard(alice, crust.PeerSuspended)] == [carol.id]
    net.cut(alice, transport="tcp")
    assert [event.peer.id for event in net.heard(alice, crust.PeerSuspended)] == [carol.id, bob.id]


def test_an_unknown_transport_is_an_error(net: Network) -> None:
    """It is named."""
    for call in (net.cut, net.partition, net.refuse, net.reset, net.heal):
        with pytest.raises(ValueError, match="'udp'"):
            call(transport="udp")
    with pytest.raises(ValueError, match="'udp'"):
        net.delay(seconds=1, transport="udp")
