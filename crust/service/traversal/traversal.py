"""
One session's way to the best path (docs/nat-traversal.md).

Theory of operation. Work comes in *generations*, which both ends number alike. In each, both tell the other where they
may be reached and what is known of their network (CANDIDATES); as soon as an end knows both sides, it dials the other's
places from fresh ports, begins the methods of the registry that punch, and, when these are in vain, has its turn to
search, one method after the other. Whatever opens is handed to the dialer, which proves who is there and moves the
session if that is better. A generation is over when the path cannot become better, or after ``nat.punch.timeout``.

A generation begins at both ends when a circuit carries the session; later by whoever finds a reason to: the leading end
by its schedule, either when its network has changed. The other end joins.

Everything here runs in one :class:`crust.runtime.serial.Serial`, whichever thread brings it; nothing blocks.
"""

from __future__ import annotations

import collections
import os
import random
from collections.abc import Callable
from typing import Protocol

from ... import limits
from ...addresses import Endpoint
from ...nat.methods import Method
from ...nat.punch.allowance import Allowance
from ...nat.punch.contract import Context, Note, Plan, Terrain
from ...nat.punch.runner import Hand, Runner
from ...nat.punch.standing import DEPENDENT, counts
from ...paths import Attempt
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...peers.paths import is_better_class
from ...peers.race import Candidate
from ...peers.session import State
from ...runtime.flusher import IoLoop
from ...runtime.serial import Serial
from ...runtime.timers import Timer
from ...transports.contract import Transport
from ...wire.frames import Candidates, Place, Signal, TransportCode
from .direct import candidates_of
from .places import Where, seen_hosts, where_is
from .schedule import Schedule
from .search import SearchTurns

__all__ = ["Traversal", "TraversalHost", "could_be_better"]

_BETTER = "a better path was found"
_TOO_MANY = "too many other sessions look for a path at the moment"


class TraversalHost(Protocol):
    """What a traversal needs of its node. Nothing here blocks."""

    io: IoLoop
    search: SearchTurns
    punch_timeout: float
    transports: dict[str, Transport]

    @property
    def wall(self) -> Callable[[], float]:
        """What tells the time, in seconds since the epoch."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""

    def leads(self, conversation: Conversation) -> bool:
        """Whether this end decides."""

    def terrain(self) -> Terrain:
        """What is known of our network now."""

    def targets(self, ours: Terrain, theirs: Terrain, seen: frozenset[str]) -> tuple[Place, ...]:
        """Which of the other's places may be tried from here, best first; ``seen``: where others see it."""

    def methods(self) -> tuple[Method, ...]:
        """Those that this node uses, in order."""

    def allowance(self, conversation: Conversation, seen: frozenset[str], introducer: bytes | None) -> Allowance:
        """What may be sent to the places of that peer; see :class:`crust.service.traversal.allowances.Allowances`."""

    def bites(self, limit: str, /) -> object:
        """A limit has bitten."""

    def may_begin(self, traversal: Traversal, where: Where) -> bool:
        """Whether another session may look for a path; counted until :meth:`ended`. Another may have to give way."""

    def looks(self, traversal: Traversal) -> bool:
        """Whether it has leave to look for a path now."""

    def ended(self, traversal: Traversal) -> None:
        """It looks no more. Idempotent."""

    def in_vain(self, conversation: Conversation, method: Method) -> None:
        """That search has found nothing for that session."""

    def rests(self, conversation: Conversation, method: Method) -> bool:
        """Whether that search is not to be tried now, having been in vain."""

    def pursue(self, conversation: Conversation, candidate: Candidate) -> None:
        """Have the dialer try that for the session."""

    def note(self, conversation: Conversation, attempt: Attempt) -> None:
        """Something was tried for the session."""

    def hands(self, traversal: Traversal, method: Method, runner: Runner, allowance: Allowance) -> tuple[Hand, ...]:
        """What carries out a plan's actions."""


class Traversal:
    """
    For one session, as long as it lives. Thread-safe.

    Args:
        host: See :class:`TraversalHost`.
        conversation: The session.
    """

    __slots__ = (
        "_allowance",
        "_begun_at",
        "_begun_on",
        "_context",
        "_dialled",
        "_generation",
        "_heard",
        "_host",
        "_joining",
        "_link",
        "_over",
        "_retry",
        "_runners",
        "_schedule",
        "_searches",
        "_serial",
        "_signals",
        "_theirs",
        "_timers",
        "_waits",
        "conversation",
        "leads",
    )

    def __init__(self, host: TraversalHost, conversation: Conversation) -> None:
        self._host = host
        self.conversation = conversation
        self.leads = host.leads(conversation)
        """This end decides."""
        self._serial = Serial(lambda error: host.crashed("a traversal", error))
        self._schedule = Schedule(random.random)
        self._over = False
        self._generation = 0
        self._begun_at = float("-inf")
        self._waits = 0  # times that another session's search was waited for
        self._begun_on: Link | None = None  # the link that carried the last generation's beginning
        self._link: Link | None = None  # whose keys this generation uses, and whose remote end is believed
        self._theirs: Terrain | None = None
        self._context: Context | None = None
        self._allowance: Allowance | None = None
        self._dialled: set[Endpoint] | None = None
        self._runners: dict[str, Runner] = {}
        self._signals: dict[str, list[bytes]] = {}  # to methods that have not begun here
        self._heard: collections.Counter[str] = collections.Counter()  # CANDIDATES, and signals to each method
        self._searches: list[Method] = []  # still to come
        self._timers: list[Timer] = []  # of this generation
        self._retry: Timer | None = None
        self._joining: Timer | None = None

    # --- what happens (any thread) ------------------------------------------------------------------------------------

    def carried(self, link: Link) -> None:
        """A link carries the session, for the first time or another one."""
        self._serial.do(lambda: self._carried(link))

    def received(self, link: Link, frame: Candidates | Signal) -> None:
        """The other end said something."""
        self._serial.do(lambda: self._received(link, frame))

    def terrain_changed(self) -> None:
        """More is known of our network."""
        self._serial.do(self._offer_again)

    def network_changed(self) -> None:
        """Our network is another one: begin anew, unless nothing could be better."""
        self._serial.do(self._network_changed)

    def give_way(self) -> None:
        """Others shall look for a path, who had less of that."""
        self._serial.do(self._give_way)

    def close(self) -> None:
        """The session is over."""
        self._serial.do(self._close)

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._serial.abandon()
        self._over = True
        for runner in self._runners.values():
            runner.abandon()

    @property
    def keys(self) -> tuple[bytes, bytes] | None:
        """Secrets of the two ends, for what goes to the other one and for what comes from it; None: nothing goes on."""
        link = self._link
        return None if link is None else link.exports

    # --- generations --------------------------------------------------------------------------------------------------

    def _carried(self, link: Link) -> None:
        path = self.conversation.path
        if self._over or path is None:
            return
        self._schedule.moved()
        if link.connection.transport == "relay":
            if link is not self._begun_on:  # else the other end's word came first, and a generation has begun by it
                self._begin(self._generation + 1, link)
            return
        self._begun_on = None
        for name, runner in list(self._runners.items()):
            if not self._would_help(self._method(name)):
                runner.end(_BETTER)
        self._searches = [method for method in self._searches if self._would_help(method)]
        if self._is_idle:
            self._retry_later()

    def _begin(self, generation: int, link: Link) -> None:
        """A generation begins: tell the other end where we may be reached."""
        self._stop("another attempt began")
        exports = link.exports
        if exports is None:
            return
        self._generation = generation
        self._waits = 0
        self._begun_at = self._host.io.now()
        self._link = self._begun_on = link
        self._offer()
        self._after(limits.OFFER_PATIENCE, self._unanswered)

    def _offer(self) -> None:
        ours = self._host.terrain()
        link = self.conversation.link
        if link is not None:
            link.write_control(Candidates(self._generation, ours.standings, ours.places))

    def _offer_again(self) -> None:
        if self._over or self._is_idle:
            return
        self._offer()
        if self._context is not None:
            self._learn()

    def _unanswered(self) -> None:
        if self._theirs is None:
            self._stop("the other end did not say where it may be reached")
            self._retry_later()

    def _network_changed(self) -> None:
        link = self.conversation.link
        self._schedule.moved()
        if not self._over and link is not None and self._could_be_better():
            self._begin(self._generation + 1, link)

    def _retry_later(self) -> None:
        """The leading end looks again, by its schedule."""
        path = self.conversation.path
        if self._over or not self.leads or path is None or not self._could_be_better():
            return
        delay = self._schedule.delay(path.path_class)
        if delay is not None:
            self._look_again(delay)

    def _look_again(self, delay: float) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._host.io.call_later(delay, lambda _: self._serial.do(self._again))

    def _again(self) -> None:
        link = self.conversation.link
        if self._over or link is None or not self._is_idle or self.conversation.session.state is not State.CONNECTED:
            return  # whatever link comes next looks to it
        if self._host.search.is_taken and self._waits < limits.UPGRADE_WAITS:
            self._waits += 1  # another session's, which new flows of ours would spoil
            self._look_again(limits.UPGRADE_FIRST)
            return
        self._begin(self._generation + 1, link)

    def _could_be_better(self) -> bool:
        return could_be_better(self.conversation)

    # --- the other end ------------------------------------------------------------------------------------------------

    def _received(self, link: Link, frame: Candidates | Signal) -> None:
        if self._over:
            return
        if isinstance(frame, Signal):
            self._signalled(frame)
            return
        if frame.generation > self._generation:
            if frame.generation > limits.GENERATIONS_MAX:
                return
            early = self._begun_at + limits.GENERATION_GAP - self._host.io.now()
            if early > 0:
                self._join_later(early, link, frame)
                return
            if not self._could_be_better():
                return  # what it says all the same is for redialling
            self._begin(frame.generation, link)
        if frame.generation != self._generation or self._is_idle:
            return
        theirs = Terrain(frame.standings, frame.places)
        self._heard[""] += 1
        if theirs == self._theirs:
            return
        if self._heard[""] > limits.CANDIDATES_HEARD_MAX:
            self._host.bites("CANDIDATES_HEARD_MAX")
            return
        self._theirs = theirs
        if self._context is None:
            self._start()
        else:
            self._learn()

    def _join_later(self, seconds: float, link: Link, frame: Candidates) -> None:
        """The other end begins again, sooner than may be asked of us."""
        if self._joining is not None:
            self._joining.cancel()
        self._joining = self._host.io.call_later(seconds, lambda _: self.received(link, frame))

    def _signalled(self, signal: Signal) -> None:
        if signal.generation != self._generation or self._is_idle:
            return
        runner = self._runners.get(signal.method)
        if runner is None and self._method(signal.method) is None:
            return
        self._heard[signal.method] += 1
        if self._heard[signal.method] > limits.PLAN_SIGNALS_MAX:
            self._host.bites("PLAN_SIGNALS_MAX")  # no method may tell as much
            return
        if runner is not None:
            _deliver(runner, signal.body)
            return
        kept = self._signals.setdefault(signal.method, [])
        if len(kept) < limits.SIGNALS_KEPT:
            kept.append(signal.body)
        else:
            self._host.bites("SIGNALS_KEPT")

    # --- attempts -----------------------------------------------------------------------------------------------------

    @property
    def _is_idle(self) -> bool:
        return self._link is None

    def _make_context(self) -> Context:
        link, theirs = self._link, self._theirs
        assert link is not None and theirs is not None
        exports = link.exports
        assert exports is not None
        ours = self._host.terrain()
        session, seen = self.conversation.session, seen_hosts(link)
        return Context(
            leads=self.leads,
            rtt=session.srtt or link.rtt or limits.FORECAST_RTT,
            ours=ours,
            theirs=theirs,
            targets=self._host.targets(ours, theirs, seen),
            seen=seen,
            key_out=exports[0],
            key_in=exports[1],
            timeout=self._host.punch_timeout,
            uniform=random.random,
            random=os.urandom,
        )

    def _start(self) -> None:
        """Both ends are known: begin, unless too many sessions are at it, or another one must not be disturbed."""
        if self._context is not None or self._is_spoiler():
            return
        assert self._link is not None
        where = where_is(self._link)
        if not self._host.may_begin(self, where):
            self._end(_TOO_MANY)
            return
        context = self._context = self._make_context()
        self._allowance = self._host.allowance(self.conversation, context.seen, where[0])
        self._after(self._host.punch_timeout, lambda: self._end("nothing better was found in time"))
        self._dial()
        useful = [method for method in self._host.methods() if method.plan is not None and self._would_help(method)]
        for method in useful:
            if not method.searches:
                self._run(method)
        self._searches = [method for method in useful if method.searches]
        delay = limits.SEARCH_AFTER_KNOWN if _calls_for_search(context) else limits.SEARCH_AFTER
        self._after(delay, self._search)

    def _is_spoiler(self) -> bool:
        """
        Whether our new flows would take the ports that another session predicts just now, behind a router that counts.
        Then this one waits a little, and looks again.
        """
        waited = self._host.io.now() - self._begun_at
        if not self._host.search.is_taken or waited > limits.SEARCH_QUIET:
            return False
        if not any(counts(each) for each in self._host.terrain().standings):
            return False
        self._after(limits.SEARCH_LOOK, self._start)
        return True

    def _learn(self) -> None:
        context = self._context = self._make_context()
        self._dial()
        for runner in list(self._runners.values()):
            runner.happened(lambda plan, now: plan.learned(context, now))

    def _dial(self) -> None:
        assert self._context is not None and self._allowance is not None
        if self._dialled is None:
            self._dialled = set()
        for candidate in candidates_of(
            self._context.targets, self._dialled, self._allowance, self._host.transports
        ):
            self._host.pursue(self.conversation, candidate)

    def _run(self, method: Method) -> bool:
        """Begin a method; False if it has nothing to attempt."""
        assert self._context is not None and self._allowance is not None and method.plan is not None
        allowance = self._allowance
        try:
            plan = method.plan(self._context)
        except Exception as error:  # a fault of this method, which may be another package's, must end nothing else
            self._host.crashed(f"the method {method.name}", error)
            return False
        if plan is None:
            return False
        runner = Runner(
            method.name, plan, _Errand(self), lambda made: self._host.hands(self, method, made, allowance)
        )
        self._runners[method.name] = runner
        runner.start()
        for body in self._signals.pop(method.name, ()):
            _deliver(runner, body)
        return True

    def _search(self) -> None:
        """Ask for our turn to search, if there is something to search with."""
        self._searches = [method for method in self._searches if self._would_help(method)]
        if self._searches and self._context is not None and self._link is not None:
            generation = self._generation
            self._host.search.ask(self, where_is(self._link), lambda: self._serial.do(lambda: self._turn(generation)))

    def _turn(self, generation: int) -> None:
        """It is our turn: begin the next method that has something to attempt."""
        if generation == self._generation and self._context is not None:
            while self._searches:
                method = self._searches.pop(0)
                if self._would_help(method) and not self._host.rests(self.conversation, method) and self._run(method):
                    return
        self._host.search.done(self)
        self._maybe_over()

    def _would_help(self, method: Method | None) -> bool:
        path = self.conversation.path
        return method is not None and path is not None and is_better_class(method.path_class, path.path_class)

    def _method(self, name: str) -> Method | None:
        return next((method for method in self._host.methods() if method.name == name), None)

    def ended(self, runner: Runner, reason: str) -> None:
        """A method is over (any thread)."""
        self._serial.do(lambda: self._ended(runner, reason))

    def _ended(self, runner: Runner, reason: str) -> None:
        if self._runners.get(runner.name) is not runner:
            return
        del self._runners[runner.name]
        if reason:
            verdict = "cancelled" if reason == _BETTER else "failed"
            self.note(runner.name, Note("", self._host.io.now() - self._begun_at, verdict, reason))
        method = self._method(runner.name)
        if method is not None and method.searches:
            if reason and self._would_help(method):
                self._host.in_vain(self.conversation, method)
            self._turn(self._generation)
        self._maybe_over()

    def _maybe_over(self) -> None:
        if not self._is_idle and self._context is not None and not self._runners and not self._searches:
            if not self._could_be_better():
                self._end("")

    def note(self, method: str, note: Note) -> None:
        """Something was tried."""
        started = self._host.wall() - note.duration
        attempt = Attempt(method, note.endpoint, note.duration, note.verdict, note.error, note.local, started)
        self._host.note(self.conversation, attempt)

    def tell(self, runner: Runner, body: bytes) -> None:
        """Bring that to the same method at the other end (any thread)."""
        link = self.conversation.link
        if link is not None:
            link.write_control(Signal(self._generation, runner.name, body))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _after(self, seconds: float, then: Callable[[], object]) -> None:
        """Do that after so many seconds, if it is the same generation still."""
        generation = self._generation

        def do() -> None:
            if generation == self._generation and not self._is_idle:
                then()

        self._timers.append(self._host.io.call_later(seconds, lambda _: self._serial.do(do)))

    def _give_way(self) -> None:
        if self._context is not None and not self._host.looks(self):  # else it has been let in again since
            self._end(_TOO_MANY)

    def _end(self, reason: str) -> None:
        self._stop(reason)
        self._retry_later()

    def _stop(self, reason: str) -> None:
        """End this generation, and keep nothing of it."""
        self._link = self._theirs = self._context = self._allowance = None
        self._dialled = None
        self._signals = {}
        self._heard.clear()
        runners, self._runners = self._runners, {}
        for name, runner in runners.items():
            if not runner.over:
                self.note(name, Note("", self._host.io.now() - self._begun_at, "failed", reason))
            runner.end(reason)
        self._searches = []
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._host.search.done(self)
        self._host.ended(self)

    def _close(self) -> None:
        self._over = True
        self._stop("the session is over")
        self._begun_on = None
        for timer in (self._retry, self._joining):
            if timer is not None:
                timer.cancel()


def could_be_better(conversation: Conversation) -> bool:
    """Whether there may be a better path than the one that the session has."""
    path = conversation.path
    return path is not None and not path.path_class.endswith("-tcp")


class _Errand:
    """A traversal as its runners see it."""

    __slots__ = ("_traversal", "io")

    def __init__(self, traversal: Traversal) -> None:
        self._traversal = traversal
        self.io = traversal._host.io

    def tell(self, runner: Runner, body: bytes) -> None:
        self._traversal.tell(runner, body)

    def note(self, runner: Runner, note: Note) -> None:
        self._traversal.note(runner.name, note)

    def finished(self, runner: Runner, reason: str) -> None:
        self._traversal.ended(runner, reason)

    def crashed(self, name: str, error: BaseException) -> None:
        self._traversal._host.crashed(name, error)


def _deliver(runner: Runner, body: bytes) -> None:
    def verb(plan: Plan, now: float) -> None:
        plan.receive_signal(body, now)

    runner.happened(verb)


def _calls_for_search(context: Context) -> bool:
    """Whether what is known of the networks says that punching alone will not do."""
    for transport in TransportCode:
        for family in (4, 6):
            ours, theirs = context.ours.standing(transport, family), context.theirs.standing(transport, family)
            if ours is not None and theirs is not None and DEPENDENT in (ours.mapping, theirs.mapping):
                return True
    return False
