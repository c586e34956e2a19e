"""
Sessions that end, against a model: a program that restarts without a word, a peer that stays away for too long, a link
that is cut anywhere. Whatever happens, each message arrives once and in order, or its sender is told that it may not
have arrived; none is lost in silence, and none of one session arrives in the next.

`test_session_model` has links that overtake each other; here there is one at a time, and the question is what holds
when the answer to a request to resume is that the session is gone.
"""

from __future__ import annotations

import collections
import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crust.peers.session import Session, Settings, State
from crust.wire.frames import parse_record_untrusted

RESUME_TIMEOUT = 30.0
DROP_AGE = 2.0
DROP_PRIORITY = 5
SETTINGS = Settings(
    heartbeat_interval=10.0, resume_timeout=RESUME_TIMEOUT, drop_priority=DROP_PRIORITY, drop_age=DROP_AGE
)
SIZES = (0, 10, 3000, 80_000, 200_000)
PRIORITIES = (0, 1, 1, 5, 255)
LINK_CAPACITY = 6  # records
SETTLE_ROUNDS = 400

Lane = collections.deque[tuple[int, bytes]]


class Side:
    """One program: a session or none, and what it knows of what it has sent in it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.peer: Side
        self.session: Session | None = None
        self.session_id = 0
        self.under_way: collections.deque[bytes] = collections.deque()
        """Records that the link carries from here."""
        self.waiting: dict[int, Lane] = {}
        """By priority, what was sent in this session and has neither arrived nor been dropped."""
        self.count = 0
        self.said = (0, 0)
        """What it expected next, and had room for, when the last handshake began."""

    def begin(self, session_id: int) -> None:
        self.session_id, self.waiting, self.count = session_id, collections.defaultdict(collections.deque), 0
        self.session = Session(
            SETTINGS, window=SETTINGS.receive_buffer, now=self.world.now, uniform=lambda: 0.5, rtt=0.01
        )
        self.session.attach(0, SETTINGS.receive_buffer, self.world.now)
        self.note()

    def note(self) -> None:
        """A handshake begins: what it says is stale by the time the link is used."""
        if self.session is not None:
            self.said = (self.session.inbox.next, self.session.inbox.window)

    def send(self, size: int, priority: int) -> None:
        session = self.session
        if session is None:
            return
        head = b"%s %d %d " % (self.name.encode(), self.session_id, self.count)
        data = head.ljust(size, b".")
        number = session.outbox.push(data, priority, 0, self.world.now)
        if number >= 0:
            assert number == self.count
            self.count += 1
            self.waiting[priority].append((number, data))

    def pump(self) -> None:
        session = self.session
        if session is None or session.state is not State.CONNECTED:
            return
        while len(self.under_way) < LINK_CAPACITY:
            record = session.record_to_send(self.world.now)
            if record is None:
                return
            self.under_way.append(record)

    def receive(self, record: bytes) -> None:
        session = self.session
        assert session is not None
        for delivery in session.receive_frames(parse_record_untrusted(record), self.world.now):
            lane = self.peer.waiting[delivery.priority]
            for data in delivery.messages:
                assert lane and lane.popleft()[1] == data, "late, twice, of another session, or never sent"
            session.consumed(delivery.cost)

    def tick(self) -> None:
        session = self.session
        assert session is not None
        tick = session.handle_timer(self.world.now)
        for priority, numbers in tick.dropped:
            assert priority >= DROP_PRIORITY
            gone = set(numbers)
            assert gone <= {number for number, _ in self.waiting[priority]}, "dropped, and arrived"
            self.waiting[priority] = collections.deque(
                each for each in self.waiting[priority] if each[0] not in gone
            )
        if tick.lost:
            self.end()

    def end(self) -> None:
        """The session is over, and its sender hears what may not have arrived."""
        session = self.session
        assert session is not None
        told = set(session.end())
        missing = {number for lane in self.waiting.values() for number, _ in lane}
        assert missing <= told <= set(range(self.count)), "lost in silence"
        assert session.outbox.undelivered() == () and session.get_timer() is None
        self.session = None

    def forget(self) -> None:
        """The program ends without a word, and begins anew: nobody is told anything, since nobody is there."""
        self.session = None


class World:
    """Two programs, the link between them, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ids = itertools.count(1)
        self.sides = (Side(self, "near"), Side(self, "far"))
        self.sides[0].peer, self.sides[1].peer = self.sides[1], self.sides[0]
        self.linked = False
        self.fresh()

    def fresh(self) -> None:
        session_id = next(self.ids)
        for side in self.sides:
            side.begin(session_id)
        self.linked = True

    def cut(self) -> None:
        self.linked = False
        for side in self.sides:
            side.under_way.clear()
            if side.session is not None and side.session.state is State.CONNECTED:
                side.session.detach()

    def dial(self, caller: Side) -> None:
        """As `crust.peers.registry` has it: resume if both can; else it is gone for both, and another one begins."""
        callee = caller.peer
        mine, theirs = caller.session, callee.session
        if mine is not None and theirs is not None and caller.session_id == callee.session_id:
            assert theirs.outbox.can_resume(caller.said[0]) and mine.outbox.can_resume(callee.said[0])
            theirs.attach(*caller.said, self.now)
            mine.attach(*callee.said, self.now)
            self.linked = True
            return
        for side in (caller, callee):
            if side.session is not None:
                side.end()
        self.fresh()

    def carry(self, side: Side, count: int) -> None:
        for _ in range(min(count, len(side.under_way))):
            if side.peer.session is None:
                return
            side.peer.receive(side.under_way.popleft())
            side.peer.pump()
            side.pump()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(2000):
            timers = {
                side: due
                for side in self.sides
                if side.session is not None and (due := side.session.get_timer()) is not None
            }
            if not timers or min(timers.values()) > end:
                self.now = end
                return
            self.now = max(self.now, min(timers.values()))
            for side, due in timers.items():
                if due <= self.now and side.session is not None:
                    side.tick()
                    side.pump()
            if self.linked and any(side.session is None for side in self.sides):
                self.cut()
        raise AssertionError("timers without end")


class EndingSessions(RuleBasedStateMachine):
    """Steps in any order, then a link that holds."""

    @initialize()
    def begin(self) -> None:
        self.world = World()

    side = st.integers(0, 1)
    waits = st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.5, DROP_AGE + 0.1, RESUME_TIMEOUT / 2, RESUME_TIMEOUT + 1])

    @rule(side=side, sizes=st.lists(st.tuples(st.sampled_from(SIZES), st.sampled_from(PRIORITIES)), max_size=6))
    def send(self, side: int, sizes: list[tuple[int, int]]) -> None:
        for size, priority in sizes:
            self.world.sides[side].send(size, priority)
        if self.world.linked:
            self.world.sides[side].pump()

    @precondition(lambda self: self.world.linked)
    @rule(side=side, count=st.integers(1, 4))
    def carry(self, side: int, count: int) -> None:
        self.world.carry(self.world.sides[side], count)

    @precondition(lambda self: self.world.linked)
    @rule(caller=side, meanwhile=st.lists(st.tuples(side, st.integers(1, 3)), max_size=3), away=waits)
    def cut(self, caller: int, meanwhile: list[tuple[int, int]], away: float) -> None:
        """The next handshake has begun when the old link still carries something, or long after it was cut."""
        world = self.world
        for side in world.sides:
            side.note()
        for index, count in meanwhile:
            world.carry(world.sides[index], count)
        world.cut()
        world.advance(away)
        self._dial(caller)

    @precondition(lambda self: self.world.linked)
    @rule(side=side, caller=side, really=st.sampled_from([False, False, True]))
    def restart(self, side: int, caller: int, really: bool) -> None:
        if really:
            self.world.cut()
            self.world.sides[side].forget()
            self._dial(caller)

    def _dial(self, caller: int) -> None:
        self.world.dial(self.world.sides[caller])
        for side in self.world.sides:
            side.pump()

    @rule(seconds=st.sampled_from([0.01, 0.03, 0.5]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @invariant()
    def what_is_held_is_accounted_for(self) -> None:
        for side in self.world.sides:
            if side.session is not None:
                missing = {number for lane in side.waiting.values() for number, _ in lane}
                assert missing <= set(side.session.outbox.undelivered()) <= set(range(side.count))

    def teardown(self) -> None:
        world = self.world
        if not world.linked:
            self._dial(0)
        for _ in range(SETTLE_ROUNDS):
            for side in world.sides:
                side.pump()
                world.carry(side, LINK_CAPACITY)
            world.advance(0.02)
            if not any(side.session and side.session.outbox.held_messages for side in world.sides):
                break
        for side in world.sides:
            assert side.session is not None and side.session.outbox.undelivered() == ()
            assert not any(side.waiting.values())


TestEndingSessions = EndingSessions.TestCase
TestEndingSessions.settings = settings(
    deadline=None, max_examples=60, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)
