"""Whoever moves to an address with as many peers as may be there goes on, but no more get in so than have room."""

from __future__ import annotations

import contextlib

import pytest

from crust import Identity, Service
from crust.wire import frames
from crust.wire.handshake import Resume
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.waiting import wait_until

THERE, HERE = "127.0.0.2", "127.0.0.3"


def somebody(node: Service, *, controls: bool) -> Identity:
    """Whoever controls the pair decides about sessions: the node at once."""
    identity = Identity.generate()
    while (identity.peer_id > node.id) is not controls:
        identity = Identity.generate()
    return identity


def begun(stack: contextlib.ExitStack, node: Service, source: str) -> tuple[Caller, Identity, frames.Frame]:
    """Somebody calls from that address; what the node says."""
    identity = somebody(node, controls=False)
    caller = stack.enter_context(Caller(node, identity, source=source))
    return caller, identity, caller.receive()[0]


def moved(stack: contextlib.ExitStack, node: Service) -> frames.Frame:
    """Somebody calls from one address, and moves to the other one."""
    caller, identity, welcome = begun(stack, node, THERE)
    if not isinstance(welcome, frames.Welcome):
        return welcome
    resume, incarnation = Resume(welcome.session_id, 0), caller.introduction.incarnation
    again = stack.enter_context(Caller(node, identity, source=HERE, resume=resume, incarnation=incarnation))
    return again.receive()[0]


def test_who_begins_elsewhere_and_moves_does_not_fill_a_node(nodes: Nodes) -> None:
    """With one more address, keys at one would have all places; nobody loses a session for it."""
    node = nodes.start(config(limits__peers_per_address=1))
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            welcome = moved(stack, node)
            assert isinstance(welcome, frames.Welcome) and welcome.outcome is frames.Outcome.RESUMED
        denied = moved(stack, node)
        assert isinstance(denied, frames.Denied) and denied.code.name == "BUSY"
        assert len(node.peers) == 2


@pytest.mark.parametrize("source", [HERE, THERE])
def test_nor_does_who_begins_elsewhere_and_restarts(nodes: Nodes, source: str) -> None:
    """Where it had room it has that again."""
    node = nodes.start(config(limits__peers_per_address=1))
    with contextlib.ExitStack() as stack:
        assert isinstance(begun(stack, node, HERE)[2], frames.Welcome)
        _, identity, welcome = begun(stack, node, THERE)
        assert isinstance(welcome, frames.Welcome)
        answer = stack.enter_context(Caller(node, identity, source=source)).receive()[0]
        assert isinstance(answer, frames.Welcome if source == THERE else frames.Denied)


def test_nor_do_those_who_move_while_others_are_about_to_begin(nodes: Nodes) -> None:
    """To them the room has been promised, though they do not take it yet."""
    node = nodes.start(config(limits__peers_per_address=1))
    with contextlib.ExitStack() as stack:
        waits = stack.enter_context(Caller(node, somebody(node, controls=True), source=HERE))
        assert isinstance(waits.expect(frames.Welcome), frames.Welcome)
        assert isinstance(moved(stack, node), frames.Welcome)
        waits.send(frames.Use(1))
        wait_until(lambda: len(node.peers) == 2, what="the session that was promised")
        denied = begun(stack, node, THERE)[2]
        assert isinstance(denied, frames.Denied) and denied.code.name == "BUSY"


def test_who_calls_again_and_again_and_begins_nothing_takes_no_more_places(nodes: Nodes) -> None:
    """One peer has one place, whatever it has been promised; and it may not have any number of calls wait."""
    node = nodes.start(config(limits__max_peers=4, limits__peers_per_address=2))
    with contextlib.ExitStack() as stack:
        identity = somebody(node, controls=True)
        first = stack.enter_context(Caller(node, identity, source=HERE))
        first.begin()
        wait_until(lambda: len(node.peers) == 1, what="its session")
        for _ in range(5):
            again = Caller(node, identity, source=HERE, incarnation=first.introduction.incarnation)
            last = stack.enter_context(again).receive()[0]
        assert isinstance(last, frames.Denied) and last.code.name == "BUSY"
        assert isinstance(begun(stack, node, THERE)[2], frames.Welcome)
        assert isinstance(begun(stack, node, HERE)[2], frames.Welcome), "nor is its address full"
