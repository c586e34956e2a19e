"""
The sending half of a conversation: whoever sends writes on its own thread, if that can be done without waiting.

Interrupts: ``send``, ``send_many`` and ``drain`` run on the application's thread, where an exception may strike after
any call. What must not be torn apart is done by plain statements with at most one call, the last. What an interrupt
leaves undone, the io thread does: the handlers ask it by ``flushes.append``, one call, which works even if they are
interrupted themselves.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import PeerId
from ..exceptions import CrustError, LocalProtocolError, PeerLost, ServiceClosed, Timeout, WouldBlock
from ..runtime.threads import forked_error
from ..runtime.timers import Bell
from ..wire import frames
from .host import Host
from .messages import Configured
from .session import Session, State

if TYPE_CHECKING:
    from ..runtime.clock import Event
    from .link import Link

__all__ = ["BUDGET_POLL", "NEVER", "Sending"]

NEVER = float("inf")
_WRITES_PER_TURN = 8  # of several records each, before others get a turn
_BUDGET_STEP = 32_768  # bytes taken from the node's budget at a time: little enough for a thousand peers
_AHEAD = 524_288  # bytes taken at a time for a stream, while there is plenty: as much as is acknowledged at a time
_UNCOUNTED = 4096  # bytes of each peer that the budget does not know of: enough for a question and its answer
BUDGET_POLL = 0.05  # seconds between looks at a budget that other peers have used up
_OVERHEAD = limits.MESSAGE_OVERHEAD
_FULL = limits.SENDER_WRITES_AT
_NOT_SMALL = 1024  # bytes of a message from which on MESSAGE_OVERHEAD hardly counts


class Sending(abc.ABC):
    """What :class:`~crust.peers.conversation.Conversation` does with messages of ours. All methods are thread-safe."""

    __slots__ = (
        "_bell",
        "_budgeted",
        "_drop_age",
        "_drop_priority",
        "_heard",
        "_host",
        "_max_bytes",
        "_now",
        "_outbox",
        "_scheduled",
        "_sleepers",
        "_starved",
        "_starved_priority",
        "_streaming",
        "_timer_at",
        "_timers",
        "_want_ready",
        "ended_reason",
        "ended_text",
        "link",
        "lock",
        "peer_id",
        "send_timeout",
        "session",
    )

    def __init__(
        self,
        host: Host,
        peer_id: PeerId,
        session: Session,
        send_timeout: float | None,
        drop_priority: int | None,
        drop_age: float,
    ) -> None:
        self._host = host
        self._now = host.clock.now
        self.peer_id = peer_id
        self.session = session
        self._outbox = session.outbox
        self.send_timeout = send_timeout
        self._drop_priority = limits.PRIORITY_MAX + 1 if drop_priority is None else drop_priority
        self._drop_age = drop_age
        self._max_bytes = session.outbox.max_bytes
        self.link: Link | None = None
        self.ended_reason = ""
        self.ended_text = ""
        """What whoever ended it said about that, harmless to show."""
        self.lock = threading.Lock()  # guards the session, the link attribute and all flags below
        self._sleepers: list[Event] = []  # of those who wait for room or for acknowledgements
        self._scheduled = False  # the io thread will call flush()
        self._starved = False  # data waits for window, not for the link
        self._starved_priority = 0  # of the most urgent that does
        self._heard = True  # something arrived since our last direct write
        self._streaming = False  # senders fill records by themselves, since the io thread looked last
        self._want_ready = False  # a sender got WouldBlock
        self._budgeted = 0  # bytes of the node's budget held for the outbox
        self._timer_at = NEVER  # the next one of those that are to come,
        self._timers: list[float] = []  # each earlier than the one before it
        self._bell = Bell(self._timer)

    def send(self, data: bytes, priority: int, kind: int, timeout: float | None | Configured) -> int:
        """
        Queue ``data`` and write it if that can be done at once; see :meth:`crust.Peer.send`.

        Raises:
            ValueError: No such priority.
        """
        outbox = self._outbox
        cost = len(data) + _OVERHEAD
        try:
            with self.lock:
                # The quick way, which most messages of a stream take: Outbox.push without its calls and questions.
                held = outbox.held_bytes + cost
                number = outbox.next_message
                key = priority << 1 | kind
                if held <= outbox.quick_bytes and number < outbox.quick_count and key == outbox.quick_key:
                    outbox.next_message = number + 1
                    outbox.held_bytes = held
                    outbox.quick_append(data)
                    return number
                number, again = self._push(data, priority, kind)
            if again:
                self._host.io.flush_soon(self)
            if number >= 0:
                return number
        except BaseException:
            self._host.io.flushes.append(self)
            self._host.io.rouse()
            raise
        return self._send_when_room(data, priority, kind, timeout)

    def _push(self, data: bytes, priority: int, kind: int) -> tuple[int, bool]:
        """Queue a message (the lock is held): its number, or -1; and whether the io thread must be asked to write."""
        if not 0 <= priority <= limits.PRIORITY_MAX:
            raise ValueError(f"priority must be 0 (most urgent) to {limits.PRIORITY_MAX}, not {priority}")
        outbox = self._outbox
        now = self._now() if priority >= self._drop_priority else 0.0
        number = outbox.push(data, priority, kind, now)
        if number < 0:
            return number, False
        if outbox.held_bytes > self._budgeted + _UNCOUNTED:
            self._take_budget()
        if now and self._timer_at > now + self._drop_age:
            self._arm(now)  # nothing may be sent for long, but its age counts from here
        again = not self._after_push(len(data), priority)
        if self._scheduled:  # the io thread will come and take along what is queued until then
            link = self.link
            full = _FULL if link is None else self._full(link, len(data))
            outbox.allow_quick(min(outbox.sent_bytes + full - 1, self._budgeted + _UNCOUNTED))
        return number, again

    def _after_push(self, size: int, priority: int) -> bool:
        """
        Write now if that is better; False if the io thread must be asked to (the lock is held).

        Args:
            size: Of the message queued last.
        """
        link = self.link
        if link is None or link.blocked or not link.carries_data:
            return True  # what comes next will bring it out
        if self._starved and priority >= self._starved_priority:
            return True  # the link's return, room or window will bring it out; only the more urgent may overtake
        outbox = self._outbox
        is_full = outbox.held_bytes - outbox.sent_bytes >= self._full(link, size)
        if self._scheduled and not is_full:
            return True
        clock = self._now
        now = clock()
        host = self._host
        rested = now - host.last_direct > limits.DIRECT_WRITE_GAP and not host.io.flushes  # else it is on its way here
        if not self._scheduled and (self._heard or rested):
            self._heard = False
            host.last_direct = now
            return self._transmit(link, now)
        if is_full:
            self._streaming = True
            if not self._transmit(link, now, _FULL if size < _NOT_SMALL else limits.RECORD_TARGET):
                return False
        if self._scheduled or not self._outbox.queued_bytes:
            return True
        self._scheduled = True
        return False

    def _full(self, link: Link, size: int) -> int:
        """Cost of queued messages that a sender of messages of that size writes itself: some full records."""
        if size < _NOT_SMALL:
            return _FULL
        return max(limits.RECORD_TARGET, min(link.burst * limits.RECORD_TARGET, self._max_bytes // 4))

    def _send_when_room(self, data: bytes, priority: int, kind: int, timeout: float | None | Configured) -> int:
        """The buffer is full: wait, or say so."""
        if isinstance(timeout, Configured):
            timeout = self.send_timeout
        must_not_wait = timeout == 0 or self._host.on_dispatcher()
        deadline = NEVER if timeout is None else self._now() + timeout
        sleeper: Event | None = None
        try:
            while True:
                with self.lock:
                    self._wake_up_locked(sleeper)
                    self._check_alive_locked()
                    number = self._push_if_room(data, priority, kind)
                    if number >= 0:
                        self._take_budget()
                        self._arm(self._now())
                        if self._after_push(len(data), priority):
                            return number
                        break
                    remaining = deadline - self._now()
                    if must_not_wait or remaining <= 0:
                        raise self._no_room(must_not_wait, timeout, kind)
                    self._ask_for_room_locked()
                    sleeper = self._sleep_locked()
                self._sleep(sleeper, min(remaining, BUDGET_POLL if self._host.budget.over else NEVER))
            self._host.io.flush_soon(self)
        except BaseException:  # ours or an interrupt's: a flush too many does no harm
            self._host.io.flushes.append(self)
            self._host.io.rouse()
            raise
        return number

    def _ask_for_room_locked(self) -> None:
        """Have the other side acknowledge at once: it does not know how small our buffer is."""
        link = self.link
        if link is not None and not link.blocked and self.session.outbox.unacknowledged:
            now = self._now()
            self.session.ping(now)
            self._transmit(link, now)

    def _push_if_room(self, data: bytes, priority: int, kind: int) -> int:
        outbox = self._outbox
        if self._host.budget.over and outbox.held_messages:
            return -1
        outbox.max_bytes = self._max_bytes
        return outbox.push(data, priority, kind, self._now())

    def _no_room(self, must_not_wait: bool, timeout: float | None, kind: int) -> CrustError:
        outbox = self._outbox
        if must_not_wait:
            self._want_ready = self._want_ready or kind == frames.Kind.MESSAGE
            return WouldBlock(
                f"the send buffer for peer {self.peer_id} is full ({outbox.held_messages} messages, "
                f"{outbox.held_bytes} bytes unacknowledged); keep the message and go on at SendReady"
            )
        return Timeout(
            f"no room to send to peer {self.peer_id} within {timeout} s: {outbox.held_messages} messages, "
            f"{outbox.held_bytes} bytes are unacknowledged; nothing was queued"
        )

    def send_many(self, items: Iterable[bytes], priority: int, kind: int, timeout: float | None) -> int:
        """Queue many messages under one lock; the number of the last, or -1 if there were none."""
        number = -1
        iterator = iter(items)
        while True:
            try:
                number, pending = self._push_many(iterator, priority, kind, number)
            except BaseException:
                self._host.io.flushes.append(self)
                self._host.io.rouse()
                raise
            if pending is None:
                return number
            number = self._send_when_room(pending, priority, kind, timeout)

    def _push_many(self, iterator: Iterator[bytes], priority: int, kind: int, last: int) -> tuple[int, bytes | None]:
        """Queue what there is room for; the number of the last (``last`` if none), and the first without room."""
        number = last
        wake = False
        pending: bytes | None = None
        with self.lock:
            outbox = self._outbox
            now = self._now()
            for pending in iterator:
                pushed = -1 if self._host.budget.over else outbox.push(pending, priority, kind, now)
                if pushed < 0:
                    break
                number = pushed
                if outbox.queued_bytes < _FULL:
                    continue
                self._take_budget()
                wake = not self._after_push(len(pending), priority) or wake
            else:
                pending = None
            if outbox.queued_bytes:
                self._take_budget()
                if priority >= self._drop_priority and self._timer_at > now + self._drop_age:
                    self._arm(now)
                wake = not self._after_push(0, priority) or wake
        if wake:
            self._host.io.flush_soon(self)
        return number, pending

    def drain(self, timeout: float | None) -> None:
        """Wait until everything sent so far is acknowledged."""
        if self._host.on_dispatcher():
            raise LocalProtocolError("flush() would wait for ever inside a callback; use SendReady or another thread")
        deadline = NEVER if timeout is None else self._now() + timeout
        outbox = self._outbox
        mark = outbox.next_message
        asked = False
        sleeper: Event | None = None
        while True:
            with self.lock:
                self._wake_up_locked(sleeper)
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
                sleeper = self._sleep_locked()
            self._sleep(sleeper, remaining)

    def accepted(self) -> tuple[int, int]:
        """How many messages ``send`` has queued in this session, and the number of the last, or -1."""
        self.check_fork()
        with self.lock:
            return self._outbox.accepted

    def check_alive(self) -> None:
        """
        Raises:
            PeerLost, ServiceClosed: The session is over.
        """
        with self.lock:
            self._check_alive_locked()

    def _check_alive_locked(self) -> None:
        if self.session.state is State.LOST:
            raise self.error_of_end()

    def check_fork(self) -> None:
        """
        Raises:
            ForkedError: This is a forked child's copy.
        """
        if self.ended_reason == "forked":
            raise self.error_of_end()

    def error_of_end(self) -> CrustError:
        """What is raised to those who want something of a session that is over."""
        if self.ended_reason == "forked":
            return forked_error(self._host.pid)
        if self.ended_reason == "service_closed":
            return ServiceClosed("the service has been closed")
        why = f"{self.ended_reason}: {self.ended_text}" if self.ended_text else self.ended_reason
        return PeerLost(f"the session with peer {self.peer_id} is over ({why}); connect() again", self.ended_reason)

    def abandon(self) -> None:
        """In a forked child: it is over, and nobody is told (takes no lock)."""
        self.lock = threading.Lock()
        self.link = None
        self.ended_reason = "forked"
        self.session.state = State.LOST
        self._outbox.clear()
        self._outbox.max_messages = -1
        self.session.inbox.clear()
        self._sleepers = []

    def _sleep_locked(self) -> Event:
        """Be among those that are woken; wait with :meth:`_sleep` when the lock has been let go."""
        sleeper = self._host.clock.event()
        self._sleepers.append(sleeper)
        return sleeper

    @staticmethod
    def _sleep(sleeper: Event, seconds: float) -> None:
        sleeper.wait(None if seconds == NEVER else seconds)

    def _wake_up_locked(self, sleeper: Event | None) -> None:
        if sleeper is not None and sleeper in self._sleepers:
            self._sleepers.remove(sleeper)

    def _wake_all_locked(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.set()

    def _take_budget(self) -> None:
        """
        Count what is held against the node's budget. When that is used up, the next message is one too many: ``push``
        says that the buffer is full, and who comes then looks at the budget.
        """
        held = self._outbox.held_bytes - _UNCOUNTED
        if held > self._budgeted:
            budget = self._host.budget
            plenty = 2 * (budget.used + _AHEAD) < budget.limit
            ahead = _AHEAD if self._streaming and plenty else 0  # what will be held in a moment
            step = -(-(held + ahead - self._budgeted) // _BUDGET_STEP) * _BUDGET_STEP
            with budget.lock:
                budget.used += step
                self._budgeted += step
            if budget.over:
                self._outbox.max_bytes = min(held + _UNCOUNTED, self._max_bytes)
                self._outbox.forbid_quick()

    def _give_budget(self) -> None:
        held = max(0, self._outbox.held_bytes - _UNCOUNTED)
        spare = self._budgeted - held
        if spare >= 2 * _AHEAD or (spare and (not held or self._host.budget.over)):
            self._outbox.forbid_quick()
            budget = self._host.budget
            with budget.lock:
                budget.used -= spare
                self._budgeted -= spare
            budget.settle()

    def _transmit(self, link: Link, now: float, least: int = 1) -> bool:
        """
        Write what may be written (the lock is held); False if the io thread must go on with it.

        Args:
            least: Leave less than that (cost of what is queued) to be written together with what comes next.
        """
        session, outbox = self.session, self._outbox
        burst = link.burst
        try:
            for _ in range(_WRITES_PER_TURN):
                plaintexts: list[bytes] = []
                more = True
                while more and len(plaintexts) < burst:
                    plaintext = session.record_to_send(now)
                    if plaintext is None:
                        more = False
                        self._starved = outbox.held_bytes > outbox.sent_bytes
                        if self._starved:
                            self._starved_priority = outbox.most_urgent()
                        break
                    plaintexts.append(plaintext)
                    self._starved = False
                    more = outbox.held_bytes - outbox.sent_bytes >= least or outbox.resending or session.ack_now
                if plaintexts and not link.write(plaintexts, now):
                    break
                if not more:
                    break
            else:
                self._scheduled = True
                self._streaming = False  # this is not to be put off
                self._arm(now)
                return False
        except BaseException:
            # Interrupted between numbering a record and writing it: only a new link, where the session resumes, brings
            # both sides together again. A link with a verdict writes nothing more, and flush() is its end.
            link.verdict, link.error = link.verdict or "failed", link.error or "a write was interrupted"
            self._host.io.flushes.append(link)
            self._host.io.rouse()
            raise
        if self._timer_at > now + limits.SUSPICION_MIN:
            self._arm(now)
        return True

    # --- the io thread ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what senders left behind (io thread)."""
        with self.lock:
            if self._streaming:
                # Whoever sends so much writes it, too. To take from that stream what has just been queued would make
                # many small records of it, and have two threads contend.
                self._streaming = False
                self._scheduled = True
                self._host.io.call_at(self._now() + limits.STREAM_LOOK, self._look)
                return
            self._scheduled = False
            self._outbox.forbid_quick()
            link = self.link
            again = link is not None and not link.blocked and not self._transmit(link, self._now())
        if again:
            self._host.io.flush_soon(self)
        elif link is not None and link.circuits is not None:
            link.circuits.freight.pump()

    @property
    def has_more(self) -> bool:
        """The session has something to say that may go out now. (Racy: what others send meanwhile is not seen.)"""
        return self._scheduled or (bool(self._outbox.queued_bytes) and not self._starved)

    def _look(self, _now: float) -> None:
        self.flush()

    def link_writable(self, link: Link) -> None:
        """The transport takes data again (io thread)."""
        if link is self.link:
            if link.circuits is not None:
                link.circuits.freight.pump()  # what has waited for too long
            self._streaming = False
            self.flush()

    def _arm(self, now: float) -> None:
        """Make sure the timer comes in time (the lock is held)."""
        due = self.session.get_timer()
        if due is not None and due < self._timer_at:
            due = max(due, now)
            self._host.io.call_at(due, self._bell)
            self._timers.append(due)
            self._timer_at = due

    def _rung_locked(self, now: float) -> bool:
        """
        Forget the timers that have come; False if another one has seen to it. Those behind them stay what is next:
        were they made anew, each acknowledgement would leave one behind until a heartbeat is due.
        """
        if now < self._timer_at:
            return False
        timers = self._timers
        while timers and timers[-1] <= now:
            timers.pop()
        self._timer_at = timers[-1] if timers else NEVER
        return True

    @abc.abstractmethod
    def _timer(self, now: float) -> None:
        """The session's next deadline has come (io thread)."""
