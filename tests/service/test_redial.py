"""How soon a session goes on after what befalls networks, in memory and on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import Service
from crust.testing import Network
from crust.wire.frames import Candidates, Place, PlaceKind, TransportCode

BUDGET = 3.0
"""Seconds from when the network is as it will stay until data goes on."""


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


class Stream:
    """Ten messages a second from one peer to another."""

    def __init__(self, net: Network, sender: crust.Peer, receiver: crust.Peer) -> None:
        self.net, self.sender, self.receiver = net, sender, receiver
        self.sent = self.got = 0

    def run(self, seconds: float) -> float:
        """Let so much time pass; how long it took until all that had been sent had arrived, or infinity."""
        began, back = self.net.now, float("inf")
        while self.net.now < began + seconds:
            self.sender.send(b"%d" % self.sent)
            self.sent += 1
            self.net.advance(0.1)
            self.take()
            if self.got == self.sent:
                back = min(back, self.net.now - began)
        return back

    def take(self) -> None:
        """What has arrived is what was sent, in order."""
        while True:
            try:
                data = self.receiver.recv(0)
            except crust.Timeout:
                return
            assert data == b"%d" % self.got
            self.got += 1


@pytest.fixture(params=["from the caller", "to the caller"])
def stream(net: Network, request: pytest.FixtureRequest) -> Stream:
    net.delay(seconds=0.02)
    near, far = net.connect(net.service(), net.service())
    made = Stream(net, near, far) if request.param == "from the caller" else Stream(net, far, near)
    assert made.run(1.0) < 0.2
    return made


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.7, 2.4, 3.1, 5.0, 7.3, 9.9, 14.0])
def test_after_a_silent_line(net: Network, stream: Stream, seconds: float) -> None:
    """A cable that is pulled, or a router that starts again: it goes on soon, however long that took."""
    net.partition()
    stream.run(seconds)
    net.heal()
    net.delay(seconds=0.02)
    assert stream.run(5.0) <= BUDGET
    assert stream.got == stream.sent


@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0, 14.0])
def test_after_a_cut(net: Network, stream: Stream, seconds: float) -> None:
    """What was connected is broken, and attempts fail for a while."""
    net.cut()
    stream.run(seconds)
    net.heal()
    net.delay(seconds=0.02)
    assert stream.run(5.0) <= BUDGET


def test_many_after_a_cut(net: Network) -> None:
    """Each that is back could introduce us to the others, which is tried, too; it puts off nothing."""
    node = net.service()
    for _ in range(12):
        net.connect(node, net.service())
    net.advance(1.0)
    net.cut(node)
    net.advance(0.5)
    net.heal()
    net.advance(BUDGET)
    assert {peer.state for peer in node.peers} == {"connected"} and len(node.peers) == 12


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_one_transport_is_blocked(net: Network, stream: Stream, transport: str) -> None:
    """For good: it goes on by the other one, or has never been touched."""
    net.partition(transport=transport)
    assert stream.run(5.0) <= BUDGET


def test_a_line_that_comes_back_first_wins(net: Network) -> None:
    """Attempts are under way when the old link speaks again: the session stays there, and nobody hears of anything."""
    caller, callee = net.service(), net.service()
    near, far = net.connect(caller, callee)
    before = near.path
    net.partition(caller, callee)
    near.send(b"x")
    net.advance(1.3)
    net.heal()
    net.refuse(caller, callee)
    net.advance(5.0)
    assert far.recv(0) == b"x"
    assert near.path is not None and before is not None and near.path.since == before.since
    for service in (caller, callee):
        assert net.heard(service, crust.PathChanged) == []
        assert net.heard(service, crust.PeerSuspended) == []


def test_a_slow_path_is_given_the_time_it_needs(net: Network) -> None:
    """The session began on a quick path, and only one is left that takes a second and a half each way."""
    caller, callee = net.service(), net.service()
    near, far = net.connect(caller, callee)
    net.cut(caller, callee)
    near.send(b"at last")
    net.advance(1.0)
    net.heal()
    net.delay(seconds=1.5)
    net.advance(60.0)
    assert far.recv(0) == b"at last"


# --- where the peer said that it is -----------------------------------------------------------------------------------


def tell(service: Service, peer: crust.Peer, *addresses: tuple[str, int]) -> None:
    """Let a node say that it is there."""
    link = peer._conversation.link
    assert link is not None
    places = tuple(Place(PlaceKind.INTERFACE, TransportCode.TCP, True, each) for each in addresses)
    link.write_control(Candidates(0, (), places))


def address(service: Service) -> tuple[str, int]:
    endpoint = next(each for each in service.addresses if each.transport == "tcp" and each.family == 4)
    return endpoint.host, endpoint.port


def listening_peer(net: Network) -> Service:
    return net.service(crust.Config().replace(**{"listen.addresses": ("tcp://0.0.0.0:0",)}))


def test_who_was_called_calls_back(net: Network) -> None:
    """The caller cannot dial any more, but it has said where it listens."""
    caller, callee = listening_peer(net), listening_peer(net)
    near, far = net.connect(caller, callee)
    tell(caller, near, address(caller))
    net.settle()
    callee.stop_listening()
    net.reset(caller, callee)
    net.advance(1.0)
    assert near.state == far.state == "connected"
    assert far.path is not None and not far.path.inbound


def test_others_addresses_are_tried_a_few_times_only(net: Network) -> None:
    """A peer may name anybody's: what goes there is counted, and what is private is not tried at all."""
    caller, callee = listening_peer(net), listening_peer(net)
    near, far = net.connect(caller, callee)
    tell(caller, near, ("10.99.99.99", 4711), ("192.0.2.1", 80), ("1.1.1.1", 80))
    net.settle()
    net.cut(caller, callee)
    net.advance(60.0)
    tried = [each.endpoint for each in callee._node.dialer.attempts(caller.id)] if callee._node is not None else []
    assert set(tried) <= {"tcp://1.1.1.1:80"} and 1 <= len(tried) <= 2
    assert far.state == "suspended"


# --- while nothing is said --------------------------------------------------------------------------------------------


def test_an_idle_link_over_udp_is_kept_alive(net: Network) -> None:
    """Whatever the interval of heartbeats: routers forget UDP soon. So it is noticed, too, when it has died."""
    rare = crust.Config().replace(**{"session.heartbeat_interval": 300.0, "session.resume_timeout": 900.0})
    caller, callee = net.service(rare), net.service(rare)
    net.partition(transport="tcp")
    near, far = net.connect(caller, callee)
    net.advance(30.0)  # the attempts by TCP have ended
    before = near._conversation.session.last_received
    net.advance(16.0)
    assert near._conversation.session.last_received > before
    net.heal()
    net.partition(transport="utp")
    net.advance(17.0)
    assert near.path is not None and near.path.transport == "tcp"
    before = near._conversation.session.last_received
    net.advance(60.0)  # and by TCP as rarely as was wished
    assert near._conversation.session.last_received == before
