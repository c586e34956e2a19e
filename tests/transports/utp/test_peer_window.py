"""A closed window is tried now and then."""

from __future__ import annotations

import pytest

from crust import limits
from crust.transports.utp.peer_window import PeerWindow

FIRST = limits.UTP_ZERO_WINDOW_PROBE


def test_tries_are_further_and_further_apart() -> None:
    """The first after a second; the next is counted from when that byte was acknowledged."""
    window = PeerWindow()
    window.heard(0)
    now = 100.0
    for wait in (FIRST, 2 * FIRST, 4 * FIRST):
        assert not window.may_try(now)
        assert window.probe_at == pytest.approx(now + wait)
        assert not window.may_try(now + wait / 2)
        now += wait
        assert window.may_try(now)
        now += 1.0


def test_a_try_under_way_needs_no_timer() -> None:
    """Its own timeout repeats it; a timer that stayed due would keep the driver busy."""
    window = PeerWindow()
    window.heard(0)
    window.may_try(100.0)
    assert window.may_try(100.0 + FIRST)
    assert window.probe_at == float("inf")
    assert window.closed


def test_an_open_window_ends_it() -> None:
    """And the next time begins with a short wait."""
    window = PeerWindow()
    window.heard(0)
    window.may_try(100.0)
    window.may_try(100.0 + FIRST)
    window.heard(5000)
    assert not window.closed and window.probe_at == float("inf") and window.size == 5000
    window.heard(0)
    window.may_try(200.0)
    assert window.probe_at == pytest.approx(200.0 + FIRST)


def test_little_room_is_used_now_and_then() -> None:
    """Whatever is heard meanwhile, unless it is that there is more; nothing is left that a driver would wait for."""
    window = PeerWindow()
    window.heard(1)
    assert window.may_use(100.0) and window.probe_at == float("inf")
    for now in (100.0, 100.05):
        window.heard(1)
        assert window.probe_at == float("inf")
        assert not window.may_use(now)
        assert window.probe_at == pytest.approx(100.0 + limits.UTP_LITTLE_ROOM)
    assert not window.closed
    assert window.may_use(100.0 + limits.UTP_LITTLE_ROOM) and window.probe_at == float("inf")


def test_little_room_that_is_gone_is_a_closed_window() -> None:
    """It is tried as seldom as any other."""
    window = PeerWindow()
    window.heard(1)
    window.may_use(100.0)
    window.may_use(100.0)
    window.heard(0)
    assert not window.may_try(100.05)
    assert window.closed and window.probe_at == pytest.approx(100.05 + FIRST)
