"""The end of a node whose sessions have just lost their links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust.testing
from crust import limits
from crust.peers.session import State
from crust.testing import Network


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net


def test_waiting_for_links_is_part_of_the_time_to_close(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """``close(timeout)`` waits for one that has just been lost, half of its time at most, and has the rest then."""
    near, far = net.service(), net.service()
    net.connect(near, far)
    net.cut(near, far)
    inner = near._node
    assert inner is not None
    assert [each.session.state for each in inner.registry.all()] == [State.SUSPENDED]
    left: list[float | None] = []
    close = inner.close

    def spied(timeout: float | None) -> bool:
        left.append(timeout)
        return close(timeout)

    monkeypatch.setattr(inner, "close", spied)
    began = net.now
    near.close(timeout=1.0)
    assert left == [pytest.approx(0.5, abs=0.01)]
    assert net.now - began < 1.0 + limits.CLOSE_GRACE
