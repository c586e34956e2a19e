"""Whoever moves to an address with as many peers as may be there goes on, but no more get in so than have room."""

from __future__ import annotations

import contextlib

import pytest

from crust import Identity, Service
from crust.wire import frames
from crust.wire.handshake import Resume
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller

THERE, HERE = "127.0.0.2", "127.0.0.3"


def begun(stack: contextlib.ExitStack, node: Service, source: str) -> tuple[Caller, Identity, frames.Frame]:
    """Somebody calls from that address; what the node says."""
    identity = Identity.generate()
    while identity.peer_id > node.id:  # the node decides then, at once
        identity = Identity.generate()
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
