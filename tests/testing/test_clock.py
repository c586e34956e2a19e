"""The virtual clock: who is busy, and how time passes when nobody is."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from crust.exceptions import LocalProtocolError, Timeout
from crust.runtime.threads import Threads
from crust.testing.clock import BEGINNING, FOR_EVER, VirtualClock
from crust.testing.machine import VirtualLoop, VirtualThreads
from crust.testing.waiting import VirtualCondition
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

SOON = 5.0  # real seconds in which nothing that ends at once has taken too long


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(grace=0.2, patience=SOON, explain=lambda: "")


@pytest.fixture
def threads(clock: VirtualClock) -> Iterator[VirtualThreads]:
    """Threads of a node; those of a test end by themselves."""
    crashes: list[BaseException] = []
    made = VirtualThreads(lambda name, error: crashes.append(error), clock)
    yield made
    assert made.join(clock.deadline(0.0)) == []
    assert crashes == []


def elapsed(clock: VirtualClock) -> float:
    return clock.now() - BEGINNING


# --- the driver waits -------------------------------------------------------------------------------------------------


def test_a_wait_of_the_driver_ends_at_once_when_its_virtual_time_is_over(clock: VirtualClock) -> None:
    """Events, conditions and queues; the clock then says how long they waited."""
    began = time.monotonic()
    assert not clock.event().wait(1000.0)
    with clock.condition() as condition_held:
        assert condition_held
    condition = clock.condition()
    with condition:
        assert not condition.wait(500.0)
    with pytest.raises(queue.Empty):
        clock.queue().get(timeout=250.0)
    assert elapsed(clock) == 1750.0
    assert time.monotonic() - began < SOON * busy()


def test_waits_of_no_time_let_none_pass(clock: VirtualClock) -> None:
    """0 and below: what is there now."""
    assert not clock.event().wait(0)
    assert not clock.event().wait(-1.0)
    with pytest.raises(queue.Empty):
        clock.queue().get(block=False)
    with pytest.raises(queue.Empty):
        clock.queue().get(timeout=0)
    assert elapsed(clock) == 0.0


def test_a_wait_of_no_time_sees_what_is_on_its_way(clock: VirtualClock, threads: VirtualThreads) -> None:
    """Before the driver gives up, everybody has come to rest."""
    items = clock.queue()
    gate = threading.Event()

    def produce() -> None:
        gate.wait(SOON)
        time.sleep(0.02)
        items.put("late")

    threads.spawn("producer", produce)
    gate.set()
    assert items.get(timeout=0) == "late"


def test_a_wait_without_end_is_an_error(clock: VirtualClock, threads: VirtualThreads) -> None:
    """At once if nothing waits for time; else after an hour that changed nothing. The lock is held again."""
    condition = clock.condition()
    with condition:
        with pytest.raises(Timeout, match="for ever"):
            condition.wait()
        assert elapsed(clock) == 0.0
    never, stop = clock.event(), clock.event()

    def tick() -> None:
        while not stop.wait(7.0):
            pass

    threads.spawn("ticker", tick)
    with pytest.raises(Timeout, match="for ever"):
        never.wait()
    assert FOR_EVER - 7.0 <= elapsed(clock) <= FOR_EVER
    stop.set()
    clock.settle()


def test_what_comes_in_time_ends_the_wait_then(clock: VirtualClock, threads: VirtualThreads) -> None:
    """The driver's wait passes through the deadlines of others, in order, and stops where it is woken."""
    done = clock.event()
    steps: list[tuple[str, float]] = []

    def work(name: str, seconds: float) -> None:
        clock.event().wait(seconds)
        steps.append((name, elapsed(clock)))
        if name == "third":
            done.set()

    for name, seconds in (("third", 30.0), ("first", 10.0), ("fourth", 40.0), ("second", 20.0)):
        threads.spawn(name, work, name, seconds)
    assert done.wait(100.0)
    assert steps == [("first", 10.0), ("second", 20.0), ("third", 30.0)]
    assert elapsed(clock) == 30.0
    clock.advance(10.0)
    assert steps[-1] == ("fourth", 40.0)


# --- advance and settle -----------------------------------------------------------------------------------------------


def test_time_stands_still_by_itself(clock: VirtualClock, threads: VirtualThreads) -> None:
    """A wait of another thread ends only when time has passed."""
    woken: list[bool] = []
    threads.spawn("sleeper", lambda: woken.append(clock.event().wait(3.0)))
    clock.settle()
    time.sleep(0.01)
    assert (woken, elapsed(clock)) == ([], 0.0)
    clock.advance(2.999)
    assert woken == []
    clock.advance(0.002)
    assert woken == [False]
    assert elapsed(clock) == pytest.approx(3.001)


def test_settle_waits_for_what_leads_to_more_work(clock: VirtualClock, threads: VirtualThreads) -> None:
    """A ball passed a thousand times between threads never looks like rest while it is under way."""
    for _ in range(20):
        queues = [clock.queue() for _ in range(3)]
        passed: list[int] = []

        def play(own: int, queues: list[object] = queues, passed: list[int] = passed) -> None:  # type: ignore[type-arg]
            while True:
                number = queues[own].get()  # type: ignore[attr-defined]
                if number is None:
                    return
                passed.append(number)
                if number < 50:
                    queues[(own + 1) % 3].put(number + 1)  # type: ignore[attr-defined]

        for own in range(3):
            threads.spawn(f"player-{own}", play, own)
        queues[0].put(1)
        clock.settle()
        assert passed == list(range(1, 51))
        for each in queues:
            each.put(None)
        clock.settle()


def test_a_thread_counts_from_before_it_begins(clock: VirtualClock, threads: VirtualThreads) -> None:
    """Between spawn and the first instruction there is no moment of rest."""
    for _ in range(50):
        ran: list[int] = []
        threads.spawn("short", ran.append, 1)
        clock.settle()
        assert ran == [1]


def test_a_thread_that_cannot_start_is_not_waited_for(
    clock: VirtualClock, threads: VirtualThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has no thread to give: the ticket is taken back."""

    def no_thread(self: Threads, *args: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Threads, "spawn", no_thread)
        with pytest.raises(RuntimeError):
            threads.spawn("never", lambda: None)
    clock.settle()


def test_settle_names_who_does_not_come_to_rest() -> None:
    """After ``patience`` real seconds, with what is known of it."""
    clock = VirtualClock(grace=0.0, patience=0.05, explain=lambda: "it sings")
    threads = VirtualThreads(lambda name, error: None, clock)
    gate = threading.Event()
    threads.spawn("crust-singer", gate.wait, SOON)
    for blocked in (clock.settle, lambda: clock.advance(1.0)):
        with pytest.raises(Timeout, match="crust-singer still busy after 0.05 s: it sings"):
            blocked()
    assert not clock.event().wait(2.0), "a wait of the driver goes on beside a thread that is stuck"
    assert elapsed(clock) == 2.0
    gate.set()
    assert threads.join(clock.deadline(1.0)) == []


def test_a_stuck_thread_costs_a_wait_its_patience_once() -> None:
    """Not at every deadline that the wait passes through."""
    clock = VirtualClock(grace=0.0, patience=0.2, explain=lambda: "")
    threads = VirtualThreads(lambda name, error: None, clock)
    gate, stop = threading.Event(), clock.event()
    threads.spawn("crust-stuck", gate.wait, SOON)

    def tick() -> None:
        while not stop.wait(1.0):
            pass

    threads.spawn("crust-ticker", tick)
    began = time.monotonic()
    assert not clock.event().wait(100.0)
    assert time.monotonic() - began < 2.0 * busy()
    stop.set()
    gate.set()
    assert threads.join(clock.deadline(1.0)) == []


def test_settle_until_waits_in_real_time(clock: VirtualClock) -> None:
    """For what other threads do; and says so if it does not happen."""
    happened: list[int] = []
    job = Background(lambda: (time.sleep(0.02), happened.append(1)))
    clock.settle_until(lambda: happened)
    job.result()
    assert elapsed(clock) == 0.0
    clock = VirtualClock(grace=0.0, patience=0.05, explain=lambda: "")
    with pytest.raises(Timeout, match="did not become true"):
        clock.settle_until(lambda: False)


def test_time_does_not_go_back(clock: VirtualClock) -> None:
    """Nor to nowhere."""
    for seconds in (-1.0, float("nan")):
        with pytest.raises(ValueError):
            clock.advance(seconds)


def test_only_the_driver_moves_the_clock(clock: VirtualClock) -> None:
    """Two hands on it would make no sense of time."""
    for moved in (clock.settle, lambda: clock.advance(1.0), lambda: clock.settle_until(lambda: True)):
        with pytest.raises(LocalProtocolError):
            Background(moved).result()


# --- threads of the application ---------------------------------------------------------------------------------------


def test_a_woken_thread_of_the_application_may_finish_first(clock: VirtualClock) -> None:
    """What it does with what it got is waited for, although it is no thread of ours."""
    questions, answers = clock.queue(), clock.queue()

    def serve() -> None:
        while (question := questions.get()) is not None:
            time.sleep(0.03)
            answers.put(question * 2)

    job = Background(serve)
    for number in range(3):
        questions.put(number)
        assert answers.get(timeout=1.0) == number * 2
    questions.put(None)
    job.result()
    assert elapsed(clock) == 0.0


def test_a_thread_of_the_application_that_has_gone_is_forgotten(clock: VirtualClock) -> None:
    """At once if it has ended, after the grace if it does something else; time then passes without it."""
    event, gate = clock.event(), threading.Event()
    job = Background(lambda: (event.wait(), gate.wait(SOON)))
    wait_until(lambda: clock._waiters, what="the wait")
    event.set()
    began = time.monotonic()
    assert not clock.event().wait(9.0)
    assert 0.15 < time.monotonic() - began < SOON * busy()
    assert not clock.event().wait(1.0)
    gate.set()
    job.result()
    assert elapsed(clock) == 10.0


def test_waits_of_other_threads_go_by_the_driver(clock: VirtualClock) -> None:
    """A thread of the application with a timeout is woken when time has passed."""
    job = Background(lambda: (clock.event().wait(60.0), elapsed(clock)))
    wait_until(lambda: clock._waiters, what="the wait")
    assert not job.done
    clock.advance(100.0)
    assert job.result() == (False, 60.0)


# --- details of the primitives ----------------------------------------------------------------------------------------


def test_notify_wakes_in_order_and_not_twice(clock: VirtualClock, threads: VirtualThreads) -> None:
    """As many as asked for, who came first first; a wait whose time is over eats no notification."""
    condition = clock.condition()
    woken: list[str] = []

    def wait(name: str, timeout: float | None) -> None:
        with condition:
            if condition.wait(timeout):
                woken.append(name)

    for name, timeout in (("short", 1.0), ("a", None), ("b", None), ("c", None)):
        threads.spawn(name, wait, name, timeout)
        clock.settle()
    clock.advance(2.0)
    with condition:
        condition.notify()
    clock.settle()
    assert woken == ["a"]
    with condition:
        condition.notify(2)
    clock.settle()
    assert sorted(woken) == ["a", "b", "c"]


def test_a_wait_that_is_over_eats_no_notification(clock: VirtualClock, threads: VirtualThreads) -> None:
    """Its time has come, but it has not got the lock again yet: the next one is woken."""
    condition = clock.condition()
    assert isinstance(condition, VirtualCondition)
    woken: list[int] = []

    def wait() -> None:
        with condition:
            woken.append(condition.wait(5.0))

    with condition:
        late = clock.enter_wait(None)
        condition._waiters.append(late)
        clock.wake(late)
    threads.spawn("crust-patient", wait)
    clock.settle()
    with condition:
        condition.notify()
    clock.settle()
    assert woken == [True]


def test_an_event_is_cleared_and_set_again(clock: VirtualClock) -> None:
    """Like the one of the standard library."""
    event = clock.event()
    event.set()
    assert event.is_set() and event.wait(0) and event.wait()
    event.clear()
    assert not event.is_set() and not event.wait(1.0)


def test_a_queue_keeps_the_order(clock: VirtualClock) -> None:
    """Like the one of the standard library."""
    items = clock.queue()
    assert items.empty()
    for number in range(3):
        items.put(number)
    assert (items.qsize(), items.empty()) == (3, False)
    assert [items.get(), items.get(timeout=0), items.get(block=False)] == [0, 1, 2]


def test_a_queue_does_not_wait_longer_for_being_robbed(clock: VirtualClock, threads: VirtualThreads) -> None:
    """Who is woken for an item that somebody quicker has taken waits the rest of its time."""
    items = clock.queue()
    outcome: list[float] = []

    def get() -> None:
        try:
            items.get(timeout=10.0)
        except queue.Empty:
            outcome.append(elapsed(clock))

    threads.spawn("getter", get)
    clock.advance(6.0)
    with items._changed:  # type: ignore[attr-defined]
        items._changed.notify()  # type: ignore[attr-defined]
    clock.advance(6.0)
    assert outcome == [10.0]


def test_an_interrupt_ends_a_wait_and_leaves_nothing(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a wait of the driver: it is over, and later ones are not confused."""
    event = clock.event()

    def interrupt(*args: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clock, "_await_rest_locked", interrupt)
        with pytest.raises(KeyboardInterrupt):
            event.wait(5.0)
    assert not clock._waiters
    assert not event.wait(5.0)
    assert elapsed(clock) == 5.0


# --- threads and the loop ---------------------------------------------------------------------------------------------


def test_join_is_a_wait_like_others(clock: VirtualClock, threads: VirtualThreads) -> None:
    """It lets time pass for those who wait for that, and names who did not end in time."""
    threads.spawn("crust-quick", lambda: clock.event().wait(2.0))
    threads.spawn("crust-slow", lambda: clock.event().wait(20.0))
    assert threads.join(clock.deadline(10.0)) == ["crust-slow"]
    assert elapsed(clock) == 10.0
    assert threads.join(clock.deadline(50.0), but=("crust-slow",)) == []
    assert threads.join(clock.deadline(50.0)) == []
    assert elapsed(clock) == 20.0


def test_a_crash_is_reported_before_the_thread_is_over(clock: VirtualClock) -> None:
    """So that settle waits for what the report leads to."""
    reports: list[tuple[str, str]] = []

    def report(name: str, error: BaseException) -> None:
        time.sleep(0.02)
        reports.append((name, str(error)))

    threads = VirtualThreads(report, clock)

    def fail() -> None:
        raise RuntimeError("a bug")

    threads.spawn("crust-faulty", fail)
    clock.settle()
    assert reports == [("crust-faulty", "a bug")]
    assert threads.join(clock.deadline(0.0)) == []


def test_the_loop_runs_its_timers_when_time_passes(clock: VirtualClock, threads: VirtualThreads) -> None:
    """In order, at their time, also those added by others; and what it is asked to flush at once."""

    class Flushed:
        def flush(self) -> None:
            ran.append(("flush", elapsed(clock)))

    ran: list[tuple[str, float]] = []
    loop = VirtualLoop(lambda name, error: None, clock)
    loop.start(threads.spawn)
    loop.call_later(5.0, lambda now: ran.append(("five", now - BEGINNING)))
    loop.call_later(1.0, lambda now: (ran.append(("one", now - BEGINNING)), loop.call_later(1.0, second)))

    def second(now: float) -> None:
        ran.append(("two", now - BEGINNING))

    cancelled = loop.call_later(3.0, second)
    loop.flush_soon(Flushed())
    clock.settle()
    cancelled.cancel()
    assert ran == [("flush", 0.0)]
    clock.advance(10.0)
    assert ran[1:] == [("one", 1.0), ("two", 2.0), ("five", 5.0)]
    loop.stop()
    clock.settle()
    assert not loop.running
