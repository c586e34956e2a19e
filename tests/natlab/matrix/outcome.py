"""What one run of the matrix has shown, and the verdict on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from crust.peers.paths import rank
from tests.natlab.matrix.table import FIRST_MESSAGE, GIVE_UP, Expectation

Word = Literal["good", "over", "failed"]


@dataclasses.dataclass(frozen=True)
class Step:
    """A path that one end of the session had from some moment on."""

    seconds: float
    """After the call."""

    path_class: str
    transport: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one call. All times are seconds after the command ``connect`` was given to the caller."""

    connected: float | None = None
    """When the caller was told that there is a session; None: it was not."""

    first_message: float | None = None
    """When the callee had the message that the caller sent at once."""

    caller: tuple[Step, ...] = ()
    """The paths of the caller's end, in order."""

    callee: tuple[Step, ...] = ()

    carries: bool = False
    """Whether a message came through at the end."""

    ended: float | None = None
    """Where a relay is all there is: when nothing was tried any more. None: not looked at, or it never was."""

    settled: bool = True
    """Whether both sites were idle before the call, as they should be."""

    error: str = ""
    """What crust said when it could not."""

    def as_json(self) -> dict[str, Any]:
        """For the state file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Outcome:
        """TypeError or KeyError if it is none."""
        steps = {name: tuple(Step(**each) for each in found[name]) for name in ("caller", "callee")}
        return cls(**{**found, **steps})

    @property
    def final(self) -> str:
        """The class that the session ended on, the worse one if the ends do not agree; empty: there was none."""
        if not (self.caller and self.callee):
            return ""
        last = (self.caller[-1], self.callee[-1])
        return max(last, key=lambda step: rank(step.path_class)).path_class

    def reached(self, expectation: Expectation) -> float | None:
        """When both ends had what was expected and kept it; None: they had not at the end."""
        found = [_since(steps, expectation) for steps in (self.caller, self.callee)]
        return None if None in found else max(each for each in found if each is not None)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """On one run."""

    word: Word
    """``good``: within the budget; ``over``: the path came too late, or not, but messages do; ``failed``: nothing."""

    seconds: float | None
    """When the expected path was reached."""

    better: bool
    """Whether the path is better than expected."""

    prompt: bool
    """Whether the first message was there in time."""


def judge(outcome: Outcome, expectation: Expectation) -> Verdict:
    """What to think of it."""
    reached = outcome.reached(expectation)
    prompt = outcome.first_message is not None and outcome.first_message <= FIRST_MESSAGE
    better = reached is not None and expectation.surpassed(outcome.final)
    word: Word = "good"
    if outcome.first_message is None or not outcome.carries:
        word = "failed"
    elif reached is None or reached > expectation.seconds or _goes_on(outcome, expectation):
        word = "over"
    return Verdict(word, reached, better, prompt)


def _goes_on(outcome: Outcome, expectation: Expectation) -> bool:
    """Whether hopeless attempts went on for too long."""
    if expectation.letter != "R" or expectation.surpassed(outcome.final):
        return False
    return outcome.ended is None or outcome.ended > GIVE_UP


def _since(steps: Sequence[Step], expectation: Expectation) -> float | None:
    since = None
    for step in steps:
        if not expectation.allows(step.path_class, step.transport):
            since = None
        elif since is None:
            since = step.seconds
    return since

