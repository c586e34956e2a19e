"""
A clock that stands still until a test moves it, and that knows who is busy.

Theory of operation. The threads of the nodes are real. Each counts as *busy* from before it is started until it ends,
except while it waits in a primitive made here; whoever wakes it (:meth:`VirtualClock.wake`) makes it busy again before
going on itself. So there is no moment at which work is under way and nobody is busy: when nobody is, nothing can happen
any more except that time passes.

Time passes in two ways, both on the *driver*, the thread that made the clock: in :meth:`VirtualClock.advance`, and
while the driver itself waits for a node. In both it goes from one deadline to the next: everybody comes to rest, the
wait that ends first is over, everybody comes to rest again.

Threads of the application are not ours. One that has waited here is taken for busy from its waking until it waits here
again or ends, but for ``grace`` seconds of real time at most, since it may have gone somewhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from ..exceptions import LocalProtocolError, Timeout
from ..runtime.clock import Clock, Condition, Event, Queue
from ..runtime.threads import Deadline
from .waiting import VirtualCondition, VirtualEvent, VirtualQueue

__all__ = ["BEGINNING", "FOR_EVER", "VirtualClock", "Waiter"]

FOR_EVER = 3600.0  # virtual seconds after which a wait of the driver without a timeout is given up
BEGINNING = 1000.0  # what the clock says at first: not 0, which could be taken for "never"
_LOOK = 0.001  # real seconds between two looks at what tells nobody that it has ended: foreign threads, conditions
_NEVER = float("inf")


class Waiter:
    """One wait of one thread."""

    __slots__ = ("deadline", "drives", "ident", "latch", "notified", "number", "over", "thread")

    def __init__(self, number: int, deadline: float, ident: int, drives: bool) -> None:
        self.number = number
        self.deadline = deadline
        self.ident = ident
        self.thread = threading.current_thread()
        self.drives = drives
        self.latch = threading.Lock()
        self.latch.acquire()
        self.over = False
        self.notified = False
        """It ended because somebody woke it, not because its time was over."""


class VirtualClock(Clock):
    """
    See above. The calling thread becomes the driver.

    Args:
        grace: Real seconds for which a thread of the application counts as busy after it has been woken.
        patience: Real seconds after which a busy thread is taken for stuck.
        explain: Says more about who is busy, for the error.
    """

    def __init__(self, *, grace: float, patience: float, explain: Callable[[], str]) -> None:
        super().__init__()
        self._grace = grace
        self._patience = patience
        self._explain = explain
        self._driver = threading.get_ident()
        self._changed = threading.Condition(threading.Lock())  # guards all below; told when the driver must look
        self._time = BEGINNING
        self._number = 0
        self._waiters: dict[Waiter, None] = {}
        self._names: dict[int, str] = {}  # the nodes' threads that have begun, by ident
        self._busy: dict[object, str] = {}  # those that do not wait: ident, or a ticket before they begin; and name
        self._visitors: dict[int, tuple[threading.Thread, float]] = {}  # and until when they count
        self._ignored = 0  # so many of those that are busy the driver does not wait for
        self.now = self._read

    def _read(self) -> float:
        return self._time

    # --- primitives ---------------------------------------------------------------------------------------------------

    def condition(self, lock: threading.Lock | None = None) -> Condition:
        """A condition that this clock ends."""
        return VirtualCondition(self, lock)

    def event(self) -> Event:
        """An event whose waits this clock ends."""
        return VirtualEvent(self)

    def queue(self) -> Queue:
        """A queue whose waits this clock ends."""
        return VirtualQueue(self)

    def deadline(self, timeout: float | None) -> Deadline:
        """
        ``timeout`` virtual seconds from now; None: never.

        If it is over already, the driver means what is there now: what is on its way arrives first.
        """
        if timeout is not None and timeout <= 0 and threading.get_ident() == self._driver:
            with self._changed:
                self._await_rest_locked()
        return super().deadline(timeout)

    # --- the nodes' threads -------------------------------------------------------------------------------------------

    def announce(self, name: str) -> object:
        """A thread is about to be started: it is busy from now on. Returns a ticket for it."""
        ticket = object()
        with self._changed:
            self._busy[ticket] = name
        return ticket

    def begin(self, ticket: object) -> None:
        """The announced thread runs: this is it."""
        ident = threading.get_ident()
        with self._changed:
            self._names[ident] = self._busy[ident] = self._busy.pop(ticket)
            self._visitors.pop(ident, None)

    def end(self, ticket: object | None = None) -> None:
        """The calling thread of a node ends; or the one announced under that ticket could not be started."""
        ident = threading.get_ident()
        with self._changed:
            if ticket is not None:
                del self._busy[ticket]
            else:
                del self._names[ident]
                del self._busy[ident]
            self._rested_locked()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def enter_wait(self, timeout: float | None) -> Waiter:
        """The calling thread begins to wait; it must call :meth:`finish_wait` next, and may let go of locks between."""
        ident = threading.get_ident()
        with self._changed:
            self._busy.pop(ident, None)
            self._visitors.pop(ident, None)
            self._number += 1
            deadline = _NEVER if timeout is None else self._time + max(0.0, timeout)
            waiter = Waiter(self._number, deadline, ident, drives=ident == self._driver)
            self._waiters[waiter] = None
            self._rested_locked()
        return waiter

    def finish_wait(self, waiter: Waiter) -> bool:
        """
        Wait; True if woken, False if the time was over.

        Raises:
            Timeout: The driver waits without a timeout for what cannot come.
        """
        try:
            if waiter.drives:
                self._drive(waiter)
            else:
                waiter.latch.acquire()
        except BaseException:  # Ctrl-C and the like
            self.wake(waiter)
            raise
        return waiter.notified

    def wake(self, waiter: Waiter) -> bool:
        """End a wait; False if it was over. On return the thread counts as busy."""
        with self._changed:
            if waiter.over:
                return False
            waiter.notified = True
            self._release_locked(waiter)
            return True

    def _rested_locked(self) -> None:
        """One is busy no more. The driver looks when all are: to look each time costs more than all that they do."""
        if len(self._busy) <= self._ignored:
            self._changed.notify_all()

    def _release_locked(self, waiter: Waiter) -> None:
        waiter.over = True
        del self._waiters[waiter]
        if waiter.drives:
            self._changed.notify_all()
            return
        name = self._names.get(waiter.ident)
        if name is not None:
            self._busy[waiter.ident] = name
        else:
            self._visitors[waiter.ident] = (waiter.thread, time.monotonic() + self._grace)
        waiter.latch.release()

    # --- the driver ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """
        Wait until nobody is busy. Time stands still.

        Raises:
            Timeout: Somebody is busy without an end.
            LocalProtocolError: On another thread than the driver.
        """
        self._check_driver()
        with self._changed:
            if not self._await_rest_locked():
                raise self._stuck_locked()

    def advance(self, seconds: float) -> None:
        """
        Let time pass, from one deadline to the next.

        Raises:
            ValueError: ``seconds`` is negative or not a number.
            Timeout: Somebody is busy without an end; time has passed in part.
            LocalProtocolError: On another thread than the driver.
        """
        if not seconds >= 0:
            raise ValueError(f"time goes forward only: {seconds!r}")
        self._check_driver()
        target = self._time + seconds
        with self._changed:
            while True:
                if not self._await_rest_locked():
                    raise self._stuck_locked()
                waiter = self._next_locked()
                if waiter is None or waiter.deadline > target:
                    break
                self._pass_to_locked(waiter)
            self._time = target

    def settle_until(self, until: Callable[[], Any]) -> None:
        """
        Wait, in real time, until nobody is busy and ``until()`` is true.

        Raises:
            Timeout: It does not become true.
            LocalProtocolError: On another thread than the driver.
        """
        end = time.monotonic() + self._patience
        self.settle()
        while not until():
            if time.monotonic() > end:
                raise Timeout(f"it did not become true within {self._patience:g} s, and no node is busy")
            with self._changed:
                self._changed.wait(_LOOK)
            self.settle()

    def _drive(self, own: Waiter) -> None:
        """The driver waits: let time pass until ``own`` is over."""
        limit = self._time + FOR_EVER if own.deadline == _NEVER else own.deadline
        stuck: set[object] = set()  # time passes in spite of these, or we would hang with them
        with self._changed:
            while not own.over:
                if not self._await_rest_locked(own, stuck):
                    stuck.update(self._busy)
                if own.over:
                    return
                waiter = self._next_locked()
                if waiter is None or waiter.deadline > limit:
                    raise Timeout(
                        "this would wait for ever: every node is idle, and "
                        + (f"{FOR_EVER:g} s on the virtual clock" if waiter is not None else "the passing of time")
                        + " changed nothing that it waits for; give it a timeout"
                    )
                self._pass_to_locked(waiter)

    def _pass_to_locked(self, waiter: Waiter) -> None:
        """Let time pass until that wait is over."""
        self._time = max(self._time, waiter.deadline)
        self._release_locked(waiter)

    def _check_driver(self) -> None:
        if threading.get_ident() != self._driver:
            raise LocalProtocolError(
                "the virtual clock is moved on the thread that made the network, and outside callbacks"
            )

    def _next_locked(self) -> Waiter | None:
        """Whose time is over first; among equals, who began to wait first."""
        due = [waiter for waiter in self._waiters if waiter.deadline != _NEVER]
        return min(due, key=lambda waiter: (waiter.deadline, waiter.number)) if due else None

    def _await_rest_locked(self, own: Waiter | None = None, stuck: Collection[object] = ()) -> bool:
        """Wait until nobody but ``stuck`` is busy, or ``own`` is over; False if that takes too long."""
        end = time.monotonic() + self._patience
        self._ignored = len(stuck)
        while own is None or not own.over:
            now = time.monotonic()
            self._forget_visitors_locked(now)
            busy = any(each not in stuck for each in self._busy)
            if not busy and not self._visitors:
                return True
            if now >= end:
                return False
            self._changed.wait(end - now if busy else _LOOK)
        return True

    def _forget_visitors_locked(self, now: float) -> None:
        for ident, (thread, until) in list(self._visitors.items()):
            if now >= until or not thread.is_alive():
                del self._visitors[ident]

    def _stuck_locked(self) -> Timeout:
        names = ", ".join(sorted(self._busy.values())) or "a thread of the application"
        more = self._explain()
        return Timeout(
            f"the nodes do not come to rest: {names} still busy after {self._patience:g} s{more and ': '}{more}"
        )
