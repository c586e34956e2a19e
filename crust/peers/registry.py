"""
Who we talk to: every session of the node by peer, and the rules by which links become sessions.

Rules (docs/wire-format.md, "Sessions"):

- The peer with the greater id is the *controller* of the pair. Data flows on a link only after its ``Use``: a
  controller that was called puts it into ``Welcome``, one that called sends it after ``Welcome``.
- A caller that has a session with the peer asks to resume it; the callee agrees, or says that it is gone. It asks if
  its link is gone, or suspected to be dead, or if the new one is a better way (:mod:`crust.peers.paths`). The callee
  agrees even if its own link seems well: the caller may know better. A controller that called looks again before it
  decides.
- Decisions about one session are counted, and a lower count than the last one seen is stale: links overtake each other.
- Of two fresh sessions begun at once only the one with ``Use`` lives. The controller decides under one lock, so both
  sides see one session and raise one event.
- A call that asks for a fresh session is stale if there was a session when its caller wrote that: it was told
  ``duplicate``, or gave that call up. So it is if it was written before that session, as far as we can tell: somebody
  on the way may have kept it back, and so its ``Use``, until the link of that session is cut, or its caller restarted.
- A peer's new run (another ``incarnation``) ends the session with its old one.

Lock order: the registry's lock comes before a conversation's. Events are posted while it is held, so that they come in
the order in which sessions came and went.
"""

from __future__ import annotations

import collections
import os
import random
import threading
from collections.abc import Callable

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.agreement import same_key
from ..exceptions import RemoteProtocolError
from ..paths import Attempt, Path
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction, Manner, Purpose, Resume, Role
from .agreed import Agreed, Pending
from .answers import DENIALS, gone_welcome
from .conversation import Conversation
from .detached import Detached
from .farewell import leave
from .link import Link, Stage
from .paths import Way
from .registry_host import RegistryHost
from .session import Session, Settings, State
from .views import path_of, way_of
from .whereabouts import Said, Whereabouts

__all__ = ["Registry"]


class Registry:
    """
    All sessions of one node. Thread-safe.

    Args:
        host: See :class:`RegistryHost`.
        own_id: Our id.
        settings: For new sessions.
        role: What we are.
        capabilities: What we can do.
        max_peers: More are refused as ``busy``.
        peers_per_address: The same for those at one address; a session that we begin is none too many.
        send_timeout: Default of ``send``.
    """

    def __init__(
        self,
        host: RegistryHost,
        own_id: PeerId,
        settings: Settings,
        *,
        role: Role,
        capabilities: int,
        max_peers: int,
        peers_per_address: int,
        send_timeout: float | None,
    ) -> None:
        self._host = host
        self._own_id = own_id
        self._settings = settings
        self._role = role
        self.capabilities, self.send_timeout = capabilities, send_timeout
        self.max_peers, self.peers_per_address = max_peers, peers_per_address
        """These four may be changed at any time, for sessions that begin later."""
        self.incarnation = os.urandom(limits.INCARNATION_SIZE)
        """16 random bytes that name this run of the node."""
        self.accept_bootstrap = False
        self._closing = False
        self._lock = threading.RLock()  # guards everything below; re-entered by ended()
        self._sessions: dict[PeerId, Conversation] = {}
        self._detached = Detached()
        self._agreed = Agreed(settings.resume_timeout)
        self._ended_at: collections.OrderedDict[PeerId, float] = collections.OrderedDict()  # the last ends
        self._whereabouts = Whereabouts()  # of peers, also where we have agreed to a new session and wait for Use

    # --- questions ----------------------------------------------------------------------------------------------------

    def get(self, peer_id: PeerId) -> Conversation | None:
        """The live session with that peer, connected or suspended; one that begins just now is awaited."""
        with self._lock:
            return self._sessions.get(peer_id)

    def all(self) -> list[Conversation]:
        """Every live session, oldest first."""
        with self._lock:
            return list(self._sessions.values())

    def knows_host(self, host: str) -> bool:
        """True if a peer with a live session was last seen at that IP address. Takes no time: strangers cause it."""
        with self._lock:
            return self._whereabouts.count(host) > 0

    def await_decision(self) -> None:
        """Return once no decision about links is being made."""
        with self._lock:
            pass

    def abandon(self) -> None:
        """In a forked child: forget every session (takes no lock)."""
        self._lock = threading.RLock()
        self._closing = True
        sessions, self._sessions, self._detached = self._sessions, {}, Detached()
        self._agreed = Agreed(0.0)
        for conversation in sessions.values():
            conversation.abandon()
            if hasattr(conversation, "peer"):  # else it is just beginning
                conversation.peer._abandon()

    def controls(self, peer_id: PeerId) -> bool:
        """True if we decide which link carries the session with that peer."""
        return peer_id < self._own_id

    def close(self) -> list[Conversation]:
        """Take no new sessions from now on; returns those that live."""
        with self._lock:
            self._closing = True
            return list(self._sessions.values())

    # --- we called ----------------------------------------------------------------------------------------------------

    def introduction(
        self,
        peer_id: PeerId,
        purpose: Purpose,
        observed: tuple[str, int] | None,
        way: Way,
        session: Conversation | None = None,
        manner: Manner = Manner.DIRECT,
    ) -> Introduction | None:
        """
        What we say of ourselves to ``peer_id``; asks to resume the session that we have, if any.

        Args:
            way: The link on which we would say it.
            session: It is only to move this one.
            manner: How that link came to be.

        Returns:
            None if no other link is wanted: a session with that peer is well, and this is no better way for it.
        """
        with self._lock:
            conversation = self._sessions.get(peer_id)
            if session is not None and conversation is not session:
                return None
            if conversation is not None and not self._is_wanted(conversation, way):
                return None
        resume = None
        window = self._settings.receive_buffer
        if conversation is not None:
            with conversation.lock:
                resume = Resume(conversation.session_id, conversation.session.inbox.next)
                window = conversation.session.inbox.window
        return Introduction(
            peer_id=self._own_id.public_key,
            role=self._role,
            purpose=purpose,
            manner=manner,
            capabilities=self.capabilities,
            incarnation=self.incarnation,
            observed=observed,
            window=window,
            max_message=self._settings.max_message_size,
            resume=resume,
        )

    @staticmethod
    def _is_wanted(conversation: Conversation, way: Way) -> bool:
        """Whether a session should move to that way, or come back on it (the lock is held)."""
        path = conversation.path
        if path is None or not conversation.is_well or conversation.would_gain(way.path_class):
            return True
        present = Way(path.path_class, Endpoint.parse(path.remote, allow_relay=True), conversation.session.srtt)
        return conversation.rivalry.is_worth_moving(present, way)

    def welcomed(
        self, link: Link, welcome: frames.Welcome, attempts: tuple[Attempt, ...], claim: Callable[[], bool]
    ) -> None:
        """
        A callee welcomes us on ``link``.

        Args:
            claim: False if nobody wants the link any more; True: it is the session's from then on. A session that began
                on a link that is being cut would seem to stand, here alone.
        """
        peer_id, introduction = link.peer_id, link.introduction
        assert peer_id is not None and introduction is not None
        if welcome.outcome is frames.Outcome.GONE:
            self._gone(peer_id, introduction)
            link.fail("denied", "the other side no longer has the session")
            return
        if not welcome.use and not self.controls(peer_id):
            # It is for nobody else to decide: without its word the session would never carry anything, nor ever end.
            link.fail("failed", "the other side controls this link, and did not decide for it")
            return
        with self._lock:
            present = self._sessions.get(peer_id)
            if self._closing:
                link.fail("cancelled", "the service is closing")
                return
            if not claim():
                return
            if welcome.outcome is frames.Outcome.RESUMED:
                if introduction.resume is None or present is None:
                    link.fail("failed", "the session ended while it was being resumed")
                    return
                if present.session_id != introduction.resume.session_id:
                    link.fail("lost_race", "a newer session exists already")
                    return
                if not present.session.outbox.can_resume(welcome.next):
                    link.fail("failed", "the other side remembers more of the session than there was")
                    present.end("gone")
                    return
                if not welcome.use and not self._is_wanted(present, way_of(link)):
                    link.fail("lost_race", "the session is well, on a way that is no worse")
                    return
                self._attach(link, present, welcome.next, welcome.window, attempts, welcome.use)
                return
            if introduction.resume is not None:  # nobody has been asked here whether a new one may be
                link.fail("failed", "the other side began a session where one was to be resumed")
                return
            if self._dropped_refused(link, peer_id, None):
                return
            if present is not None and self.controls(peer_id):
                link.fail("lost_race", "another connection to this peer was quicker")
                return
            if present is not None:  # the controller chose this one
                present.end("replaced")
            conversation = self._make(link, welcome.session_id, welcome, inbound=False)
            self._sessions[peer_id] = conversation
            self._host.began(conversation, introduction.purpose, self._path(link, attempts))
            self._attach(link, conversation, welcome.next, welcome.window, attempts, welcome.use)

    def _gone(self, peer_id: PeerId, introduction: Introduction) -> None:
        """The other side does not know the session that we wanted to resume."""
        conversation = self._sessions.get(peer_id)
        resume = introduction.resume
        if conversation is not None and resume is not None and conversation.session_id == resume.session_id:
            conversation.end("gone")

    # --- we were called -----------------------------------------------------------------------------------------------

    def begins(self, link: Link, introduction: Introduction) -> bool:
        """Whether the session that a caller wants has not begun here."""
        if introduction.resume is None:
            return True
        assert link.peer_id is not None
        with self._lock:
            return self._agreed.find(link.peer_id, introduction, self._host.clock.now()) is not None

    def introduced(self, link: Link, introduction: Introduction) -> None:
        """A caller has proven who it is: welcome it on ``link``, or deny it."""
        peer_id = link.peer_id
        assert peer_id is not None
        with self._lock:  # from the look at the bans to the session: a ban in between would miss it
            present = self._sessions.get(peer_id)
            code = self._refusal(link, introduction, present)
            if code is None:
                if introduction.resume is None:
                    code = self._refusal_of_fresh(link, peer_id, introduction, present)
                elif self._is_outdated(link, introduction.resume, present):
                    code = DenialCode.DUPLICATE
                else:
                    self._resume_locked(link, introduction, introduction.resume, present)
                    return
            if code is None:
                self._welcome_locked(link, introduction)
        if code is DenialCode.ROLE and self._may_go_on(link, introduction, present):
            link.fail("failed", "no list has the address from which the caller would go on")
        elif code is not None:
            self._deny(link, code)

    def _may_go_on(self, link: Link, introduction: Introduction, present: Conversation | None) -> bool:
        """Whether the session that a caller wants to resume has other ways: a refusal in words would end it."""
        resume = introduction.resume
        return resume is not None and (_goes_on(resume, present) or self.begins(link, introduction))

    def _is_outdated(self, link: Link, resume: Resume, present: Conversation | None) -> bool:
        """
        Whether a caller wants a session on a link that is worse than the one that we have chosen since it was asked to
        introduce itself: it did not know of that (the lock is held).
        """
        if present is None or present.session_id != resume.session_id or not self.controls(present.peer_id):
            return False
        chosen = present.link
        if chosen is None or not present.is_well or link.asked_at >= chosen.since:
            return False
        path_class = way_of(link).path_class
        return path_class != way_of(chosen).path_class and not present.would_gain(path_class)

    def _refusal_of_fresh(
        self, link: Link, peer_id: PeerId, introduction: Introduction, present: Conversation | None
    ) -> DenialCode | None:
        """Why a new session cannot be; ends the one that it shows to be over (the lock is held)."""
        has_place = self._whereabouts.has_place(peer_id, self._sessions, self.max_peers)
        is_full = self._whereabouts.is_full(peer_id, _places(link), self.peers_per_address)
        restarted = present is not None and present.incarnation != introduction.incarnation
        if present is None:
            if self.controls(peer_id) and self._ended_at.get(peer_id, link.asked_at) > link.asked_at:
                return DenialCode.DUPLICATE
        elif link.asked_at < present.known_at and (restarted or self.controls(peer_id)):
            return DenialCode.DUPLICATE  # who did not know of it calls again
        elif restarted:
            present.end("restarted")
        elif self.controls(peer_id):  # else it is for the other side to decide which session lives
            state = present.session.state
            if state is State.LOST or (state is State.CONNECTED and present.lives()):
                return DenialCode.DUPLICATE
            present.end("gone")
        if not has_place:
            return DenialCode.BUSY
        if is_full:
            self._host.refusals.count("limits.peers_per_address")
            return DenialCode.BUSY
        joins = present is None and introduction.purpose is Purpose.BOOTSTRAP
        return DenialCode.BUSY if joins and self._host.is_crowded(peer_id, link.address) else None

    def _has_room(self, link: Link, peer_id: PeerId) -> bool:
        """Whether that caller may have a session that has not begun (the lock is held)."""
        has_place = self._whereabouts.has_place(peer_id, self._sessions, self.max_peers)
        return has_place and not self._whereabouts.is_full(peer_id, _places(link), self.peers_per_address)

    def _refusal(self, link: Link, introduction: Introduction, present: Conversation | None) -> DenialCode | None:
        """Why a caller gets nothing, whatever he wants; who goes on with a session that we began needs no list."""
        if self._closing:
            return DenialCode.CLOSING
        assert link.peer_id is not None
        if same_key(link.peer_id, self._own_id):
            return DenialCode.SELF
        goes_on = present if _goes_on(introduction.resume, present) else None
        role = introduction.role if goes_on is None else goes_on.role  # it stays what it has begun as
        code = self._host.admit(link.peer_id, role, link.address)
        is_ours = goes_on is not None and not goes_on.inbound
        if code is not None and not (is_ours and code is DenialCode.ROLE):
            return code
        if introduction.purpose is Purpose.BOOTSTRAP and introduction.resume is None and not self.accept_bootstrap:
            return DenialCode.NOT_ACCEPTING
        return None

    def _deny(self, link: Link, code: DenialCode, text: str = "") -> None:
        alternates: tuple[str, ...] = ()
        if code is DenialCode.BUSY and link.peer_id is not None and not text:
            self._host.refusals.count("limits.max_peers")
            alternates = self._host.alternates(link.peer_id, link.address)
        link.write_control(frames.Denied(code, text or DENIALS[code], alternates))
        link.verdict = "denied"
        link.error = f"refused: {code.name.lower()}"
        link.close()

    def _welcome_locked(self, link: Link, introduction: Introduction) -> None:
        """Agree to a fresh session; as the controller, begin it."""
        assert link.peer_id is not None
        session_id = os.urandom(limits.SESSION_ID_SIZE)
        conversation = self._make(link, session_id, introduction, inbound=True)
        use = 1 if self.controls(link.peer_id) else 0
        if use:
            self._sessions[link.peer_id] = conversation
            self._host.began(conversation, introduction.purpose, self._path(link, ()))
        self._send_welcome(link, conversation, frames.Outcome.FRESH, use)
        if use:
            self._attach(link, conversation, 0, introduction.window, (), use)
        else:
            self._whereabouts.promise(link, link.peer_id, _places(link))
            now = self._host.clock.now()
            pending = Pending(conversation, 0, introduction.window, introduction.purpose, now, link.asked_at)
            link.owner_data = pending
            self._agreed.note(pending, link.connection.remote.host)

    def _resume_locked(
        self, link: Link, introduction: Introduction, resume: Resume, present: Conversation | None
    ) -> None:
        assert link.peer_id is not None
        purpose, now = introduction.purpose, self._host.clock.now()
        agreed = self._agreed.find(link.peer_id, introduction, now)
        if agreed is not None and self._has_room(link, link.peer_id):
            present, purpose = agreed.conversation, agreed.purpose
            self._whereabouts.promise(link, link.peer_id, _places(link))
        elif agreed is not None and self._whereabouts.is_promised(link.peer_id):
            link.fail("failed", "calls of that caller's are in the way which have not ended here")  # it tries again
            return
        known = present is not None and present.session_id == resume.session_id
        if present is None or not known or not present.session.outbox.can_resume(resume.next):
            link.write_control(gone_welcome(self._role, self.capabilities, self.incarnation))
            link.verdict, link.error = "failed", "the caller wanted to resume a session that is gone"
            link.close()
            return
        use = present.decision + 1 if self.controls(link.peer_id) else 0
        self._send_welcome(link, present, frames.Outcome.RESUMED, use)
        if use:
            self._attach(link, present, resume.next, introduction.window, (), use)
        else:
            link.owner_data = Pending(present, resume.next, introduction.window, purpose, now, link.asked_at)

    def _send_welcome(self, link: Link, conversation: Conversation, outcome: frames.Outcome, use: int) -> None:
        with conversation.lock:
            inbox = conversation.session.inbox
            expected, window = (inbox.next if outcome is frames.Outcome.RESUMED else 0), inbox.window
        link.write_control(
            frames.Welcome(
                role=self._role,
                capabilities=self.capabilities,
                session_id=conversation.session_id,
                outcome=outcome,
                next=expected,
                window=window,
                max_message=self._settings.max_message_size,
                use=use,
                incarnation=self.incarnation,
            )
        )

    def used(self, link: Link, decision: int) -> None:
        """The controller decided, for the ``decision``-th time, that ``link``, on which it called us, carries us."""
        pending, peer_id = link.owner_data, link.peer_id
        if not isinstance(pending, Pending) or peer_id is None:
            raise RemoteProtocolError("Use before Welcome")
        link.owner_data = None
        conversation = pending.conversation
        with self._lock:
            self._whereabouts.redeem(link)
            if self._closing:
                leave(link, frames.GoodbyeCode.CLOSED, "the service is closing")
                return
            if self._dropped_refused(link, peer_id, conversation.role if conversation.inbound else None):
                return
            present = self._sessions.get(peer_id)
            if present is not conversation:
                if conversation.session.state is not State.NEW:
                    link.fail("failed", "the session ended while it was being resumed")
                    return
                if present is not None and pending.since < present.known_at:
                    link.fail("lost_race", "the other side has decided for another session since")
                    return
                if present is not None:
                    present.end("replaced")
                self._sessions[peer_id] = conversation
                conversation.send_timeout = self.send_timeout
                self._host.began(conversation, pending.purpose, self._path(link, ()))
            self._attach(link, conversation, pending.peer_next, pending.window, (), decision)

    def put_off(self, link: Link, why: str) -> None:
        """That caller may try again later."""
        self._deny(link, DenialCode.BUSY, why)

    def given_up(self, link: Link) -> None:
        """A link that a caller began has ended before it carried a session."""
        with self._lock:
            self._whereabouts.redeem(link)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _dropped_refused(self, link: Link, peer_id: PeerId, role: Role | None) -> bool:
        """End ``link`` if its peer, or a caller of that role, has been banned or struck off a list since; whether."""
        if self._host.is_banned(peer_id, link.address):
            code = frames.GoodbyeCode.BANNED
        elif role is not None and self._host.admit(peer_id, role, link.address) is DenialCode.ROLE:
            code = frames.GoodbyeCode.ROLE
        else:
            return False
        leave(link, code, f"refused: {code.name.lower()}")
        return True

    def _make(
        self, link: Link, session_id: bytes, other: Introduction | frames.Welcome, *, inbound: bool
    ) -> Conversation:
        assert link.peer_id is not None
        session = Session(
            self._settings, window=other.window, now=self._host.clock.now(), uniform=random.random, rtt=link.rtt
        )
        return Conversation(
            self._host,
            link.peer_id,
            session,
            session_id=session_id,
            role=Role(other.role),
            capabilities=other.capabilities,
            incarnation=other.incarnation,
            max_message_size=min(self._settings.max_message_size, other.max_message),
            send_timeout=self.send_timeout,
            drop_priority=self._settings.drop_priority,
            drop_age=self._settings.drop_age,
            inbound=inbound,
        )

    def _attach(
        self,
        link: Link,
        conversation: Conversation,
        peer_next: int,
        window: int,
        attempts: tuple[Attempt, ...],
        decision: int,
    ) -> None:
        """
        Let ``link`` carry the session, unless the controller has decided otherwise since.

        Args:
            decision: The controller's count of its decisions for this session; 0 if we are to make one.
        """
        link.stage = Stage.OPEN
        if not link.inbound and self.controls(conversation.peer_id):
            decision = conversation.decision + 1
            link.write_control(frames.Use(decision))
        if decision <= conversation.decision:
            # Overtaken by a later decision, or repeated: another link carries the session, and what this one still
            # brings comes there too. Not left to the controller, who could pile up links of one session.
            link.conversation = conversation
            link.close()
            return
        conversation.decision = decision
        self._agreed.begun(conversation)
        decided = self.controls(conversation.peer_id)
        conversation.attach(link, peer_next, window, lambda: self._path(link, attempts), decided=decided)
        if conversation.link is link and self._sessions.get(conversation.peer_id) is conversation:
            self._whereabouts.seen(conversation.peer_id, *_places(link), most=self.peers_per_address)
            conversation.charge_at(link.connection.remote.host)
        self._detached.remove(conversation)
        self._host.connected(conversation)

    def _path(self, link: Link, attempts: tuple[Attempt, ...]) -> Path:
        return path_of(link, self._host.wall(), attempts)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _forget_locked(self, conversation: Conversation) -> None:
        if self._sessions.get(conversation.peer_id) is conversation:
            del self._sessions[conversation.peer_id]
            self._whereabouts.seen(conversation.peer_id)
            self._ended_at[conversation.peer_id] = self._host.clock.now()
            self._ended_at.move_to_end(conversation.peer_id)
            if len(self._ended_at) > limits.ENDED_SESSIONS_KNOWN:
                self._ended_at.popitem(last=False)
        self._detached.remove(conversation)

    def ended(self, conversation: Conversation) -> None:
        """Called for every session that is over."""
        with self._lock:
            self._forget_locked(conversation)

    def detached(self, conversation: Conversation) -> None:
        """Called for every session whose link is gone; those that there is no room for any more are given up."""
        with self._lock:
            if self._sessions.get(conversation.peer_id) is not conversation:
                return
            if conversation.session.state is not State.SUSPENDED:
                return  # it is back already
            given_up = self._detached.add(conversation)
            for each, _ in given_up:
                self._forget_locked(each)
        for each, limit in given_up:
            self._host.refusals.count(limit)
            each.end("overloaded")


def _goes_on(resume: Resume | None, present: Conversation | None) -> bool:
    """Whether a caller wants the session that there is."""
    return resume is not None and present is not None and resume.session_id == present.session_id


def _places(link: Link) -> set[str]:
    """The hosts among whose peers the other end counts. Of a circuit the introducer's too: that may say anything."""
    host = link.connection.remote.host
    return {host} if link.circuit is None or not link.address else {host, Said(link.address)}
