"""
Promise: who introduces two peers to each other, or carries what they say, can prevent that, and nothing else.

The introducer is a node whose code has been changed. It leads calls astray, and does to the bytes of a circuit what it
likes: changes, doubles, drops, holds back, reorders them, swaps those of two circuits. The two ends run a handshake and
records of their own inside, so the circuit ends, another one is made, and every message arrives once and in order.

What one may say of where peers are: docs/nat-traversal.md, tests/natlab/test_hostile_peers.py. One that breaks
the rules of circuits, and ends that do: tests/service/test_circuits_hostile.py.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable

import pytest

import crust
from crust import limits
from crust.peers.circuits import relayed
from crust.peers.circuits.introducing import Introducing
from crust.peers.circuits.relayed import Leg
from crust.peers.conversation import Conversation
from crust.peers.link import Link
from crust.wire.frames import CircuitData, CircuitOpen
from tests.support.nodes import Nodes, Pair, pair_of_identities
from tests.support.trios import SERVES, Trio, hidden
from tests.support.waiting import wait_until

PATIENCE = 20.0


def test_another_peer_is_not_taken_for_the_one_that_was_called(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The introducer leads every call to somebody else, honest or its accomplice: there is no session with anybody."""
    trio = Trio(nodes, SERVES)
    third = nodes.start(hidden())
    third.stop_listening()
    third.connect(trio.relay.contact)
    nodes.heard(trio.relay).wait(crust.ConnectSuccess, 3)
    usual = Introducing.open
    led: list[CircuitOpen] = []

    def lead(introducing: Introducing, conversation: Conversation, link: Link, frame: CircuitOpen) -> None:
        led.append(frame)
        usual(introducing, conversation, link, dataclasses.replace(frame, target=third.id.public_key))

    monkeypatch.setattr(Introducing, "open", lead)
    with pytest.raises((crust.ConnectError, crust.Timeout)):
        trio.near.connect(trio.far.id, timeout=3.0)
    assert led and led[0].target == trio.far.id.public_key
    for one, other in ((trio.near, third), (third, trio.near), (trio.near, trio.far), (trio.far, trio.near)):
        assert not one.is_connected(other.id)


STRIKES = 1
LEAST = 40
"""Bytes of a piece of a circuit that has more in it than an acknowledgement."""


class Meddling:
    """What a hostile introducer does to the first pieces that it hands on to ``victim``; others it only remembers."""

    def __init__(self, how: Callable[[Meddling, Leg, bytes], bytes | None], victim: Callable[[Leg], bool]) -> None:
        self._how = how
        self._victim = victim
        self._usual = Leg._data
        self._lock = threading.Lock()
        self.struck: list[Leg] = []
        self.held: dict[Leg, bytes] = {}
        self.elsewhere: collections.deque[bytes] = collections.deque(maxlen=1)
        """What has passed on other circuits."""

    def data(self, leg: Leg) -> CircuitData | None:
        """In place of ``Leg._data``."""
        frame = self._usual(leg)
        if frame is None:
            return None
        with self._lock:
            if not self._victim(leg):
                self.elsewhere.append(frame.data)
                return frame
            data: bytes | None = frame.data
            if leg in self.held:
                data = frame.data + self.held.pop(leg) if self._how is swap else None
            elif len(frame.data) >= LEAST and len(self.struck) < STRIKES and leg not in self.struck:
                self.struck.append(leg)
                data = self._how(self, leg, frame.data)
            return None if data is None else CircuitData(frame.number, data)


def swap(meddling: Meddling, leg: Leg, data: bytes) -> None:
    meddling.held[leg] = data  # behind what comes next


def hold_back(meddling: Meddling, leg: Leg, data: bytes) -> None:
    meddling.held[leg] = data  # and all that comes behind it


def exchange(meddling: Meddling, leg: Leg, data: bytes) -> bytes:
    return meddling.elsewhere[0]


WAYS: dict[str, Callable[[Meddling, Leg, bytes], bytes | None]] = {
    "changed": lambda meddling, leg, data: data[:-1] + bytes((data[-1] ^ 1,)),
    "doubled": lambda meddling, leg, data: data + data,
    "half of it dropped": lambda meddling, leg, data: data[: len(data) // 2],
    "all of it dropped": lambda meddling, leg, data: None,
    "held back": hold_back,
    "reordered": swap,
    "of another circuit": exchange,
}


def message(number: int) -> bytes:
    return b"%d:" % number + bytes(100)


def send(peer: crust.Peer, meddling: Meddling) -> int:
    """Until he has struck often enough; how many messages."""
    number = 0
    while len(meddling.struck) < STRIKES or number % 10:
        peer.send(message(number), timeout=PATIENCE)
        number += 1
        if number % 10 == 0:
            peer.flush(PATIENCE)
    peer.flush(PATIENCE)
    return number


class Others:
    """Two more peers with a circuit through the same introducer."""

    def __init__(self, nodes: Nodes, relay: crust.Service) -> None:
        self.near, self.far = (nodes.start(hidden()) for _ in range(2))
        for number, each in enumerate((self.near, self.far), 3):
            each.stop_listening()
            each.connect(relay.contact)
            nodes.heard(relay).wait(crust.ConnectSuccess, number)
        self._to_far = self.near.connect(self.far.id)
        wait_until(lambda: self.far.is_connected(self.near.id), what="the far end")

    def talk(self) -> None:
        (to_near,) = [each for each in self.far.peers if each.id == self.near.id]
        self._to_far.send(b"undisturbed" * 20)
        assert to_near.recv(PATIENCE) == b"undisturbed" * 20


@pytest.mark.parametrize("way", WAYS)
def test_what_an_introducer_does_to_a_circuit(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """All messages arrive, each once and in order; no session is lost, and nobody is blamed who is not at fault."""
    monkeypatch.setattr(limits, "SUSPICION_MIN", 0.1)  # silence is noticed sooner
    trio = Trio(nodes, SERVES)
    to_far, to_near = trio.meet()
    others = Others(nodes, trio.relay)

    def to_the_victim(leg: Leg) -> bool:
        return leg.circuit.target == trio.far.id and leg is leg.circuit.callee

    meddling = Meddling(WAYS[way], to_the_victim)
    monkeypatch.setattr(Leg, "_data", lambda leg: meddling.data(leg))
    others.talk()
    sent = send(to_far, meddling)
    assert [to_near.recv(PATIENCE) for _ in range(sent)] == [message(number) for number in range(sent)]
    assert len(meddling.struck) == STRIKES
    others.talk()
    for service in (trio.near, trio.far):
        assert nodes.heard(service).of(crust.PeerMisbehaved, crust.LostPeer) == []


@pytest.mark.parametrize(("handshake", "patience"), [(1.2, PATIENCE), (PATIENCE, 1.2)])
def test_whoever_lets_no_call_through_comes_after_others(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, handshake: float, patience: float
) -> None:
    """
    It hands on the first two messages of a call, and no more: the attempt ends by its own time or by the caller's. It
    is not preferred again, or a few of these would keep two peers apart whom others would bring together.
    """
    trio = Trio(nodes, SERVES, near=hidden(session__handshake_timeout=handshake))
    monkeypatch.setattr(Leg, "_data", lambda leg: None)
    with pytest.raises((crust.ConnectError, crust.Timeout)):
        trio.near.connect(trio.far.id, timeout=patience)
    inner = trio.near._node
    assert inner is not None
    other = nodes.start(hidden())
    start, none = inner.circuits.introducers.handicaps(trio.far.id, [trio.relay.id, other.id])
    assert start >= 2 * limits.CIRCUIT_HANDICAP and not none


@pytest.mark.parametrize("controller", ["near", "far"])
@pytest.mark.parametrize("seen", [None, ("192.0.2.7", 4000)], ids=["silent", "lying"])
def test_an_introducer_does_not_end_a_session_by_where_it_says_that_a_peer_is(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, controller: str, seen: tuple[str, int] | None
) -> None:
    """No list lets in who is said to be there; the session waits for another way, and loses nothing."""
    offers: list[Link] = []

    def say(link: Link) -> tuple[str, int] | None:
        offers.append(link)
        return seen

    monkeypatch.setattr(relayed, "address_of", say)
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
    relay = nodes.start(SERVES)
    near = nodes.start(hidden(), identity=ours)
    far = nodes.start(hidden(access__node_networks=("127.0.0.0/8",)), identity=theirs)
    pair = Pair(nodes, near, far, nodes.proxy(far))
    near.stop_listening()
    for each in (near, far):
        each.connect(relay.contact)
    pair.suspend()
    pair.to_far.send(b"there")
    pair.to_near.send(b"back")
    wait_until(lambda: len(offers) >= 2, PATIENCE, "a call by way of the introducer")
    pair.wire.heal()
    assert (pair.to_near.recv(PATIENCE), pair.to_far.recv(PATIENCE)) == (b"there", b"back")
    for heard, peer in ((pair.near_heard, far), (pair.far_heard, near)):
        assert "LostPeer" not in heard.names(peer.id)
