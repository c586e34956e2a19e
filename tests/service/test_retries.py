"""When servers are asked again that have not answered."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import limits
from crust.service.network.retries import Retries


class World:
    """An I/O loop whose timers the test rings."""

    def __init__(self) -> None:
        self.timers: list[Any] = []
        self.asked = 0
        self.retries = Retries(cast(Any, SimpleNamespace(call_later=self._call_later)), self._ask)

    def _ask(self) -> None:
        self.asked += 1

    def _call_later(self, seconds: float, call: Callable[[float], object]) -> Any:
        timer = SimpleNamespace(seconds=seconds, call=call, active=True)
        timer.cancel = lambda: setattr(timer, "active", False)
        self.timers.append(timer)
        return timer

    def ring(self) -> float:
        """The last timer; after how many seconds it was to ring."""
        timer = self.timers[-1]
        assert timer.active
        timer.active = False
        timer.call(0.0)
        return float(timer.seconds)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JITTER", 0.0)


def test_ever_later_and_then_no_more() -> None:
    """However many are missed at once. Then it is soon everybody's turn."""
    world, first, last = World(), *limits.SERVER_RETRY
    pauses = []
    while True:
        world.retries.missed()
        world.retries.missed()
        if len(world.timers) == len(pauses):
            break
        assert len(world.timers) == len(pauses) + 1
        pauses.append(world.ring())
    assert (pauses[0], pauses[-1]) == (first, last) and world.asked == len(pauses)
    assert all(after == 2 * before for before, after in zip(pauses, pauses[1:], strict=False))


def test_when_more_is_known_it_begins_anew() -> None:
    """As on another network."""
    world, first = World(), limits.SERVER_RETRY[0]
    for _ in range(3):
        world.retries.missed()
        world.ring()
    world.retries.reset()
    world.retries.missed()
    assert world.ring() == first


def test_the_end() -> None:
    """Nothing is asked any more, nor begun."""
    world = World()
    world.retries.missed()
    world.retries.close()
    assert not world.timers[-1].active
    world.retries.missed()
    assert len(world.timers) == 1
    other = World()
    other.retries.abandon()
    other.retries.missed()
    assert other.timers == []
