"""
Dialling: reach a peer by whatever address works, and by the best of what works.

One *effort* per peer at a time, whoever asked for it: its addresses are tried in the order of
:mod:`crust.peers.race`, each attempt on a thread of its own, which becomes the link's reader where the transport needs
one. A valid message 2 proves that the right peer is there. The first link that has one introduces us, after waiting a
round trip, at most ``BETTER_CLASS_WAIT``, for a better class that is under way; the others are closed before the other
side knows who called. If the one that introduced us comes to nothing, these have another turn.

Attempts of a better class than the session got are not given up: TCP is favoured, however late it comes. The session
moves there as it would resume.

A session that lost its link is redialled here too, by whoever dialled it last, at ``REDIAL_DELAYS``, until it resumes
or is lost.

Order of locks: link (its handshake), registry, dialer. So nothing here introduces us with the dialer's lock held.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Sequence

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.handshake import Initiator
from ..exceptions import ConnectError, ContactSyntaxError, CrustError, Denied, ServiceClosed
from ..transports.contract import Connection
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction, Purpose
from .conversation import Conversation
from .dialer_host import DialerHost
from .effort import Avoid, Effort, Try, Waiter
from .efforts import LOST, Efforts
from .failures import ENDS, FINAL, IN_VAIN, REFUSALS, failure_of, nowhere, reason_of, verdict_of
from .judging import Verdict
from .link import Link
from .race import Candidate
from .session import State
from .transfer import printable
from .views import view_of_link

__all__ = ["Avoid", "Dialer", "Waiter"]


class Dialer(Efforts):
    """
    All dialling of one node. Thread-safe; nothing here blocks its caller.

    Args:
        host: See :class:`DialerHost`.
        handshake_timeout: Seconds for one handshake, connecting not included.
    """

    def __init__(self, host: DialerHost, handshake_timeout: float) -> None:
        super().__init__(host)
        self._handshake_timeout = handshake_timeout

    # --- beginning ----------------------------------------------------------------------------------------------------

    def dial(
        self,
        peer_id: PeerId,
        endpoints: Iterable[Endpoint],
        purpose: Purpose,
        timeout: float | None,
        waiter: Waiter,
        avoid: Avoid | None = None,
        *,
        quiet: bool = False,
        seek: bool = True,
        circuits: bool = True,
        unasked: bool = False,
    ) -> Callable[[], None]:
        """
        Reach a peer, and tell ``waiter``: at once if there is a session that a link carries.

        Args:
            avoid: Whether an IP address, maybe one that a name stands for, is not to be used. It holds as long as
                nobody without such a wish wants the peer, too.
            quiet: Only ``waiter`` hears of a failure, if nobody else wants the peer, too.
            seek: Have others look for it, if no known way leads to it.
            circuits: Have our peers introduce us to it, too.
            unasked: No application wants this very peer: it is left alone if one has let go of it.

        Returns:
            Call it to lose interest: the effort ends when nobody is interested any more.
        """
        deadline = float("inf") if timeout is None else self._now() + timeout
        endpoints = tuple(endpoints)
        present = self._host.registry.get(peer_id)
        if present is not None and present.session.state is State.CONNECTED:
            waiter(present, None)
            return lambda: None
        with self._lock:
            if self._closed:
                waiter(None, ServiceClosed("the service has been closed"))
                return lambda: None
            # Here, since stop() has this lock: whoever is dropped from now on has this effort ended.
            if unasked and self._host.is_dropped(peer_id):
                waiter(None, ConnectError(f"peer {peer_id} is not dialled: one of the two applications has dropped it"))
                return lambda: None
            if present is not None and peer_id not in self._efforts:
                if present.session.state is State.CONNECTED:  # it is back: whoever waits was told before we came
                    waiter(present, None)
                    return lambda: None
                if present.session.state is State.SUSPENDED:  # just now; else there would be nobody to go on with it
                    self.redial(present, present.redial or endpoints, first=present.session.asks)
            effort = self._efforts.get(peer_id)
            if effort is None:
                through = self._host.circuits_to(peer_id) if circuits else ()
                effort = Effort(peer_id, endpoints, purpose, deadline, None, through)
                effort.may_seek, effort.may_circuit = seek, circuits
                error = self._cannot_begin(effort)
                if error is not None:
                    if not quiet:
                        self._host.dial_failed(peer_id, purpose, error)
                    waiter(None, error)
                    return lambda: None
                effort.avoid = avoid
                effort.is_quiet = quiet
                effort.waiters.append(waiter)
                self._efforts[peer_id] = effort
                effort.search_timer = self._host.io.call_later(
                    limits.SEARCH_HEADSTART, lambda _: self._seek_late(effort)
                )
                self._advance(effort)
            else:
                self._join(effort, endpoints, purpose, deadline, avoid)
                effort.is_quiet = effort.is_quiet and quiet
                effort.may_seek = effort.may_seek or seek
                if circuits and not effort.may_circuit:
                    effort.may_circuit = True
                    effort.race.add_circuits(self._host.circuits_to(peer_id))
                effort.waiters.append(waiter)
                if not effort.race.is_empty:
                    self._advance(effort)
        return lambda: self._lose_interest(effort, waiter)

    def _join(
        self, effort: Effort, endpoints: tuple[Endpoint, ...], purpose: Purpose, deadline: float, avoid: Avoid | None
    ) -> None:
        """Somebody else wants that peer, too (the lock is held)."""
        effort.race.add(endpoints, (each.candidate.endpoint for each in effort.tries))
        effort.endpoints = tuple(dict.fromkeys((*effort.endpoints, *endpoints)))
        effort.deadline = max(effort.deadline, deadline)
        if purpose is Purpose.CONNECT:
            effort.purpose = purpose
            if effort.denied is not None and effort.denied.reason == "not_accepting":  # that was about bootstrapping
                effort.denied, effort.retry_at = None, self._now()
        if avoid is None:
            effort.avoid = None

    def _cannot_begin(self, effort: Effort) -> CrustError | None:
        if effort.peer_id == self._host.handshake.key_pair.peer_id:
            return Denied("that is this node's own id: a node cannot connect to itself", (), "self")
        if self._host.access.is_banned(effort.peer_id, None, self._now()):
            return Denied(f"peer {effort.peer_id} is banned here; unban() it first", (), "banned")
        told = () if effort.resuming is None else effort.resuming.told
        try:
            Initiator(self._host.handshake, effort.peer_id)
        except ContactSyntaxError as error:
            return error
        usable = any(self._host.transport_for(each) is not None for each in effort.endpoints) or effort.circuits or told
        if usable or effort.is_patient or (effort.resuming is None and self._seek(effort)):
            return None
        return nowhere(effort.peer_id, effort.endpoints)

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
            first: We dialled it last, so we begin at once, unless that was so often lately; the other side lets us go.
        """
        with self._lock:
            effort = self._efforts.get(conversation.peer_id)
            if self._closed or effort is not None:
                return
            circuits = self._host.circuits_to(conversation.peer_id)
            effort = Effort(
                conversation.peer_id,
                endpoints,
                Purpose.CONNECT,
                float("inf"),
                conversation,
                circuits,
                began=self._now(),
            )
            if self._cannot_begin(effort) is not None:
                return
            self._efforts[conversation.peer_id] = effort
            if first and conversation.may_redial_at_once():
                effort.race.add(self._told(effort, conversation))
                self._advance(effort)
            else:
                effort.race.clear()
                self._round_over(effort)

    def pursue(self, conversation: Conversation, candidate: Candidate) -> bool:
        """
        Try another way for a session that has one: it moves there if that is answered, and of a better class.

        Returns:
            False if the attempt cannot be made, which is noted among the session's attempts.
        """
        with self._lock:
            if self._closed:
                return False
            found = [each for each in self._pursuits.of(conversation.peer_id) if each.session is conversation]
            effort = found[0] if found else Effort.for_session(conversation)
            error = self._too_many(effort, candidate) or self._begin(effort, candidate, self._now())
            if error:
                self._host.attempted(effort.peer_id, effort.note(candidate, 0.0, "failed", error, self._host.wall()))
                return False
            self._pursuits.add(effort)
            return True

    def _told(self, effort: Effort, conversation: Conversation) -> Sequence[Endpoint]:
        """Where else a peer may be by its own word, to be tried now (the lock is held)."""
        told = self._host.told_places(conversation)
        effort.hearsay = {each for each in told if each.host != conversation.address} - {*effort.endpoints}
        return told

    # --- going on -----------------------------------------------------------------------------------------------------

    def _advance(self, effort: Effort) -> None:
        """Begin what is due, and arrange for what comes next (the lock is held)."""
        if effort.done or self._closed or (effort.rests and effort.race.is_empty):
            return
        effort.rests = False
        now = self._now()
        while (candidate := effort.race.take(now)) is not None:
            error = self._begin(effort, candidate, now)
            if error:
                self._host.attempted(effort.peer_id, effort.note(candidate, 0.0, "failed", error, self._host.wall()))
                effort.race.failed(candidate.endpoint, now)
        if effort.timer is not None:
            effort.timer.cancel()
            effort.timer = None
        due = effort.race.next_at()
        if due is not None:
            effort.timer = self._host.io.call_at(due, lambda _: self._go_on(effort))
        elif not effort.is_busy:
            self._round_over(effort)

    def _go_on(self, effort: Effort) -> None:
        """It is time for the next attempt, or for the introduction on a link that has waited (io thread)."""
        with self._lock:
            self._advance(effort)
            chosen = self._choose(effort)
        self._introduce(chosen)

    def _begin(self, effort: Effort, candidate: Candidate, now: float) -> str:
        """Start an attempt (the lock is held); what keeps us from it, if something does."""
        effort.begins(candidate)
        endpoint = candidate.endpoint
        prepare = candidate.prepare
        if prepare is None:
            transport = self._host.transport_for(endpoint)
            if transport is None:
                return f"this node does not use {endpoint.transport}"
            is_new = effort.session is None and effort.resuming is None
            local_port = self._host.local_port(endpoint) if is_new else None
            prepare = functools.partial(transport.dialling, endpoint, local_port=local_port)
        asked_for = bool(effort.waiters)
        if endpoint.is_ip and (wrong := self._wrong_with(effort, candidate, endpoint.host, asked_for=asked_for)):
            return wrong
        # Who asked for it ends it in time; its own end at the same moment would only hide that behind an error.
        try:
            dialling = prepare(effort.dial_seconds(now, endpoint))
        except OSError as error:  # no socket to be had
            return f"cannot dial: {error}"
        attempt = Try(effort, candidate, dialling, now)
        effort.tries.add(attempt)
        try:
            self._host.spawn(f"crust-dial-{effort.peer_id.short}", self._run_try, [attempt])
        except RuntimeError as error:  # no thread to be had
            effort.tries.discard(attempt)
            dialling.cancel()
            return f"cannot start a thread: {error}"
        return ""

    def _round_over(self, effort: Effort) -> None:
        """Every address has been tried (the lock is held): again later, or give up."""
        now = self._now()
        delay: float | None = None
        if effort.resuming is not None and not effort.is_needed:
            if self._settled(effort):
                return
            delay = 0.0
        elif effort.resuming is not None:
            if effort.again_at <= now:  # else it is only that an introducer has come, who could not help
                effort.again_at = now + effort.redial_delay(random.random())
                if effort.round >= limits.SEARCH_ROUND:
                    self._seek(effort)
            delay = effort.again_at - now
        elif effort.retry_at and now < effort.deadline:
            delay = max(0.0, effort.retry_at - now)
            effort.retry_at = 0.0
        elif self._ask_others(effort):
            return
        else:
            delay = effort.early_delay()
        if delay is None and self._seek(effort):
            effort.rests, effort.timer = True, None  # what is found goes on with it
        elif delay is None:
            self._finish(effort, None, failure_of(effort))
        else:
            effort.rests = True
            effort.timer = self._host.io.call_at(now + delay, lambda _: self._again(effort))

    def _settled(self, effort: Effort) -> bool:
        """
        The session needs no link any more (the lock is held): end the effort, unless somebody has come to wait for that
        peer since then, who wants a new session if this one is over; or the session has lost its link again.
        """
        session = effort.resuming
        assert session is not None
        state = session.session.state  # looked at once: it may change meanwhile, and who waits is told one thing
        if state is State.SUSPENDED:
            return False
        if effort.waiters and state is State.LOST:
            effort.resuming = None
            return False
        self._finish(effort, session if state is State.CONNECTED else None, None)
        return True

    def _again(self, effort: Effort) -> None:
        with self._lock:
            if effort.done or effort.is_busy or not effort.race.is_empty:
                return
            effort.rests = False
            if effort.resuming is not None and not effort.is_needed and self._settled(effort):
                return
            resuming = effort.resuming
            told = () if resuming is None else self._told(effort, resuming)
            under_way = {each.candidate.endpoint for each in effort.tries}
            circuits = [each for each in self._circuits_again(effort) if each.endpoint not in under_way]
            effort.race = effort.new_race((*effort.endpoints, *told), circuits)
            self._advance(effort)

    def hurry(self, *, circuits: bool = False) -> None:
        """
        What was in vain may not be so now: sessions that wait for the next attempt to get a link have it at once.

        Args:
            circuits: There is another peer to introduce us: try through it, too.
        """
        with self._lock:
            for effort in [each for each in self._efforts.values() if each.is_needed]:
                if circuits:
                    under_way = [each.candidate.endpoint for each in effort.tries]
                    effort.race.add_circuits(self._host.circuits_to(effort.peer_id), under_way)
                    self._advance(effort)
                else:
                    effort.round = 0
                    effort.again_at = 0.0
                    self._again(effort)

    # --- one attempt (its own thread) ---------------------------------------------------------------------------------

    def _run_try(self, handed_over: list[Try]) -> None:
        attempt = handed_over.pop()  # a thread keeps its arguments, and this one may read the link for days
        try:
            connection = attempt.dialling.run()
        except OSError as error:
            self._try_ended(attempt, verdict_of(error), reason_of(error))
            return
        link = self._begin_link(attempt, connection)
        del attempt
        link.begin()
        connection.run(link)

    def _begin_link(self, attempt: Try, connection: Connection) -> Link:
        effort = attempt.effort
        candidate = attempt.candidate
        handshake = Initiator(
            self._host.handshake, effort.peer_id, secret_index=candidate.secret_index, salt=candidate.salt
        )
        link = Link(
            connection,
            handshake,
            self,
            lambda error: self._host.crashed("link", error),
            self._now,
            peer_id=effort.peer_id,
            manner=candidate.manner,
        )
        link.owner_data = attempt
        self._host.opened(link)
        with self._lock:
            attempt.link = link
            cancelled = attempt.given_up
        if cancelled:
            link.fail("cancelled", "the attempt was given up")
        elif wrong := self._wrong_with(effort, candidate, connection.remote.host, asked_for=attempt.asked_for):
            link.fail("failed", wrong)  # what a name stands for
        elif effort.avoid is not None and effort.avoid(connection.remote.host):
            link.fail("failed", "that address is blacklisted here")
        seconds = effort.handshake_seconds(self._handshake_timeout, self._now())
        link.handshake_timer = self._host.io.call_later(seconds, lambda _: self._overdue(attempt, link, seconds))
        return link

    def _overdue(self, attempt: Try, link: Link, seconds: float) -> None:
        with self._lock:
            if not attempt.welcomed:
                link.fail("timeout", f"no answer to the handshake within {seconds:.3g} s")

    def _try_ended(self, attempt: Try, verdict: str, error: str) -> None:
        effort, candidate = attempt.effort, attempt.candidate
        with self._lock:
            if attempt.ended:
                return
            now = self._now()
            effort.ended(attempt)
            if verdict in IN_VAIN:
                effort.in_vain(attempt, now)
            duration = now - attempt.started
            wall = self._host.wall()
            self._host.attempted(effort.peer_id, effort.note(candidate, duration, verdict, error, wall, attempt.link))
            # To another secret, message 1 is noise: it is waited out, and then hung up on.
            unheard = verdict in ("failed", "timeout") and attempt.link is not None
            other = candidate._replace(secret_index=candidate.secret_index + 1)
            secrets = unheard and other.secret_index < len(self._host.handshake.secrets)
            secrets = secrets and candidate.endpoint not in effort.hearsay  # that is one dial more
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
                        self._finish(effort, None, failure_of(effort))
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
                loser.link.fail("lost_race", LOST)
        return chosen

    def _introduce(self, attempt: Try | None) -> None:
        """Say on that link who we are, if another link is wanted (without the lock)."""
        if attempt is None or attempt.link is None:
            return
        effort, link, registry = attempt.effort, attempt.link, self._host.registry
        judging = self._host.judging
        introduction = registry.introduction(
            effort.peer_id, effort.purpose, _observation(link), attempt.way, effort.session, attempt.candidate.manner
        )
        if introduction is not None:
            if introduction.resume is None and judging.in_force and not attempt.passed:
                view = view_of_link(link, None, effort.purpose, self._host.wall())
                judging.ask(link, view, functools.partial(self._judged, attempt, link))
                return
            link.introduce(introduction)
            return
        present = registry.get(effort.peer_id)
        if present is not None and not effort.done:
            self.session_up(present)
        link.fail("lost_race", LOST)

    def _judged(self, attempt: Try, link: Link, verdict: Verdict) -> None:
        """The application has been asked about a peer that we call (the thread of judging)."""
        if verdict is Verdict.WELCOME:
            attempt.passed = True
            self._introduce(attempt)
        else:  # of who is banned, everything has been ended already
            link.fail("failed", "a ban by predicate raised an error on this peer, which is therefore not let in")

    # --- LinkOwner (the link's reader thread) -------------------------------------------------------------------------

    def link_hello(self, link: Link) -> None:
        """Not for callers."""

    def link_spoke(self, link: Link) -> None:
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
                link.fail("lost_race", LOST)
                return
            if link.circuit is not None and not attempt.asked_for and (wrong := self._unlisted(effort, link.address)):
                link.fail("failed", wrong)  # now it is known where the introducer sees the peer
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
        effort = attempt.effort
        link.handshake_timer.cancel()
        duration = self._now() - attempt.started
        with self._lock:
            noted = effort.note(attempt.candidate, duration, "connected", "", self._host.wall(), link)
            attempts = tuple(effort.attempts)
        self._host.registry.welcomed(link, welcome, attempts, lambda: self._claim(attempt, link))
        conversation = link.conversation
        with self._lock:
            if conversation is None:
                effort.forget(noted)  # the registry had a reason against it; link_lost will note it
                resume = None if link.introduction is None else link.introduction.resume
                if welcome.outcome is frames.Outcome.GONE and resume is not None and effort.waiters:
                    effort.retry_at = duration + attempt.started  # who waits for the peer gets a new session
                return
            link.owner_data = None  # it is the session's
            conversation.redial = effort.endpoints
            effort.attempts = conversation.keep(effort.attempts)
            self._host.attempted(effort.peer_id, noted)
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
            told = f"peer {effort.peer_id} refused: {reason.replace('_', ' ')} ({words})"
            effort.denied = Denied(told, (), reason, tuple(map(printable, alternates)))
        if present is not None and present.session.state is State.SUSPENDED and reason in FINAL:
            present.end(ENDS.get(code, "gone"))  # it would be refused for ever

    def link_lost(self, link: Link) -> None:
        """An attempt's link ended before it carried a session."""
        attempt = link.owner_data
        assert isinstance(attempt, Try)
        link.handshake_timer.cancel()
        self._host.judging.withdraw(link)
        self._try_ended(attempt, link.verdict, link.error)


def _observation(link: Link) -> tuple[str, int] | None:
    remote = link.connection.remote
    return (remote.host, remote.port) if remote.is_ip and link.circuit is None else None
