"""Methods of other packages: which of them a node uses, and that one with a fault ends nothing but its own attempt."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import Config, limits, traversal
from crust.nat.punch.contract import Context
from crust.service.traversal.traversals import Traversals
from crust.wire.frames import Signal
from tests.service.traversal.one_end import PUNCH, PUNCH_UDP, End, Script


def method(name: str, path_class: str = "punched-utp", plan: Any = None) -> traversal.Method:
    return traversal.Method(name, path_class, lambda ours, theirs: None, plan)


@pytest.fixture
def _registered() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = {each.name for each in traversal.methods()}
    yield
    for name in {each.name for each in traversal.methods()} - before:
        traversal.unregister(name)


def used(transports: str = "tcp utp", **punch: bool) -> set[str]:
    """The names of methods that a node uses."""
    config = Config.from_dict({"nat": {"punch": punch}})
    node: Any = SimpleNamespace(
        _node=SimpleNamespace(config=config), transports=dict.fromkeys(transports.split())
    )
    return {each.name for each in Traversals.methods(cast(Traversals, node))}


@pytest.mark.usefixtures("_registered")
def test_what_is_registered_is_used() -> None:
    """At once, by every node, until it is taken away; the switches of built-in methods are not its own."""
    off = dict.fromkeys(("tcp", "udp", "predict", "birthday"), False)
    assert used(**off) == {"direct"}
    traversal.register(method("knock"))
    assert used(**off) == {"direct", "knock"}
    traversal.unregister("knock")
    assert used(**off) == {"direct"}


@pytest.mark.usefixtures("_registered")
def test_the_words_of_a_name_tie_it_to_the_switches() -> None:
    """A package that wants its method to be switched off with punching by UDP says so in the name."""
    traversal.register(method("knock-udp"))
    traversal.register(method("predict-knock", "predicted"))
    assert used() >= {"knock-udp", "predict-knock"}
    assert "knock-udp" not in used(udp=False) and "knock-udp" in used(tcp=False)
    assert "predict-knock" not in used(predict=False)


@pytest.mark.usefixtures("_registered")
def test_a_transport_that_is_not_used_has_no_methods() -> None:
    """What would lead to a path by it is not begun."""
    traversal.register(method("knock"))
    traversal.register(method("slam", "punched-tcp"))
    traversal.register(method("either", "predicted"))
    assert not {"knock"} & used("tcp") and {"slam", "either"} <= used("tcp")
    assert not {"slam"} & used("utp") and {"knock", "either"} <= used("utp")


class Faulty(Script):
    """Raises at its start."""

    def start(self, now: float) -> None:
        raise ZeroDivisionError


def end_with(*plans: Any) -> End:
    """An end with methods ``fault-0``, ``fault-1``, … before the two that punch."""
    end = End([PUNCH, PUNCH_UDP])
    added = [method(f"fault-{at}", plan=functools.partial(plan, end.log)) for at, plan in enumerate(plans)]
    end._methods = (*added, *end._methods)
    end.begin()
    end.hear()
    return end


def raising(log: list[str], context: Context) -> Any:
    raise KeyError("a fault of the method's own")


def faulty(log: list[str], context: Context) -> Any:
    return Faulty(context, log, "fault")


def script(log: list[str], context: Context) -> Any:
    return Script(context, log, "fault")


def test_others_go_on() -> None:
    """Whatever one raises while it begins."""
    end = end_with(raising, lambda log, context: None, faulty, lambda log, context: 7)
    assert end.log == ["punch-tcp started", "punch-udp started"]
    assert [type(error) for error in end.crashes] == [KeyError, ZeroDivisionError, AttributeError]
    end.signal("punch-udp", "speak")
    assert end.sent[-1] == Signal(1, "punch-udp", b"hello")
    failed = {note.method: note.error for note in end.notes}
    assert set(failed) == {"fault-2", "fault-3"} and all("internal error" in error for error in failed.values())


def test_hostile_bytes_end_one_method() -> None:
    """A plan that trusts the other end ends; the rest of the generation does not notice."""
    end = end_with(script)
    end.signal("fault-0", "fault")
    end.signal("fault-0", "speak")
    end.signal("punch-tcp", "hi")
    assert len(end.crashes) == 1 and end.log[-2:] == ["fault heard fault", "punch-tcp heard hi"]
    assert [note.method for note in end.notes] == ["fault-0"]


def test_one_that_never_finishes_is_ended_with_the_attempt() -> None:
    """The next attempt begins as if nothing had been."""
    end = end_with(script)
    end.io.advance(end.punch_timeout + 0.1)
    assert {note.method for note in end.notes} == {"fault-0", "punch-tcp", "punch-udp"}
    end.io.advance(limits.UPGRADE_FIRST * (1 + limits.JITTER))
    assert end.generations() == [1, 2]


def test_a_search_that_fails_gives_its_turn_away() -> None:
    """One by a method that raises as soon as it begins, too."""
    end = End()
    end._methods = tuple(
        traversal.Method(f"fault-{at}", "predicted", lambda a, b: None, functools.partial(plan, end.log), True)
        for at, plan in enumerate((raising, faulty))
    )
    end.begin()
    end.hear()
    end.io.advance(limits.SEARCH_AFTER + 0.1)
    assert len(end.crashes) == 2 and not end.search.is_taken


def test_what_is_said_to_methods_that_nobody_has_is_not_kept() -> None:
    """A peer may make up names without end."""
    end = end_with()
    for number in range(1000):
        end.signal(f"made-up-{number}", "hello")
    assert end.traversal._signals == {}
