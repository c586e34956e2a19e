"""
Two session cores against a model: whatever links do, every message arrives once, whole, in order, and nothing hangs.

The links are queues; a step may deliver some of what is under way, or cut a link and lose it. Links begin as the
registry begins them: the caller says what it expects, the callee answers, the controller decides, and all of that
travels on the link and can be overtaken, delayed and lost as well. The clock is a number.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from typing import NamedTuple, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crust import limits
from crust.peers.filler import SMALL_MAX
from crust.peers.session import Delivery, Session, Settings, State, Tick
from crust.wire.frames import Batch, Frame, Piece, parse_record_untrusted

OVERHEAD, RESERVE = limits.MESSAGE_OVERHEAD, limits.SMALL_RESERVE
LINKS_MAX = 3
LINK_CAPACITY = 6  # records that a link takes before it is blocked
RECOVERY_MAX = (
    10.0  # seconds in which everything must have arrived once links hold; no heartbeat comes to help
)

_QUIET = Settings(heartbeat_interval=1e6, resume_timeout=1e9, drop_priority=5, drop_age=2.0)
VARIANTS = {
    "default sizes": Settings(heartbeat_interval=20.0, resume_timeout=1e9, drop_priority=None),
    "smallest buffers": dataclasses.replace(
        _QUIET, receive_buffer=2 * limits.MAX_MESSAGE_SIZE, send_bytes=limits.MAX_MESSAGE_SIZE + OVERHEAD
    ),
    "small messages": dataclasses.replace(
        _QUIET, max_message_size=3000, receive_buffer=3000 + RESERVE + OVERHEAD
    ),
    "barely room for one": dataclasses.replace(
        _QUIET, max_message_size=65_600, receive_buffer=65_600 + RESERVE + OVERHEAD, send_messages=9
    ),
}
SIZES = [0, 1, 100, 300, 5000, SMALL_MAX, SMALL_MAX + 1, 65_600, 200_000, 700_000, limits.MAX_MESSAGE_SIZE]
PRIORITIES = [0, 1, 1, 2, 5, 255]

_NOISE = random.Random(1).randbytes(limits.MAX_MESSAGE_SIZE)


class Intro(NamedTuple):
    """The caller's resume request."""

    next: int
    window: int


class Welcome(NamedTuple):
    """The callee's answer."""

    next: int
    window: int
    decision: int


class Use(NamedTuple):
    """The controller's decision on a link that it called."""

    decision: int


Item: TypeAlias = "Intro | Welcome | Use | bytes"


class FakeLink:
    """Queues to each side. A dead link still swallows what is written, until its side notices."""

    def __init__(self, caller: Node, callee: Node) -> None:
        self.caller = caller
        self.callee = callee
        self.to: dict[Node, collections.deque[Item]] = {
            caller: collections.deque(),
            callee: collections.deque(),
        }
        self.alive = True
        self.requested: Intro | None = None
        """What the callee has agreed to, and waits for the controller's word."""


class Accounts:
    """What a receiver must have in its buffer, by the frames that reached it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.next = 0
        self.begun = 0
        self.consumed = 0
        self.slots: dict[int, int] = {}
        """Bytes received of the message in each slot."""

    @property
    def used(self) -> int:
        return self.begun - self.consumed

    def see(self, frame: Frame) -> None:
        if isinstance(frame, Batch):
            assert frame.first <= self.next
            for data in frame.messages[self.next - frame.first :]:
                self.begun += len(data) + OVERHEAD
                self.next += 1
                assert self.used <= self.size
        elif isinstance(frame, Piece):
            assert frame.number <= self.next
            if frame.number == self.next:
                self.next += 1
                self._see_piece(frame)

    def _see_piece(self, piece: Piece) -> None:
        if piece.is_first:
            assert piece.slot not in self.slots and piece.total > SMALL_MAX
            self.slots[piece.slot] = 0
            self.begun += piece.total + OVERHEAD
            assert self.used + RESERVE <= self.size, "a big message does not leave the reserve"
            assert len(self.slots) <= limits.PARTIAL_MESSAGES_MAX
        self.slots[piece.slot] += len(piece.data)
        if piece.is_last:
            assert self.slots.pop(piece.slot) == piece.total


class Node:
    """One side: a session, driven as a conversation drives it, and what it sent that has not arrived."""

    def __init__(self, world: World, name: str, variant: Settings, *, controls: bool) -> None:
        self.world = world
        self.name = name
        self.settings = variant
        self.controls = controls
        chance = random.Random(name)
        self.session = Session(
            variant, window=variant.receive_buffer, now=world.now, uniform=chance.random, rtt=0.01
        )
        self.peer: Node
        self.link: FakeLink | None = None
        self.decision = 0
        self.expected: dict[tuple[int, int], collections.deque[tuple[int, bytes]]] = collections.defaultdict(
            collections.deque
        )
        """Sent and neither arrived nor dropped: (message number, data) by priority and kind."""
        self.unread: collections.deque[Delivery] = collections.deque()
        self.accounts = Accounts(variant.receive_buffer)

    # --- driving the core, as crust.peers.conversation does -----------------------------------------------------------

    def pump(self) -> None:
        """Write what may be written, until the link is full."""
        link = self.link
        while link is not None and len(link.to[self.peer]) < LINK_CAPACITY:
            record = self.session.record_to_send(self.world.now)
            if record is None:
                return
            assert 0 < len(record) <= limits.RECORD_PLAINTEXT_MAX
            link.to[self.peer].append(record)

    def send(self, size: int, priority: int, kind: int) -> None:
        outbox = self.session.outbox
        data = (b"%s %d " % (self.name.encode(), outbox.next_message) + _NOISE)[:size]
        no_room = outbox.held_bytes + size + OVERHEAD > self.settings.send_bytes and outbox.held_messages > 0
        full = outbox.held_messages >= self.settings.send_messages or no_room
        number = outbox.push(data, priority, kind, self.world.now)
        assert (number < 0) == full
        if number >= 0:
            self.expected[priority, kind].append((number, data))
            self.pump()

    def receive(self, plaintext: bytes) -> None:
        received = parse_record_untrusted(plaintext)
        for frame in received:
            self.accounts.see(frame)
        for delivery in self.session.receive_frames(received, self.world.now):
            waiting = self.peer.expected[delivery.priority, delivery.kind]
            for data in delivery.messages:
                assert waiting, "a message arrived twice, or was never sent"
                number, sent = waiting.popleft()
                assert data == sent, f"message {number} of {self.peer.name} is late or broken"
            assert delivery.cost == sum(map(len, delivery.messages)) + OVERHEAD * len(delivery.messages)
            self.unread.append(delivery)
        if self.session.ack_now or self.session.outbox.queued_bytes:
            self.pump()

    def consume(self) -> None:
        cost = self.unread.popleft().cost
        self.accounts.consumed += cost
        if self.session.consumed(cost):
            self.pump()

    def tick(self) -> None:
        tick: Tick = self.session.handle_timer(self.world.now)
        assert not tick.lost
        for priority, numbers in tick.dropped:
            waiting = self.expected[priority, 0]
            known = {number for number, _ in waiting}
            assert known.issuperset(numbers), "a dropped message had arrived"
            assert priority >= (self.settings.drop_priority or 0)
            kept = [each for each in waiting if each[0] not in set(numbers)]
            self.expected[priority, 0] = collections.deque(kept)
        if tick.send:
            self.pump()
        due = self.session.get_timer()
        assert due is not None and due > self.world.now, "a timer would spin"

    # --- links, as crust.peers.registry does --------------------------------------------------------------------------

    def dial(self) -> None:
        link = FakeLink(self, self.peer)
        link.to[self.peer].append(Intro(self.session.inbox.next, self.session.inbox.window))
        self.world.links.append(link)

    def handle(self, link: FakeLink, item: Item) -> None:
        if isinstance(item, bytes):
            self.receive(item)
        elif isinstance(item, Intro):
            assert self.session.outbox.can_resume(item.next)
            decision = self.decision + 1 if self.controls else 0
            inbox = self.session.inbox
            link.to[self.peer].append(Welcome(inbox.next, inbox.window, decision))
            if decision:
                self.attach(link, item.next, item.window, decision)
            else:
                link.requested = item
        elif isinstance(item, Welcome):
            decision = item.decision
            if self.controls:
                decision = self.decision + 1
                link.to[self.peer].append(Use(decision))
            self.attach(link, item.next, item.window, decision)
        else:
            assert link.requested is not None
            self.attach(link, link.requested.next, link.requested.window, item.decision)

    def attach(self, link: FakeLink, peer_next: int, window: int, decision: int) -> None:
        if decision <= self.decision:
            return  # overtaken by a later decision
        self.decision = decision
        self.session.attach(peer_next, window, self.world.now)
        self.link = link
        self.pump()

    def notice(self) -> None:
        """Learn that the link has died."""
        if self.link is not None and not self.link.alive:
            self.link = None
            self.session.detach()

    @property
    def settled(self) -> bool:
        outbox = self.session.outbox
        return not any(self.expected.values()) and not outbox.held_messages and not self.unread


class World:
    """Two nodes, the links between them, and the time."""

    def __init__(self, variant: Settings) -> None:
        self.now = 100.0
        self.links: list[FakeLink] = []
        self.greater = Node(self, "greater", variant, controls=True)
        self.lesser = Node(self, "lesser", variant, controls=False)
        self.greater.peer, self.lesser.peer = self.lesser, self.greater
        self.nodes = (self.greater, self.lesser)
        first = FakeLink(self.lesser, self.greater)
        self.links.append(first)
        for node in self.nodes:
            node.attach(first, 0, variant.receive_buffer, 1)

    def deliver(self, link: FakeLink, node: Node, count: int) -> None:
        queue = link.to[node]
        for _ in range(min(count, len(queue))):
            was_full = len(queue) >= LINK_CAPACITY
            node.handle(link, queue.popleft())
            if was_full and node.peer.link is link:
                node.peer.pump()

    def cut(self, link: FakeLink) -> None:
        link.alive = False
        self.links.remove(link)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self._next_timer()) <= end:
            self.now = max(self.now, due)
            for node in self.nodes:
                timer = node.session.get_timer()
                if timer is not None and timer <= self.now:
                    node.tick()
        self.now = end

    def _next_timer(self) -> float:
        return min(timer for node in self.nodes if (timer := node.session.get_timer()) is not None)

    @property
    def joined(self) -> bool:
        """Both sides use one link that lives."""
        link = self.greater.link
        return link is not None and link.alive and self.lesser.link is link

    def settle(self) -> None:
        """While links hold and both applications read, everything must arrive and be acknowledged soon."""
        end = self.now + RECOVERY_MAX
        while not all(node.settled for node in self.nodes):
            assert self.now < end, "the sessions hang"
            while any(queue for link in self.links for queue in link.to.values()):
                for link in self.links:
                    for node in self.nodes:
                        self.deliver(link, node, LINK_CAPACITY)
            self.advance(limits.ACK_DELAY)  # applications are slower than acknowledgements
            for node in self.nodes:
                while node.unread:
                    node.consume()

    def recover(self) -> None:
        """Make one link that holds, and settle."""
        for link in self.links[:]:
            if not self.joined or link is not self.greater.link:
                self.cut(link)
        if not self.joined:
            for node in self.nodes:
                node.notice()
            self.lesser.dial()
        self.settle()


side = st.integers(0, 1)
which = st.integers(0, LINKS_MAX - 1)
messages = st.lists(
    st.tuples(st.sampled_from(SIZES), st.sampled_from(PRIORITIES), side, st.sampled_from([1, 1, 3, 30])),
    min_size=1,
    max_size=6,
)


class Sessions(RuleBasedStateMachine):
    """Steps in any order, then peace: see the module's docstring."""

    world: World

    @initialize(variant=st.sampled_from(sorted(VARIANTS)))
    def begin(self, variant: str) -> None:
        self.world = World(VARIANTS[variant])

    def _send(self, side: int, messages: list[tuple[int, int, int, int]]) -> None:
        node = self.world.nodes[side]
        for size, priority, kind, count in messages:
            for _ in range(count if size < 10_000 else 1):
                node.send(min(size, node.settings.max_message_size), priority, kind)

    @rule(side=side, messages=messages)
    def send(self, side: int, messages: list[tuple[int, int, int, int]]) -> None:
        self._send(side, messages)

    @precondition(lambda self: self.world.links)
    @rule(which=which, side=side, count=st.integers(1, 20))
    def deliver(self, which: int, side: int, count: int) -> None:
        links = self.world.links
        self.world.deliver(links[which % len(links)], self.world.nodes[side], count)

    @rule(rounds=st.integers(1, 10))
    def deliver_everywhere(self, rounds: int) -> None:
        for _ in range(rounds):
            for link in self.world.links[:]:
                for node in self.world.nodes:
                    self.world.deliver(link, node, LINK_CAPACITY)

    @precondition(lambda self: self.world.links)
    @rule(which=which, noticed_by=st.sets(side))
    def cut(self, which: int, noticed_by: set[int]) -> None:
        links = self.world.links
        self.world.cut(links[which % len(links)])
        for index in noticed_by:
            self.world.nodes[index].notice()

    @precondition(lambda self: any(node.link and not node.link.alive for node in self.world.nodes))
    @rule()
    def notice(self) -> None:
        for node in self.world.nodes:
            node.notice()

    @precondition(lambda self: len(self.world.links) < LINKS_MAX)
    @rule(side=side)
    def dial(self, side: int) -> None:
        self.world.nodes[side].dial()

    @precondition(lambda self: len(self.world.links) < LINKS_MAX)
    @rule(caller=side, sender=side, messages=messages, before=st.integers(0, 8), after=st.integers(0, 8))
    def move(
        self, caller: int, sender: int, messages: list[tuple[int, int, int, int]], before: int, after: int
    ) -> None:
        """Dial a second link while the first one goes on: what the handshake says is stale when it is heard."""
        world = self.world
        self._send(sender, messages)
        world.nodes[caller].dial()
        for link, times in ((world.links[0], before), (world.links[-1], 3), (world.links[0], after)):
            for node in world.nodes * times:
                world.deliver(link, node, 1)

    @precondition(lambda self: any(node.unread for node in self.world.nodes))
    @rule(side=side, count=st.integers(1, 40))
    def consume(self, side: int, count: int) -> None:
        node = self.world.nodes[side]
        for _ in range(min(count, len(node.unread))):
            node.consume()

    @rule(seconds=st.sampled_from([0.001, 0.015, 0.03, 0.7, 3.0]))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: self.world.joined)
    @rule()
    def settle(self) -> None:
        self.world.settle()

    @rule(side=side)
    def ask(self, side: int) -> None:
        node = self.world.nodes[side]
        if node.session.state is State.CONNECTED:
            node.session.ping(self.world.now)
            node.pump()

    @invariant()
    def buffers_are_bounded_and_accounts_agree(self) -> None:
        for node in self.world.nodes:
            outbox, inbox, variant = node.session.outbox, node.session.inbox, node.settings
            assert outbox.held_messages <= variant.send_messages
            assert 0 <= outbox.sent_bytes <= outbox.held_bytes <= variant.send_bytes
            assert set(outbox.undelivered()) >= {
                number for lane in node.expected.values() for number, _ in lane
            }
            assert len(outbox.undelivered()) == outbox.held_messages
            assert outbox.oldest_held() == min(outbox.undelivered(), default=None)
            assert inbox.next == node.accounts.next
            assert inbox.used == node.accounts.used
            assert inbox.used - sum(delivery.cost for delivery in node.unread) <= (
                limits.PARTIAL_MESSAGES_MAX * (variant.max_message_size + OVERHEAD)
            )

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.recover()
            for node in self.world.nodes:
                assert node.session.outbox.undelivered() == () and node.session.outbox.held_bytes == 0
                assert node.session.inbox.window == node.settings.receive_buffer


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    deadline=None,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
