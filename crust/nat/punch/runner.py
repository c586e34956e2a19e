"""
Carries out one plan: brings it what happens, and does what it asks for.

What happens comes from many threads: a socket's reader, the I/O thread's timers, the link on which the other end
speaks. It is brought to the plan one by one and in order (:class:`crust.runtime.serial.Serial`); so nothing here waits,
and an action may make something happen at once. A plan that raises ends its own attempt, and no other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from ... import limits
from ...exceptions import MalformedMessage
from ...runtime.alarm import Alarm
from ...runtime.flusher import IoLoop
from ...runtime.serial import Serial
from .contract import Action, Finish, Note, Plan, Tell

__all__ = ["Hand", "Runner", "RunnerHost"]


class Hand(Protocol):
    """Does the actions of one kind for one runner. Never blocks; called by one thread at a time."""

    def does(self, action: Action, now: float) -> bool:
        """Do it; False if it is another hand's."""

    def close(self) -> None:
        """Close all that is open, but for what has won. Idempotent."""

    def abandon(self) -> None:
        """In a forked child: close the copies of descriptors (takes no lock)."""


class RunnerHost(Protocol):
    """What runners need of the attempt that they belong to. Nothing here blocks."""

    io: IoLoop

    def tell(self, runner: Runner, body: bytes) -> None:
        """Bring that to the same method at the other end."""

    def note(self, runner: Runner, note: Note) -> None:
        """Something was tried."""

    def finished(self, runner: Runner, reason: str) -> None:
        """The plan is over; empty: something came of it."""

    def crashed(self, name: str, error: BaseException) -> None:
        """A plan has a fault."""


class Runner:
    """
    Thread-safe.

    Args:
        name: The method's.
        plan: Its plan, not started.
        host: See :class:`RunnerHost`.
        hands: Makes the hands, given this runner.
    """

    def __init__(
        self, name: str, plan: Plan, host: RunnerHost, hands: Callable[[Runner], Sequence[Hand]]
    ) -> None:
        self.name = name
        self._plan = plan
        self._host = host
        self._now = host.io.now
        self._serial = Serial(lambda error: host.crashed(f"the method {name}", error))
        self._over = False  # this and what follows is written inside the serial
        self._alarm = Alarm(host.io)
        self._asked = self._told = 0  # actions and signals so far
        self._hands = tuple(hands(self))

    @property
    def over(self) -> bool:
        """True when the plan has finished, or was ended."""
        return self._over

    def start(self) -> None:
        """Begin."""
        self.happened(lambda plan, now: plan.start(now))

    def happened(self, verb: Callable[[Plan, float], object]) -> None:
        """
        Tell the plan of something.

        Args:
            verb: Calls the plan's method for it, given the plan and the time.
        """
        self._serial.do(lambda: self._step(verb))

    def end(self, reason: str) -> None:
        """Give the attempt up."""
        self._serial.do(lambda: self._finish(reason))

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._serial.abandon()
        self._over = True
        for hand in self._hands:
            hand.abandon()

    # --- one at a time ------------------------------------------------------------------------------------------------

    def _step(self, verb: Callable[[Plan, float], object]) -> None:
        if self._over:
            return
        now = self._now()
        try:
            verb(self._plan, now)
            self._carry_out(now)
        except MalformedMessage as error:
            self._finish(f"the other end broke the rules of {self.name}: {error}")
        except Exception as error:  # a fault of this method, which may be another package's, must end nothing else
            self._host.crashed(f"the method {self.name}", error)
            self._finish(f"internal error in {self.name}: {error!r}")

    def _carry_out(self, now: float) -> None:
        """Do what the plan asks for now, and see to its next time. It raises what is a fault of the plan."""
        if self._over:
            return
        asked = tuple(itertools.islice(self._plan.actions(), limits.PLAN_ACTIONS_MAX - self._asked + 1))
        self._asked += len(asked)
        if self._asked > limits.PLAN_ACTIONS_MAX:
            raise OverflowError(f"it asks for more than {limits.PLAN_ACTIONS_MAX} actions")
        due = self._plan.get_timer()
        for action in asked:
            if self._over:
                return
            self._do(action, now)
        if not self._over and due is not None:
            if math.isnan(due):
                raise ValueError("its timer is not a number")
            self._alarm.set(max(due, now + limits.PLAN_PAUSE), lambda _: self.happened(self._fire))

    def _do(self, action: Action, now: float) -> None:
        if isinstance(action, Tell):
            self._told += 1
            if self._told > limits.PLAN_SIGNALS_MAX:
                raise OverflowError(f"it tells the other end more than {limits.PLAN_SIGNALS_MAX} things")
            self._host.tell(self, action.body)
        elif isinstance(action, Note):
            self._host.note(self, action)
        elif isinstance(action, Finish):
            self._finish(action.reason)
        elif not any(hand.does(action, now) for hand in self._hands):
            raise TypeError(f"nobody can do {action!r}")

    def _fire(self, plan: Plan, now: float) -> None:
        self._alarm.rang()
        plan.handle_timer(now)

    def _finish(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._alarm.cancel()
        hands, self._hands = self._hands, ()  # they know this runner: nothing is left for the garbage collector to find
        for hand in hands:
            hand.close()
        self._host.finished(self, reason)
