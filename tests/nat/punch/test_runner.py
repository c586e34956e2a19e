"""What carries out a plan: a plan with a fault ends its own attempt, is reported, and costs no more than is bounded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from crust import limits
from crust.exceptions import MalformedMessage
from crust.nat.punch.contract import Action, Close, Finish, Note, Plan, Probe, Tell
from crust.nat.punch.runner import Runner
from crust.runtime.timers import Timer, TimerHeap

PROBE = Probe("udp4", ("198.51.100.7", 5483), b"\x80")


class Faulty:
    """A plan that does as a test says."""

    def __init__(
        self,
        asks: Callable[[], Iterable[Any]] = tuple,
        timer: Callable[[], Any] = lambda: None,
        start: Callable[[], object] = lambda: None,
    ) -> None:
        self.asks, self.timer, self._start = asks, timer, start
        self.heard: list[bytes] = []
        self.fired = 0

    def start(self, now: float) -> None:
        self._start()

    def receive_signal(self, body: bytes, now: float) -> None:
        if body == b"malformed":
            raise MalformedMessage("no such signal")
        self.heard.append(body[:1])
        assert body.decode("ascii"), "it trusts the other end"

    def get_timer(self) -> float | None:
        return cast("float | None", self.timer())

    def handle_timer(self, now: float) -> None:
        self.fired += 1

    def actions(self) -> Iterable[Action]:
        return self.asks()


class Host:
    """What a runner needs, and one hand that can do probes."""

    def __init__(self) -> None:
        self.io: Any = self
        self.time = 100.0
        self.heap = TimerHeap()
        self.told: list[bytes] = []
        self.ended: list[str] = []
        self.crashes: list[BaseException] = []
        self.done: list[Action] = []
        self.closed = 0

    def run(self, plan: Faulty) -> Runner:
        runner = Runner("knock", cast(Plan, plan), self, lambda made: (self,))
        runner.start()
        return runner

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[float], object]) -> Timer:
        timer = Timer(when, callback)
        self.heap.add(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while (due := self.heap.next_due()) is not None and due <= end:
            self.time = max(self.time, due)
            callback = self.heap.pop_due(self.time)
            assert callback is not None
            callback(self.time)
        self.time = end

    def tell(self, runner: Runner, body: bytes) -> None:
        if len(body) > limits.SIGNAL_MAX:
            raise ValueError("no frame holds that")
        self.told.append(body)

    def note(self, runner: Runner, note: Note) -> None: ...

    def finished(self, runner: Runner, reason: str) -> None:
        self.ended.append(reason)

    def crashed(self, name: str, error: BaseException) -> None:
        assert name == "the method knock"
        self.crashes.append(error)

    def does(self, action: Action, now: float) -> bool:
        self.done.append(action)
        return isinstance(action, Probe)

    def close(self) -> None:
        self.closed += 1

    def abandon(self) -> None: ...


def once(*actions: Any) -> Callable[[], Iterable[Any]]:
    """Ask for these at the first time, and for nothing later."""
    left: Iterator[tuple[Any, ...]] = iter([actions])
    return lambda: next(left, ())


def raises(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


FAULTS = {
    "raises at its start": Faulty(start=raises(ZeroDivisionError())),
    "raises when asked for actions": Faulty(asks=raises(KeyError("x"))),
    "raises when asked for its timer": Faulty(timer=raises(KeyError("x"))),
    "asks for what nobody can do": Faulty(asks=once("dance")),
    "closes what no hand has": Faulty(asks=once(Close("nothing"))),
    "has no actions": Faulty(asks=lambda: cast(Any, None)),
    "never stops asking": Faulty(asks=lambda: itertools.repeat(PROBE)),
    "asks for too much": Faulty(asks=once(*[PROBE] * (limits.PLAN_ACTIONS_MAX + 1))),
    "says what is too long": Faulty(asks=once(Tell(bytes(limits.SIGNAL_MAX + 1)))),
    "says too much": Faulty(asks=once(*[Tell(b"x")] * (limits.PLAN_SIGNALS_MAX + 1))),
    "has a timer that is no number": Faulty(timer=lambda: float("nan")),
    "has a timer that is a word": Faulty(timer=lambda: "soon"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_attempt(name: str) -> None:
    """It is reported once, with what was raised; all is closed, and nothing happens to the plan any more."""
    host, plan = Host(), FAULTS[name]
    runner = host.run(plan)
    assert runner.over and len(host.crashes) == 1 and host.closed == 1
    (reason,) = host.ended
    assert reason.startswith("internal error in knock: ") and type(host.crashes[0]).__name__ in reason
    runner.happened(lambda plan, now: plan.receive_signal(b"more", now))
    host.advance(10.0)
    assert (plan.heard, plan.fired) == ([], 0)
    assert len(host.told) <= limits.PLAN_SIGNALS_MAX and len(host.done) <= limits.PLAN_ACTIONS_MAX


def test_hostile_bytes_end_the_attempt() -> None:
    """What a plan did not expect of the other end is its own fault; what it refuses is the other end's."""
    for body, faults in ((b"\xff\x00", 1), (b"malformed", 0)):
        host = Host()
        runner = host.run(Faulty())
        runner.happened(lambda plan, now, body=body: plan.receive_signal(body, now))
        assert runner.over and len(host.crashes) == faults
        assert host.ended[0].startswith("internal error" if faults else "the other end broke the rules of knock: ")


def test_a_plan_that_always_wants_to_be_called_is_called_a_thousand_times_a_second() -> None:
    """And no more often: the thread of its timers is everybody's."""
    host = Host()
    plan = Faulty(timer=lambda: 0.0)
    host.run(plan)
    host.advance(1.0)
    assert 900 < plan.fired <= 1 / limits.PLAN_PAUSE


def test_a_plan_that_never_has_enough_is_ended() -> None:
    """What it asks for is counted over all of the attempt: it is nobody's work for long."""
    host = Host()
    runner = host.run(Faulty(asks=lambda: [PROBE] * 1000, timer=lambda: 0.0))
    host.advance(1.0)
    assert runner.over and [type(error) for error in host.crashes] == [OverflowError]
    assert limits.PLAN_ACTIONS_MAX - 1000 < len(host.done) <= limits.PLAN_ACTIONS_MAX


def test_a_plan_that_never_finishes_is_ended() -> None:
    """By whoever began it, after the time of the attempt: its timer is gone, and it hears nothing."""
    host = Host()
    plan = Faulty(timer=lambda: host.time + 1.0)
    runner = host.run(plan)
    host.advance(3.5)
    runner.end("nothing better was found in time")
    assert (host.ended, host.closed, host.crashes, plan.fired) == (["nothing better was found in time"], 1, [], 3)
    runner.end("again")
    host.advance(10.0)
    assert (len(host.ended), host.closed, plan.fired) == (1, 1, 3)


def test_what_comes_after_the_end_is_not_done() -> None:
    """Actions behind Finish are nobody's."""
    host = Host()
    host.run(Faulty(asks=once(PROBE, Finish("enough"), PROBE, Tell(b"x"))))
    assert (host.done, host.told, host.ended, host.crashes) == ([PROBE], [], ["enough"], [])
