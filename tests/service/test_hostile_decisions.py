"""Peers that decide wrongly, or not at all, or do not read: what they cost stays bounded, and nothing hangs on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

import crust
from crust import Identity, limits
from crust.wire import frames
from crust.wire.handshake import DenialCode, Manner, Resume
from tests.support.nodes import Nodes, config, pair_of_identities
from tests.support.puppet import PATIENCE, Callee, Caller
from tests.support.threads import Background
from tests.support.waiting import wait_until


def readers() -> list[str]:
    """The threads that serve inbound links."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("crust-link-")]


def test_a_controller_that_does_not_decide(nodes: Nodes) -> None:
    """A welcome without a decision is no session: it would carry nothing, and never end."""
    less, greater = pair_of_identities()
    near = nodes.start(identity=less)
    with Callee(greater) as callee:
        dialling = Background(near.connect, callee.contact)
        callee.welcome(use=0)
        with pytest.raises(crust.ConnectError, match="did not decide"):
            dialling.result()
    assert near.peers == []
    assert nodes.heard(near).of(crust.ConnectSuccess) == []


def test_decisions_that_are_stale(nodes: Nodes) -> None:
    """A link that a later decision has overtaken is closed, and not left to a controller that may pile them up."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, greater, incarnation=run) as first:
        session_id = first.begin().session_id
        wait_until(lambda: len(node.peers) == 1, what="the session")
        for _ in range(5):
            with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as stale:
                stale.expect(frames.Welcome)
                stale.send(frames.Use(1))
                assert stale.rest() == []
        first.send(frames.Batch(0, 0, 1, [b"still here"]))
        assert node.peers[0].recv(PATIENCE) == b"still here"
        wait_until(lambda: len(readers()) == 1, what="the end of the stale links")


def test_wishes_that_are_stale(nodes: Nodes) -> None:
    """Who asks for a worse way, not knowing that a better one has been chosen, is told so; who knows it is heard."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=greater)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, less, incarnation=run, manner=Manner.PUNCHED) as first:
        resume = Resume(first.begin().session_id, 0)
        late, later = (
            Caller(node, less, incarnation=run, resume=resume, manner=Manner.PUNCHED, introduce=False) for _ in "12"
        )
        with late, later:
            late.sock.sendall(late.handshake.start())
            late.answer()
            with Caller(node, less, incarnation=run, resume=resume) as better:
                better.begin()
                wait_until(lambda: node.peers[0].path.path_class == "direct-tcp", what="the move")
                late.introduce()
                denied = late.expect(frames.Denied)
                assert isinstance(denied, frames.Denied) and denied.code == DenialCode.DUPLICATE
                assert node.peers[0].path.path_class == "direct-tcp"
                later.sock.sendall(later.handshake.start())
                later.answer()
                later.introduce()
                assert isinstance(later.expect(frames.Welcome), frames.Welcome)
                wait_until(lambda: node.peers[0].path.path_class == "punched-tcp", what="the other move")


@pytest.fixture
def deaf(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[crust.Service, Caller]]:
    """A node, and a caller that lets it send much and reads nothing of it."""
    monkeypatch.setattr(limits, "CLOSE_TIMEOUT", 0.3)
    less, greater = pair_of_identities()
    size = 64 * 1024 * 1024
    node = nodes.start(config(session__send_buffer__bytes=size), identity=greater)
    with Caller(node, less) as caller:
        caller.begin()
        caller.send(frames.Ack(0, size))
        wait_until(lambda: len(node.peers) == 1, what="the session")
        peer = node.peers[0]
        wait_until(lambda: peer._conversation.session.outbox._window == size, what="the window")
        for _ in range(24):
            peer.send(bytes(1024 * 1024), timeout=0)
        wait_until(lambda: peer._conversation.link is not None and peer._conversation.link.blocked, what="a full link")
        yield node, caller


def test_a_peer_that_does_not_read_its_goodbye(deaf: tuple[crust.Service, Caller]) -> None:
    """Its link ends all the same: a thread and a descriptor are not its to keep."""
    node, _ = deaf
    node.peers[0].disconnect()
    wait_until(lambda: readers() == [], what="the end of the link")


def test_a_denial_that_makes_no_sense(nodes: Nodes) -> None:
    """``not_accepting`` to a caller that does not bootstrap is final, and no reason to call again at once."""
    near = nodes.start()
    with Callee(Identity.generate()) as callee:
        dialling = Background(lambda: near.connect(callee.contact, timeout=PATIENCE))
        callee.deny(DenialCode.NOT_ACCEPTING)
        with pytest.raises(crust.Denied) as caught:
            dialling.result()
    assert caught.value.reason == "not_accepting"
