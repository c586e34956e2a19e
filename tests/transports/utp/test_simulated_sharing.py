"""
Congestion control on a simulated bottleneck: what it fills, what it leaves to others, what it adds to the queue.

A share is payload over the bottleneck's rate, so 0.968 is all
that packets of 1,500 bytes leave. `make simulate` runs every cell for longer.
"""

from __future__ import annotations

import pytest

from tests.simulation.network import Link, World
from tests.simulation.runs import THOROUGH
from tests.simulation.scenarios import jain, share

RATES = (1, 10, 30, 100) if THOROUGH else (1, 10)
ROUND_TRIPS = (0.01, 0.04, 0.1, 0.2) if THOROUGH else (0.01, 0.2)
CELLS = [(rate, rtt) for rate in RATES for rtt in ROUND_TRIPS]


@pytest.mark.parametrize(("mbit", "rtt"), CELLS)
def test_fair_alone_fills_a_bottleneck(mbit: int, rtt: float) -> None:
    """85 % of it, once slow start is over; the queue holds a round trip's worth, at least 64 KiB."""
    result = share(["fair"], mbit, rtt, 30 if THOROUGH else 15)
    assert result.shares(5)[0] >= 0.85


@pytest.mark.parametrize(("mbit", "rtt"), CELLS)
def test_background_alone_fills_a_bottleneck(mbit: int, rtt: float) -> None:
    """The same, slowdowns included."""
    result = share(["background"], mbit, rtt, 60 if THOROUGH else 20)
    assert result.shares(10)[0] >= 0.85


@pytest.mark.parametrize("rtt", [0.02, 0.04, 0.1, 0.2] if THOROUGH else [0.04])
def test_background_alone_adds_little_delay(rtt: float) -> None:
    """80 ms at the most, although the queue could hold 200."""
    result = share(["background"], 20, rtt, 60 if THOROUGH else 20, queue=0.2)
    assert result.queue_percentile(99, since=5) <= 0.080
    assert result.queue_percentile(50, since=5) >= 0.030


@pytest.mark.parametrize("seed", range(8) if THOROUGH else [1])
def test_random_loss_does_not_starve_fair(seed: int) -> None:
    """One packet of 10,000 lost on 100 Mbit/s × 40 ms: 80 %, where standard CUBIC gets about a third in the end."""
    result = share(["fair"], 100, 0.04, 30 if THOROUGH else 7, loss=1e-4, seed=seed)
    assert result.shares(2)[0] >= 0.80


STARTS = [(0.0, 0.5), (0.0, 5.0), (5.0, 0.0)] if THOROUGH else [(0.0, 0.5)]


@pytest.mark.parametrize("starts", STARTS)
def test_fair_shares_with_tcp(starts: tuple[float, float]) -> None:
    """30 to 70 % beside one TCP flow, on 20 Mbit/s with a queue of 200 ms, whoever comes first."""
    result = share(["fair", "cubic"], 20, 0.04, 120 if THOROUGH else 40, queue=0.2, starts=starts)
    fair, cubic = result.shares(20)
    assert 0.30 <= fair <= 0.70
    assert 0.30 <= cubic <= 0.70
    assert fair + cubic >= 0.90


@pytest.mark.parametrize("starts", STARTS)
def test_background_makes_way_for_tcp(starts: tuple[float, float]) -> None:
    """15 % at the most on the same link, even if it has never seen the queue empty."""
    result = share(["background", "cubic"], 20, 0.04, 120 if THOROUGH else 30, queue=0.2, starts=starts)
    background, cubic = result.shares(10)
    assert background <= 0.15
    assert cubic >= 0.80


def test_background_comes_back_when_tcp_has_gone() -> None:
    """The link is filled again soon after the end of the other flow."""

    def leave(world: World, there: Link) -> None:
        world.at(world.now + 30.0, there.refuse, tuple)

    result = share(["background", "cubic"], 10, 0.04, 60, queue=0.2, during=leave)
    assert result.shares(10, 28)[0] <= 0.15
    assert result.shares(45, 60)[0] >= 0.75


@pytest.mark.parametrize("kind", ["fair", "background"])
@pytest.mark.parametrize("mbit", [5, 10, 20, 50] if THOROUGH else [5])
def test_two_of_a_kind_share(kind: str, mbit: int) -> None:
    """Jain's index is 0.9 or more in the half minute after 60 seconds, though one began 5 seconds earlier."""
    result = share([kind, kind], mbit, 0.04, 90, queue=0.2, starts=(0.0, 5.0))
    shares = result.shares(60)
    assert jain(shares) >= 0.9
    assert sum(shares) >= 0.85


@pytest.mark.parametrize("kind", ["fair", "background"] if THOROUGH else ["fair"])
def test_none_of_200_starves(kind: str) -> None:
    """The worst gets at least a quarter of the mean."""
    result = share([kind] * 200, 100, 0.04, 60 if THOROUGH else 5)
    shares = result.shares(2)
    assert min(shares) >= sum(shares) / len(shares) / 4
    assert sum(shares) >= 0.85


@pytest.mark.parametrize("kind", ["fair", "background"])
def test_the_rate_changes(kind: str) -> None:
    """A link that becomes five times narrower, then as wide as before, is filled each time."""

    def change(world: World, there: Link) -> None:
        world.at(world.now + 20.0, lambda: there.change(rate=250_000.0))
        world.at(world.now + 40.0, lambda: there.change(rate=1_250_000.0))

    result = share([kind], 10, 0.04, 70, queue=0.2, during=change)
    assert result.shares(10, 20)[0] >= 0.85
    assert result.shares(30, 40)[0] >= 0.85 / 5
    assert result.shares(55, 70)[0] >= 0.85 if kind == "fair" else 0.5


def test_the_models_of_tcp_are_fair_to_each_other() -> None:
    """What ours is measured against behaves itself."""
    for kind in ("cubic", "reno"):
        result = share([kind, kind], 10, 0.04, 60, queue=0.1)
        assert jain(result.shares(20)) >= 0.9
        assert sum(result.shares(20)) >= 0.9
