"""What a node that closes waits for: the end of every session that the application has heard of, and nothing else."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

import crust
from crust.service.endings import Endings


class World:
    """The node of some endings, and the event that they wait for."""

    def __init__(self) -> None:
        self.clock = self.log = self.signed = self.subscriptions = self
        self.is_set = False
        self.looks: list[bool] = []
        self.done: list[Any] = []
        self.later: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        self.fails = False
        self.endings = Endings(self)  # type: ignore[arg-type]

    def event(self) -> World:
        return self

    def set(self) -> None:
        self.is_set = True

    def clear(self) -> None:
        self.is_set = False

    def wait(self, timeout: float | None) -> bool:
        assert timeout == 7.0
        self.looks.append(self.is_set)
        return self.is_set

    def info(self, *_: object) -> None:
        if self.fails:
            raise MemoryError

    def finish(self, conversation: object, tell: Callable[[], object]) -> None:
        self.later.append(tell)

    def emit(self, event: object) -> None:
        self.done.append(event)

    def afterwards(self, then: Callable[[], object]) -> None:
        self.after.append(then)

    def waits(self) -> bool:
        """Whether a node that closes now would."""
        self.looks.clear()
        self.endings.wait(types.SimpleNamespace(remaining=lambda: 7.0))  # type: ignore[arg-type]
        return self.looks == [False]

    def over(self, name: str | None) -> None:
        """The end of a session of which the application has heard if it has a name."""
        told: dict[str, Any] = {"peer_id": name, "ended_text": f"bye {name}"}
        if name is not None:
            told["peer"] = types.SimpleNamespace(name=name, _end=lambda: self.done.append(f"end of {name}"))
        self.endings.over(types.SimpleNamespace(**told), "closed", (3,), print)  # type: ignore[arg-type]


def test_a_close_waits_for_the_last_of_them() -> None:
    """Whatever began and ended before."""
    world = World()
    assert not world.waits()
    for _ in range(2):
        world.endings.began()
        assert world.waits()
        world.endings.began()
        world.over("one")
        assert world.waits()
        assert not world.is_set
        world.over("other")
        assert world.is_set and not world.waits()  # nor does who has been waiting


def test_nobody_waits_for_a_session_that_never_began() -> None:
    """Nor does its end stand for that of another; nothing is told of it."""
    world = World()
    world.endings.began()
    world.over(None)
    assert world.waits() and world.later == []


def test_one_that_cannot_be_told_holds_nobody_up() -> None:
    """It is a bug, and on its way to the crash hook."""
    world = World()
    world.endings.began()
    world.fails = True
    with pytest.raises(MemoryError):
        world.over("one")
    assert not world.waits()


def test_an_end_comes_behind_what_is_still_verified() -> None:
    """First the event, with what was said and what may not have arrived; then whoever reads that peer hears of it."""
    world = World()
    world.endings.began()
    world.over("one")
    assert world.done == []
    [tell] = world.later
    tell()
    event, end = world.done
    assert (event.peer.name, event.reason, event.unacknowledged) == ("one", crust.LostReason.CLOSED, (3,))
    assert (event.text, end) == ("bye one", "end of one")
