"""
A conversation: one session made to work with threads.

It owns the lock around a :class:`~crust.peers.session.Session`, the link that carries it now, and everybody who waits.
Whoever sends writes on its own thread, if that can be done without waiting; what is left goes out on the io thread,
gathered into large records. Nothing here blocks while the lock is held: a transport takes what it can and says when it
will take more.

Order of locks: registry, conversation, link. User code is never called from here: events and messages are handed to
the ``host``, which posts them to the dispatcher.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from .. import limits
from ..addresses import Endpoint, PeerId
from ..exceptions import LocalProtocolError, PeerLost, RemoteProtocolError, ServiceClosed, Timeout, WouldBlock
from ..paths import Path
from ..wire import frames
from ..wire.handshake import Role
from .messages import Configured
from .session import Delivery, Session, State
from .transfer import short_text

if TYPE_CHECKING:
    from ..runtime.budget import Budget
    from ..runtime.clock import Clock, Condition
    from ..runtime.flusher import IoLoop
    from .link import Link
    from .peer import Peer

__all__ = ["Conversation", "Host"]

_RECORDS_PER_TURN = 32  # records written before others get a turn
_BUDGET_STEP = 262_144  # bytes taken from the node's budget at a time
_BUDGET_POLL = 0.05  # seconds between looks at a budget that other peers have used up
_BUDGET_WAIT = 1.0  # seconds a reader waits for budget before it looks whether its session lives
_NEVER = float("inf")
_RECORD_TARGET = limits.RECORD_TARGET


class Host(Protocol):
    """What a conversation needs of its node. None of these methods blocks or runs user code."""

    io: IoLoop
    clock: Clock
    budget: Budget
    last_direct: float
    """When this node last wrote directly on a caller's thread; a plain attribute, racy on purpose."""

    def on_dispatcher(self) -> bool:
        """True on the thread that runs callbacks."""

    def deliver(self, conversation: Conversation, deliveries: list[Delivery]) -> None:
        """Hand over messages, in order (the conversation's lock is held)."""

    def suspended(self, conversation: Conversation, reason: str) -> None:
        """The link ended; find another."""

    def suspected(self, conversation: Conversation) -> None:
        """The link is silent; look for another while it may live."""

    def lost(self, conversation: Conversation, reason: str, undelivered: tuple[int, ...]) -> None:
        """The session is over."""

    def violated(self, conversation: Conversation, error: RemoteProtocolError) -> None:
        """The peer broke the protocol; ``lost`` follows."""

    def moved(self, conversation: Conversation, old: Path | None, resumed: bool) -> None:
        """The session goes on on another link."""

    def send_ready(self, conversation: Conversation) -> None:
        """There is room again after WouldBlock."""

    def dropped(self, conversation: Conversation, numbers: list[int], priority: int) -> None:
        """Messages grew too old."""


class Conversation:
    """
    One session with threads. All methods are thread-safe.

    Args:
        host: See :class:`Host`.
        peer_id: Who is on the other side.
        session: The sans-IO core.
        session_id: 16 bytes that name the session on the wire.
        role: What the other side says it is.
        capabilities: What the other side can do, bits of ``crust.wire.handshake.Capability``.
        incarnation: 16 bytes that name the other side's run.
        max_message_size: Longest message that both sides accept.
        send_timeout: Default of ``send``, seconds; None: no limit.
        drop_priority: Messages of this priority or less urgent need a time of arrival.
    """

    __slots__ = (
        "_budgeted",
        "_doubted_at",
        "_drop_priority",
        "_goodbye",
        "_heard",
        "_host",
        "_now",
        "_outbox",
        "_room",
        "_scheduled",
        "_starved",
        "_timer_at",
        "_undigested",
        "_want_ready",
        "capabilities",
        "decision",
        "ended_reason",
        "incarnation",
        "inbound",
        "link",
        "lock",
        "max_message_size",
        "messages_received",
        "path",
        "peer",
        "peer_id",
        "redial",
        "role",
        "send_timeout",
        "session",
        "session_id",
        "waiting",
    )

    def __init__(
        self,
        host: Host,
        peer_id: PeerId,
        session: Session,
        *,
        session_id: bytes,
        role: Role,
        capabilities: int,
        incarnation: bytes,
        max_message_size: int,
        send_timeout: float | None,
        drop_priority: int | None,
        inbound: bool,
    ) -> None:
        self._host = host
        self._now = host.clock.now
        self.peer_id = peer_id
        self.session = session
        self._outbox = session.outbox
        self.session_id = session_id
        self.role = role
        self.capabilities = capabilities
        self.incarnation = incarnation
        self.max_message_size = max_message_size
        self.send_timeout = send_timeout
        self.inbound = inbound
        self.peer: Peer
        self.link: Link | None = None
        self.path: Path | None = None
        self.decision = 0
        """Count of the controller's decisions about links; the registry's lock guards it."""
        self.redial: tuple[Endpoint, ...] = ()
        """Where the dialer reached the peer; empty if the peer called us."""
        self.ended_reason = ""
        self.messages_received = 0
        self.waiting = 0
        """Threads that wait for room or for acknowledgements."""
        self._drop_priority = limits.PRIORITY_MAX + 1 if drop_priority is None else drop_priority
        self.lock = threading.Lock()  # guards the session, the link attribute and all flags below
        self._room: Condition | None = None
        self._scheduled = False  # the io thread will call flush()
        self._starved = False  # data waits for window, not for the link
        self._heard = True  # something arrived since our last direct write
        self._want_ready = False  # a sender got WouldBlock
        self._doubted_at: float | None = None  # when a sign of life was asked for
        self._goodbye: frames.Goodbye | None = None  # told to a link that comes when it is over already
        self._budgeted = 0  # bytes of the node's budget held for the outbox
        self._undigested = 0  # bytes of the node's budget held for messages not yet consumed
        self._timer_at = _NEVER

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, priority: int, kind: int, timeout: float | None | Configured) -> int:
        """Queue ``data`` and write it if that can be done at once; see :meth:`crust.Peer.send`."""
        now = self._now() if priority >= self._drop_priority else 0.0
        with self.lock:
            outbox = self._outbox
            number = outbox.push(data, priority, kind, now)
            if number >= 0:
                held = outbox.held_bytes
                if self._scheduled and held - outbox.sent_bytes < _RECORD_TARGET and held <= self._budgeted:
                    return number  # the io thread will come and take it along
                if held > self._budgeted:
                    self._take_budget()
                if self._after_push():
                    return number
        if number < 0:
            return self._send_when_room(data, priority, kind, timeout)
        self._host.io.flush_soon(self)
        return number

    def _after_push(self) -> bool:
        """Write now if that is better; False if the io thread must be asked to (the lock is held)."""
        link = self.link
        if link is None or link.blocked or self._starved:
            return True  # the link's return, room or window will bring it out
        if self.session.outbox.queued_bytes >= limits.RECORD_TARGET:
            return self._transmit(link, self._now())
        if self._scheduled:
            return True
        now = self._now()
        host = self._host
        if self._heard or now - host.last_direct > limits.DIRECT_WRITE_GAP:
            self._heard = False
            host.last_direct = now
            return self._transmit(link, now)
        self._scheduled = True
        return False

    def _send_when_room(self, data: bytes, priority: int, kind: int, timeout: float | None | Configured) -> int:
        """The buffer is full: wait, or say so."""
        if isinstance(timeout, Configured):
            timeout = self.send_timeout
        must_not_wait = timeout == 0 or self._host.on_dispatcher()
        deadline = _NEVER if timeout is None else self._now() + timeout
        with self.lock:
            outbox = self.session.outbox
            while True:
                self._check_alive_locked()
                if not self._host.budget.over or not outbox.held_messages:
                    number = outbox.push(data, priority, kind, self._now())
                    if number >= 0:
                        break
                if must_not_wait:
                    self._want_ready = self._want_ready or kind == frames.Kind.MESSAGE
                    raise WouldBlock(
                        f"the send buffer for peer {self.peer_id} is full ({outbox.held_messages} messages, "
                        f"{outbox.held_bytes} bytes unacknowledged); keep the message and go on at SendReady"
                    )
                remaining = deadline - self._now()
                if remaining <= 0:
                    raise Timeout(
                        f"no room to send to peer {self.peer_id} within {timeout} s: {outbox.held_messages} messages, "
                        f"{outbox.held_bytes} bytes are unacknowledged; nothing was queued"
                    )
                self._wait_locked(min(remaining, _BUDGET_POLL if self._host.budget.over else _NEVER))
            self._take_budget()
            if self._after_push():
                return number
        self._host.io.flush_soon(self)
        return number

    def send_many(self, items: Iterable[bytes], priority: int, kind: int, timeout: float | None) -> int:
        """Queue many messages under one lock; the number of the last, or -1 if there were none."""
        number = -1
        iterator = iter(items)
        pending: bytes | None = None
        while True:
            wake = False
            with self.lock:
                outbox = self.session.outbox
                now = self._now()
                for pending in iterator:
                    pushed = -1 if self._host.budget.over else outbox.push(pending, priority, kind, now)
                    if pushed < 0:
                        break
                    number = pushed
                    if outbox.queued_bytes >= limits.RECORD_TARGET:
                        self._take_budget()
                        wake = not self._after_push() or wake
                else:
                    pending = None
                if outbox.queued_bytes:
                    self._take_budget()
                    wake = not self._after_push() or wake
            if wake:
                self._host.io.flush_soon(self)
            if pending is None:
                return number
            number = self._send_when_room(pending, priority, kind, timeout)

    def drain(self, timeout: float | None) -> None:
        """Wait until everything sent so far is acknowledged."""
        if self._host.on_dispatcher():
            raise LocalProtocolError("flush() would wait for ever inside a callback; use SendReady or another thread")
        deadline = _NEVER if timeout is None else self._now() + timeout
        with self.lock:
            outbox = self.session.outbox
            mark = outbox.next_message
            asked = False
            while True:
                oldest = outbox.oldest_held()
                if oldest is None or oldest >= mark:
                    if self.session.state is State.LOST:
                        self._check_alive_locked()
                    return
                self._check_alive_locked()
                link = self.link
                if link is not None and not asked and not link.blocked:
                    now = self._now()
                    self.session.ping(now)
                    self._transmit(link, now)
                    asked = True
                remaining = deadline - self._now()
                if remaining <= 0:
                    raise Timeout(
                        f"peer {self.peer_id} has not acknowledged everything within {timeout} s "
                        f"({outbox.held_messages} messages are left); they stay queued"
                    )
                self._wait_locked(remaining)

    def check_alive(self) -> None:
        """
        Raises:
            PeerLost, ServiceClosed: The session is over.
        """
        with self.lock:
            self._check_alive_locked()

    def _check_alive_locked(self) -> None:
        if self.session.state is State.LOST:
            if self.ended_reason == "service_closed":
                raise ServiceClosed("the service has been closed")
            raise PeerLost(
                f"the session with peer {self.peer_id} is over ({self.ended_reason}); connect() again",
                self.ended_reason,
            )

    def _wait_locked(self, seconds: float) -> None:
        if self._room is None:
            self._room = self._host.clock.condition(self.lock)
        self.waiting += 1
        try:
            self._room.wait(None if seconds == _NEVER else seconds)
        finally:
            self.waiting -= 1

    def _take_budget(self) -> None:
        held = self.session.outbox.held_bytes
        if held > self._budgeted:
            step = -(-(held - self._budgeted) // _BUDGET_STEP) * _BUDGET_STEP
            self._host.budget.take(step)
            self._budgeted += step

    def _give_budget(self) -> None:
        spare = self._budgeted - self.session.outbox.held_bytes
        if spare >= 2 * _BUDGET_STEP or (spare and not self.session.outbox.held_bytes):
            self._host.budget.give(spare)
            self._budgeted -= spare

    def _transmit(self, link: Link, now: float) -> bool:
        """Write what may be written (the lock is held); False if the io thread must go on with it."""
        session = self.session
        try:
            for _ in range(_RECORDS_PER_TURN):
                plaintext = session.record_to_send(now)
                if plaintext is None:
                    self._starved = session.outbox.queued_bytes > 0
                    break
                if not link.write(plaintext, now):
                    break
            else:
                self._scheduled = True
                self._arm(now)
                return False
        except BaseException:
            # Interrupted (Ctrl-C, a timeout of gevent's) between numbering a record and writing it: only a new link,
            # where the session resumes, brings both sides together again.
            link.fail("failed", "a write was interrupted")
            raise
        if self._timer_at > now + limits.SUSPICION_MIN:
            self._arm(now)
        return True

    # --- the io thread ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what senders left behind (io thread)."""
        with self.lock:
            self._scheduled = False
            link = self.link
            again = link is not None and not link.blocked and not self._transmit(link, self._now())
        if again:
            self._host.io.flush_soon(self)

    def link_writable(self, link: Link) -> None:
        """The transport takes data again (io thread)."""
        if link is self.link:
            self.flush()

    def _arm(self, now: float) -> None:
        """Make sure the timer comes in time (the lock is held)."""
        due = self.session.get_timer()
        if due is not None and due < self._timer_at:
            self._timer_at = max(due, now)
            self._host.io.call_at(self._timer_at, self._timer)

    def _timer(self, now: float) -> None:
        again = False
        with self.lock:
            if now < self._timer_at:
                return  # an earlier, stale entry of the heap
            self._timer_at = _NEVER
            tick = self.session.handle_timer(now)
            if tick.send and self.link is not None and not self.link.blocked:
                again = not self._transmit(self.link, now)
            if tick.dropped:
                self._give_budget()
                self._wake_locked()
            self._arm(now)
        if again:
            self._host.io.flush_soon(self)
        for priority, numbers in tick.dropped:
            self._host.dropped(self, numbers, priority)
        if tick.lost:
            self.end("timeout")
        elif tick.suspect:
            self._host.suspected(self)

    # --- receiving (the link's reader thread) -------------------------------------------------------------------------

    def receive(self, link: Link, plaintexts: list[bytes], now: float) -> None:
        """Take records with frames of the session, in order; a broken rule ends it."""
        host = self._host
        again = ready = False
        violation: RemoteProtocolError | None = None
        with self.lock:
            session = self.session
            if session.state is State.LOST:
                return
            self._heard = True
            outbox = self._outbox
            held = outbox.held_bytes
            deliveries: list[Delivery] = []
            try:
                for plaintext in plaintexts:
                    deliveries += session.receive_frames(frames.parse_record_untrusted(plaintext), now)
            except RemoteProtocolError as error:
                violation = error
            if deliveries:
                self._deliver_locked(deliveries)
            if outbox.held_bytes != held:
                self._give_budget()
                ready = self._wake_locked()
            current = self.link
            if current is not None and not current.blocked:
                if session.ack_now or (self._starved and outbox.queued_bytes):
                    again = not self._transmit(current, now)
            if session.ack_due < self._timer_at:
                self._arm(now)
        if violation is not None:
            self.violated(link, violation)
            return
        if again:
            host.io.flush_soon(self)
        if ready:
            host.send_ready(self)
        while host.budget.over and not self.ended_reason:
            # Everybody's messages together fill the node's memory: read on when the application has caught up.
            host.budget.wait_below(_BUDGET_WAIT)

    def _deliver_locked(self, deliveries: list[Delivery]) -> None:
        cost = 0
        for delivery in deliveries:
            cost += delivery.cost
            self.messages_received += len(delivery.messages)
        self._host.budget.take(cost)
        self._undigested += cost
        self._host.deliver(self, deliveries)

    def receive_end(self, link: Link, frame: frames.Goodbye | frames.Retire) -> None:
        """The peer ends the session, or this link of it."""
        if isinstance(frame, frames.Goodbye):
            self.end(frame.code.name.lower(), remote=True)
        elif link is not self.link:
            link.close()
        # Else the word that we move has not come yet, on the other link; the controller closes this one by itself.

    def _wake_locked(self) -> bool:
        """Wake waiting senders if it is worth it; True if somebody wants to hear SendReady."""
        outbox = self.session.outbox
        if not outbox.half_empty:
            return False
        if self.waiting and self._room is not None:
            self._room.notify_all()
        ready, self._want_ready = self._want_ready, False
        return ready

    def consumed(self, cost: int) -> None:
        """The application has taken messages of that cost."""
        again = False
        with self.lock:
            if self.session.state is State.LOST:
                return  # its budget was given back at the end
            self._undigested -= cost
            self._host.budget.give(cost)
            if self.session.consumed(cost) and self.link is not None and not self.link.blocked:
                again = not self._transmit(self.link, self._now())
        if again:
            self._host.io.flush_soon(self)

    # --- links come and go --------------------------------------------------------------------------------------------

    def attach(self, link: Link, peer_next: int, window: int, make_path: Callable[[], Path]) -> None:
        """
        ``link`` carries the session from now on.

        Raises:
            RemoteProtocolError: The peer continues from a number it cannot know.
        """
        now = self._now()
        with self.lock:
            if self.session.state is State.LOST:
                if self._goodbye is not None:
                    link.write_control(self._goodbye)
                link.error = f"the session ended meanwhile ({self.ended_reason})"
                link.close()
                return
            before = self.session.state
            self.session.attach(peer_next, window, now)
            old, self.link = self.link, link
            old_path, self.path = self.path, make_path()
            link.conversation = self
            link.since = now
            self._starved = False
            self._heard = True
            self._transmit(link, now)
            self._scheduled = self._scheduled or self.session.outbox.queued_bytes > 0
            self._arm(now)
        if before is not State.NEW:
            self._host.moved(self, old_path, resumed=before is State.SUSPENDED)
        self._host.io.flush_soon(self)
        if old is not None and old is not link:
            old.write_control(frames.Retire())
            old.close()

    @property
    def is_well(self) -> bool:
        """True if a link carries the session and is not suspected to be dead."""
        return self.session.state is State.CONNECTED and not self.session.suspected

    def lives(self) -> bool:
        """
        Whether the other side may still hold the session, of which it says nothing in a new call.

        True at first, and a sign of life is asked for; False if asked again when none has come.
        """
        now = self._now()
        with self.lock:
            if self._doubted_at is not None and self.session.last_received < self._doubted_at:
                return False
            self._doubted_at = now
            self.session.ping(now)
            link = self.link
            if link is not None and not link.blocked:
                self._transmit(link, now)
        return True

    def link_lost(self, link: Link) -> None:
        """A link ended (its reader thread)."""
        with self.lock:
            if link is not self.link or self.session.state is State.LOST:
                return
            self.link = None
            self.session.detach()
            self._starved = False
            self._arm(self._now())
        self._host.suspended(self, link.error or link.verdict)

    def violated(self, link: Link, error: RemoteProtocolError) -> None:
        """
        The peer broke a rule inside an authentic record: the session ends, loudly.

        Resuming would only repeat it, since the same records come again.
        """
        link.error = str(error)
        self._host.violated(self, error)
        self.end("protocol", frames.Goodbye(frames.GoodbyeCode.PROTOCOL, short_text(str(error))))
        link.fail("failed", str(error))

    def end(self, reason: str, goodbye: frames.Goodbye | None = None, *, remote: bool = False) -> bool:
        """
        The session is over.

        Args:
            reason: A word of ``crust.LostReason``.
            goodbye: What to tell the other side, if the link lives.
            remote: The other side ended it.

        Returns:
            False if it was over before.
        """
        with self.lock:
            if self.session.state is State.LOST:
                return False
            link, self.link = self.link, None
            self.ended_reason = reason
            self._goodbye = goodbye
            undelivered = self.session.end()
            self.session.outbox.max_messages = -1
            self._host.budget.give(self._budgeted + self._undigested)
            self._budgeted = self._undigested = 0
            if self._room is not None:
                self._room.notify_all()
        if link is not None:
            if goodbye is not None:
                link.write_control(goodbye)
            if not link.verdict:
                link.error = f"the session ended ({reason})"
            link.close()
        self._host.lost(self, reason, undelivered)
        return True
