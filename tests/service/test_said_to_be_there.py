"""An introducer says where those are whom it brings, and may lie: who is there himself pays nothing for that."""

from __future__ import annotations

import contextlib

from crust import Identity, Service
from crust.wire import frames
from crust.wire.handshake import Capability
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller, bring
from tests.support.waiting import wait_until

HERE = "127.0.0.3"


def said_to_be(stack: contextlib.ExitStack, node: Service, seen: str, source: str) -> frames.Frame:
    """What the node says to somebody who is made up by an introducer at ``source``."""
    caller = stack.enter_context(Caller(node, Identity.generate(), capabilities=Capability.CIRCUITS, source=source))
    caller.begin()
    return bring(caller, node, 1 if caller.controller else 2, (seen, 5))


def test_nobody_is_kept_out_by_those_who_are_said_to_be_where_he_is(nodes: Nodes) -> None:
    """They count among such alone, of whom no more come in than have places at one address."""
    node = nodes.start(config(limits__peers_per_address=2))
    with contextlib.ExitStack() as stack:
        for source in ("127.0.0.1", "127.0.0.2"):
            assert isinstance(said_to_be(stack, node, HERE, source), frames.Welcome)
        for _ in range(2):
            honest = stack.enter_context(Caller(node, Identity.generate(), source=HERE))
            assert isinstance(honest.expect(frames.Welcome), frames.Welcome)
        denied = said_to_be(stack, node, HERE, "127.0.0.4")
        assert isinstance(denied, frames.Denied) and denied.code.name == "BUSY"
        assert isinstance(said_to_be(stack, node, "127.0.0.9", "127.0.0.5"), frames.Welcome)


def test_who_is_said_to_be_where_too_many_are_does_not_come_in(nodes: Nodes) -> None:
    """He would move there as soon as he is in: one address with many keys would fill a node so."""
    node = nodes.start(config(limits__peers_per_address=2))
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Caller(node, Identity.generate(), source=HERE)).begin()
        wait_until(lambda: len(node.peers) == 2, what="the sessions")
        denied = said_to_be(stack, node, HERE, "127.0.0.4")
        assert isinstance(denied, frames.Denied) and denied.code.name == "BUSY"
