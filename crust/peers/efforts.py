"""The efforts of a node's dialer that are under way, and how they end."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Callable, Iterable, Sequence

from .. import limits
from ..addresses import Endpoint, PeerId
from ..exceptions import ConnectError, CrustError
from ..paths import Attempt
from ..wire.frames import GoodbyeCode
from ..wire.handshake import Manner, Purpose
from .conversation import Conversation
from .dialer_host import DialerHost
from .effort import Effort
from .farewell import leave
from .link import Link
from .pursuits import Pursuits
from .race import Candidate

__all__ = ["BANNED", "LOST", "Efforts"]

BANNED = "that address is banned here"
_UNLISTED = (
    "that address is on no list here, and the peer began this session: "
    "add it to access.node_networks or client_networks, or call connect() to go there all the same"
)
LOST = "another connection to this peer was quicker"


class Efforts(abc.ABC):
    """
    All of one node. Thread-safe; nothing here blocks its caller.

    Args:
        host: See :class:`DialerHost`.
    """

    def __init__(self, host: DialerHost) -> None:
        self._host = host
        self._now = host.clock.now
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._lock = threading.RLock()  # guards all below and the efforts; taken after the registry's lock
        self._efforts: dict[PeerId, Effort] = {}
        self._pursuits = Pursuits()
        self._closed = False

    @abc.abstractmethod
    def _go_on(self, effort: Effort) -> None:
        """It is time for the next attempt, or for the introduction on a link that has waited (io thread)."""

    @abc.abstractmethod
    def _advance(self, effort: Effort) -> None:
        """Begin what is due, and arrange for what comes next (the lock is held)."""

    # --- looking for a peer -------------------------------------------------------------------------------------------

    def _seek(self, effort: Effort) -> bool:
        """Have others look for the peer, if they have not; True while they do (the lock is held)."""
        if effort.search is not None:
            return True
        now = self._now()
        again = limits.SEARCH_AGAIN if effort.resuming is not None else float("inf")
        if not effort.may_seek or effort.purpose is not Purpose.CONNECT or now - effort.searched_at < again:
            return False
        effort.searched_at = now
        patient = not effort.endpoints  # who has failed at an address is told so soon
        effort.search = self._host.look_for(effort.peer_id, functools.partial(self._told_of, effort), patient)
        return effort.search is not None

    def _ask_others(self, effort: Effort) -> bool:
        """
        Try through introducers that were not asked yet (the lock is held); False: there is none. Those that come first
        may be several that end each circuit at once, and the one that leads to the peer another.
        """
        others = self._host.circuits_to(effort.peer_id, effort.asked) if effort.may_ask_others else ()
        effort.race.add_circuits(others)
        if others:
            self._advance(effort)
        return bool(others)

    def _circuits_again(self, effort: Effort) -> Iterable[Candidate]:
        """
        Through whom to try in another round (the lock is held). Who calls asks those again that were asked, as the peer
        may be on its way to any of them; a session without a link is tried by way of everybody, in turn.
        """
        if not effort.may_circuit:
            return ()
        if effort.resuming is None and effort.asked:
            return effort.asked.values()
        return self._host.circuits_to(effort.peer_id)

    def _seek_late(self, effort: Effort) -> None:
        """What was known has not worked so far (I/O thread)."""
        with self._lock:
            if not effort.done and not effort.answered and effort.introduced is None:
                self._seek(effort)

    def _told_of(
        self, effort: Effort, endpoints: Sequence[Endpoint], circuits: Sequence[Candidate], over: str | None
    ) -> None:
        """What others have found."""
        with self._lock:
            if over is not None:
                effort.search, effort.found = None, over
            if effort.done:
                return
            under_way = {each.candidate.endpoint for each in effort.tries}
            new = [each for each in endpoints if each not in effort.endpoints and each not in effort.hearsay]
            effort.hearsay.update(new)
            effort.race.add(new, under_way)
            effort.race.add_circuits(circuits, under_way)
            if over is not None and effort.rests and effort.timer is None:
                effort.rests = False
            if not effort.race.is_empty or not effort.rests:
                self._advance(effort)

    # --- what was tried -----------------------------------------------------------------------------------------------

    def note(self, conversation: Conversation, attempt: Attempt) -> None:
        """Remember what was tried for a session by others than the dialer."""
        with self._lock:
            conversation.attempts.note(attempt)
            self._host.attempted(conversation.peer_id, attempt)

    def attempts_for(self, conversation: Conversation) -> tuple[Attempt, ...]:
        """What was tried last for a session."""
        with self._lock:
            return tuple(conversation.attempts)

    def attempts(self, peer_id: PeerId) -> tuple[Attempt, ...]:
        """What the effort under way for that peer has tried so far, for who waits no longer."""
        with self._lock:
            effort = self._efforts.get(peer_id)
            return effort.tried(self._now(), self._host.wall()) if effort is not None else ()

    def is_called(self, peer_id: PeerId) -> bool:
        """Whether an application waits for that peer: not just its lost session, or what this node does by itself."""
        with self._lock:
            effort = self._efforts.get(peer_id)
            return effort is not None and bool(effort.waiters) and not effort.is_quiet

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _finish(self, effort: Effort, conversation: Conversation | None, error: CrustError | None) -> None:
        """The effort is over (the lock is held)."""
        if effort.done:
            return
        effort.done = True
        if self._efforts.get(effort.peer_id) is effort:
            del self._efforts[effort.peer_id]
        for timer in (effort.timer, effort.search_timer):
            if timer is not None:
                timer.cancel()
        if effort.search is not None:
            effort.search()
            effort.search = None
        effort.session = conversation
        if conversation is not None:
            effort.attempts = conversation.keep(effort.attempts)  # before anybody who waits can ask for them
        self._end_tries(effort)
        if effort.tries and conversation is not None:
            self._pursuits.add(effort)
            self._host.io.call_at(self._now(), lambda _: self._go_on(effort))  # one may have been answered already
        waiters, effort.waiters = effort.waiters, []
        if error is not None and (waiters or effort.resuming is None) and not effort.is_quiet:
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
                effort.in_vain(attempt, self._now())
                self._give_up(link)
            elif link.introduction is None or link.introduction.resume is None:
                link.fail("lost_race", LOST)
            # Else the peer may be moving the session to this link just now: cutting it would lose both.
        if not effort.tries:
            self._pursuits.discard(effort)

    def _give_up(self, link: Link) -> None:
        introduction, peer_id = link.introduction, link.peer_id
        is_new = introduction is not None and introduction.resume is None
        if is_new and peer_id is not None and not self._host.registry.controls(peer_id):
            # The other side may have begun a session, and would wait for us to come back.
            leave(link, GoodbyeCode.DISCONNECTED, "the attempt was given up")
        else:
            link.fail("cancelled", "the attempt was given up")

    def _too_many(self, effort: Effort, candidate: Candidate) -> str:
        """Why one more attempt for a session that stands has to wait; each is a thread (the lock is held)."""
        if len(effort.tries) >= limits.PURSUITS_PER_PEER:
            self.bites("PURSUITS_PER_PEER")
            return "too many attempts for this session are under way"
        if candidate.method == "direct" and effort.tries:  # each session may have one, and what has been punched
            if self._pursuits.have(limits.PURSUITS_MAX):
                self.bites("PURSUITS_MAX")
                return "too many attempts for all sessions are under way"
        return ""

    def _end_pursuit(self, effort: Effort) -> None:
        """Its session is over, or nobody wants it any more."""
        effort.session = None
        self._end_tries(effort)

    # --- from outside -------------------------------------------------------------------------------------------------

    def session_up(self, conversation: Conversation) -> None:
        """A session with that peer carries data, whoever began it: efforts for it are done."""
        with self._lock:
            for pursued in self._pursuits.of(conversation.peer_id):
                self._end_tries(pursued)  # what is no longer better than what it has
            effort = self._efforts.get(conversation.peer_id)
            if effort is not None:
                self._finish(effort, conversation, None)

    def session_lost(self, conversation: Conversation) -> None:
        """A session is over: nothing is left to resume, or to move."""
        with self._lock:
            for pursued in self._pursuits.of(conversation.peer_id):
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
            for pursued in self._pursuits.of(peer_id):
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
                link, endpoint = attempt.link, attempt.candidate.endpoint
                if link is None and endpoint.is_ip and self._is_banned(endpoint.host):
                    attempt.dialling.cancel()
                elif link is not None and not attempt.welcomed and self._is_banned(link.address):
                    link.fail("failed", BANNED)

    def _wrong_with(self, effort: Effort, candidate: Candidate, host: str, *, asked_for: bool) -> str:
        """
        What keeps us from dialling that address; empty: nothing.

        Args:
            asked_for: An application wants that peer called.
        """
        if self._is_banned(host):
            return BANNED
        if asked_for or candidate.manner is Manner.RELAY:  # that host is the introducer's
            return ""
        return self._unlisted(effort, host)

    def _unlisted(self, effort: Effort, host: str | None) -> str:
        """
        Why a session is not to go on by our call where its peer is now: the peer began it, and may begin none there.
        Empty if it may, or where the session has been last: there an application has had it called.
        """
        session = effort.resuming or effort.session
        if session is None or not session.inbound or (host is not None and host == session.address):
            return ""
        listed = self._host.access.lists(effort.peer_id, session.role, host, self._now())
        return "" if listed else _UNLISTED

    def _is_banned(self, host: str | None) -> bool:
        return self._host.access.is_banned(None, host, self._now())

    def abandon(self) -> None:
        """In a forked child: give up everything, and tell nobody (takes no lock)."""
        self._lock = threading.RLock()
        self._closed = True
        efforts, self._efforts, self._pursuits = [*self._efforts.values(), *self._pursuits], {}, Pursuits()
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
