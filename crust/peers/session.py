"""
A session: the conversation of two identities, which outlives the links that carry it (sans-IO core).

Theory of operation (docs/wire-format.md, "Sessions"):

- Chunks are numbered per direction from 0. The receiver takes them in order, drops what it has, and calls a gap a
  violation: every link delivers in order from a number not above the expected one, so there can be none.
- Acknowledgements say what is stored and how much more will be buffered. They ride on data, else go out after
  ``ACK_DELAY``, or at once after ``ACK_EVERY_BYTES``, when asked by a PING, or when much buffer has been freed, or
  enough for a message that may be waiting for it.
- The states and what leads from one to another are in ``TRANSITIONS``; an event that is not in the table is a bug.
- A session is *suspected* when something is outstanding (data or a PING) and nothing has been heard for three round
  trip timeouts, at least ``SUSPICION_MIN``: other paths are tried then, while the old one stays. The side that called
  asks by a PING when a stream of data stops for as long: the other side may not know where to call. A link that
  something speaks against is *doubted*: it is asked at once, and suspected sooner. A session is *lost* after
  ``resume_timeout`` of silence, time without a link included.
- What comes does not show that what goes arrives: somebody on the way may have taken something out of one direction. So
  a link is suspected, too, when nothing of what is outstanding is answered for ``UNHEARD_MIN`` (or six timeouts),
  whatever comes; but who does not read for a while, others having their turn, repeats what it has said last, and that
  is awaited. The side that called asks if it has had no answer for ``heartbeat_interval``, as it only acknowledges.
- A PING goes out after ``heartbeat_interval`` without anything sent, and sooner on links that would be forgotten on the
  way: see :meth:`Session.attach`.

The cores share five verbs: ``receive_*``, ``*_to_send``, ``events_received`` (here: what ``receive_frames`` returns),
``get_timer``, ``handle_timer``. Not thread-safe: the conversation's lock guards it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import limits
from ..exceptions import RemoteProtocolError
from ..values import dataclass
from ..wire import frames
from .forbearance import Forbearance
from .inbox import Inbox
from .outbox import Outbox

__all__ = ["TRANSITIONS", "Delivery", "Event", "Session", "Settings", "State", "Tick"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_NEVER = float("inf")


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    """Agreed on, but the controller has not yet said which link carries it."""
    CONNECTED = "connected"
    """A link carries it."""
    SUSPENDED = "suspended"
    """No link; waiting for one to resume on."""
    LOST = "lost"
    """Over, for ever."""


class Event(enum.Enum):
    """What moves a session from state to state."""

    ATTACHED = "attached"
    """A link was chosen to carry it."""
    DETACHED = "detached"
    """Its link ended."""
    ENDED = "ended"
    """Closed by either side, refused on resume, or silent for too long."""


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NEW, Event.ATTACHED): State.CONNECTED,
    (State.NEW, Event.ENDED): State.LOST,
    (State.CONNECTED, Event.ATTACHED): State.CONNECTED,  # moved to a better link
    (State.CONNECTED, Event.DETACHED): State.SUSPENDED,
    (State.CONNECTED, Event.ENDED): State.LOST,
    (State.SUSPENDED, Event.ATTACHED): State.CONNECTED,
    (State.SUSPENDED, Event.ENDED): State.LOST,
}


@dataclass(frozen=True)
class Settings:
    """What both sides of a session and its user agreed on; sizes in bytes, times in seconds."""

    send_messages: int = limits.SEND_BUFFER_MESSAGES
    send_bytes: int = limits.SEND_BUFFER_BYTES
    receive_buffer: int = limits.RECEIVE_BUFFER
    max_message_size: int = limits.MAX_MESSAGE_SIZE
    drop_priority: int | None = limits.DROP_MIN_PRIORITY
    drop_age: float = limits.DROP_MAX_AGE
    heartbeat_interval: float = limits.HEARTBEAT_INTERVAL
    resume_timeout: float = limits.RESUME_TIMEOUT


class Delivery(NamedTuple):
    """Messages that have arrived, ready for the application."""

    kind: int
    priority: int
    messages: Sequence[bytes]
    cost: int
    """Bytes of the receive buffer they hold until consumed."""
    evidence: bytes | None = None
    """Of one message that was signed, by which its proof can be made: ``crust.crypto.proofs.evidence_of``."""


class Tick(NamedTuple):
    """What a timer found."""

    send: bool = False
    """There is something to send."""
    suspect: bool = False
    """The link is silent, or brings no answer, with something outstanding: try other paths."""
    lost: bool = False
    """Silent for too long: the session is over."""
    dropped: Sequence[tuple[int, list[int]]] = ()
    """Messages that grew too old: (priority, message numbers)."""


class Session:
    """
    The core of one session. ``now`` is seconds on any clock that only goes forward.

    Args:
        settings: See :class:`Settings`.
        window: Bytes the other side will buffer, from its introduction or welcome.
        now: The present.
        uniform: A random number in [0, 1) at each call; jitter and padding come from it.
        rtt: A first round trip in seconds, from the handshake; None if unknown.
    """

    __slots__ = (
        "_ack_bytes",
        "_ack_messages",
        "_ample",
        "_data_at",
        "_doubted_until",
        "_forbearance",
        "_heartbeat_at",
        "_heard_at",
        "_heartbeat_gap",
        "_keepalive",
        "_ping_sent",
        "_ping_token",
        "_pongs",
        "_rttvar",
        "_settings",
        "_suspected",
        "_unanswered_since",
        "_unheard",
        "_uniform",
        "_waiting_since",
        "ack_due",
        "ack_now",
        "ask_at",
        "asks",
        "control_only",
        "freed",
        "inbox",
        "last_received",
        "outbox",
        "srtt",
        "state",
    )

    def __init__(
        self, settings: Settings, *, window: int, now: float, uniform: Callable[[], float], rtt: float | None = None
    ) -> None:
        self._settings = settings
        self._uniform = uniform
        self.state = State.NEW
        self.outbox = Outbox(
            max_messages=settings.send_messages,
            max_bytes=settings.send_bytes,
            drop_priority=settings.drop_priority,
            window=window,
        )
        self.inbox = Inbox(buffer_size=settings.receive_buffer, max_message_size=settings.max_message_size)
        self.srtt = rtt
        self._rttvar = rtt / 2 if rtt is not None else 0.0
        self.last_received = now
        self._keepalive: float | None = None
        self._heartbeat_gap = self._new_gap()
        self._heartbeat_at = now + self._heartbeat_gap
        self._ack_bytes = 0  # cost of chunks not yet acknowledged by us
        self._ack_messages = 0  # small messages among them
        self.ack_due = _NEVER
        self.ack_now = False
        self.freed = 0
        """Buffer freed since the last acknowledgement."""
        # With so much of the buffer in use, the window still covers the longest message.
        self._ample = settings.receive_buffer - settings.max_message_size - _OVERHEAD - limits.SMALL_RESERVE
        self._pongs: list[int] | None = None
        self._ping_token = 0
        self._ping_sent: float | None = None
        self._waiting_since: float | None = None  # since when something is outstanding and nothing has come
        self._unanswered_since: float | None = None  # the same, and nothing of it has been answered, whatever came
        self._heard_at = now  # when something of ours was answered last
        self._forbearance = Forbearance()
        self._suspected = False
        self._unheard = False  # it is suspected for that, so what comes does not speak for it
        self._doubted_until = _NEVER
        self.asks = False
        """We called, so it is for us to notice that the link is dead: the other side may not know where to call."""
        self._data_at = -_NEVER  # when data came last
        self.control_only = False
        """The link carries no messages: those wait for another one."""
        self.ask_at = _NEVER
        """When to look whether a stream of data has stopped."""

    # --- transitions --------------------------------------------------------------------------------------------------

    def _transition(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]

    def attach(
        self,
        peer_next: int,
        window: int,
        now: float,
        *,
        control_only: bool = False,
        keepalive: float | None = None,
    ) -> None:
        """
        A link carries the session from now on; the peer expects chunk ``peer_next`` and grants ``window``.

        Args:
            control_only: It carries no messages, only what keeps the session alive.
            keepalive: Seconds after which somebody on the way may forget a link on which nothing is sent: a heartbeat
                goes out before. None: nobody does.

        Raises:
            RemoteProtocolError: ``peer_next`` was never reached.
        """
        self.outbox.resume(peer_next, window)
        self._transition(Event.ATTACHED)
        self.last_received = now
        self._keepalive = keepalive
        self._heartbeat_gap = self._new_gap()
        self._heartbeat_at = now + self._heartbeat_gap
        self._ping_sent = None
        self._pongs = None
        self._suspected = self._unheard = False
        self._doubted_until = _NEVER
        self.control_only = control_only
        self._waiting_since = self._unanswered_since = now if self._awaits_ack else None
        self._heard_at = now
        self.ask_at = _NEVER
        self.ack_now = True  # what we said in the handshake may be stale by now

    @property
    def _awaits_ack(self) -> bool:
        """Something that this link carries, or should, is not acknowledged."""
        return self.outbox.unacknowledged and not self.control_only

    def detach(self) -> None:
        """The link ended. Data waits for the next one."""
        self._transition(Event.DETACHED)
        self._waiting_since = self._unanswered_since = None
        self._doubted_until = _NEVER
        self._ping_sent = None

    def end(self) -> tuple[int, ...]:
        """The session is over: the numbers of the messages that were not acknowledged."""
        self._transition(Event.ENDED)
        undelivered = self.outbox.undelivered()
        self.outbox.clear()
        self.inbox.clear()
        return undelivered

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive_frames(self, received: Sequence[frames.Frame], now: float) -> list[Delivery]:
        """
        Take the frames of one record that concern the session; others are the link's.

        Returns:
            What the application gets, in order.

        Raises:
            RemoteProtocolError: The peer broke a rule; close the link.
        """
        self.last_received = now
        if self._waiting_since is not None:
            self._waiting_since = now
        self._suspected = self._unheard
        self._doubted_until = _NEVER
        deliveries: list[Delivery] = []
        for frame in received:
            kind = type(frame)
            if kind is frames.Batch:
                assert isinstance(frame, frames.Batch)
                before = self.inbox.used
                messages = self.inbox.receive_batch(frame)
                cost = self.inbox.used - before
                if messages:
                    deliveries.append(Delivery(frame.kind, frame.priority, messages, cost))
                self._owe_ack(cost, len(messages), now)
            elif kind is frames.Piece:
                assert isinstance(frame, frames.Piece)
                message = self.inbox.receive_piece(frame)
                if message is not None:
                    deliveries.append(
                        Delivery(frame.kind, frame.priority, (message,), len(message) + _OVERHEAD)
                    )
                self._owe_ack(len(frame.data) + _OVERHEAD, 0, now)
            elif kind is frames.Ack:
                assert isinstance(frame, frames.Ack)
                acked = self.outbox.acked
                self.outbox.receive_ack(frame.next, frame.window)
                if self.outbox.acked != acked:
                    self._answered(now)
                elif self._unanswered_since is not None and not self._unheard:
                    self._unanswered_since = now  # nobody repeats it but who lives, and does not read for now
            elif kind is frames.Ping:
                assert isinstance(frame, frames.Ping)
                self._receive_ping(frame)
            elif kind is frames.Pong:
                assert isinstance(frame, frames.Pong)
                self._receive_pong(frame, now)
            else:
                raise RemoteProtocolError(f"{kind.__name__} must stand alone in its record")
        return deliveries

    def excuse(self, now: float) -> None:
        """We did not listen for a while: silence counts from now on."""
        self.last_received = max(self.last_received, now)
        self._suspected = self._unheard = False
        self._doubted_until = _NEVER
        if self._waiting_since is not None:
            self._waiting_since = self._unanswered_since = now

    def _answered(self, now: float) -> None:
        """The other side has heard something of ours."""
        if self._unanswered_since is not None:
            self._forbearance.answered(now - self._unanswered_since)
        self._heard_at = now
        self._suspected = self._unheard = False
        outstanding = self._awaits_ack or self._ping_sent is not None
        self._waiting_since = self._unanswered_since = now if outstanding else None

    def _outstanding(self, now: float) -> None:
        """Something is to be answered."""
        if self._waiting_since is None:
            self._waiting_since = self._unanswered_since = now

    def _owe_ack(self, cost: int, small: int, now: float) -> None:
        if self.asks:
            if self.ask_at == _NEVER and now - self._data_at < limits.SUSPICION_MIN:
                self.ask_at = now + self._patience
            self._data_at = now
        self._ack_bytes += cost
        self._ack_messages += small
        if self._ack_bytes >= limits.ACK_EVERY_BYTES or self._ack_messages >= limits.ACK_EVERY_MESSAGES:
            self.ack_now = True
        elif self.ack_due == _NEVER:
            self.ack_due = now + limits.ACK_DELAY

    def _receive_ping(self, ping: frames.Ping) -> None:
        if self._pongs is None:
            self._pongs = []
        if len(self._pongs) >= limits.PONGS_QUEUED_MAX:
            del self._pongs[0]  # repeated records repeat their PINGs too; only the latest is waited for
        self._pongs.append(ping.token)
        self.ack_now = True

    def _receive_pong(self, pong: frames.Pong, now: float) -> None:
        if self._ping_sent is None or pong.token != self._ping_token:
            return  # an answer from before a resume
        self._sample(now - self._ping_sent)
        self._ping_sent = None
        self._answered(now)

    def _sample(self, rtt: float) -> None:
        """RFC 6298 section 2."""
        if self.srtt is None:
            self.srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar = 0.75 * self._rttvar + 0.25 * abs(self.srtt - rtt)
            self.srtt = 0.875 * self.srtt + 0.125 * rtt

    def consumed(self, cost: int) -> bool:
        """The application took messages of that cost; True if that should be announced at once."""
        self.inbox.consumed(cost)
        self.freed += cost
        return self.window_is_news()

    def window_is_news(self) -> bool:
        """True if so much buffer has been freed that it should be announced at once."""
        inbox = self.inbox
        if self.freed * limits.WINDOW_UPDATE_SHARE >= self._settings.receive_buffer or (
            # The window told last may keep a message waiting that fits by now, and no other acknowledgement will come.
            inbox.used <= self._ample < inbox.used + self.freed and self.ack_due == _NEVER
        ):
            self.ack_now = True
            return self.state is State.CONNECTED
        return False

    # --- sending ------------------------------------------------------------------------------------------------------

    def ping(self, now: float) -> None:
        """Ask the other side to answer and to acknowledge at once; one question at a time."""
        if self._ping_sent is None:
            self._ping_token = (self._ping_token + 1) & 0xFFFFFFFF
            self._ping_sent = now
            self._outstanding(now)
            self._pongs = self._pongs or []
            self.ack_now = True

    def doubt(self, now: float) -> bool:
        """
        Something speaks against the link: ask for a sign of life, and suspect it if none comes soon.

        Returns:
            False if it is doubted or suspected already, or there is none.
        """
        if self.state is not State.CONNECTED or self._suspected or self._doubted_until != _NEVER:
            return False
        self.ping(now)
        self._doubted_until = now + max(2 * self.rto, limits.DOUBT_MIN)
        return True

    def record_to_send(self, now: float) -> bytes | None:
        """The plaintext of the next record, or None if there is nothing to send now."""
        outbox = self.outbox
        plaintext: bytes | None
        if self.asks and self._waiting_since is None and now >= self._heard_at + self._heartbeat_gap:
            if self.ack_now or now >= self.ack_due:  # an acknowledgement is not answered
                self.ping(now)
        if self.control_only:
            if not self.ack_now and now < self.ack_due:
                return None
            plaintext = frames.build_padded(self._control(), int(self._uniform() * (limits.RECORD_PADDING_MAX + 1)))
            self._acknowledged()
        elif not outbox.resending:
            prefix = self._control() if self.ack_now or self.ack_due != _NEVER else b""
            plaintext = outbox.next_record(prefix)
            if plaintext is None and (self.ack_now or now >= self.ack_due):
                plaintext = frames.build_padded(prefix, int(self._uniform() * (limits.RECORD_PADDING_MAX + 1)))
            if plaintext is None:
                return None
            if prefix:
                self._acknowledged()
        else:
            plaintext = outbox.next_record()
            assert plaintext is not None
        self._heartbeat_at = now + self._heartbeat_gap
        if self._awaits_ack:
            self._outstanding(now)
        return plaintext

    def _acknowledged(self) -> None:
        """All that is to be said about what came has been said."""
        self._ack_bytes = self._ack_messages = 0
        self.ack_due = _NEVER
        self.ack_now = False
        self.freed = 0
        self._pongs = None

    def _control(self) -> bytes:
        """The acknowledgement and answers that go in front of the next record."""
        ack = frames.build_ack(self.inbox.next, self.inbox.window)
        if self._pongs is None:
            return ack
        answers: list[frames.Frame] = [frames.Pong(token) for token in self._pongs]
        if self._ping_sent is not None:
            answers.append(frames.Ping(self._ping_token))
        return ack + frames.build_record(answers) if answers else ack

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - limits.JITTER + 2 * limits.JITTER * self._uniform())

    def _new_gap(self) -> float:
        """Seconds without anything sent until the next heartbeat."""
        gap = self._jittered(self._settings.heartbeat_interval)
        if self._keepalive is None:
            return gap
        return min(gap, self._keepalive * (1 - limits.JITTER * self._uniform()))

    @property
    def suspected(self) -> bool:
        """True while the link is silent with something outstanding, or brings anything but answers."""
        return self._suspected

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def rto(self) -> float:
        """Seconds after which an answer is overdue, RFC 6298 section 2; without its clock granularity."""
        if self.srtt is None:
            return limits.RTO_INITIAL
        return max(limits.RTO_MIN, self.srtt + 4 * self._rttvar)

    def _suspicion_at(self) -> float | None:
        if self._waiting_since is None or self._suspected:
            return None
        patience = self._patience
        return min(self._waiting_since + patience, self._unheard_at(patience), self._doubted_until)

    def _unheard_at(self, patience: float) -> float:
        """When it is taken that nothing of what is outstanding arrives."""
        since = self._unanswered_since
        return _NEVER if since is None else since + max(2 * patience, limits.UNHEARD_MIN)

    @property
    def _patience(self) -> float:
        """Seconds of silence that a link which lives does not show when something is outstanding."""
        return self._forbearance.seconds(self.rto)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None if the session is over."""
        if self.state is State.LOST:
            return None
        due = self.last_received + self._settings.resume_timeout
        if self.state is State.CONNECTED:
            due = min(due, self._heartbeat_at, self.ack_due, self.ask_at)
            suspicion = self._suspicion_at()
            if suspicion is not None:
                due = min(due, suspicion)
        expiry = self.outbox.next_expiry()
        if expiry is not None:
            due = min(due, expiry + self._settings.drop_age)
        return due

    def handle_timer(self, now: float) -> Tick:
        """Do what is due; call :meth:`record_to_send` if the answer says so."""
        if self.state is State.LOST:
            return Tick()
        if now >= self.last_received + self._settings.resume_timeout:
            return Tick(lost=True)
        dropped = self.outbox.expire(now, self._settings.drop_age) if self.outbox.queued_bytes else []
        if self.state is not State.CONNECTED:
            return Tick(dropped=dropped)
        send = bool(dropped)  # less urgent ones may have waited behind them for window
        if now >= self.ack_due:
            self.ack_due = _NEVER  # if the link takes nothing now, this timer must not fire again and again
            self.ack_now = send = True
        if now >= self._heartbeat_at:
            self._heartbeat_gap = self._new_gap()
            self._heartbeat_at = now + self._heartbeat_gap
            self.ping(now)
            send = True
        if now >= self.ask_at:
            quiet_at = self._data_at + self._patience
            self.ask_at = quiet_at if now < quiet_at else _NEVER
            if now >= max(quiet_at, self.last_received + self._patience):
                self.ping(now)
                send = True
        suspicion = self._suspicion_at()
        suspect = suspicion is not None and now >= suspicion
        if suspect:
            self._suspected = True
            self._unheard = now >= self._unheard_at(self._patience)
            self._forbearance.suspected()
            self._doubted_until = _NEVER
        return Tick(send=send, suspect=suspect, dropped=dropped)
