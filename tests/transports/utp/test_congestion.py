"""What both congestion controls have in common."""

from __future__ import annotations

import pytest

from crust.transports.utp.congestion import Congestion, make_congestion

KINDS = ["fair", "background"]


def rounds(congestion: Congestion, count: int, now: float, rtt: float = 0.1, delay: int = 50_000) -> float:
    """Full windows, acknowledged two packets at a time; the time afterwards."""
    for _ in range(count):
        left = congestion.window
        while left > 0:
            size = 2 * congestion.packet_size
            congestion.acked(size, int(congestion.window), True, rtt, delay, now)
            left -= size
        now += rtt
    return now


def test_names() -> None:
    """An unknown name is refused, with those that there are."""
    assert [type(make_congestion(kind, 1200)).__name__.lower() for kind in KINDS] == KINDS
    with pytest.raises(ValueError, match="fair or background"):
        make_congestion("greedy", 1200)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_that_is_not_used_does_not_grow(kind: str) -> None:
    """In slow start and afterwards: nothing is known of what more it would bear."""
    congestion = make_congestion(kind, 1000)
    for _ in range(100):
        congestion.acked(2000, 2000, False, 0.1, 50_000, 1.0)
    assert congestion.window <= 10_000
    now = rounds(congestion, 5, 2.0)
    congestion.lost(now)
    before = congestion.window
    for step in range(100):
        congestion.acked(2000, 2000, False, 0.1, 50_000, now + step / 1000)
    assert congestion.window == before


@pytest.mark.parametrize("kind", KINDS)
def test_growth_loss_and_timeout(kind: str) -> None:
    """The window grows, loses a share of itself by a loss, falls to a packet by a timeout, and comes back."""
    congestion = make_congestion(kind, 1000)
    start = congestion.window
    now = rounds(congestion, 6, 1.0)
    grown = congestion.window
    assert grown > 1.5 * start
    for _ in range(8):  # a queue: no lone loss
        congestion.acked(10, int(grown), False, 0.12, 70_000, now)
    congestion.lost(now)
    assert 0.45 * grown <= congestion.window <= 0.75 * grown
    congestion.timed_out(now)
    assert congestion.window == 1000
    congestion.timed_out(now + 1)
    assert congestion.window == 1000
    rounds(congestion, 20, now + 2, 0.3)
    assert congestion.window > 5000


@pytest.mark.parametrize("kind", KINDS)
def test_the_window_has_a_floor(kind: str) -> None:
    """However many losses: two packets."""
    congestion = make_congestion(kind, 1000)
    now = rounds(congestion, 3, 1.0)
    for step in range(20):
        congestion.acked(10, 1000, True, 0.4, 900_000, now + step)
        congestion.lost(now + step)
    assert 2000 <= congestion.window < 2100


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_packet_still_fits(kind: str) -> None:
    """The path MTU may have grown to that of the loopback interface: two such packets may be under way."""
    congestion = make_congestion(kind, 1180)
    congestion.packet_size = 65_000
    assert congestion.packet_size == 65_000
    assert congestion.window == 130_000


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_pause_it_begins_small_and_finds_back(kind: str) -> None:
    """A short pause changes nothing; after a long one, slow start leads to nearly where it was."""
    congestion = make_congestion(kind, 1000)
    now = rounds(congestion, 12, 1.0)
    grown = congestion.window
    congestion.idle(now, 0.1)
    assert congestion.window == grown
    congestion.idle(now, 60.0)
    assert congestion.window == (10_000 if kind == "fair" else 2_000)
    rounds(congestion, 15, now + 60)
    assert congestion.window > 0.7 * grown


@pytest.mark.parametrize("kind", KINDS)
def test_pacing_follows_the_window(kind: str) -> None:
    """Twice the window per round trip while it doubles, a quarter more than one afterwards; none unmeasured."""
    congestion = make_congestion(kind, 1000)
    assert congestion.pacing_rate(0.0) is None
    assert congestion.pacing_rate(0.1) == pytest.approx(2.0 * congestion.window / 0.1)
    now = rounds(congestion, 4, 1.0)
    congestion.lost(now)
    congestion.lost(now)  # the first one may be pardoned
    assert congestion.pacing_rate(0.1) == pytest.approx(1.25 * congestion.window / 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_measurements_are_borne(kind: str) -> None:
    """Neither round trips nor delays: growth until something is lost."""
    congestion = make_congestion(kind, 1000)
    congestion.received(0, 1.0)
    congestion.received(123, 1.0)
    for step in range(200):
        congestion.acked(2000, int(congestion.window), True, None, None if step % 2 else 0, 1.0 + step / 100)
    assert congestion.window > 15_000
    congestion.lost(4.0)
    congestion.lost(4.0)
    congestion.timed_out(5.0)
    assert congestion.window == 1000
