"""
Dialling: reach a peer by whatever address works, first come first served.

One *effort* per peer at a time, whoever asked for it: its addresses are tried staggered (RFC 8305 calls it Happy
Eyeballs), each attempt on a thread of its own, which becomes the link's reader if the attempt wins. A valid message 2
proves that the right peer is there; only the first link that has one introduces us, the others are closed before the
other side knows who called. If the winner fails later on, the next may try.

A session that lost its link is redialled here too, by whoever dialled it last, at ``REDIAL_DELAYS``, until it resumes
or is lost.
"""

from __future__ import annotations

import collections
import random
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.handshake import HandshakeConfig, Initiator
from ..exceptions import ConnectError, ContactSyntaxError, CrustError, Denied, NoRoute, ServiceClosed
from ..paths import Attempt
from ..runtime.clock import Clock
from ..runtime.descriptors import exhaustion
from ..runtime.flusher import IoLoop
from ..transports.contract import Dialling, Transport
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction, Purpose
from .access import Access
from .conversation import Conversation
from .link import Link
from .registry import Registry
from .session import State
from .transfer import printable

__all__ = ["Avoid", "Dialer", "DialerHost", "Effort", "Waiter"]

Waiter = Callable[[Conversation | None, CrustError | None], object]
Avoid = Callable[[str], bool]
"""Told once how an effort ended; must not block."""

_FINAL = frozenset({"network", "version", "role", "banned", "self", "not_accepting", "closing", "busy"})
"""Refusals by the peer itself: other addresses lead to the same peer, so the effort ends."""


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


class _Try:
    """One attempt to reach one endpoint."""

    __slots__ = ("dialling", "effort", "endpoint", "ended", "link", "secret_index", "started")

    def __init__(
        self, effort: Effort, endpoint: Endpoint, dialling: Dialling, secret_index: int, started: float
    ) -> None:
        self.effort = effort
        self.endpoint = endpoint
        self.dialling = dialling
        self.secret_index = secret_index
        self.started = started
        self.link: Link | None = None
        self.ended = False


class Effort:
    """
    Everything done to reach one peer now. The dialer's lock guards the fields.

    Args:
        resuming: The session to resume, if that is what it is for.
    """

    def __init__(
        self,
        peer_id: PeerId,
        endpoints: Iterable[Endpoint],
        purpose: Purpose,
        deadline: float,
        resuming: Conversation | None,
    ) -> None:
        self.peer_id = peer_id
        self.purpose = purpose
        self.deadline = deadline
        self.resuming = resuming
        self.endpoints = tuple(dict.fromkeys(endpoints))
        self.queue: collections.deque[tuple[Endpoint, int]] = collections.deque((each, 0) for each in self.endpoints)
        self.tries: set[_Try] = set()
        self.introduced: _Try | None = None
        self.waiting: list[_Try] = []
        self.attempts: collections.deque[Attempt] = collections.deque(maxlen=limits.RECENT_ATTEMPTS)
        self.waiters: list[Waiter] = []
        self.avoid: Avoid | None = None
        self.denied: Denied | None = None
        self.retry_at = 0.0
        self.round = 0
        self.done = False


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
        self._lock = threading.RLock()  # guards _efforts, _closed and the efforts; taken after the registry's lock
        self._efforts: dict[PeerId, Effort] = {}
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
                self._next(effort)
            else:
                known = {endpoint for endpoint, _ in effort.queue} | {each.endpoint for each in effort.tries}
                effort.queue.extend((each, 0) for each in endpoints if each not in known)
                effort.deadline = max(effort.deadline, deadline)
                if purpose is Purpose.CONNECT:
                    effort.purpose = purpose
                if avoid is None:
                    effort.avoid = None
                effort.waiters.append(waiter)
                if not effort.tries:
                    self._next(effort)
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
                self._next(effort)
            else:
                effort.queue.clear()
                self._round_over(effort)

    def attempts(self, peer_id: PeerId) -> tuple[Attempt, ...]:
        """What the effort under way for that peer has tried so far."""
        with self._lock:
            effort = self._efforts.get(peer_id)
            return tuple(effort.attempts) if effort is not None else ()

    # --- going on -----------------------------------------------------------------------------------------------------

    def _next(self, effort: Effort) -> None:
        """Start the next attempt, and arrange for the one after it (the lock is held)."""
        now = self._now()
        if effort.done or self._closed:
            return
        while effort.queue:
            endpoint, secret_index = effort.queue.popleft()
            transport = self._host.transport_for(endpoint)
            if transport is None:
                self._note(effort, endpoint, 0.0, "failed", f"this node does not use {endpoint.transport}")
                continue
            if endpoint.is_ip and self._is_banned(endpoint.host):
                self._note(effort, endpoint, 0.0, "failed", _BANNED)
                continue
            # Who asked for it ends it in time; its own end at the same moment would only hide that behind an error.
            dialling = transport.dialling(endpoint, limits.DIAL_ATTEMPT_TIMEOUT)
            attempt = _Try(effort, endpoint, dialling, secret_index, now)
            try:
                self._host.spawn(f"crust-dial-{effort.peer_id.short}", self._run_try, attempt)
            except RuntimeError as error:  # no thread to be had
                self._note(effort, endpoint, 0.0, "failed", f"cannot start a thread: {error}")
                continue
            effort.tries.add(attempt)
            break
        if effort.queue:
            stagger = limits.DIAL_STAGGER_ON_LINK if effort.queue[0][0].is_link_local else limits.DIAL_STAGGER
            left = len(effort.queue)
            self._host.io.call_at(now + stagger, lambda _: self._stagger(effort, left))
        elif not effort.tries:
            self._round_over(effort)

    def _stagger(self, effort: Effort, expected: int) -> None:
        with self._lock:
            if not effort.done and len(effort.queue) >= expected:
                self._next(effort)

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
            if not effort.done and not effort.tries and not effort.queue:
                effort.queue.extend((each, 0) for each in effort.endpoints)
                effort.waiting.clear()
                self._next(effort)

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
        for attempt in effort.tries:
            attempt.dialling.cancel()
            link = attempt.link
            if link is None or link.conversation is not None or link.verdict:
                continue  # one that has its verdict may still be carrying a goodbye
            if conversation is None:
                link.fail("cancelled", "the attempt was given up")
            elif link.introduction is None or link.introduction.resume is None:
                link.fail("lost_race", "another connection was quicker")
            # Else the peer may be moving the session to this link just now: cutting it would lose both.
        waiters, effort.waiters = effort.waiters, []
        if error is not None and (waiters or effort.resuming is None):
            self._host.dial_failed(effort.peer_id, effort.purpose, error)
        for waiter in waiters:
            waiter(conversation, error)

    def _note(self, effort: Effort, endpoint: Endpoint, duration: float, verdict: str, error: str) -> None:
        effort.attempts.append(Attempt("direct", str(endpoint), duration, verdict, error))

    # --- one attempt (its own thread) ---------------------------------------------------------------------------------

    def _run_try(self, attempt: _Try) -> None:
        try:
            connection = attempt.dialling.run()
        except OSError as error:
            self._try_ended(attempt, _verdict(error), _reason(error))
            return
        effort = attempt.effort
        handshake = Initiator(self._host.handshake, effort.peer_id, secret_index=attempt.secret_index)
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
            cancelled = effort.done
        if cancelled:
            connection.abort()
        elif self._is_banned(connection.remote.host):  # what a name stands for
            link.fail("failed", _BANNED)
        elif effort.avoid is not None and effort.avoid(connection.remote.host):
            link.fail("failed", "that address is blacklisted here")
        link.handshake_timer = self._host.io.call_later(self._handshake_timeout, lambda _: self._overdue(link))
        link.begin()
        connection.run(link)

    def _overdue(self, link: Link) -> None:
        if link.conversation is None:
            link.fail("timeout", f"no answer to the handshake within {self._handshake_timeout:g} s")

    def _try_ended(self, attempt: _Try, verdict: str, error: str) -> None:
        effort = attempt.effort
        with self._lock:
            if attempt.ended:
                return
            attempt.ended = True
            effort.tries.discard(attempt)
            self._note(effort, attempt.endpoint, self._now() - attempt.started, verdict, error)
            if effort.done:
                return
            if effort.introduced is attempt:
                effort.introduced = None
            secrets = len(self._host.handshake.secrets)
            # To another secret, message 1 is noise: it is hung up on, or, once in seventy times, taken for the
            # beginning of something longer, and waited for.
            unheard = verdict in ("failed", "timeout") and attempt.link is not None
            if unheard and attempt.secret_index + 1 < secrets:
                effort.queue.appendleft((attempt.endpoint, attempt.secret_index + 1))
            if effort.denied is not None and effort.denied.reason in _FINAL:
                effort.queue.clear()
                if effort.resuming is None:
                    self._finish(effort, None, self._failure(effort))
                    return
            if not effort.tries or verdict != "lost_race":
                self._next(effort)

    # --- LinkOwner (the link's reader thread) -------------------------------------------------------------------------

    def link_hello(self, link: Link) -> None:
        """Not for callers."""

    def link_used(self, link: Link, decision: int) -> None:
        """Not for callers."""

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """Not for callers."""

    def link_answered(self, link: Link) -> Introduction | None:
        """The right peer is there: introduce us, if this is the first link to get so far."""
        attempt = link.owner_data
        assert isinstance(attempt, _Try)
        effort = attempt.effort
        with self._lock:
            if effort.done or effort.introduced is not None:
                return None
            effort.introduced = attempt
        registry = self._host.registry
        introduction = registry.introduction(effort.peer_id, effort.purpose, _observation(link))
        if introduction is None:
            present = registry.get(effort.peer_id)
            if present is not None:
                self.session_up(present)
        return introduction

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """The peer takes us: the registry makes or resumes the session."""
        attempt = link.owner_data
        assert isinstance(attempt, _Try)
        effort = attempt.effort
        link.handshake_timer.cancel()
        duration = self._now() - attempt.started
        with self._lock:
            self._note(effort, attempt.endpoint, duration, "connected", "")
            attempts = tuple(effort.attempts)
        self._host.registry.welcomed(link, welcome, attempts)
        conversation = link.conversation
        with self._lock:
            if conversation is None:
                effort.attempts.pop()  # the registry had a reason against it; link_lost will note it
                resume = None if link.introduction is None else link.introduction.resume
                if welcome.outcome is frames.Outcome.GONE and resume is not None and effort.waiters:
                    effort.retry_at = duration + attempt.started  # who waits for the peer gets a new session
                return
            conversation.redial = effort.endpoints
            attempt.ended = True
            effort.tries.discard(attempt)
            self._finish(effort, conversation, None)

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        """The peer refuses."""
        attempt = link.owner_data
        assert isinstance(attempt, _Try)
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
            words = printable(text) or _REFUSALS.get(code, "it gave no reason")
            effort.denied = Denied(
                f"peer {effort.peer_id} refused: {reason.replace('_', ' ')} ({words})", (), reason, alternates
            )
        if present is not None and present.session.state is State.SUSPENDED and reason in _FINAL:
            present.end(_ENDS.get(code, "gone"))  # it would be refused for ever

    def link_lost(self, link: Link) -> None:
        """An attempt's link ended before it carried a session."""
        attempt = link.owner_data
        assert isinstance(attempt, _Try)
        link.handshake_timer.cancel()
        self._try_ended(attempt, link.verdict, link.error)

    # --- from outside -------------------------------------------------------------------------------------------------

    def session_up(self, conversation: Conversation) -> None:
        """A session with that peer carries data, whoever began it: efforts for it are done."""
        with self._lock:
            effort = self._efforts.get(conversation.peer_id)
            if effort is not None:
                self._finish(effort, conversation, None)

    def session_lost(self, conversation: Conversation) -> None:
        """A session is over: nothing is left to resume."""
        with self._lock:
            effort = self._efforts.get(conversation.peer_id)
            if effort is not None and effort.resuming is conversation:
                if effort.waiters:
                    effort.resuming = None
                else:
                    self._finish(effort, None, None)

    def stop(self, peer_id: PeerId, error: CrustError) -> None:
        """Give up reaching that peer."""
        with self._lock:
            effort = self._efforts.get(peer_id)
            if effort is not None:
                self._finish(effort, None, error)

    def drop_banned(self) -> None:
        """Give up reaching peers that are banned now, and connections to addresses that are."""
        with self._lock:
            self._drop_banned_locked()

    def _drop_banned_locked(self) -> None:
        for effort in list(self._efforts.values()):
            if self._host.access.is_banned(effort.peer_id, None, self._now()):
                self._finish(effort, None, ConnectError(f"peer {effort.peer_id} has been banned here"))
                continue
            for attempt in effort.tries:
                link = attempt.link
                if link is not None and link.conversation is None and self._is_banned(link.connection.remote.host):
                    link.fail("failed", _BANNED)

    def _is_banned(self, host: str) -> bool:
        return self._host.access.is_banned(None, host, self._now())

    def abandon(self) -> None:
        """In a forked child: give up everything, and tell nobody (takes no lock)."""
        self._lock = threading.RLock()
        self._closed = True
        efforts, self._efforts = self._efforts, {}
        for effort in efforts.values():
            effort.done = True
            effort.waiters = []

    def close(self, error: CrustError) -> None:
        """Give up everything, and begin nothing more."""
        with self._lock:
            self._closed = True
            for effort in list(self._efforts.values()):
                self._finish(effort, None, error)


def _observation(link: Link) -> tuple[str, int] | None:
    remote = link.connection.remote
    return (remote.host, remote.port) if remote.is_ip else None


def _verdict(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):  # somebody was there, and hung up
        return "failed"
    return "failed" if exhaustion(error) else "unreachable"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    return exhaustion(error) or error.strerror or str(error)


_BANNED = "that address is banned here"

_ENDS = {DenialCode.BANNED: "banned", DenialCode.CLOSING: "closed"}
"""Why a session is over whose resumption is refused; ``gone`` for other reasons."""

_REFUSALS = {
    DenialCode.VERSION: "it speaks no version of the protocol that we speak",
    DenialCode.NETWORK: "it belongs to another network; check network.name",
}
