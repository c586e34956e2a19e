"""Ports that change while running: listeners, sessions, and what peers are told; in memory, and on real sockets."""

from __future__ import annotations

import collections
import errno
from collections.abc import Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import Endpoint, ListenConfig, Service, limits
from crust.exceptions import ListenError
from crust.peers.link import Stage
from crust.service.network.listeners import Listeners
from crust.testing import Network
from tests.support.nodes import Nodes, Pair, config
from tests.support.waiting import wait_until

BOTH = ("tcp://0.0.0.0:0", "utp://0.0.0.0:0")
LOOPBACK = ("tcp://127.0.0.1:0", "utp://127.0.0.1:0")
GRACE = 10.0


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def only(*transports: str, **changes: Any) -> crust.Config:
    addresses = tuple(each for each in BOTH if each[:3] in transports)
    return crust.Config().replace(
        **{"listen.addresses": addresses, **{name.replace("__", "."): value for name, value in changes.items()}}
    )


def ports(service: Service) -> set[int]:
    return {each.port for each in service.addresses}


def remote_port(peer: crust.Peer) -> int:
    assert peer.path is not None
    return Endpoint.parse(peer.path.remote).port


def local_port(peer: crust.Peer) -> int:
    assert peer.path is not None
    return Endpoint.parse(peer.path.local).port


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_who_called_follows_to_the_new_port(net: Network, transport: str) -> None:
    """The callee changes its ports: the session moves there, nobody is suspended, and what was sent arrives once."""
    caller, callee = net.service(only(transport)), net.service(only(transport))
    near, far = net.connect(caller, callee)
    before = ports(callee)
    near.send(b"before")
    opened = callee.rotate_ports(grace=GRACE)
    near.send(b"during")
    net.advance(1.0)
    assert {each.port for each in opened} == ports(callee) and not ports(callee) & before
    assert {remote_port(near)} == ports(callee) and {local_port(far)} == ports(callee)
    near.send(b"after")
    net.settle()
    assert [far.recv(0) for _ in range(3)] == [b"before", b"during", b"after"]
    for service in (caller, callee):
        assert net.heard(service, crust.PeerSuspended) == []
        assert len(net.heard(service, crust.PathChanged)) == 1
    assert net.heard(callee, crust.AddressesChanged)[-1].addresses == callee.addresses


def test_who_changes_its_ports_dials_anew(net: Network) -> None:
    """The caller's own port is another one, too."""
    caller, callee = net.service(only("tcp")), net.service(only("tcp"))
    near, _ = net.connect(caller, callee)
    before = local_port(near)
    caller.rotate_ports(grace=GRACE)
    net.advance(1.0)
    assert local_port(near) != before
    assert remote_port(near) in ports(callee)
    assert net.heard(caller, crust.PeerSuspended) == net.heard(callee, crust.PeerSuspended) == []


def test_the_old_ports_answer_for_a_while(net: Network) -> None:
    """Who was told of them still gets in, until the grace is over."""
    callee = net.service(only("tcp"))
    old = callee.contact
    callee.rotate_ports(grace=GRACE)
    assert set(old.endpoints).isdisjoint(callee.contact.endpoints)
    net.advance(GRACE - 1)
    net.service(only("tcp")).connect(old)
    net.advance(2.0)
    with pytest.raises(crust.ConnectError):
        net.service(only("tcp")).connect(old, timeout=5)
    net.service(only("tcp")).connect(callee.contact)


def test_who_cannot_follow_keeps_the_link(net: Network) -> None:
    """A session is worth more than a port: it stays, also after the grace."""
    caller, callee = net.service(only("tcp")), net.service(only("tcp"))
    near, far = net.connect(caller, callee)
    net.refuse(caller, callee)
    callee.rotate_ports(grace=GRACE)
    net.advance(2 * GRACE)
    near.send(b"still here")
    net.settle()
    assert far.recv(0) == b"still here"
    assert net.heard(caller, crust.PathChanged) == []
    assert net.heard(caller, crust.PeerSuspended) == []


def test_a_cut_in_the_middle_is_mended_at_the_new_port(net: Network) -> None:
    """What the peer told is tried, too, when nobody answers any more where it was dialled."""
    caller, callee = net.service(only("tcp")), net.service(only("tcp"))
    near, far = net.connect(caller, callee)
    net.refuse(caller, callee)
    callee.rotate_ports(grace=1.0)
    net.advance(2.0)
    net.heal()
    net.reset(caller, callee)
    net.advance(1.0)
    assert near.state == far.state == "connected"
    assert {remote_port(near)} == ports(callee)


# --- the configuration ------------------------------------------------------------------------------------------------


def test_the_interval(net: Network) -> None:
    """All random ports change by themselves, again and again, while messages go on; none comes again."""
    callee = net.service(only("tcp", "utp", listen__rotate_interval=90.0))
    caller = net.service(only("tcp", "utp"))
    near, far = net.connect(caller, callee)
    seen = [ports(callee)]
    for number in range(120):
        near.send(b"%d" % number)
        net.advance(4.0)
        if ports(callee) != seen[-1]:
            seen.append(ports(callee))
    assert 4 <= len(seen) - 1 <= 8  # in 480 seconds
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert [far.recv(0) for _ in range(120)] == [b"%d" % number for number in range(120)]
    assert net.heard(caller, crust.PeerSuspended) == []
    assert {remote_port(near)} == ports(callee)


def test_without_it_ports_stay(net: Network) -> None:
    """It is off by default."""
    service = net.service(only("tcp"))
    before = ports(service)
    net.advance(10_000)
    assert ports(service) == before


def test_configured_ports_stay(net: Network) -> None:
    """Somebody has forwarded them."""
    service = net.service(only("tcp").replace(**{"listen.addresses": ("tcp://0.0.0.0:5000", "utp://0.0.0.0:0")}))
    (old,) = (each for each in service.addresses if each.transport == "utp")
    (opened,) = service.rotate_ports(grace=1)
    assert opened.transport == "utp" and opened.port != old.port
    assert {each.transport: each.port for each in service.addresses} == {"tcp": 5000, "utp": opened.port}
    fixed = net.service(only("tcp").replace(**{"listen.addresses": ("tcp://0.0.0.0:5001",)}))
    assert fixed.rotate_ports() == ()


def test_too_often_is_refused() -> None:
    """Old ports need some time to be of use."""
    with pytest.raises(crust.ConfigError, match="rotate_interval"):
        crust.Config().replace(**{"listen.rotate_interval": limits.ROTATE_MIN - 1})


def test_stopping_closes_the_old_ones_too(net: Network) -> None:
    """Nobody gets in any more, by whichever port."""
    callee = net.service(only("tcp"))
    old = callee.contact
    callee.rotate_ports(grace=GRACE)
    new = callee.contact
    callee.stop_listening()
    for contact in (old, new):
        with pytest.raises(crust.ConnectError):
            net.service(only("tcp")).connect(contact, timeout=2)
    callee.start_listening()
    net.advance(2 * GRACE)
    net.service(only("tcp")).connect(callee.contact)


# --- which ports ------------------------------------------------------------------------------------------------------


class Ports:
    """A transport whose random ports are given."""

    def __init__(self, *given: int) -> None:
        self.given = collections.deque(given)
        self.open: list[int] = []

    def listen(self, endpoint: Endpoint) -> Any:
        port = endpoint.port or self.given.popleft()
        if port in self.open:
            raise ListenError(errno.EADDRINUSE, "occupied")
        self.open.append(port)
        return OnePort(self, endpoint.with_port(port))


class OnePort:
    def __init__(self, ports: Ports, endpoint: Endpoint) -> None:
        self.ports, self.endpoint = ports, endpoint

    def close(self) -> None:
        self.ports.open.remove(self.endpoint.port)

    def retire(self) -> None:
        pass


class Host:
    def __init__(self, **transports: Ports) -> None:
        self.transports = transports

    def spawn(self, *_: object) -> None:
        pass


def test_the_same_number_for_both_and_none_that_was_used() -> None:
    """A port that was used lately, or that only one transport has free, is given back and another one tried."""
    tcp, utp = Ports(1001, 1002, 1003, 1004), Ports()
    host: Any = Host(tcp=tcp, utp=utp)
    listeners = Listeners(host, ListenConfig(addresses=BOTH), configured=True, on_failed=lambda *_: None)
    listeners.open()
    utp.open.append(1003)
    opened, old = listeners.rotate({1001, 1002})
    assert {each.port for each in opened} == {1004}
    assert [each.endpoint.port for each in old] == [1001, 1001]
    assert sorted(tcp.open) == [1001, 1004] and sorted(utp.open) == [1001, 1003, 1004]
    assert {each.port for each in listeners.retired()} == {1001}
    listeners.end(old)
    assert tcp.open == [1004] and listeners.retired() == ()


# --- on real sockets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "utp"])
@pytest.mark.parametrize("rotating", ["near", "far", "both"])
def test_three_rotations_under_load(nodes: Nodes, transport: str, rotating: str) -> None:
    """Messages go both ways all the time: all arrive once and in order, and each time all ports are others."""
    listen = ListenConfig(addresses=tuple(each for each in LOOPBACK if each.startswith(transport)))
    pair = Pair(nodes, nodes.start(config(listen=listen)), nodes.start(config(listen=listen)))
    got: dict[str, list[int]] = {"near": [], "far": []}
    pair.near.on(crust.NewMessage, lambda message: got["near"].append(int(message.data)))
    pair.far.on(crust.NewMessage, lambda message: got["far"].append(int(message.data)))
    services = {"near": [pair.near], "far": [pair.far], "both": [pair.near, pair.far]}[rotating]
    sent = 0
    seen = [{local_port(pair.to_far), local_port(pair.to_near)}]
    for _ in range(3):
        before = [ports(each) for each in services]
        for service in services:
            service.rotate_ports(grace=30)
        goal = sent + 2000
        while sent < goal:
            for peer in (pair.to_far, pair.to_near):
                peer.send(b"%d" % sent, timeout=30)
            sent += 1

        def has_moved() -> bool:
            ends = [(pair.near, pair.to_far), (pair.far, pair.to_near)]
            mine = [peer for service, peer in ends if service in services]
            return all(local_port(peer) not in seen[-1] for peer in mine)

        wait_until(has_moved, 10.0, "the session to move")
        seen.append({local_port(pair.to_far), local_port(pair.to_near)})
        assert all(not ports(each) & old for each, old in zip(services, before, strict=True))
    for peer in (pair.to_far, pair.to_near):
        peer.flush(timeout=30)
    wait_until(lambda: len(got["near"]) == len(got["far"]) == sent, 10.0, "the last message")
    assert got["near"] == got["far"] == list(range(sent))
    for heard in (pair.near_heard, pair.far_heard):
        assert heard.of(crust.PeerSuspended, crust.LostPeer) == []


def test_closing_in_the_middle(nodes: Nodes) -> None:
    """Nothing of a rotation is left behind."""
    pair = nodes.pair(config(listen__rotate_interval=60.0))
    pair.near.rotate_ports(grace=600)
    pair.far.rotate_ports(grace=600)
    assert pair.near.close() and pair.far.close()
    with pytest.raises(crust.ServiceClosed):
        pair.near.rotate_ports()


def test_a_link_that_ends_during_a_decision_waits_for_it(nodes: Nodes) -> None:
    """Who has read our welcome on another link leaves the old one at once: that is no cut, though we are not done."""
    pair = nodes.proxied(controller="far")
    node = pair.far._node
    assert node is not None
    pair.to_far.send(b"x")
    assert pair.to_near.recv(5) == b"x"
    link = pair.to_near._conversation.link
    assert link is not None
    with node.registry._lock:
        pair.wire.cut()
        wait_until(lambda: link.stage is Stage.DEAD, what="the end of the link")
        pair.near_heard.wait(crust.PeerSuspended)
        assert pair.to_near._conversation.link is link and pair.to_near.state == "connected"
    pair.far_heard.wait(crust.PeerResumed)
