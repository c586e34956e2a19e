"""Both sides call at once: one session, one event on each side, whoever has the greater id and however they meet."""

from __future__ import annotations

import functools
import random
import threading

import pytest

import crust
from crust import Contact, Service
from tests.support.nodes import Nodes, config, pair_of_identities, through
from tests.support.proxy import DOWN, UP, Proxy
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine
ROUNDS = 30


class Duel:
    """Two nodes that call each other, straight or each through a proxy."""

    def __init__(self, nodes: Nodes, proxies: bool) -> None:
        lesser, greater = pair_of_identities()
        self.services = (nodes.start(identity=lesser), nodes.start(identity=greater))
        self.heard = tuple(nodes.heard(service) for service in self.services)
        self.proxies: tuple[Proxy, ...] = ()
        self.contacts: tuple[Contact, ...] = tuple(service.contact for service in self.services)
        if proxies:
            self.proxies = tuple(nodes.proxy(service) for service in self.services)
            self.contacts = tuple(map(through, self.proxies, self.services))

    def call(self, service: Service, contact: Contact, go: threading.Event) -> crust.Peer:
        assert go.wait(PATIENCE)
        return service.connect(contact, timeout=PATIENCE)

    def fight(self, number: int) -> None:
        """Both connect at the same moment; afterwards they talk, and part."""
        lesser, greater = self.services
        go = threading.Event()
        calls = [
            Background(self.call, lesser, self.contacts[1], go),
            Background(self.call, greater, self.contacts[0], go),
        ]
        go.set()
        peers = [call.result(2 * PATIENCE) for call in calls]
        for heard in self.heard:
            heard.wait(crust.ConnectSuccess, number, PATIENCE)
        for peer, service in zip(peers, self.services, strict=True):
            assert isinstance(peer, crust.Peer)
            assert [peer] == service.peers
            peer.send(b"%d" % number)
        for peer in peers:
            assert isinstance(peer, crust.Peer)
            assert peer.recv(PATIENCE) == b"%d" % number
        peers[number % 2].disconnect()  # type: ignore[attr-defined]
        for heard in self.heard:
            assert heard.wait(crust.LostPeer, number, PATIENCE).reason == "disconnected"

    def check(self, rounds: int) -> None:
        """There was nothing but one session after the other, on both sides."""
        for service, heard in zip(self.services, self.heard, strict=True):
            other = next(each.id for each in self.services if each is not service)
            assert heard.names(other) == ["ConnectSuccess", "LostPeer"] * rounds
            assert heard.of(crust.ConnectFailure) == []


def test_simultaneous_connects(nodes: Nodes) -> None:
    """Thirty times straight."""
    duel = Duel(nodes, proxies=False)
    for number in range(1, ROUNDS + 1):
        duel.fight(number)
    duel.check(ROUNDS)


def test_simultaneous_connects_with_delays(nodes: Nodes) -> None:
    """Thirty times with every byte delayed, differently in each direction of each call: they cross in all orders."""
    duel = Duel(nodes, proxies=True)
    delays = random.Random(5)
    for number in range(1, ROUNDS + 1):
        for proxy in duel.proxies:
            proxy.delay(delays.choice((0.0, 0.002, 0.01)), UP)
            proxy.delay(delays.choice((0.0, 0.002, 0.01)), DOWN)
        duel.fight(number)
    duel.check(ROUNDS)


@pytest.mark.parametrize("stage", [UP, DOWN])
@pytest.mark.parametrize("quick", [0, 1])
def test_a_call_that_comes_while_another_hangs(nodes: Nodes, quick: int, stage: str) -> None:
    """One side's call hangs in the handshake; the other's goes through and settles both; the hanging one then ends."""
    duel = Duel(nodes, proxies=True)
    slow = 1 - quick
    hanging = duel.proxies[quick]  # the slow one calls through it
    hanging.stall(stage)
    waiting = Background(duel.services[slow].connect, duel.contacts[quick])
    wait_until(lambda: hanging.connections, what="the call that hangs")
    peer = duel.services[quick].connect(duel.contacts[slow])
    assert waiting.result() is duel.services[slow].peers[0]
    hanging.heal()
    peer.send(b"settled")
    assert duel.services[slow].peers[0].recv(PATIENCE) == b"settled"
    for service, heard in zip(duel.services, duel.heard, strict=True):
        heard.wait(crust.ConnectSuccess)
        assert heard.names(duel.services[1 - duel.services.index(service)].id) == ["ConnectSuccess"]


def test_dials_from_both_sides_and_twice_each(nodes: Nodes) -> None:
    """Four calls at once between two nodes are one session."""
    duel = Duel(nodes, proxies=False)
    for number in range(1, 6):
        futures = [
            service.dial(contact)
            for service, contact in zip(duel.services, reversed(duel.contacts), strict=True)
            for _ in range(2)
        ]
        peers = [future.result(PATIENCE) for future in futures]
        assert peers[0] is peers[1] and peers[2] is peers[3]
        peers[0].send(b"%d" % number)
        assert peers[2].recv(PATIENCE) == b"%d" % number
        for heard in duel.heard:
            heard.wait(crust.ConnectSuccess, number)
        peers[0].disconnect()
        for heard in duel.heard:
            heard.wait(crust.LostPeer, number)
    duel.check(5)


def complete(service: Service, others: set[crust.PeerId]) -> bool:
    return {peer.id for peer in service.peers} == others


def test_everybody_calls_everybody(nodes: Nodes) -> None:
    """Six nodes that all dial each other at once end as a full mesh: one session and one event a pair and side."""
    services = [nodes.start() for _ in range(6)]
    futures = [one.dial(other.contact) for one in services for other in services if one is not other]
    for future in futures:
        assert future.result(PATIENCE).state == "connected"
    for service in services:
        others = {each.id for each in services if each is not service}
        wait_until(functools.partial(complete, service, others), what="a full mesh")
        nodes.heard(service).wait(crust.ConnectSuccess, len(others))
        for peer in service.peers:
            peer.send(service.id.public_key)
    for service in services:
        for peer in service.peers:
            assert peer.recv(PATIENCE) == peer.id.public_key
            assert nodes.heard(service).names(peer.id) == ["ConnectSuccess"]


def test_a_call_during_a_session_is_not_a_second_one(nodes: Nodes) -> None:
    """A node that lost its memory of nothing but still dials gets the session that is there."""
    pair = nodes.pair(config(), config())
    for service, other in ((pair.near, pair.far), (pair.far, pair.near)):
        assert service.connect(other.contact) is service.peers[0]
    assert pair.near_heard.names(pair.far.id) == pair.far_heard.names(pair.near.id) == ["ConnectSuccess"]
