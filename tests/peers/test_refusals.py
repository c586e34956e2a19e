"""How often each limit has bitten."""

from __future__ import annotations

import pytest

from crust.peers.refusals import LIMITS, Refusals


def test_each_limit_has_its_count() -> None:
    """All of them, in the order of the table; several at once count as many."""
    refusals = Refusals()
    refusals.count("limits.half_open")
    refusals.count("limits.half_open", 3)
    counts = refusals.all()
    assert list(counts) == list(LIMITS)
    assert counts.pop("limits.half_open") == 4 and not any(counts.values())


def test_who_counts_by_himself_is_asked() -> None:
    """At each look."""
    refusals = Refusals()
    numbers = iter((5, 6))
    refusals.watch("relay.max_circuits", lambda: next(numbers))
    assert [refusals.all()["relay.max_circuits"] for _ in range(2)] == [5, 6]


def test_what_is_no_limit_is_a_mistake() -> None:
    """KeyError."""
    with pytest.raises(KeyError):
        Refusals().count("limits.nothing")
