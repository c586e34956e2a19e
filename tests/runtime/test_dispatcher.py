"""The dispatcher: order, one thread, ends, and what it says when it is stuck."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from crust import limits
from crust.runtime.dispatcher import Dispatcher
from crust.runtime.threads import Deadline, Threads
from tests.support.modes import on_greenlets
from tests.support.threads import Crew
from tests.support.waiting import wait_until


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew(io=False) as crew:
        yield crew


def test_calls_run_in_order_on_one_thread(crew: Crew) -> None:
    """What was posted before the start too."""
    dispatcher = Dispatcher()
    seen: list[tuple[int, bool]] = []
    for number in range(3):
        dispatcher.post(lambda number: seen.append((number, dispatcher.on_dispatcher())), number)
    assert dispatcher.backlog() == 3 and not dispatcher.running
    dispatcher.start(crew.spawn)
    assert dispatcher.running and not dispatcher.on_dispatcher()
    dispatcher.post(lambda number: seen.append((number, dispatcher.on_dispatcher())), 3)
    dispatcher.stop()
    assert dispatcher.join(Deadline(5))
    assert seen == [(0, True), (1, True), (2, True), (3, True)]


def test_stop_runs_what_waits_and_nothing_later(crew: Crew) -> None:
    """Idempotent; join is true afterwards, and before any start."""
    dispatcher = Dispatcher()
    assert dispatcher.join(Deadline(0))
    dispatcher.start(crew.spawn)
    gate = threading.Event()
    seen: list[str] = []
    dispatcher.post(gate.wait, 5)
    dispatcher.post(seen.append, "waiting")
    dispatcher.stop()
    dispatcher.stop()
    dispatcher.post(seen.append, "late")
    assert not dispatcher.running
    assert not dispatcher.join(Deadline(0.01))
    gate.set()
    assert dispatcher.join(Deadline(5))
    assert seen == ["waiting"]


@pytest.mark.skipif(not on_greenlets(), reason="threads of the system take their turns by themselves")
def test_other_greenlets_have_their_turn(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits: 24 peers that fill their windows with empty messages had all else stand still for seconds."""
    monkeypatch.setattr(limits, "CALLBACKS_TURN_SECONDS", 0.0)
    dispatcher = Dispatcher()
    seen: list[str] = []
    gate = threading.Event()
    crew.spawn("crust-other", lambda: (gate.wait(5), seen.append("other")))
    dispatcher.post(gate.set)
    for _ in range(10):
        dispatcher.post(seen.append, "call")
    dispatcher.stop()
    dispatcher._run()  # here, where nothing else lets the other one run
    assert seen.count("call") == 10 and "other" in seen[:-1]


def test_abandon_begins_nothing_more(crew: Crew) -> None:
    """After a stuck callback has come back, the rest is dropped."""
    dispatcher = Dispatcher()
    dispatcher.start(crew.spawn)
    gate = threading.Event()
    stuck = threading.Event()
    seen: list[str] = []
    dispatcher.post(lambda: (stuck.set(), gate.wait(5)))
    dispatcher.post(seen.append, "waiting")
    assert stuck.wait(5)
    dispatcher.stop()
    dispatcher.abandon()
    gate.set()
    assert dispatcher.join(Deadline(5))
    assert seen == []


def test_a_call_that_raises_is_reported_and_the_next_runs(crew: Crew) -> None:
    """The net below those who post."""
    reports: list[tuple[str, str]] = []
    dispatcher = Dispatcher(lambda name, error: reports.append((name, str(error))))
    dispatcher.start(crew.spawn)
    seen: list[str] = []
    dispatcher.post(lambda: {}["missing"])
    dispatcher.post(seen.append, "next")
    dispatcher.stop()
    assert dispatcher.join(Deadline(5))
    assert seen == ["next"] and reports == [("crust-dispatcher", "'missing'")]


def test_stop_and_join_from_the_dispatcher_itself(crew: Crew) -> None:
    """A callback may close the node: join says False instead of waiting for itself."""
    dispatcher = Dispatcher()
    dispatcher.start(crew.spawn)
    results: list[bool] = []
    dispatcher.post(lambda: (dispatcher.stop(), results.append(dispatcher.join(Deadline(5)))))
    wait_until(lambda: results)
    assert results == [False]
    assert dispatcher.join(Deadline(5))


def stuck_here(gate: threading.Event) -> None:
    gate.wait(5)


def test_a_stuck_call_can_be_named_and_shown(crew: Crew) -> None:
    """current says what runs since when; stack shows the line, from outside and from inside."""
    dispatcher = Dispatcher()
    assert dispatcher.stack() == "" and dispatcher.current() is None
    dispatcher.start(crew.spawn)
    gate = threading.Event()
    inside: list[str] = []

    def run() -> None:
        dispatcher.set_current(stuck_here, time.monotonic())
        inside.append(dispatcher.stack())
        stuck_here(gate)
        dispatcher.set_current(None)

    dispatcher.post(run)
    wait_until(lambda: "in stuck_here" in dispatcher.stack())
    current = dispatcher.current()
    assert current is not None and current[0].endswith(".stuck_here")
    assert 0 <= time.monotonic() - current[1] < 5
    assert "in run" in inside[0]
    gate.set()
    dispatcher.stop()
    assert dispatcher.join(Deadline(5))
    assert dispatcher.stack() == "" and dispatcher.current() is None


def test_an_idle_dispatcher_keeps_nothing_alive(crew: Crew) -> None:
    """The last message is freed when its callback has ended, not when the next one comes."""
    import weakref

    class Message:
        pass

    dispatcher = Dispatcher()
    dispatcher.start(crew.spawn)
    message = Message()
    gone = weakref.ref(message)
    dispatcher.post(lambda each: None, message)
    del message
    wait_until(lambda: gone() is None)
    dispatcher.stop()
    assert dispatcher.join(Deadline(5))


def test_no_thread_no_dispatcher() -> None:
    """A failed start says so, and nothing runs."""
    dispatcher = Dispatcher()

    def no_threads(name: str, target: object, *args: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError):
        dispatcher.start(no_threads)
    assert not dispatcher.running
    crew = Threads()
    assert crew.alive() == []
