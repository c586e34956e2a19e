"""
The receiving half of signed messages: whether they are what they say, before the application hears of them.

A signature takes as long as a hundred messages without one. So neither a session's lock is held meanwhile, nor does a
reader wait, which may serve all peers of a UDP socket: one thread of the node, ``crust-proofs``, does it, started by
the first message that needs it. It takes a few messages of one peer at a time, in turn, so that nobody's flood keeps
another one waiting for long; and what waits for it is bounded by the credit that its messages still hold.

Messages of one session keep their order: once one waits, all later ones wait behind it, and so does the end.

Locks, outermost first: the conversation's, ``Verifier._lock``; nothing of a conversation is called with that held.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .. import limits
from ..crypto.proofs import Growing, Signatory, evidence_of
from ..exceptions import RemoteProtocolError
from ..runtime.clock import Clock
from ..runtime.threads import Deadline, Spawn, fork_generation
from ..wire.frames import Goodbye, GoodbyeCode, Kind
from .conversation import Conversation
from .session import Delivery
from .transfer import short_text

__all__ = ["Desk", "Verifier", "VerifierHost"]

_OVERHEAD = limits.MESSAGE_OVERHEAD


class Log(Protocol):
    """What is needed of a logger."""

    def exception(self, message: str, /, *args: object) -> None: ...


class VerifierHost(Protocol):
    """What a verifier needs of its node."""

    clock: Clock
    signatory: Signatory

    def hand_over(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """The application gets these (the conversation's lock is held)."""

    def refused(self, conversation: Conversation, count: int, size: int, parts: int) -> None:
        """So many messages, of so many bytes in so many parts, were not signed: the application does not get them."""

    def violated(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        """The peer broke the protocol; the end of the session follows."""


class Desk:
    """What waits to be verified of one session."""

    __slots__ = ("busy", "conversation", "failed", "held", "ids", "queued", "refused", "tell_at", "then", "waiting")

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.held = 0
        """Bytes of the node's budget that all of it holds; the conversation's lock guards it."""
        # Guarded by the verifier's lock:
        self.waiting: collections.deque[Delivery] = collections.deque()
        self.busy = False
        """Some of it is in the worker's hands."""
        self.queued = False
        """The worker has it in hand or will come to it."""
        self.failed = False
        """One was wrong: whatever follows is dropped."""
        self.then: Callable[[], object] | None = None
        """What is to be done when all is done."""
        # Guarded by who reports it:
        self.refused = 0
        """Messages that were refused, since that was told last."""
        self.tell_at = -float("inf")
        """Not told again before."""
        # The worker's own:
        self.ids = Growing(conversation.session_id)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.busy


class Verifier:
    """
    All signed messages that one node receives. Thread-safe.

    Args:
        host: See :class:`VerifierHost`.
        spawn: Makes the thread.
        log: If that cannot be started.
    """

    def __init__(self, host: VerifierHost, spawn: Spawn, log: Log) -> None:
        self._host = host
        self._signatory = host.signatory
        self._spawn = spawn
        self._log = log
        self._lock = threading.Lock()
        self._changed = host.clock.condition(self._lock)
        """Guards what follows; notified when the worker has something to do."""
        self._ready: collections.deque[Desk] = collections.deque()
        self._generation = fork_generation()
        self._working = False
        self._deadline: Deadline | None = None  # of the end; None while the node runs
        self._over = host.clock.event()
        """Set when the worker of now has ended."""
        self._in_hand: Desk | None = None  # the worker's own

    def take(self, conversation: Conversation, deliveries: list[Delivery]) -> bool:
        """
        Messages have come (the conversation's lock is held).

        Returns:
            False if nothing is to be looked at: they can be handed over at once.
        """
        desk = conversation.desk
        if desk is None:
            desk = conversation.desk = Desk(conversation)
        with self._lock:
            is_over = desk.failed or self._deadline is not None
            if not is_over:
                if not self._signatory.takes_signed_only and desk.idle:
                    if all(delivery.kind != Kind.SIGNED for delivery in deliveries):
                        return False
                desk.waiting.extend(deliveries)
                self._schedule_locked(desk)
        size = sum(delivery.cost for delivery in deliveries)
        if is_over:
            conversation.discard_locked(size)
        else:
            desk.held += size
        return True

    def finish(self, conversation: Conversation, then: Callable[[], object]) -> None:
        """The session is over: do that behind its last message, now or on the worker."""
        desk = conversation.desk
        if desk is not None:
            with self._lock:
                if not desk.idle:
                    desk.then = then
                    return
        then()

    def close(self, deadline: Deadline) -> None:
        """
        The node is closing: look at what is there, as far as there is time, and end. Nobody's messages come any more.
        """
        with self._lock:
            self._deadline = deadline
            self._changed.notify_all()
        while True:
            with self._lock:
                working, over = self._working, self._over
            if not working or deadline.expired:
                break
            over.wait(deadline.remaining())
        if not working:  # and no thread was to be had for what is left
            self._leave()

    def abandon(self) -> None:
        """In a forked child: it is the parent's (takes no lock)."""
        self._lock = threading.Lock()
        self._deadline = self._host.clock.deadline(0)
        self._ready.clear()

    def _schedule_locked(self, desk: Desk) -> None:
        if not desk.queued:
            desk.queued = True
            self._ready.append(desk)
            self._changed.notify_all()
        if not self._working:
            self._start_locked()

    def _start_locked(self) -> None:
        self._over = self._host.clock.event()
        try:
            self._spawn("crust-proofs", self._work)
            self._working = True
        except RuntimeError:
            self._log.exception("cannot start the thread that verifies messages; the next message tries again")

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._turn():
                time.sleep(limits.TURN_PAUSE)  # greenlets run only if we let them
            self._leave()
        finally:
            if fork_generation() == self._generation:  # else a greenlet that a forked child has inherited
                self._ended()

    def _turn(self) -> bool:
        """Serve one session; False if it is over."""
        with self._lock:
            while not self._ready and self._deadline is None:
                self._changed.wait()
            if fork_generation() != self._generation:
                return False
            if self._deadline is not None and (not self._ready or self._deadline.expired):
                return False
            desk = self._in_hand = self._ready[0]
            self._ready.popleft()
            part = _part_of(desk.waiting)
            desk.busy = True
        self._serve(desk, part)
        self._in_hand = None
        return True

    def _ended(self) -> None:
        """The worker ends: in order, or for something unexpected, which is on its way to the crash hook."""
        desk, self._in_hand = self._in_hand, None
        try:
            if desk is not None:
                self._give_up(desk)
        finally:
            with self._lock:
                over, self._working = self._over, False
                if self._ready:  # the others do not wait for the next message
                    self._start_locked()
            over.set()

    def _give_up(self, desk: Desk) -> None:
        """What was in hand is lost; so the session ends, rather than wait for it for ever."""
        with self._lock:
            desk.failed = True
            desk.busy = desk.queued = False
            desk.waiting.clear()
            if desk in self._ready:
                self._ready.remove(desk)
            then, desk.then = desk.then, None
        with desk.conversation.lock:
            desk.conversation.discard_locked(desk.held)
            desk.held = 0
        try:
            goodbye = Goodbye(GoodbyeCode.DISCONNECTED, "an unexpected error with a signed message")
            desk.conversation.end("disconnected", goodbye)
        finally:
            if then is not None:
                then()

    def _serve(self, desk: Desk, part: list[Delivery]) -> None:
        conversation = desk.conversation
        ready: list[Delivery] = []
        left = refused = size = parts = 0
        cost = sum(delivery.cost for delivery in part)
        error: RemoteProtocolError | None = None
        for delivery in part:
            if delivery.kind == Kind.SIGNED:
                try:
                    self._open(desk, delivery, ready)
                except RemoteProtocolError as wrong:
                    error = wrong
                    break
            elif self._signatory.takes_signed_only:
                refused += len(delivery.messages)
                size += delivery.cost
                parts += 1
            else:
                ready.append(delivery)
        with conversation.lock:
            if ready:
                self._host.hand_over(conversation, ready)
            then, left = self._served(desk, error is not None)
            desk.held -= cost + left
        if refused:
            self._host.refused(conversation, refused, size, parts)
        handed_over = sum(delivery.cost for delivery in ready)
        conversation.consumed(cost - handed_over + left)
        if error is not None:
            self._accuse(conversation, error)
        if then is not None:
            then()

    def _open(self, desk: Desk, delivery: Delivery, ready: list[Delivery]) -> None:
        sender = desk.conversation.peer_id.public_key
        priority = delivery.priority
        for signed in delivery.messages:
            statement = self._signatory.open_message(sender, signed)
            desk.ids.take(statement.id, priority)
            payload = statement.payload
            cost = len(payload) + _OVERHEAD
            ready.append(Delivery(Kind.MESSAGE, priority, (payload,), cost, evidence_of(signed)))

    def _served(self, desk: Desk, failed: bool) -> tuple[Callable[[], object] | None, int]:
        """Put it back in line if there is more; else what is to be done at its end. And what is dropped costs."""
        with self._lock:
            desk.busy = False
            left = 0
            if failed:
                desk.failed = True
                left = sum(delivery.cost for delivery in desk.waiting)
                desk.waiting.clear()
            if desk.waiting:
                self._ready.append(desk)
                return None, 0
            desk.queued = False
            then, desk.then = desk.then, None
            return then, left

    def _accuse(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        link = conversation.link
        if link is not None:
            conversation.violated(link, error)
        else:
            self._host.violated(conversation, error)
            conversation.end("protocol", Goodbye(GoodbyeCode.PROTOCOL, short_text(str(error))))

    def _leave(self) -> None:
        """There is no time for the rest."""
        while True:
            with self._lock:
                if not self._ready:
                    return
                desk = self._ready.popleft()
                desk.waiting.clear()
                desk.queued = False
                then, desk.then = desk.then, None
            if then is not None:
                then()


def _part_of(waiting: collections.deque[Delivery]) -> list[Delivery]:
    """Take what is verified in one turn: few messages, so that others wait little, but one at least."""
    part: list[Delivery] = []
    count = size = 0
    while waiting and count < limits.VERIFIED_PER_TURN and size < limits.VERIFIED_BYTES_PER_TURN:
        delivery = waiting.popleft()
        room = limits.VERIFIED_PER_TURN - count
        if delivery.kind == Kind.SIGNED and len(delivery.messages) > room:
            waiting.appendleft(_with(delivery, delivery.messages[room:]))
            delivery = _with(delivery, delivery.messages[:room])
        part.append(delivery)
        count += len(delivery.messages) if delivery.kind == Kind.SIGNED else 1
        size += delivery.cost
    return part


def _with(delivery: Delivery, messages: Sequence[bytes]) -> Delivery:
    return delivery._replace(messages=messages, cost=sum(map(len, messages)) + _OVERHEAD * len(messages))
