"""CUBIC and HyStart++, number by number."""

from __future__ import annotations

import pytest

from crust.transports.utp.fair import Fair
from tests.transports.utp.test_congestion import rounds

PACKET = 1000


def in_avoidance(window_packets: int = 100) -> tuple[Fair, float]:
    """A connection just after its first loss, from ``window_packets``; the round trip is 0.1 s, 0.05 of them queue."""
    fair = Fair(PACKET)
    fair.acked(1, 1, False, 0.05, None, 1.0)
    while fair.window < window_packets * PACKET:
        fair.acked(PACKET, int(fair.window), True, None, None, 1.0)
    for _ in range(8):
        fair.acked(1, 1, False, 0.1, None, 1.0)
    fair.lost(1.0)
    return fair, 1.0


def test_slow_start_doubles_each_round() -> None:
    """From ten packets, RFC 6928, as long as the round trip stays."""
    fair = Fair(PACKET)
    assert fair.window == 10 * PACKET
    rounds(fair, 3, 1.0)
    assert fair.window == pytest.approx(80 * PACKET, rel=0.02)


def test_a_risen_round_trip_slows_it_down_and_ends_it() -> None:
    """RFC 9406: an eighth more for eight samples; a quarter of the growth for five rounds; then no slow start."""
    fair = Fair(PACKET)
    now = rounds(fair, 3, 1.0, rtt=0.08)
    before = fair.window
    now = rounds(fair, 1, now, rtt=0.085)
    assert fair.window == pytest.approx(2 * before, rel=0.05)  # 5 ms are no rise of an eighth
    while fair.pacing_rate(1.0) == 2 * fair.window:
        before = fair.window
        now = rounds(fair, 1, now, rtt=0.096)
    assert fair.window < 2 * before
    before = fair.window
    now = rounds(fair, 2, now, rtt=0.096)
    assert fair.window == pytest.approx(1.25**2 * before, rel=0.05)
    now = rounds(fair, 3, now, rtt=0.096)
    before = fair.window
    rounds(fair, 1, now, rtt=0.096)
    assert fair.window < 1.1 * before


def test_a_passing_rise_is_pardoned() -> None:
    """The round trip falls again in conservative slow start: it was jitter."""
    fair = Fair(PACKET)
    now = rounds(fair, 3, 1.0, rtt=0.08)
    now = rounds(fair, 1, now, rtt=0.12)
    assert fair.pacing_rate(0.1) == pytest.approx(1.25 * fair.window / 0.1)
    now = rounds(fair, 1, now, rtt=0.08)
    assert fair.pacing_rate(0.1) == pytest.approx(2 * fair.window / 0.1)
    before = fair.window
    rounds(fair, 1, now, rtt=0.08)
    assert fair.window == pytest.approx(2 * before, rel=0.05)


def test_a_loss_leaves_seven_tenths() -> None:
    """RFC 9438 section 4.6."""
    fair, _ = in_avoidance(100)
    assert fair.window == pytest.approx(70 * PACKET, rel=0.02)


def test_the_cubic_comes_back_after_k_seconds() -> None:
    """K = cbrt((W_max - cwnd) / C): about 4.2 s for 100 packets; a plateau there, then ever faster."""
    fair, now = in_avoidance(100)
    k = (30 / 0.4) ** (1 / 3)
    seen = {}
    rtt = 0.5  # so long that the Reno-friendly window stays below
    for step in range(1, 100):
        now += 0.1
        for _ in range(int(fair.window / PACKET * 0.1 / rtt) + 1):
            fair.acked(PACKET, int(fair.window), True, rtt, None, now)
        seen[round(step / 10, 1)] = fair.window / PACKET
    assert seen[2.0] < 98
    assert seen[round(k, 1)] == pytest.approx(100, abs=2)
    assert seen[round(k + 1, 1)] == pytest.approx(100, abs=2.5)
    assert seen[round(k + 4, 1)] > 112


def test_beside_a_short_round_trip_it_grows_as_reno_does() -> None:
    """RFC 9438 section 4.3: 0.53 packets a round trip until the old window, then one."""
    fair, now = in_avoidance(20)
    start = fair.window / PACKET
    now = rounds(fair, 1, now, rtt=0.002)
    before = fair.window / PACKET
    for _ in range(5):
        now = rounds(fair, 1, now, rtt=0.002)
    assert (fair.window / PACKET - before) / 5 == pytest.approx(0.53, abs=0.1)
    while fair.window < 21 * PACKET:
        now = rounds(fair, 1, now, rtt=0.002)
    before = fair.window / PACKET
    for _ in range(5):
        now = rounds(fair, 1, now, rtt=0.002)
    assert (fair.window / PACKET - before) / 5 == pytest.approx(1.0, abs=0.15)
    assert start < before


def test_fast_convergence_leaves_room() -> None:
    """A loss below the last W_max: the next plateau is lower than this window (RFC 9438 section 4.7)."""
    fair, now = in_avoidance(100)
    fair.lost(now)
    assert fair.window == pytest.approx(49 * PACKET, rel=0.02)
    assert fair._top == pytest.approx(0.85 * 70 * PACKET, rel=0.02)


def test_the_cubic_stands_still_while_the_window_is_not_used() -> None:
    """RFC 9438 section 5.8: no leap after a minute of little to send."""
    fair, now = in_avoidance(100)
    now = rounds(fair, 3, now)
    before = fair.window
    for step in range(600):
        fair.acked(PACKET, 2000, False, 0.1, None, now + step / 10)
    assert fair.window == before
    rounds(fair, 1, now + 60)
    assert fair.window < before * 1.1


def test_after_a_timeout_slow_start_leads_to_seven_tenths() -> None:
    """And the next cubic begins there, flat (RFC 9438 section 4.8); a second timeout lowers no more."""
    fair, now = in_avoidance(100)
    now = rounds(fair, 2, now)
    before = fair.window
    fair.timed_out(now)
    fair.timed_out(now + 1)
    assert fair.window == PACKET
    now = rounds(fair, 7, now + 2)
    assert fair.window == pytest.approx(0.7 * before, rel=0.05)


def test_a_lone_loss_without_a_queue_is_noise() -> None:
    """On a path that is known to queue; not the next one soon afterwards, nor with a queue."""
    fair, now = in_avoidance(100)
    now = rounds(fair, 10, now, rtt=0.05)
    before = fair.window
    fair.lost(now)
    assert fair.window == before
    now = rounds(fair, 1, now, rtt=0.05)
    before = fair.window
    fair.lost(now)
    assert fair.window == pytest.approx(0.7 * before)
    now = rounds(fair, 10, now, rtt=0.056)
    before = fair.window
    fair.lost(now)
    assert fair.window == pytest.approx(0.7 * before)


def test_on_a_path_that_never_queued_every_loss_counts() -> None:
    """A policer, or a switch with a tiny buffer: there is nothing else to see."""
    fair = Fair(PACKET)
    now = rounds(fair, 3, 1.0, rtt=0.05)
    fair.lost(now)
    fair.lost(now)
    for _ in range(3):
        now = rounds(fair, 10, now, rtt=0.05)
        before = fair.window
        fair.lost(now)
        assert fair.window == pytest.approx(0.7 * before)


def test_one_early_loss_does_not_end_slow_start() -> None:
    """Without a queue: the window shrinks, waits a round, and doubles again; a second loss ends it."""
    fair = Fair(PACKET)
    now = rounds(fair, 3, 1.0, rtt=0.05)
    before = fair.window
    fair.lost(now)
    assert fair.window == pytest.approx(0.7 * before)
    fair.acked(PACKET, int(before), True, 0.05, None, now)
    now = rounds(fair, 1, now, rtt=0.05)
    assert fair.window < 0.75 * before
    now = rounds(fair, 2, now, rtt=0.05)
    assert fair.window > 2 * 0.7 * before
    before = fair.window
    fair.lost(now)
    now = rounds(fair, 2, now, rtt=0.05)
    assert fair.window < before
