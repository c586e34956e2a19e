"""Whose doing it is that a peer's link is held back: its own, or that of all at its address."""

from __future__ import annotations

import pytest

import crust
from crust import Action, Identity, limits
from crust.peers.accounts import Burden
from crust.peers.conversation import Conversation
from crust.peers.link import Link
from crust.service.node import Node
from tests.support.nodes import Nodes, config
from tests.support.puppet import PATIENCE, Caller
from tests.support.waiting import wait_until


def inside(node: crust.Service) -> tuple[Node, Conversation, Link]:
    """What the node has of its only peer."""
    inner = node._node
    assert inner is not None
    [conversation] = inner.registry.all()
    link = conversation.link
    assert link is not None
    return inner, conversation, link


def test_nobody_is_banned_for_what_is_done_to_its_stream(nodes: Nodes) -> None:
    """Whoever is on the path may pass it on in tiny packets: it is slowed, and is not said to have done that."""
    node = nodes.start(config(), on_misbehaviour=lambda event: Action.BAN)
    heard, identity = nodes.heard(node), Identity.generate()
    with Caller(node, identity) as caller:
        caller.begin()
        heard.wait(crust.ConnectSuccess)
        inner, conversation, link = inside(node)
        conversation.charge_split(1.0 / limits.COST_PACKET)
        assert conversation.owes() > 1.0
        inner.misbehaviour.overspent(conversation, link, 2.0)
        event = heard.wait(crust.PeerMisbehaved)
        assert (event.kind, event.attributable) == ("tiny-records", False)
        verdicts = inner.misbehaviour._verdicts
        wait_until(lambda: set(verdicts.values()) == {Action.THROTTLE}, PATIENCE, "the verdict")
        assert not node.bans and node.is_connected(identity.peer_id)


@pytest.mark.parametrize("own", [True, False])
def test_nobody_is_banned_for_what_its_neighbours_cost(nodes: Nodes, own: bool) -> None:
    """Who would have had enough but for others at its address is told of, and not as one that did it."""
    node = nodes.start(config(), on_misbehaviour=lambda event: Action.BAN)
    heard, identity = nodes.heard(node), Identity.generate()
    with Caller(node, identity) as caller:
        caller.begin()
        heard.wait(crust.ConnectSuccess)
        inner, conversation, link = inside(node)
        with conversation.lock:
            account = conversation.meter.account
            account.spend(Burden.TINY, 1.0)
            account._alone = -1.0 if own else 0.1
        inner.misbehaviour.overspent(conversation, link, 2.0)
        event = heard.wait(crust.PeerMisbehaved)
        assert (event.kind, event.attributable) == ("tiny-records", own)
        if own:
            wait_until(lambda: bool(node.bans), PATIENCE, "the ban")
            return
        verdicts = inner.misbehaviour._verdicts
        wait_until(lambda: set(verdicts.values()) == {Action.THROTTLE}, PATIENCE, "the verdict")
        inner.misbehaviour.overspent(conversation, link, 4.0)
        assert not node.bans and node.is_connected(identity.peer_id)
