"""The byte budget of a node."""

from __future__ import annotations

from crust.runtime.budget import Budget
from tests.support.threads import Background


def test_it_counts_and_never_refuses() -> None:
    """Over only above the limit; the limit may be changed."""
    budget = Budget(100)
    budget.take(100)
    assert not budget.over
    budget.take(50)
    assert budget.over and budget.used == 150
    budget.limit = 200
    assert not budget.over
    budget.give(150)
    assert budget.used == 0


def test_who_awaits_it_is_told_when_it_falls_below() -> None:
    """When enough was given back, not before, and only while somebody wants to know."""
    budget = Budget(10)
    told: list[int] = []
    budget.on_below = lambda: told.append(budget.used)
    budget.take(30)
    budget.give(25)
    assert told == []
    budget.take(25)
    budget.awaited = True
    budget.give(10)
    assert told == []
    budget.give(10)
    assert told == [10]
    budget.used -= 5
    budget.settle()
    assert told == [10, 5]


def test_it_is_exact_under_threads() -> None:
    """Takes and gives of many threads cancel out."""
    budget = Budget(5)

    def work() -> None:
        for number in range(2000):
            budget.take(number)
            budget.give(number)

    for job in [Background(work) for _ in range(4)]:
        job.result()
    assert budget.used == 0
