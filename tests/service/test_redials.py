"""How often a session that loses its links calls for another one."""

from __future__ import annotations

import contextlib
import os

import pytest

import crust
from crust import Identity, limits
from crust.peers.misdeeds import KINDS
from crust.wire import frames
from crust.wire.handshake import Resume
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.waiting import wait_until

PATIENCE = 10.0


def test_who_cuts_each_link_does_not_have_us_call_without_end(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The called side would take that for a flood of calls from our address: after some, a link is waited for."""
    monkeypatch.setattr(limits, "REDIALS_AT_ONCE", 3)
    monkeypatch.setattr(limits, "REDIALS_AT_ONCE_PER_SECOND", 0.001)
    monkeypatch.setattr(limits, "REDIAL_DELAYS", (0.0, 3600.0))
    pair = nodes.proxied()
    heard, node = nodes.heard(pair.near), pair.near._node
    assert node is not None
    for number in range(1, 4):
        pair.wire.cut()
        heard.wait(crust.PeerResumed, number)
    pair.wire.cut()
    heard.wait(crust.PeerSuspended, 4)

    def waits() -> bool:
        effort = node.dialer._efforts.get(pair.far.id)
        return effort is not None and effort.rests and not effort.tries

    wait_until(waits, PATIENCE, "the pause")
    assert len(heard.of(crust.PeerResumed)) == 3
    node.dialer.hurry()
    heard.wait(crust.PeerResumed, 4)


def test_nobody_is_blamed_for_links_that_somebody_on_the_path_cuts(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that calls ``connect`` before each message comes back at once: its session is resumed too often."""
    monkeypatch.setattr(limits, "SESSIONS_PER_PEER_BURST", 2)
    node = nodes.start(config(limits__sessions_per_peer_per_second=1))
    identity, run = Identity.generate(), os.urandom(limits.INCARNATION_SIZE)
    heard = nodes.heard(node)
    with Caller(node, identity, incarnation=run) as caller:
        session_id = caller.begin().session_id
        heard.wait(crust.ConnectSuccess)
    for _ in range(int(KINDS["session-flood"].threshold) + 3):
        resume = Resume(session_id, 0)
        with contextlib.suppress(ConnectionError), Caller(node, identity, incarnation=run, resume=resume) as again:
            again.expect(frames.Welcome)
    event = heard.wait(crust.PeerMisbehaved, timeout=PATIENCE)
    assert (event.kind, event.attributable) == ("session-flood", False)
    assert event.peer is not None and event.peer.id == identity.peer_id and "on the path" in event.detail
