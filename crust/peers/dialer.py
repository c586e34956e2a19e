"""
Dialling: reach a peer by whatever address works, and by the best of what works.

One *effort* per peer at a time, whoever asked for it: its addresses are tried in the order of
:mod:`crust.peers.race`, each attempt on a thread of its own, which becomes the link's reader where the transport needs
one. A valid message 2 proves that the right peer is there. The first link that has one introduces us, after waiting a
round trip, at most ``BETTER_CLASS_WAIT``, for a better class that is under way; the others are closed before the other
side knows who called. If the one that introduced us fails later on, the next may try.

Attempts of a better class than the session got are not given up: TCP is favoured, however late it comes. The session
moves there as it would resume.

A session that lost its link is redialled here too, by whoever dialled it last, at ``REDIAL_DELAYS``, until it resumes
or is lost.

Order of locks: link (its handshake), registry, dialer. So nothing here introduces us with the dialer's lock held.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.handshake import HandshakeConfig, Initiator
from ..exceptions import ConnectError, ContactSyntaxError, CrustError, Denied, NoRoute, ServiceClosed
from ..paths import Attempt
from ..runtime.clock import Clock
from ..runtime.flusher import IoLoop
from ..transports.contract import Transport
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction, Purpose
from .access import Access
from .conversation import Conversation
from .effort import ENDS, FINAL, REFUSALS, Avoid, Effort, Try, Waiter, reason_of, verdict_of
from .link import Link
from .race import Candidate, Race
from .registry import Registry
from .session import State
from .transfer import printable

__all__ = ["Avoid", "Dialer", "DialerHost", "Waiter"]

_BANNED = "that address is banned here"
_LOST = "another connection to this peer was quicker"


class DialerHost(Protocol):
    """What dialling needs of its node."""

    io: IoLoop
    clock: Clock
    registry: Registry
    handshake: HandshakeConfig
    access: Access

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def transport_for(self, endpoint: Endpoint) -> Transport | None:
        """The transport of that endpoint, or None if this node does not use it."""

    def opened(self, link: Link) -> None:
        """A link begins; the node sees to its end when it closes."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""

    def dial_failed(self, peer_id: PeerId, purpose: Purpose, error: CrustError) -> None:
        """An effort that somebody asked for came to nothing."""


class Dialer:
    """
    All dialling of one node. Thread-safe; nothing here blocks its caller.

    Args:
        host: See :class:`DialerHost`.
        handshake_timeout: Seconds for one handshake, connecting not included.
    """

    def __init__(self, host: DialerHost, handshake_timeout: float) -> None:
        self._host = host
        self._now = host.clock.now
        self._handshake_timeout = handshake_timeout
        self._lock = threading.RLock()  # guards all below and the efforts; taken after the registry's lock
        self._efforts: dict[PeerId, Effort] = {}
        self._pursuits: set[Effort] = set()  # done, but attempts of a better class go on
        self._closed = False

    # --- beginning ----------------------------------------------------------------------------------------------------

    def dial(
        self,
        peer_id: PeerId,
        endpoints: Iterable[Endpoint],
        purpose: Purpose,
        timeout: float | None,
        waiter: Waiter,
        avoid: Avoid | None = None,
    ) -> Callable[[], None]:
        """
        Reach a peer, and tell ``waiter``: at once if there is a session that a link carries.

        Args:
            avoid: Whether an IP address, maybe one that a name stands for, is not to be used. It holds as long as
                nobody without such a wish wants the peer, too.

        Returns:
            Call it to lose interest: the effort ends when nobody is interested any more.
        """
        deadline = float("inf") if timeout is None else self._now() + timeout
        present = self._host.registry.get(peer_id)
        if present is not None and present.session.state is State.CONNECTED:
            waiter(present, None)
            return lambda: None
        with self._lock:
            if self._closed:
                waiter(None, ServiceClosed("the service has been closed"))
                return lambda: None
            effort = self._efforts.get(peer_id)
            if effort is None:
                effort = Effort(peer_id, endpoints, purpose, deadline, None)
                error = self._cannot_begin(effort)
                if error is not None:
                    self._host.dial_failed(peer_id, purpose, error)
                    waiter(None, error)
                    return lambda: None
                effort.avoid = avoid
                effort.waiters.append(waiter)
                self._efforts[peer_id] = effort
                self._advance(effort)
            else:
                effort.race.add(endpoints, (each.candidate.endpoint for each in effort.tries))
                effort.deadline = max(effort.deadline, deadline)
                if purpose is Purpose.CONNECT:
                    effort.purpose = purpose
                if avoid is None:
                    effort.avoid = None
                effort.waiters.append(waiter)
                if not effort.race.is_empty:
                    self._advance(effort)
        return lambda: self._lose_interest(effort, waiter)

    def _cannot_begin(self, effort: Effort) -> CrustError | None:
        if effort.peer_id == self._host.handshake.key_pair.peer_id:
            return Denied("that is this node's own id: a node cannot connect to itself", (), "self")
        if self._host.access.is_banned(effort.peer_id, None, self._now()):
            return Denied(f"peer {effort.peer_id} is banned here; unban() it first", (), "banned")
        if not effort.endpoints:
            return NoRoute(
                f"no address is known for peer {effort.peer_id}; use a contact with an address, such as the one that "
                f"the peer's `crust node` prints"
            )
        usable = [each for each in effort.endpoints if self._host.transport_for(each) is not None]
        if not usable:
            texts = ", ".join(map(str, effort.endpoints))
            return NoRoute(f"none of the addresses of peer {effort.peer_id} can be dialled from this node: {texts}")
        try:
            Initiator(self._host.handshake, effort.peer_id)
        except ContactSyntaxError as error:
            return error
        return None

    def _lose_interest(self, effort: Effort, waiter: Waiter) -> None:
        with self._lock:
            if waiter in effort.waiters:
                effort.waiters.remove(waiter)
            if not effort.waiters and effort.resuming is None and not effort.done:
                self._finish(effort, None, None)

    def redial(self, conversation: Conversation, endpoints: Iterable[Endpoint], *, first: bool = True) -> None:
        """
        Bring a session that is suspended or suspected onto a new link, trying until it is done or lost.

        Args:
            first: We dialled it last, so we begin at once; the other side lets us go first.
        """
        with self._lock:
            effort = self._efforts.get(conversation.peer_id)
            if self._closed or effort is not None:
                return
            effort = Effort(conversation.peer_id, endpoints, Purpose.CONNECT, float("inf"), conversation)
            if self._cannot_begin(effort) is not None:
                return
            self._efforts[conversation.peer_id] = effort
            if first:
                self._advance(effort)
            else:
                effort.race.clear()
                self._round_over(effort)

    def attempts(self, peer_id: PeerId) -> tuple[Attempt, ...]:
        """What the effort under way for that peer has tried so far."""
        with self._lock:
            effort = self._efforts.get(peer_id)
            return tuple(effort.attempts) if effort is not None else ()

    # --- going on -----------------------------------------------------------------------------------------------------

    def _advance(self, effort: Effort) -> None:
        """Begin what is due, and arrange for what comes next (the lock is held)."""
        if effort.done or self._closed:
            return
        now = self._now()
        while (candidate := effort.race.take(now)) is not None:
            error = self._begin(effort, candidate, now)
            if error:
                effort.note(candidate.endpoint, 0.0, "failed", error)
                effort.race.failed(candidate.endpoint, now)
        if effort.timer is not None:
            effort.timer.cancel()
            effort.timer = None
        due = effort.race.next_at()
        if due is not None:
            effort.timer = self._host.io.call_at(due, lambda _: self._go_on(effort))
        elif not effort.tries:
            self._round_over(effort)

    def _go_on(self, effort: Effort) -> None:
        """It is time for the next attempt, or for the introduction on a link that has waited (io thread)."""
        with self._lock:
            self._advance(effort)
            chosen = self._choose(effort)
        self._introduce(chosen)

    def _begin(self, effort: Effort, candidate: Candidate, now: float) -> str:
        """Start an attempt (the lock is held); what keeps us from it, if something does."""
        endpoint = candidate.endpoint
        transport = self._host.transport_for(endpoint)
        if transport is None:
            return f"this node does not use {endpoint.transport}"
        if endpoint.is_ip and self._is_banned(endpoint.host):
            return _BANNED
        # Who asked for it ends it in time; its own end at the same moment would only hide that behind an error.
        dialling = transport.dialling(endpoint, limits.DIAL_ATTEMPT_TIMEOUT)
        attempt = Try(effort, candidate, dialling, now)
        effort.tries.add(attempt)
        try:
            self._host.spawn(f"crust-dial-{effort.peer_id.short}", self._run_try, attempt)
        except RuntimeError as error:  # no thread to be had
            effort.tries.discard(attempt)
            return f"cannot start a thread: {error}"
        return ""

    def _round_over(self, effort: Effort) -> None:
        """Every address has been tried (the lock is held): again later, or give up."""
        now = self._now()
        delay: float | None = None
        if effort.resuming is not None:
            state = effort.resuming.session.state
            if state is State.LOST or (state is State.CONNECTED and not effort.resuming.session.suspected):
                self._finish(effort, None, None)
                return
            effort.round += 1
            delays = limits.REDIAL_DELAYS
            delay = delays[min(effort.round, len(delays) - 1)] * random.uniform(1 - limits.JITTER, 1 + limits.JITTER)
        elif effort.retry_at and now < effort.deadline:
            delay = max(0.0, effort.retry_at - now)
            effort.retry_at = 0.0
        if delay is None:
            self._finish(effort, None, self._failure(effort))
        else:
            self._host.io.call_at(now + delay, lambda _: self._again(effort))

    def _again(self, effort: Effort) -> None:
        with self._lock:
            if not effort.done and not effort.tries and effort.race.is_empty:
                effort.race = Race(effort.endpoints)
                self._advance(effort)

    def _failure(self, effort: Effort) -> CrustError:
        if effort.denied is not None:
            effort.denied.attempts = tuple(effort.attempts)
            return effort.denied
        tried = "; ".join(map(str, effort.attempts)) or "nothing could be tried"
        return ConnectError(f"cannot connect to peer {effort.peer_id}: {tried}", tuple(effort.attempts))

    def _finish(self, effort: Effort, conversation: Conversation | None, error: CrustError | None) -> None:
        """The effort is over (the lock is held)."""
        if effort.done:
            return
        effort.done = True
        if self._efforts.get(effort.peer_id) is effort:
            del self._efforts[effort.peer_id]
        if effort.timer is not None:
            effort.timer.cancel()
        effort.session = conversation
        self._end_tries(effort)
        if effort.tries and conversation is not None:
            self._pursuits.add(effort)
            self._host.io.call_at(self._now(), lambda _: self._go_on(effort))  # one may have been answered already
        waiters, effort.waiters = effort.waiters, []
        if error is not None and (waiters or effort.resuming is None):
            self._host.dial_failed(effort.peer_id, effort.purpose, error)
        for waiter in waiters:
            waiter(conversation, error)

    def _end_tries(self, effort: Effort) -> None:
        """Give up the attempts of an effort that is done, but for those that its session may move to."""
        for attempt in list(effort.tries):
            link = attempt.link
            if attempt.welcomed:
                effort.ended(attempt)
                continue
            if link is not None and link.verdict:
                effort.tries.discard(attempt)  # it may still be carrying a goodbye
                continue
            if effort.goes_on(attempt):
                continue
            attempt.given_up = True
            effort.tries.discard(attempt)
            effort.answered = [each for each in effort.answered if each is not attempt]
            attempt.dialling.cancel()
            if link is None:
                continue
            if effort.session is None:
                link.fail("cancelled", "the attempt was given up")
            elif link.introduction is None or link.introduction.resume is None:
                link.fail("lost_race", _LOST)
            # Else the peer may be moving the session to this link just now: cutting it would lose both.
        if not effort.tries:
            self._pursuits.discard(effort)

    def _pursued(self, peer_id: PeerId) -> list[Effort]:
        return [effort for effort in self._pursuits if effort.peer_id == peer_id]

    def _end_pursuit(self, effort: Effort) -> None:
        """Its session is over, or nobody wants it any more."""
        effort.session = None
        self._end_tries(effort)

    # --- one attempt (its own thread) ---------------------------------------------------------------------------------

    def _run_try(self, attempt: Try) -> None:
        try:
            connection = attempt.dialling.run()
        except OSError as error:
            self._try_ended(attempt, verdict_of(error), reason_of(error))
            return
        effort = attempt.effort
        handshake = Initiator(self._host.handshake, effort.peer_id, secret_index=attempt.candidate.secret_index)
        link = Link(
            connection,
            handshake,
            self,
            lambda error: self._host.crashed("link", error),
            self._now,
            peer_id=effort.peer_id,
        )
        link.owner_data = attempt
        self._host.opened(link)
        with self._lock:
            attempt.link = link
            cancelled = attempt.given_up
        if cancelled:
            link.fail("cancelled", "the attempt was given up")
        elif self._is_banned(connection.remote.host):  # what a name stands for
            link.fail("failed", _BANNED)
        elif effort.avoid is not None and effort.avoid(connection.remote.host):
            link.fail("failed", "that address is blacklisted here")
        link.handshake_timer = self._host.io.call_later(self._handshake_timeout, lambda _: self._overdue(link))
        link.begin()
        connection.run(link)

    def _overdue(self, link: Link) -> None:
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        with self._lock:
            if not attempt.welcomed:
                link.fail("timeout", f"no answer to the handshake within {self._handshake_timeout:g} s")

    def _try_ended(self, attempt: Try, verdict: str, error: str) -> None:
        effort, candidate = attempt.effort, attempt.candidate
        with self._lock:
            if attempt.ended:
                return
            now = self._now()
            effort.ended(attempt)
            effort.note(candidate.endpoint, now - attempt.started, verdict, error)
            # To another secret, message 1 is noise: it is hung up on, or, once in seventy times, taken for the
            # beginning of something longer, and waited for.
            unheard = verdict in ("failed", "timeout") and attempt.link is not None
            other = Candidate(candidate.endpoint, candidate.secret_index + 1)
            secrets = unheard and other.secret_index < len(self._host.handshake.secrets)
            if effort.done:
                if secrets and effort.goes_on(attempt):
                    self._begin(effort, other, now)
                self._end_tries(effort)
            else:
                if secrets:
                    effort.race.again(other)
                if effort.denied is not None and effort.denied.reason in FINAL:
                    effort.race.clear()
                    if effort.resuming is None:
                        self._finish(effort, None, self._failure(effort))
                        return
                if not effort.tries or verdict != "lost_race":
                    effort.race.failed(candidate.endpoint, now)
                    self._advance(effort)
            chosen = self._choose(effort)  # those that were answered may have waited for this one
        self._introduce(chosen)

    # --- introducing ourselves ----------------------------------------------------------------------------------------

    def _choose(self, effort: Effort) -> Try | None:
        """Who introduces us now, for :meth:`_introduce`; ends those that have lost (the lock is held)."""
        if effort.done and effort not in self._pursuits:
            return None
        chosen = effort.choose(self._now())
        for loser in effort.losers():
            if loser.link is not None:
                loser.link.fail("lost_race", _LOST)
        return chosen

    def _introduce(self, attempt: Try | None) -> None:
        """Say on that link who we are, if another link is wanted (without the lock)."""
        if attempt is None or attempt.link is None:
            return
        effort, link, registry = attempt.effort, attempt.link, self._host.registry
        introduction = registry.introduction(
            effort.peer_id, effort.purpose, _observation(link), attempt.way, effort.session
        )
        if introduction is not None:
            link.introduce(introduction)
            return
        present = registry.get(effort.peer_id)
        if present is not None and not effort.done:
            self.session_up(present)
        link.fail("lost_race", _LOST)

    # --- LinkOwner (the link's reader thread) -------------------------------------------------------------------------

    def link_hello(self, link: Link) -> None:
        """Not for callers."""

    def link_used(self, link: Link, decision: int) -> None:
        """Not for callers."""

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """Not for callers."""

    def link_answered(self, link: Link) -> None:
        """The right peer is there: introduce us, if this is the link to do so, or when it is."""
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        effort = attempt.effort
        with self._lock:
            if attempt.given_up or attempt.ended:
                link.fail("lost_race", _LOST)
                return
            attempt.patience = self._now() + min(link.rtt or 0.0, limits.BETTER_CLASS_WAIT)
            effort.answered.append(attempt)
            chosen = self._choose(effort)
            if attempt in effort.answered:
                self._host.io.call_at(attempt.patience, lambda _: self._go_on(effort))
        self._introduce(chosen)

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """The peer takes us: the registry makes or resumes the session."""
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        effort, endpoint = attempt.effort, attempt.candidate.endpoint
        link.handshake_timer.cancel()
        duration = self._now() - attempt.started
        with self._lock:
            effort.note(endpoint, duration, "connected", "")
            attempts = tuple(effort.attempts)
        self._host.registry.welcomed(link, welcome, attempts, lambda: self._claim(attempt, link))
        conversation = link.conversation
        with self._lock:
            if conversation is None:
                effort.attempts.pop()  # the registry had a reason against it; link_lost will note it
                resume = None if link.introduction is None else link.introduction.resume
                if welcome.outcome is frames.Outcome.GONE and resume is not None and effort.waiters:
                    effort.retry_at = duration + attempt.started  # who waits for the peer gets a new session
                return
            conversation.redial = effort.endpoints
            effort.ended(attempt)
            if effort.done:
                self._end_tries(effort)
            else:
                self._finish(effort, conversation, None)
            chosen = self._choose(effort)  # one of a better class may have been answered meanwhile
        self._introduce(chosen)

    def _claim(self, attempt: Try, link: Link) -> bool:
        """Whether the welcome comes in time: from here on nobody gives the attempt up (the registry's lock is held)."""
        with self._lock:
            attempt.welcomed = not link.verdict
            return attempt.welcomed

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        """The peer refuses."""
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        effort = attempt.effort
        reason = code.name.lower()
        present = self._host.registry.get(effort.peer_id)
        with self._lock:
            if code is DenialCode.DUPLICATE:
                if present is not None and effort.resuming is None:
                    self._finish(effort, present, None)
                else:
                    effort.retry_at = self._now() + limits.DUPLICATE_RETRY
                return
            asked = link.introduction.purpose if link.introduction is not None else None
            if code is DenialCode.NOT_ACCEPTING and asked is Purpose.BOOTSTRAP and effort.purpose is Purpose.CONNECT:
                effort.retry_at = self._now()  # we came to bootstrap; meanwhile somebody wants more than that
                return
            words = printable(text) or REFUSALS.get(code, "it gave no reason")
            effort.denied = Denied(
                f"peer {effort.peer_id} refused: {reason.replace('_', ' ')} ({words})", (), reason, alternates
            )
        if present is not None and present.session.state is State.SUSPENDED and reason in FINAL:
            present.end(ENDS.get(code, "gone"))  # it would be refused for ever

    def link_lost(self, link: Link) -> None:
        """An attempt's link ended before it carried a session."""
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        link.handshake_timer.cancel()
        self._try_ended(attempt, link.verdict, link.error)

    # --- from outside -------------------------------------------------------------------------------------------------

    def session_up(self, conversation: Conversation) -> None:
        """A session with that peer carries data, whoever began it: efforts for it are done."""
        with self._lock:
            for pursued in self._pursued(conversation.peer_id):
                self._end_tries(pursued)  # what is no longer better than what it has
            effort = self._efforts.get(conversation.peer_id)
            if effort is not None:
                self._finish(effort, conversation, None)

    def session_lost(self, conversation: Conversation) -> None:
        """A session is over: nothing is left to resume, or to move."""
        with self._lock:
            for pursued in self._pursued(conversation.peer_id):
                if pursued.session is conversation:
                    self._end_pursuit(pursued)
            effort = self._efforts.get(conversation.peer_id)
            if effort is not None and effort.resuming is conversation:
                if effort.waiters:
                    effort.resuming = None
                else:
                    self._finish(effort, None, None)

    def stop(self, peer_id: PeerId, error: CrustError) -> None:
        """Give up reaching that peer."""
        with self._lock:
            for pursued in self._pursued(peer_id):
                self._end_pursuit(pursued)
            effort = self._efforts.get(peer_id)
            if effort is not None:
                self._finish(effort, None, error)

    def drop_banned(self) -> None:
        """Give up reaching peers that are banned now, and connections to addresses that are."""
        with self._lock:
            self._drop_banned_locked()

    def _drop_banned_locked(self) -> None:
        for effort in [*self._efforts.values(), *self._pursuits]:
            if self._host.access.is_banned(effort.peer_id, None, self._now()):
                self._finish(effort, None, ConnectError(f"peer {effort.peer_id} has been banned here"))
                self._end_pursuit(effort)
                continue
            for attempt in effort.tries:
                link = attempt.link
                if link is not None and not attempt.welcomed and self._is_banned(link.connection.remote.host):
                    link.fail("failed", _BANNED)

    def _is_banned(self, host: str) -> bool:
        return self._host.access.is_banned(None, host, self._now())

    def abandon(self) -> None:
        """In a forked child: give up everything, and tell nobody (takes no lock)."""
        self._lock = threading.RLock()
        self._closed = True
        efforts, self._efforts, self._pursuits = [*self._efforts.values(), *self._pursuits], {}, set()
        for effort in efforts:
            effort.done, effort.waiters = True, []

    def close(self, error: CrustError) -> None:
        """Give up everything, and begin nothing more."""
        with self._lock:
            self._closed = True
            for effort in list(self._efforts.values()):
                self._finish(effort, None, error)
            for pursued in list(self._pursuits):
                self._end_pursuit(pursued)


def _observation(link: Link) -> tuple[str, int] | None:
    remote = link.connection.remote
    return (remote.host, remote.port) if remote.is_ip else None
