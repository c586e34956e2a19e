"""The byte budget of a node."""

from __future__ import annotations

import threading
import time

from crust.runtime.budget import Budget
from tests.support.threads import Background
from tests.support.waiting import wait_until


def test_it_counts_and_never_refuses() -> None:
    """Over only above the limit; the limit may be changed."""
    budget = Budget(100)
    budget.take(100)
    assert not budget.over and budget.wait_below(0)
    budget.take(50)
    assert budget.over and budget.used == 150
    assert not budget.wait_below(0.01)
    budget.limit = 200
    assert not budget.over
    budget.give(150)
    assert budget.used == 0


def test_readers_wait_until_it_falls_below() -> None:
    """All of them go on when enough was given back, not before."""
    budget = Budget(10)
    budget.take(30)
    waiting = [Background(budget.wait_below, 10.0) for _ in range(3)]
    wait_until(lambda: budget._below is not None)
    budget.give(10)
    threading.Event().wait(0.02)
    assert not any(each.done for each in waiting)
    budget.give(10)
    assert [each.result(2.0) for each in waiting] == [True] * 3


def test_closing_lets_everybody_go() -> None:
    """Those who wait now and those who come later, without being below."""
    budget = Budget(0)
    budget.take(1)
    waiting = Background(budget.wait_below, None)
    wait_until(lambda: budget._below is not None)
    budget.close()
    assert waiting.result(2.0) is False
    began = time.monotonic()
    assert not budget.wait_below(10.0)
    assert time.monotonic() - began < 1.0


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
