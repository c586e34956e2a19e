"""Streams in tiny packets or reads are dear, and what honest peers send is not taken for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import limits
from crust.peers.splitting import Splitting


def of(packets: int | None = None) -> tuple[Splitting, Any]:
    connection = SimpleNamespace() if packets is None else SimpleNamespace(packets=packets)
    return Splitting(cast(Any, connection)), connection


@pytest.mark.parametrize(
    ("size", "records"),
    [(30, 1), (18, 1), (512, 0), (1448, 0), (65_536, 4), (0, 1)],
    ids=["a short record", "a heartbeat", "half a kilobyte", "a segment", "a burst", "nothing in it"],
)
def test_what_honest_ones_send_costs_nothing(size: int, records: int) -> None:
    splitting, _ = of()
    assert not any(splitting.excess(size, records) for _ in range(100_000))


def test_a_few_that_bring_little_are_free() -> None:
    """A record in two reads, the other in one: as long as it does not come to much."""
    splitting, _ = of()
    for _ in range(10_000):
        assert not splitting.excess(10, 0)
        assert not splitting.excess(10, 1)
        assert not splitting.excess(1000, 1)


def test_reads_of_a_few_bytes_are_counted_all() -> None:
    splitting, _ = of()
    told = [splitting.excess(16, 0) for _ in range(10_000)]
    assert not any(told[: int(limits.SPLIT_FREE)])
    assert sum(told) == pytest.approx(10_000 * (1 - 16 / limits.WORTH_BYTES), abs=3 * limits.SPLIT_FREE)


def test_packets_count_where_there_are_some() -> None:
    """Though they come together; and from whatever number on."""
    splitting, connection = of(packets=-40_000)
    total = 0.0
    for _ in range(1000):
        total += splitting.excess(64 * 16, 0)
        connection.packets += 64
    assert total == pytest.approx(64_000 - 1000 * 2, abs=3 * limits.SPLIT_FREE)
    splitting, connection = of(packets=7)
    for _ in range(1000):
        assert not splitting.excess(45 * 1400, 4)
        connection.packets += 45
