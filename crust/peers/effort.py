"""What the dialer knows of the reaching of one peer: its attempts, who waits for it, and which link goes first."""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable, Iterable

from .. import limits
from ..addresses import Endpoint, PeerId
from ..exceptions import CrustError, Denied
from ..paths import Attempt
from ..runtime.descriptors import exhaustion
from ..runtime.timers import Timer
from ..transports.contract import Dialling
from ..wire.handshake import DenialCode, Purpose
from .conversation import Conversation
from .link import Link
from .paths import Way, class_of, is_better_class, rank
from .race import Candidate, Race

__all__ = ["ENDS", "FINAL", "REFUSALS", "Avoid", "Effort", "Try", "Waiter", "reason_of", "verdict_of"]

Waiter = Callable[[Conversation | None, CrustError | None], object]
"""Told once how an effort ended; must not block."""

Avoid = Callable[[str], bool]
"""Whether an IP address is not to be used."""

METHOD = "direct"


class Try:
    """One attempt to reach one endpoint."""

    __slots__ = (
        "candidate",
        "dialling",
        "effort",
        "ended",
        "given_up",
        "link",
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
        self.path_class = class_of(METHOD, candidate.endpoint.transport)
        self.link: Link | None = None
        self.ended = False
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
        self.race = Race(self.endpoints)
        self.timer: Timer | None = None
        self.tries: set[Try] = set()
        self.answered: list[Try] = []
        """Those with a valid message 2 that have not introduced us."""
        self.introduced: Try | None = None
        """The one that has; its answer is awaited."""
        self.attempts: collections.deque[Attempt] = collections.deque(maxlen=limits.RECENT_ATTEMPTS)
        self.waiters: list[Waiter] = []
        self.avoid: Avoid | None = None
        self.denied: Denied | None = None
        self.retry_at = 0.0
        self.round = 0
        self.done = False
        self.session: Conversation | None = None
        """What it led to; the attempts that go on are for it."""

    def note(self, endpoint: Endpoint, duration: float, verdict: str, error: str) -> None:
        """Remember how an attempt ended."""
        self.attempts.append(Attempt(METHOD, str(endpoint), duration, verdict, error))

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
        return lost

    def ended(self, attempt: Try) -> None:
        """That one is over."""
        attempt.ended = True
        self.tries.discard(attempt)
        if attempt in self.answered:
            self.answered.remove(attempt)
        if self.introduced is attempt:
            self.introduced = None

    def goes_on(self, attempt: Try) -> bool:
        """Whether an attempt is still wanted, although there is a session."""
        path = None if self.session is None else self.session.path
        return path is not None and is_better_class(attempt.path_class, path.path_class)


def verdict_of(error: OSError) -> str:
    """The word for it in an Attempt."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):  # somebody was there, and hung up
        return "failed"
    return "failed" if exhaustion(error) else "unreachable"


def reason_of(error: OSError) -> str:
    """The sentence for it."""
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    return exhaustion(error) or error.strerror or str(error)


FINAL = frozenset({"network", "version", "role", "banned", "self", "not_accepting", "closing", "busy"})
"""Refusals by the peer itself: other addresses lead to the same peer, so the effort ends."""

ENDS = {DenialCode.BANNED: "banned", DenialCode.CLOSING: "closed"}
"""Why a session is over whose resumption is refused; ``gone`` for other reasons."""

REFUSALS = {
    DenialCode.VERSION: "it speaks no version of the protocol that we speak",
    DenialCode.NETWORK: "it belongs to another network; check network.name",
}
"""What refusals mean that come without words."""
