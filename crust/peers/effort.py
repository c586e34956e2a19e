"""What the dialer knows of the reaching of one peer: its attempts, who waits for it, and which link goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .. import limits
from ..addresses import Endpoint, PeerId
from ..exceptions import CrustError, Denied
from ..paths import Attempt
from ..runtime.timers import Timer
from ..transports.contract import Dialling
from ..wire.handshake import Manner, Purpose
from .attempts import Attempts
from .conversation import Conversation
from .link import Link
from .paths import Way, class_of, is_better_class, rank
from .race import CALM, URGENT, Candidate, Race
from .session import State

__all__ = ["Avoid", "Effort", "LookFor", "Tell", "Try", "Waiter"]

_NO_ANSWER = "no answer so far"

Waiter = Callable[[Conversation | None, CrustError | None], object]
"""Told once how an effort ended; must not block."""

Avoid = Callable[[str], bool]
"""Whether an IP address is not to be used."""

Tell = Callable[[Sequence[Endpoint], Sequence[Candidate], "str | None"], object]
"""
Told where a peer may be, by hearsay, and of circuits to it; and, if that is all, in words what came of looking for it.
"""

LookFor = Callable[[PeerId, Tell, bool], "Callable[[], object] | None"]
"""
Begins to look for a peer (the dialer's lock is held, so nothing is told at once), again and again for a while if told
so. It gives back what ends that; None: there is nobody to ask.
"""


class Try:
    """One attempt to reach one endpoint."""

    __slots__ = (
        "asked_for",
        "candidate",
        "dialling",
        "effort",
        "ended",
        "given_up",
        "link",
        "passed",
        "path_class",
        "patience",
        "started",
        "welcomed",
    )

    def __init__(self, effort: Effort, candidate: Candidate, dialling: Dialling, started: float) -> None:
        self.effort = effort
        self.candidate = candidate
        self.dialling = dialling
        self.started = started
        self.asked_for = bool(effort.waiters)
        """An application wanted that peer called when it began."""
        self.path_class = class_of(candidate.manner, candidate.endpoint.transport)
        self.link: Link | None = None
        self.ended = False
        self.passed = False
        """The bans by predicate have been asked about its peer, and let it in."""
        self.given_up = False
        """Nobody wants it any more."""
        self.welcomed = False
        """Its link carries a session, or is about to: it is the session's, and no longer to be given up."""
        self.patience = 0.0
        """Until when it waits, having been answered, for one of a better class."""

    @property
    def way(self) -> Way:
        """What it would be for a session, once it has been answered."""
        assert self.link is not None
        return Way(self.path_class, self.link.connection.remote, self.link.rtt)


class Effort:
    """
    Everything done to reach one peer now. The dialer's lock guards it.

    It is done when there is a session, or nobody wants one any more. Attempts of a better class than the session has
    then go on: it moves to the first of them that is answered.

    Args:
        resuming: The session to resume, if that is what it is for.
        circuits: Through whom the peer may be reached, too.
        began: The present.
    """

    def __init__(
        self,
        peer_id: PeerId,
        endpoints: Iterable[Endpoint],
        purpose: Purpose,
        deadline: float,
        resuming: Conversation | None,
        circuits: Iterable[Candidate] = (),
        *,
        began: float = 0.0,
    ) -> None:
        self.began = began
        self.peer_id = peer_id
        self.purpose = purpose
        self.deadline = deadline
        self.resuming = resuming
        self.endpoints = tuple(dict.fromkeys(endpoints))
        self.circuits = tuple(circuits)
        self.race = self.new_race(self.endpoints, self.circuits)
        self.hearsay: set[Endpoint] = set()
        """Those of the race that only others, or the peer itself, have named, at hosts where nobody has seen it."""
        self.timer: Timer | None = None
        self.tries: set[Try] = set()
        self.answered: list[Try] = []
        """Those with a valid message 2 that have not introduced us."""
        self.introduced: Try | None = None
        """The one that has; its answer is awaited."""
        self.asked: dict[Endpoint, Candidate] = {}
        """The introducers that were."""
        self.lost: list[Candidate] = []
        """Those that have lost to that one: the next, if it comes to nothing."""
        self.attempts = Attempts()
        self.waiters: list[Waiter] = []
        self.avoid: Avoid | None = None
        self.may_seek = True
        """Others may be asked for the peer, if no known way leads to it."""
        self.may_circuit = True
        """Our peers may be asked to introduce us."""
        self.is_quiet = False
        """It is nobody's who wants to hear that it came to nothing."""
        self.search: Callable[[], object] | None = None
        """Others look for the peer: this ends that."""
        self.search_timer: Timer | None = None
        self.searched_at = float("-inf")
        """When that was begun last."""
        self.found = ""
        """What came of it."""
        self.denied: Denied | None = None
        self.retry_at = 0.0
        self.round = 0
        self.again_at = 0.0
        """When a session that needs a link is to be tried again by all ways."""
        self.rests = False
        """All has been tried, and will be again."""
        self.done = False
        self.session: Conversation | None = None
        """What it led to; the attempts that go on are for it."""

    @classmethod
    def for_session(cls, conversation: Conversation) -> Effort:
        """One whose attempts are all for a session that stands."""
        effort = cls(conversation.peer_id, conversation.redial, Purpose.CONNECT, float("inf"), None)
        effort.race.clear()
        effort.done = True
        effort.session = conversation
        effort.attempts = conversation.attempts
        return effort

    def new_race(self, endpoints: Iterable[Endpoint], circuits: Iterable[Candidate]) -> Race:
        """For another round."""
        return Race(endpoints, circuits, CALM if self.resuming is None else URGENT)

    def dial_seconds(self, now: float, endpoint: Endpoint | None = None) -> float:
        """
        How long an attempt may take to connect. One for a session that needs a link is soon given up and begun anew: on
        a path that was dead, and lives again, the system would take seconds to send its SYN once more.
        """
        if self.resuming is None:
            return limits.DIRECT_DIAL_TIMEOUT if endpoint in self.hearsay else limits.DIAL_ATTEMPT_TIMEOUT
        seconds = max(limits.REDIAL_SECONDS, 3 * self.resuming.session.rto, limits.REDIAL_SHARE * (now - self.began))
        # What has been counted of packets that may go to an address which is only hearsay is not more than that.
        most = limits.DIRECT_DIAL_TIMEOUT if endpoint in self.hearsay else limits.DIAL_ATTEMPT_TIMEOUT
        return min(seconds, most)

    def handshake_seconds(self, usual: float, now: float) -> float:
        """The same for its handshake; ``usual`` at most."""
        if self.resuming is None:
            return usual
        least = max(limits.REDIAL_HANDSHAKE_SECONDS, 6 * self.resuming.session.rto)
        return min(usual, max(least, 2 * limits.REDIAL_SHARE * (now - self.began)))

    @property
    def is_busy(self) -> bool:
        """
        Attempts are under way that have to end before all is tried again. A circuit is none for a session that needs a
        link, if there are other ways: the peer that would introduce us may be out of reach, too, and not say so.
        """
        if self.resuming is None or all(each.candidate.manner is Manner.RELAY for each in self.tries):
            return bool(self.tries) and (self.resuming is None or not self.endpoints)
        return True

    @property
    def is_needed(self) -> bool:
        """Whether the session that it is to bring onto a link still needs one."""
        if self.resuming is None:
            return False
        session = self.resuming.session
        return session.state is State.SUSPENDED or (session.state is State.CONNECTED and session.suspected)

    def redial_delay(self, uniform: float) -> float:
        """Seconds until everything is tried again, now that it has been in vain once more."""
        self.round += 1
        delays = limits.REDIAL_DELAYS
        return delays[min(self.round, len(delays) - 1)] * (1 + limits.JITTER * (2 * uniform - 1))

    def early_delay(self) -> float | None:
        """
        Seconds until another round through those that do not know the peer: it may be on its way to them, as when two
        nodes start at the same moment; None: that is all.
        """
        if self.endpoints or not self.circuits or self.denied is not None or not self.waiters:
            return None
        unknown = any(each.verdict == "unreachable" for each in self.attempts[-len(self.circuits) :])
        if not unknown or self.round >= len(limits.CIRCUIT_RETRIES):
            return None
        self.round += 1
        return limits.CIRCUIT_RETRIES[self.round - 1]

    @property
    def is_patient(self) -> bool:
        """It goes on although nothing can be tried: peers that introduced us once may come back."""
        path = None if self.resuming is None else self.resuming.path
        return path is not None and not path.path_class.startswith("direct")

    @property
    def may_ask_others(self) -> bool:
        """Whether further introducers may be tried, where those that come first have led to nothing."""
        is_wanted = self.may_circuit and self.denied is None and bool(self.waiters)
        return is_wanted and len(self.asked) < limits.CIRCUIT_ASKED

    def begins(self, candidate: Candidate) -> None:
        """That one has its turn, whatever comes of it."""
        if candidate.manner is Manner.RELAY:
            self.asked[candidate.endpoint] = candidate

    def note(
        self, candidate: Candidate, duration: float, verdict: str, error: str, wall: float, link: Link | None = None
    ) -> Attempt:
        """Remember how an attempt ended, that had that link if it got so far; ``wall``: now, since the epoch."""
        noted = _told(candidate, duration, verdict, error, wall, link)
        self.attempts.note(noted)
        return noted

    def tried(self, now: float, wall: float) -> tuple[Attempt, ...]:
        """All so far, for who waits no longer; what is under way has had no answer in time."""
        late = sorted(self.tries, key=lambda each: each.started)
        return (
            *self.attempts,
            *(_told(each.candidate, now - each.started, "timeout", _NO_ANSWER, wall, each.link) for each in late),
        )

    def forget(self, noted: Attempt) -> None:
        """It ended otherwise."""
        if noted in self.attempts:
            self.attempts.remove(noted)

    def choose(self, now: float) -> Try | None:
        """
        Who introduces us now, if anybody: the best of those that were answered, when no better class is under way, or
        one has waited long enough for it. Whoever is no better than the one that was chosen has lost; see `losers`.
        """
        if self.introduced is not None or not self.answered:
            return None
        best = min(self.answered, key=lambda each: each.way.order)
        if now < min(each.patience for each in self.answered):
            if any(is_better_class(each.path_class, best.path_class) for each in self.tries):
                return None
        self.answered.remove(best)
        self.introduced = best
        return best

    def losers(self) -> list[Try]:
        """Take out those that were answered and are of no better class than the one that introduced us."""
        first = self.introduced
        if first is None:
            return []
        lost = [each for each in self.answered if rank(each.path_class) >= rank(first.path_class)]
        self.answered = [each for each in self.answered if each not in lost]
        if not self.done:
            self.lost += [each.candidate for each in lost]
        return lost

    def ended(self, attempt: Try) -> None:
        """That one is over."""
        attempt.ended = True
        self.tries.discard(attempt)
        if attempt in self.answered:
            self.answered.remove(attempt)
        if self.introduced is attempt:
            self.introduced = None
            lost, self.lost = self.lost, []
            if not (attempt.welcomed or self.denied or self.retry_at):  # whoever is on its way lets nothing through
                going = (each for each in self.tries if each.link is None or not each.link.verdict)
                under_way = {each.candidate.endpoint for each in going}  # another round may have begun meanwhile
                for each in reversed(lost):
                    if each.endpoint not in under_way:
                        self.race.again(each)

    @staticmethod
    def in_vain(attempt: Try, now: float) -> None:
        """It has led to nothing, and nothing else was quicker: whoever it was to go through may be to blame."""
        if attempt.candidate.in_vain is not None and attempt.link is not None:
            attempt.candidate.in_vain(now - attempt.started)

    def goes_on(self, attempt: Try) -> bool:
        """Whether an attempt is still wanted, although there is a session."""
        return self.session is not None and self.session.would_gain(attempt.path_class)


def _told(
    candidate: Candidate, duration: float, verdict: str, error: str, wall: float, link: Link | None
) -> Attempt:
    local = "" if link is None else str(link.connection.local)
    return Attempt(candidate.method, str(candidate.endpoint), duration, verdict, error, local, wall - duration)
