"""The network of the machine becomes another one: what a node does, in memory and as the test says that it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import Service
from crust.runtime.interfaces import local_addresses
from crust.service.machine import Machine
from crust.service.network.network_watch import Change
from crust.service.network.surroundings import Surroundings, surroundings, ways_out
from crust.testing import Network
from tests.support.nodes import Nodes, Pair, config
from tests.support.waiting import wait_until


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


def change(*gone: str, is_elsewhere: bool = False, came_up: bool = False) -> Change:
    return Change(frozenset(gone), is_elsewhere or bool(gone), came_up)


def moved(service: Service, what: Change) -> None:
    assert service._network is not None
    service._network.moved(what)


# --- what is compared -------------------------------------------------------------------------------------------------


def test_this_machine() -> None:
    """Whatever it is, its own addresses are told apart by how far they reach, and two looks are equal."""
    here = local_addresses()
    seen = surroundings(here, ways_out())
    assert seen == surroundings(reversed(here), ways_out())
    assert seen.all_addresses == {str(each.ip).partition("%")[0] for each in here if not each.is_loopback}
    assert not seen.addresses & seen.nearby


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_link_from_an_address_that_is_gone_is_dead_at_once(net: Network) -> None:
    """The session is back on another one without any silence."""
    caller, callee = net.service(), net.service()
    near, far = net.connect(caller, callee)
    assert near.path is not None
    began, host = net.now, crust.Endpoint.parse(near.path.local).host
    moved(caller, change(host))
    net.settle()
    assert near.state == far.state == "connected" and net.now == began
    (event,) = net.heard(caller, crust.PeerSuspended)
    assert host in event.reason and "gone" in event.reason
    near.send(b"on")
    net.settle()
    assert far.recv(0) == b"on"


def test_a_link_that_is_dead_is_noticed_without_any_data(net: Network) -> None:
    """After a change all have to show that they live: other ways are tried within half a second, not at a heartbeat."""
    caller, callee = net.service(), net.service()
    near, _ = net.connect(caller, callee)
    net.partition(caller, callee, transport="tcp")
    moved(caller, change(is_elsewhere=True))
    net.advance(1.0)
    assert near.path is not None and near.path.transport == "utp"
    assert net.heard(caller, crust.PeerSuspended) == []


def test_a_link_that_lives_stays(net: Network) -> None:
    """The change was none of its business."""
    caller, callee = net.service(), net.service()
    near, _ = net.connect(caller, callee)
    before = near.path
    for what in (change("10.99.0.1"), change(is_elsewhere=True), change(came_up=True)):
        moved(caller, what)
        net.advance(3.0)
    assert near.path == before
    assert net.heard(caller, crust.PeerSuspended) == []


def test_who_waits_to_dial_again_does_so_at_once(net: Network) -> None:
    """An interface is back: the pause after many attempts in vain is over."""
    caller, callee = net.service(), net.service()
    near, _ = net.connect(caller, callee)
    net.cut(caller, callee)
    net.advance(40.0)
    assert near.state == "suspended"
    net.heal()
    moved(caller, change(came_up=True))
    net.settle()
    assert near.state == "connected"


# --- listeners --------------------------------------------------------------------------------------------------------


def test_a_listener_that_ended_by_itself_comes_back(net: Network) -> None:
    """On the port that the others have, if it is free."""
    service = net.service()
    assert service._network is not None
    before = service.addresses
    listeners = service._network.listeners
    lost = listeners._open.pop(0)
    lost[1].close()
    net.settle()
    assert service.addresses != before
    moved(service, change(is_elsewhere=True))
    net.settle()
    assert set(service.addresses) == set(before)
    assert net.heard(service, crust.AddressesChanged)[-1].addresses == service.addresses
    assert net.heard(service, crust.ListenerStarted)[-1].endpoint == lost[1].endpoint


def test_nobody_listens_again_who_has_stopped(net: Network) -> None:
    """A change of the network is no reason to."""
    service = net.service()
    service.stop_listening()
    moved(service, change(is_elsewhere=True))
    assert service.addresses == ()


# --- the thread -------------------------------------------------------------------------------------------------------


class Scripted:
    """A network that is as the test says; a look at it is a sign that something may have changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = Surroundings(frozenset({"127.0.0.1"}), frozenset(), ("127.0.0.1",))
        self.looks = threading.Semaphore(0)
        monkeypatch.setattr(Machine, "surroundings", lambda _: self.look)
        monkeypatch.setattr("crust.runtime.network_news._netlink", lambda: None)
        monkeypatch.setattr("crust.limits.NETWORK_POLL", 0.02)

    def look(self) -> Surroundings:
        self.looks.release()
        return self.now


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_on_real_sockets(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    """What the thread finds ends the links, and the sessions are back, with all that was sent."""
    network = Scripted(monkeypatch)
    listen: Any = crust.ListenConfig(addresses=(f"{transport}://127.0.0.1:0",))
    pair = Pair(nodes, nodes.start(config(listen=listen)), nodes.start(config(listen=listen)))
    for number in range(100):
        pair.to_far.send(b"%d" % number)
    network.now = Surroundings(frozenset({"192.0.2.7"}), frozenset(), ("192.0.2.7",))
    pair.near_heard.wait(crust.PeerResumed)
    assert [pair.to_near.recv(5) for _ in range(100)] == [b"%d" % number for number in range(100)]

    def reasons() -> list[str]:
        both = (*pair.near_heard.of(crust.PeerSuspended), *pair.far_heard.of(crust.PeerSuspended))
        return [each.reason for each in both]

    wait_until(lambda: any("127.0.0.1 is gone" in each for each in reasons()), what="it from whoever noticed it first")
    wait_until(lambda: pair.to_near.state == "connected")


def test_nothing_happens_while_nothing_changes(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked at; and the thread ends with the node."""
    network = Scripted(monkeypatch)
    pair = nodes.pair()
    for _ in range(20):
        assert network.looks.acquire(timeout=5)
    assert pair.near_heard.of(crust.PeerSuspended, crust.PathChanged) == []
    assert pair.near.close()
    assert pair.near._node is not None and pair.near._node.threads.alive() == []
