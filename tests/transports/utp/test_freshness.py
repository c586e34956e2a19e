"""Old duplicates told from new packets by their timestamps."""

from __future__ import annotations

from crust.transports.utp.freshness import Freshness


def stream(freshness: Freshness, packets: int, *, start: int = 0, stamp: int = 0, step: int = 10) -> int:
    """Packets in order, a timestamp each; the number after the last."""
    for number in range(start, start + packets, 64):
        freshness.advanced(number, number + 64, stamp + number * step & 0xFFFFFFFF, now=number / 1e5)
    return start + packets


def test_a_duplicate_of_the_last_round_is_stale() -> None:
    """2^16 packets later the same number comes again; the old packet's timestamp gives it away."""
    freshness = Freshness()
    following = stream(freshness, 1 << 16)
    old = following - (1 << 16) + 100  # the packet that bears the same 16 bits as the one 100 ahead
    assert freshness.is_stale(following + 100, old * 10, now=0.7)
    assert not freshness.is_stale(following + 100, (following + 100) * 10, now=0.7)


def test_reordered_packets_of_this_round_are_fresh() -> None:
    """Whatever is within 2^15 of the newest may come in any order."""
    freshness = Freshness()
    following = stream(freshness, 1 << 17)
    for behind in (1, 100, 2000, 0x4000):
        assert not freshness.is_stale(following - behind, (following - behind) * 10, now=1.4)


def test_timestamps_that_go_round_are_compared_on_their_circle() -> None:
    """A wrap of the 32 bits in between changes nothing."""
    freshness = Freshness()
    stamp = (1 << 32) - 200_000
    following = stream(freshness, 1 << 16, stamp=stamp)
    new, old = following + 5, following + 5 - (1 << 16)
    assert not freshness.is_stale(new, (stamp + new * 10) & 0xFFFFFFFF, now=0.7)
    assert freshness.is_stale(new, (stamp + old * 10) & 0xFFFFFFFF, now=0.7)


def test_after_a_long_pause_nothing_is_called_stale() -> None:
    """Timestamps go round in 71 minutes: older ones say nothing."""
    freshness = Freshness()
    following = stream(freshness, 1 << 16)
    assert not freshness.is_stale(following + 1, 5, now=3000.0)


def test_a_fresh_connection_calls_nothing_stale() -> None:
    """There is nothing to compare with."""
    assert not Freshness().is_stale(5, 5, now=0.0)
