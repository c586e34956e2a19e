"""A peer that has a node verify many signatures: one that asked for none charges for them, one that asked does not."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest

import crust
from crust import Identity, limits
from crust.addresses import network_id
from crust.crypto.proofs import Numbers, Signatory
from crust.peers.accounts import Burden
from crust.wire import frames
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds for what should be at once, on a busy machine
POOR: dict[str, Any] = {"limits__overhead_per_peer": 0.001}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little may be saved up."""
    monkeypatch.setattr(limits, "OVERHEAD_SAVED", 0.01)


def records(node: crust.Service, identity: Identity, session_id: bytes) -> Iterator[frames.Batch]:
    """Each full of signed messages of one byte."""
    numbers, signatory = Numbers(session_id, os.urandom), Signatory(identity, network_id(None))
    for first in itertools.count(0, 100):
        messages = [signatory.sign_message(node.id.public_key, numbers.next(1), 1, b"x") for _ in range(100)]
        yield frames.Batch(first, frames.Kind.SIGNED, 1, messages)


def test_a_flood_of_signatures_is_throttled_and_told(nodes: Nodes) -> None:
    """Its link is not read: the socket takes no more."""
    node, identity = nodes.start(config(**POOR)), Identity.generate()

    def heard() -> list[crust.PeerMisbehaved]:
        return [each for each in nodes.heard(node).of(crust.PeerMisbehaved) if each.kind == "signature-flood"]

    with Caller(node, identity) as caller:
        made = records(node, identity, caller.begin().session_id)
        caller.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            for record in itertools.islice(made, 300):
                caller.send(record)
                if heard():
                    break
        wait_until(heard, PATIENCE, "the alert")
        [event] = heard()
        assert event.attributable and event.peer is not None and event.peer.id == identity.peer_id
        assert node.stats().refusals["limits.overhead_per_peer"] >= 1
        assert node.stats().peers_connected == 1


def test_who_takes_nothing_but_signed_messages_does_not_charge_for_them(nodes: Nodes) -> None:
    """However poor its peers are: it has asked for every one."""
    node, identity = nodes.start(config(signing__require_signed=True, **POOR)), Identity.generate()
    with Caller(node, identity) as caller:
        for record in itertools.islice(records(node, identity, caller.begin().session_id), 20):
            caller.send(record)
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        assert [peer.recv(PATIENCE) for _ in range(2000)] == [b"x"] * 2000
        [conversation] = node._node.registry.all()  # type: ignore[union-attr]
        with conversation.lock:
            spent = conversation.meter.account._by or [0.0] * len(Burden)
        assert spent[Burden.SIGNATURE] == 0.0
