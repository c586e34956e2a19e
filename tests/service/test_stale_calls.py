"""What a caller said before it had its session is kept back on the way, and comes later: it ends nothing."""

from __future__ import annotations

import os

import pytest

import crust
from crust import Identity, limits
from crust.wire import frames
from crust.wire.handshake import DenialCode, Resume
from tests.support.nodes import Nodes, pair_of_identities
from tests.support.puppet import PATIENCE, Caller, answered
from tests.support.waiting import wait_until


def refused(caller: Caller) -> DenialCode:
    denied = caller.expect(frames.Denied)
    assert isinstance(denied, frames.Denied)
    return denied.code


def resumes(node: crust.Service, identity: Identity, run: bytes, session_id: bytes) -> None:
    """The session goes on, with what was sent in it."""
    with Caller(node, identity, incarnation=run, resume=Resume(session_id, 0)) as again:
        welcome = again.expect(frames.Welcome)
        assert isinstance(welcome, frames.Welcome) and welcome.outcome is frames.Outcome.RESUMED
        if again.controller:
            again.send(frames.Use(2))
        batch = again.expect(frames.Batch)
        assert isinstance(batch, frames.Batch) and list(batch.messages) == [b"kept"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_call_from_before_a_session_that_was_cut(nodes: Nodes, restarted: bool) -> None:
    """Of the same run of the caller, or of one before it."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=greater)
    run = os.urandom(limits.INCARNATION_SIZE)
    with answered(node, less, os.urandom(limits.INCARNATION_SIZE) if restarted else run) as stale:
        with Caller(node, less, incarnation=run) as caller:
            session_id = caller.begin().session_id
        nodes.heard(node).wait(crust.PeerSuspended)
        node.peers[0].send(b"kept")
        stale.introduce()
        assert refused(stale) is DenialCode.DUPLICATE
    resumes(node, less, run, session_id)
    assert nodes.heard(node).of(crust.LostPeer) == []


def test_a_call_from_before_its_caller_knew_of_the_session(nodes: Nodes) -> None:
    """It was answered when the session had begun here, and the word of that was on its way."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=greater)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, less, incarnation=run) as caller:
        session_id = caller.begin().session_id
        with answered(node, less, run) as stale:
            caller.send(frames.Batch(0, 0, 1, [b"hello"]))
            assert node.peers[0].recv(PATIENCE) == b"hello"
            caller.sock.close()
            nodes.heard(node).wait(crust.PeerSuspended)
            node.peers[0].send(b"kept")
            stale.introduce()
            assert refused(stale) is DenialCode.DUPLICATE
    resumes(node, less, run, session_id)
    assert nodes.heard(node).of(crust.LostPeer) == []


def test_a_call_of_a_former_run_to_who_does_not_decide(nodes: Nodes) -> None:
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with answered(node, greater, os.urandom(limits.INCARNATION_SIZE)) as stale:
        with Caller(node, greater, incarnation=run) as caller:
            session_id = caller.begin().session_id
            nodes.heard(node).wait(crust.ConnectSuccess)
        nodes.heard(node).wait(crust.PeerSuspended)
        node.peers[0].send(b"kept")
        stale.introduce()
        assert refused(stale) is DenialCode.DUPLICATE
    resumes(node, greater, run, session_id)
    assert nodes.heard(node).of(crust.LostPeer) == []


def test_a_decision_from_before_another_session(nodes: Nodes) -> None:
    """Its caller has found its session gone since, as its first word did not come, and has begun another one."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, greater, incarnation=run) as stale:
        stale.expect(frames.Welcome)
        with Caller(node, greater, incarnation=run) as caller:
            caller.begin()
            nodes.heard(node).wait(crust.ConnectSuccess)
            stale.send(frames.Use(1))
            assert stale.rest() == []
            node.peers[0].send(b"kept")
            batch = caller.expect(frames.Batch)
            assert isinstance(batch, frames.Batch) and list(batch.messages) == [b"kept"]
    assert nodes.heard(node).of(crust.LostPeer) == []


def test_who_has_lost_its_session_gets_another_one(nodes: Nodes) -> None:
    """It was answered after the session, and hears no denial: the session here is over."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=greater)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, less, incarnation=run) as caller:
        caller.begin()
        caller.send(frames.Batch(0, 0, 1, [b"hello"]))
        assert node.peers[0].recv(PATIENCE) == b"hello"
    nodes.heard(node).wait(crust.PeerSuspended)
    with Caller(node, less, incarnation=run) as again:
        assert again.begin().outcome is frames.Outcome.FRESH
    wait_until(lambda: [each.reason for each in nodes.heard(node).of(crust.LostPeer)] == ["gone"], what="the end")
