"""Something that must not happens to the thread that verifies: it is told, and costs one session at most."""

from __future__ import annotations

import threading
import time
import types
from typing import Any

import pytest

import crust
from crust import Service, limits
from crust.peers import verifying
from crust.peers.verifying import Verifier
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine


class Failing:
    """Verifies, but for what one peer has signed: that fails once others wait, in a way that nobody expects."""

    def __init__(self, verifier: Verifier, sender: crust.PeerId) -> None:
        self.verifier, self.sender, self.real = verifier, sender, verifier._signatory
        self.takes_signed_only = self.begun = False

    def open_message(self, sender: bytes, signed: bytes) -> Any:
        if sender == self.sender.public_key:
            self.begun = True
            wait_until(lambda: self.verifier._ready, PATIENCE, "somebody else's messages")
            raise ZeroDivisionError("a bug")
        return self.real.open_message(sender, signed)


def verifier_of(service: Service) -> Verifier:
    return service._running().signed._verifier


def told_once(service: Service) -> bool:
    """One crash, which is as it should be here."""
    node = service._running()
    wait_until(lambda: node.crashes, PATIENCE, "the crash hook")
    count, node.crashes = node.crashes, 0
    return count == 1


def test_an_error_ends_one_session(nodes: Nodes) -> None:
    """Both sides hear of that; what another peer has sent meanwhile is delivered, and so is what it sends then."""
    hub, broken, honest = nodes.start(), nodes.start(), nodes.start()
    heard = nodes.heard(hub)
    to_hub = {each: each.connect(hub.contact) for each in (broken, honest)}
    peers = {event.peer.id: event.peer for event in (heard.wait(crust.ConnectSuccess, n) for n in (1, 2))}
    verifier = verifier_of(hub)
    failing = Failing(verifier, broken.id)
    verifier._signatory = failing  # type: ignore[assignment]
    to_hub[broken].send(b"lost", sign=True)
    wait_until(lambda: failing.begun, PATIENCE, "the message that fails")
    to_hub[honest].send(b"one", sign=True)
    assert peers[honest.id].recv(PATIENCE) == b"one"
    assert told_once(hub)
    lost = heard.wait(crust.LostPeer)
    assert (lost.peer.id, lost.reason) == (broken.id, "disconnected")
    assert nodes.heard(broken).wait(crust.LostPeer).reason == "disconnected"
    to_hub[honest].send(b"two", sign=True)
    assert peers[honest.id].recv(PATIENCE) == b"two"
    verifier._signatory = hub._running().signatory
    broken.connect(hub.contact).send(b"again", sign=True)
    assert heard.wait(crust.ConnectSuccess, 3).peer.recv(PATIENCE) == b"again"


def test_what_strikes_between_two_turns_costs_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does on gevent: the rest of what is there is verified all the same, and a close waits for it."""
    pair = nodes.pair()
    all_there, struck = threading.Event(), list[bool]()

    def sleep(seconds: float) -> None:
        if not struck:
            struck.append(all_there.wait(PATIENCE))  # else the next message would start another thread
            raise ZeroDivisionError("a bug")
        time.sleep(seconds)

    count = 5 * limits.VERIFIED_PER_TURN
    with monkeypatch.context() as patch:
        patch.setattr(verifying, "time", types.SimpleNamespace(sleep=sleep))
        pair.to_far.send_many([b"%d" % number for number in range(count)], sign=True)
        pair.to_far.flush(PATIENCE)
        all_there.set()
        assert [pair.to_near.recv(PATIENCE) for _ in range(count)] == [b"%d" % number for number in range(count)]
        assert told_once(pair.far)
    pair.to_far.send_many([b"x"] * count, sign=True)
    pair.to_far.flush(PATIENCE)
    assert pair.far.close()
    assert [pair.to_near.recv(PATIENCE) for _ in range(count)] == [b"x"] * count
