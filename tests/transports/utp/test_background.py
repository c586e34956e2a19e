"""LEDBAT++, number by number."""

from __future__ import annotations

import pytest

from crust.transports.utp.background import Background
from tests.transports.utp.test_congestion import rounds

PACKET = 1000
OFFSET = 0xFFFF0000  # of the clocks: the delays wrap around


class Path:
    """Drives a connection with a base round trip of 0.1 s and a queue of choice."""

    def __init__(self, background: Background, base: float = 0.1) -> None:
        self.background = background
        self.base = base
        self.now = 1.0

    def round(self, queue: float = 0.0, count: int = 1, limited: bool = True) -> Background:
        background = self.background
        for _ in range(count):
            rtt = self.base + queue
            packets = max(2, int(background.window / PACKET))
            for _ in range(packets):
                self.now += rtt / packets
                delay = OFFSET + int(1e6 * (self.base / 2 + queue)) & 0xFFFFFFFF
                background.acked(PACKET, int(background.window), limited, rtt, delay, self.now)
        return background


def steady(base: float = 0.1) -> tuple[Background, Path]:
    """Past the slowdown that follows the first slow start, and with a window of some size."""
    background = Background(PACKET)
    path = Path(background, base)
    for _ in range(200):
        if background.window > 40 * PACKET:
            break
        path.round()
    path.round(0.05, 2)
    for _ in range(200):
        path.round(0.01)
        if background._phase == 1:
            return background, path
    raise AssertionError("it never became steady")


def test_it_begins_with_two_packets_and_grows_slower_than_tcp() -> None:
    """The gain is 1 / ceil(120 ms / round trip), at least a sixteenth."""
    for base, growth in ((0.2, 2.0), (0.1, 1.5), (0.04, 4 / 3), (0.001, 17 / 16)):
        background = Background(PACKET)
        assert background.window == 2 * PACKET
        path = Path(background, base)
        path.round(count=3)
        before = background.window
        path.round(count=4)
        assert background.window < before * growth**4 * 1.05
    assert background.window > before * growth**3 * 0.9


def test_three_quarters_of_the_target_end_the_first_slow_start() -> None:
    """A slowdown follows at once: two packets for two round trips, then back to what the path bore."""
    background = Background(PACKET)
    path = Path(background)
    path.round(count=8)
    before = background.window
    path.round(0.044)
    assert background.window >= before
    path.round(0.046)
    assert background.window == 2 * PACKET
    began = path.now
    while background.window == 2 * PACKET:
        path.round()
    assert 0.2 <= path.now - began <= 0.6
    path.round(count=12)
    assert 0.5 * before < background.window < 1.6 * before


def test_the_window_grows_a_gain_a_round_below_the_target() -> None:
    """Half a packet at a round trip of 0.1 s, however far below."""
    for queue in (0.005, 0.055):
        background, path = steady()
        path.round(queue, 2)
        before = background.window
        path.round(queue, 4)
        assert background.window - before == pytest.approx(4 * 0.5 * PACKET, rel=0.2)


def test_above_the_target_it_shrinks_by_the_excess() -> None:
    """A tenth over the target costs a tenth of the window in a round; far above it, half at the most."""
    background, path = steady()
    path.round(0.02, 1)
    before = background.window
    path.round(0.066)
    assert background.window == pytest.approx(0.92 * before, rel=0.04)
    before = background.window
    path.round(0.5)
    assert 0.5 * before < background.window < 0.7 * before
    path.round(0.5, 30)
    assert background.window == 2 * PACKET


def test_it_shrinks_though_the_window_is_not_used_up() -> None:
    """Growth needs use, modesty does not."""
    background, path = steady()
    before = background.window
    path.round(0.1, 2, limited=False)
    assert background.window < before


def test_slowdowns_cost_a_tenth() -> None:
    """Each is followed by nine times its own duration."""
    background, path = steady()
    while background.window > 2 * PACKET:
        path.round(0.01)
    began = path.now
    goal = background._threshold
    while background.window < goal:
        path.round(0.01)
    lasted = path.now - began
    ended = path.now
    while background.window > 2 * PACKET:
        path.round(0.01)
    assert path.now - ended == pytest.approx(9 * lasted, rel=0.1)


def test_a_queue_on_the_way_back_is_none_of_ours() -> None:
    """The round trip rises, the delay one way does not."""
    background, path = steady()
    before = background.window
    for _ in range(20):
        delay = OFFSET + 50_000 & 0xFFFFFFFF
        background.acked(PACKET, int(background.window), True, 0.4, delay, path.now)
    assert background.window > before


def test_a_clock_that_leaps_is_no_queue() -> None:
    """The delay one way rises by seconds, the round trip does not."""
    background, path = steady()
    before = background.window
    for _ in range(20):
        background.acked(PACKET, int(background.window), True, 0.1, 7_000_000, path.now)
    assert background.window > before


def test_without_delays_the_round_trip_tells() -> None:
    """A peer that measures nothing."""
    background, path = steady()
    before = background.window
    for _ in range(20):
        background.acked(PACKET, int(background.window), True, 0.3, None, path.now)
    assert background.window < before


def test_a_loss_halves() -> None:
    """In the steady state, and what a slowdown leads back to."""
    background, path = steady()
    before = background.window
    background.lost(path.now)
    assert background.window == before / 2
    while background.window > 2 * PACKET:
        path.round(0.01)
    goal = background._threshold
    background.lost(path.now)
    assert background.window == 2 * PACKET
    assert background._threshold == goal / 2


def test_a_single_spike_is_filtered() -> None:
    """The shortest of four delays counts: one late packet changes nothing."""
    background, path = steady()
    path.round(0.01)
    before = background.window
    background.acked(PACKET, int(background.window), True, 0.5, OFFSET + 450_000 & 0xFFFFFFFF, path.now)
    assert background.window >= before


def test_rounds_of_the_other_tests_reach_it() -> None:
    """The helper for both kinds drives this one as well: with no queue it only ever grows."""
    background = Background(PACKET)
    rounds(background, 5, 1.0)
    assert background.window > 4 * PACKET
