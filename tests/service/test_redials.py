"""How often a session that loses its links calls for another one."""

from __future__ import annotations

import pytest

import crust
from crust import limits
from tests.support.nodes import Nodes
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
