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

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import limits
from ..addresses import Endpoint, PeerId
from ..exceptions import CrustError, RemoteProtocolError
from ..paths import Path
from ..runtime.rates import Bucket
from ..wire import frames
from ..wire.handshake import Manner, Purpose, Role
from .accounts import Burden
from .attempts import Attempts
from .holding import Holding
from .host import Host
from .meter import Meter
from .paths import Rivalry, is_better_class
from .session import Delivery, Session, State
from .transfer import printable, short_text

if TYPE_CHECKING:
    from ..runtime.clock import Event
    from .link import Link
    from .verifying import Desk

__all__ = ["Conversation", "Host"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_LEFT_MAX = 4  # links kept for the other side to find us on the next one: more moves at once only a bad peer makes


class Conversation(Holding):
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
        drop_age: Seconds after which they are dropped.
    """

    __slots__ = (
        "_cut_at",
        "_doubted_at",
        "_goodbye",
        "_left",
        "_linked",
        "_redials",
        "_was_heard",
        "address",
        "attempts",
        "bytes_before",
        "decision",
        "desk",
        "incarnation",
        "inbound",
        "known_at",
        "leaving",
        "path",
        "purpose",
        "redial",
        "rivalry",
        "role",
        "told",
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
        drop_age: float,
        inbound: bool,
    ) -> None:
        super().__init__(host, peer_id, session, send_timeout, drop_priority, drop_age)
        self.session_id = session_id
        self.role = role
        self.capabilities = capabilities
        self.incarnation = incarnation
        self.max_message_size = max_message_size
        self.inbound = inbound
        self._begin_signing()
        self.known_at = float("-inf")
        """When the other side was first heard in it, or else when it began: what it wrote without knowing of
        this session is older."""
        self._was_heard = False
        self.desk: Desk | None = None
        """Where messages wait to be verified, if any has to be."""
        self.purpose = Purpose.CONNECT
        """What it was begun for."""
        self.path: Path | None = None
        self.address: str | None = None
        """The peer's host as it was seen last: what bans of addresses are held against."""
        self.decision = 0
        """Count of the controller's decisions about links; the registry's lock guards it."""
        self.redial: tuple[Endpoint, ...] = ()
        """Where the dialer reached the peer; empty if the peer called us."""
        self._redials = Bucket(limits.REDIALS_AT_ONCE_PER_SECOND, limits.REDIALS_AT_ONCE)  # the dialer's lock guards it
        self.told: tuple[frames.Place, ...] = ()
        """Where the peer said last that it may be, best first."""
        self.leaving: Link | None = None
        """A link that the session should leave for another one that is no worse."""
        self.attempts = Attempts()
        """What was tried last to reach the peer, or to reach it by a better path; the dialer's lock guards it."""
        self.rivalry = Rivalry()
        """How other ways compared with ours; the registry's lock guards it."""
        self.bytes_before = (0, 0)
        """Sent and received on the links that carried the session before the present one."""
        self._left: list[Link] = []  # where the other side may be yet, until it has spoken on the link we moved to
        self._doubted_at: float | None = None  # when a sign of life was asked for
        self._cut_at = float("-inf")  # when its link was lost
        self._linked: Event | None = None  # who closes waits for a link
        self._goodbye: frames.Goodbye | None = None  # told to a link that comes when it is over already
        self._begin_holding(Meter(host.accounts.of(peer_id, self._now()), session))

    # --- the io thread ------------------------------------------------------------------------------------------------

    def _timer(self, now: float) -> None:
        again = False
        with self.lock:
            if not self._rung_locked(now):
                return
            tick = self.session.handle_timer(now)
            if tick.send and self.link is not None and not self.link.blocked:
                again = not self._transmit(self.link, now)
            ready = False
            if tick.dropped:
                self._give_budget()
                ready = self._wake_locked()
            self._arm(now)
        if again:
            self._host.io.flush_soon(self)
        if ready:
            self._host.send_ready(self)
        for priority, numbers in tick.dropped:
            self._host.dropped(self, numbers, priority)
        if tick.lost:
            self.end("timeout")
        elif tick.suspect and not self._host.brake.holds(self.link):  # else it is we who do not listen
            self._host.suspected(self)

    # --- receiving (the link's reader thread) -------------------------------------------------------------------------

    def receive(self, link: Link, records: list[list[frames.Frame]], now: float) -> None:
        """Take records with frames of the session, in order; a broken rule ends it."""
        host = self._host
        again = ready = False
        violation: RemoteProtocolError | None = None
        with self.lock:
            session = self.session
            if session.state is State.LOST:
                return
            if not self._was_heard:
                self._was_heard, self.known_at = True, now
            outbox = self._outbox
            held = outbox.held_bytes
            deliveries: list[Delivery] = []
            try:
                for received in records:
                    deliveries += session.receive_frames(received, now)
            except RemoteProtocolError as error:
                violation = error
            if deliveries:
                self._heard = True
                try:
                    self._deliver_locked(deliveries)
                except RemoteProtocolError as error:  # in a message about a file
                    violation = error
            if session.inbox.begun != self._unfinished:
                self._count_unfinished_locked()
            if outbox.held_bytes != held:
                self._give_budget()
                ready = self._wake_locked()
            self.meter.received(records)
            current = self.link
            left: list[Link] = []
            if link is current and self._left:
                left, self._left = self._left, []  # the other side has moved, too
            if current is not None and not current.blocked:
                if session.ack_now or (self._starved and outbox.queued_bytes):
                    again = not self._transmit(current, now)
            if session.ack_due < self._timer_at or session.ask_at < self._timer_at:
                self._arm(now)
        self._retire(left)
        if violation is not None:
            self.violated(link, violation)
            return
        if again:
            host.io.flush_soon(self)
        if ready:
            host.send_ready(self)
        if self.must_pause:
            host.refusals.count("limits.total_buffers")
            host.brake.hold(link, self)

    def receive_control(self, link: Link, frame: frames.Frame) -> bool:
        """Take a frame that stands alone in its record; False if it is none of the session's."""
        if isinstance(frame, (frames.Goodbye, frames.Retire)):
            self.receive_end(link, frame)
        elif isinstance(frame, (frames.EchoRequest, frames.EchoReply)):
            self._host.echo(self, link, frame)
        elif isinstance(frame, frames.CIRCUIT_FRAMES):
            self._host.circuit(self, link, frame)
        elif isinstance(frame, frames.SIGNAL_FRAMES):
            self._host.signal(self, link, frame)
        else:
            return False
        return True

    def bear(self, frame: frames.Frame) -> None:
        """Count what such a frame has cost."""
        with self.lock:
            self.meter.control(frame)

    def wasted(self, burden: Burden, cost: float) -> None:
        """What has come was worth nothing after all; it has cost so many seconds of a core (any thread)."""
        with self.lock:
            self.meter.account.spend(burden, cost)

    def settle(self, link: Link) -> None:
        """All that came together has been taken: let the link rest if it was too much (its reader thread)."""
        with self.lock:
            wait = 0.0 if self.ended_reason else self.meter.wait(self._now())
        if wait:
            self._host.overspent(self, link, wait)

    def receive_end(self, link: Link, frame: frames.Goodbye | frames.Retire) -> None:
        """The peer ends the session, or this link of it."""
        if isinstance(frame, frames.Goodbye):
            self.end(frame.code.name.lower(), said=frame.text)
        elif link is not self.link:
            link.close()
        # Else the word that we move has not come yet, on the other link; the controller closes this one by itself.

    def _wake_locked(self) -> bool:
        """Wake waiting senders if it is worth it; True if somebody wants to hear SendReady."""
        outbox = self.session.outbox
        if not outbox.half_empty:
            return False
        if self._sleepers:
            self._wake_all_locked()
        ready, self._want_ready = self._want_ready, False
        return ready

    def keep(self, attempts: Attempts) -> Attempts:
        """Remember what the dialer tried to reach the peer; gives back where it notes the attempts that go on."""
        if attempts is not self.attempts:
            for attempt in attempts:
                self.attempts.note(attempt)
        return self.attempts

    # --- links come and go --------------------------------------------------------------------------------------------

    def attach(
        self, link: Link, peer_next: int, window: int, make_path: Callable[[], Path], *, decided: bool
    ) -> None:
        """
        ``link`` carries the session from now on.

        Args:
            decided: It was for us to decide. Then the other side learns of it on ``link``, and would take the end of
                the old one, if that came first, for a cut: so that stays until it has spoken here.

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
            if before is State.NEW:
                self.known_at = now
            self.session.attach(
                peer_next, window, now, control_only=not link.carries_data, keepalive=_keepalive(link)
            )
            old, self.link = self.link, link
            if old is not link:
                self._part_with(old)
            old_path, self.path = self.path, make_path()
            self.address = link.address
            self.rivalry.moved()
            self.leaving = None
            self.session.asks = not link.inbound
            left = self._left if old is None or old is link else [*self._left, old]
            gone = max(0, len(left) - _LEFT_MAX) if decided else len(left)
            left, self._left = left[:gone], left[gone:]
            if old is not None and old in self._left:
                self._host.io.call_later(limits.MOVE_CONFIRMATION, lambda _: self._retire_left(old))
            if self._linked is not None:
                self._linked.set()
            link.conversation = self
            link.since = now
            self._starved = False
            self._heard = True
            self._give_budget()  # the peer's number acknowledges, too
            ready = self._wake_locked()
            self._transmit(link, now)
            self._scheduled = self._scheduled or self.session.outbox.queued_bytes > 0
            self._arm(now)
        if old is not None and old is not link:
            old.end_circuits()
        if before is not State.NEW:
            self._host.moved(self, old_path, resumed=before is State.SUSPENDED)
        if ready:
            self._host.send_ready(self)
        self._host.io.flush_soon(self)
        self._retire(left)

    def _part_with(self, link: Link | None) -> None:
        """Count what went over a link that no longer carries the session; its last words are not counted."""
        if link is not None:
            sent, received = self.bytes_before
            self.bytes_before = sent + link.bytes_sent, received + link.bytes_received

    def bytes_carried(self) -> tuple[int, int]:
        """Bytes sent and received for the session on all its links; the lock is held."""
        link = self.link
        sent, received = self.bytes_before
        return (sent, received) if link is None else (sent + link.bytes_sent, received + link.bytes_received)

    def _retire_left(self, link: Link) -> None:
        """The other side has had its time to move (I/O thread)."""
        with self.lock:
            if link not in self._left:
                return
            self._left.remove(link)
        self._retire([link])

    def _retire(self, links: list[Link]) -> None:
        """Close links that no longer carry the session."""
        for link in links:
            link.write_control(frames.Retire())
            self._let_go(link)

    def _let_go(self, link: Link) -> None:
        """Close a link in order; if the other side does not take its last bytes, cut it: nothing else would end it."""
        link.end_circuits()
        link.close()
        if link.blocked:
            self._host.io.call_later(limits.CLOSE_TIMEOUT, lambda _: link.connection.abort())

    @property
    def is_on_circuit(self) -> bool:
        """The link that carries the session is itself carried by another peer's."""
        link = self.link
        return link is not None and link.circuit is not None

    @property
    def is_well(self) -> bool:
        """True if a link carries the session and is not suspected to be dead."""
        return self.session.state is State.CONNECTED and not self.session.suspected

    def would_gain(self, path_class: str) -> bool:
        """Whether the session should move to a link of that class, for the class or to leave the one that it has."""
        path = self.path
        if path is None:
            return False
        leaves = self.leaving is not None and self.leaving is self.link
        return is_better_class(path_class, path.path_class) or (leaves and path_class == path.path_class)

    def may_redial_at_once(self) -> bool:
        """
        Whether a link that was lost is to be replaced without delay; counted if so (the dialer's lock is held). Who is
        on the path and cuts each as soon as it stands would have us called one that calls too often.
        """
        if self._redials.tokens(self._now()) < 1.0:
            return False
        self._redials.take()
        return True

    def doubt(self) -> None:
        """Something speaks against the link: ask for a sign of life, and look for another one if none comes soon."""
        again = False
        with self.lock:
            now = self._now()
            if not self.session.doubt(now):
                return
            link = self.link
            if link is not None and not link.blocked:
                again = not self._transmit(link, now)
            self._arm(now)
        if again:
            self._host.io.flush_soon(self)

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
        if link is self.link:
            # The caller may have left it as soon as it read our welcome on another one, which is chosen just now.
            self._host.await_decision()
        with self.lock:
            if link is not self.link or self.session.state is State.LOST:
                if link in self._left:
                    self._left.remove(link)
                return
            self.link = None
            self._part_with(link)
            left, self._left = self._left, []
            self.session.detach()
            self._starved = False
            self._cut_at = self._now()
            self._arm(self._cut_at)
            reason = link.error or link.verdict
            self._host.suspended(self, reason)
        self._retire(left)
        self._host.detached(self, reason)

    def await_link(self, until: float) -> None:
        """
        Wait for the next link, but not longer than ``until``, if the last one has just been lost: whoever closes may be
        who broke it, by an exception that struck while a record was written, and what was sent before is to arrive. If
        that is under way, the link may be lost, and its reader not know yet: its arrival, too, is waited for.
        """
        if self.session.state is State.CONNECTED and self._outbox.held_messages:
            with contextlib.suppress(CrustError, OSError):  # what does not arrive is told in LostPeer
                self.drain(max(0.0, until - self._now()))
        with self.lock:
            if self.session.state is State.SUSPENDED:
                until = min(until, self._cut_at + limits.CLOSE_RESUME)
            elif self.session.state is State.LOST or self.link is None or self.link.verdict != "failed":
                return  # else its reader is about to notice
            linked = self._linked = self._host.clock.event()
        linked.wait(max(0.0, until - self._now()))

    def violated(self, link: Link, error: RemoteProtocolError) -> None:
        """
        The peer broke a rule inside an authentic record: the session ends, loudly.

        Resuming would only repeat it, since the same records come again.
        """
        link.error = str(error)
        self._host.violated(self, error)
        self.end("protocol", frames.Goodbye(frames.GoodbyeCode.PROTOCOL, short_text(str(error))))
        link.fail("failed", str(error))

    def end(self, reason: str, goodbye: frames.Goodbye | None = None, *, said: str = "") -> bool:
        """
        The session is over.

        Args:
            reason: A word of ``crust.LostReason``.
            goodbye: What to tell the other side, if the link lives.
            said: The other side ended it, and said this.

        Returns:
            False if it was over before.
        """
        with self.lock:
            if self.session.state is State.LOST:
                return False
            link, self.link = self.link, None
            self._part_with(link)
            left, self._left = self._left, []
            self.ended_text = printable(goodbye.text if goodbye is not None else said)
            self.ended_reason = reason
            self._goodbye = goodbye
            self._bell.silence()
            if self._linked is not None:
                self._linked.set()
            last_word = frames.Ack(self.session.inbox.next, self.session.inbox.window)
            undelivered = self.session.end()
            self.session.outbox.max_messages = -1
            self._let_go_locked()
            self._wake_all_locked()
        try:
            if link is not None:
                if goodbye is not None:
                    link.write_control(last_word)  # so that the other side does not count as lost what has arrived
                    link.write_control(goodbye)
                if not link.verdict:
                    link.error = f"the session ended ({reason})"
                self._let_go(link)
            self._retire(left)
        finally:  # the application hears of it, whatever a link says
            self._host.lost(self, reason, undelivered)
        return True


def _keepalive(link: Link) -> float | None:
    """How long a link may be silent: translators forget UDP soon, and what they did not see begin from inside."""
    if link.connection.transport == "tcp" and link.manner is Manner.DIRECT:
        return None
    return limits.KEEPALIVE
