"""
The race for a new connection: which address of a peer is tried when (sans-IO).

TCP is favoured, and nobody waits for it: its addresses are tried one after the other (RFC 8305 calls it Happy
Eyeballs), the next one ``DIAL_STAGGER`` after the last, or at once when one fails. µTP to the same host follows its TCP
by ``UTP_HEADSTART``, or at once when that has failed. Hosts that are known by µTP alone come last in the row.

Circuits through peers have a row of their own: the first one is opened ``CIRCUIT_HEADSTART`` after the first dial, at
once if there is nothing to dial, and the others as those that are dialled.

A session that has lost its link, or seems to, is in a hurry: everything is begun nearly at once (``URGENT``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .. import limits
from ..addresses import Endpoint
from ..transports.contract import Dialling
from ..wire.handshake import Manner
from .paths import class_of, rank

__all__ = ["CALM", "URGENT", "Candidate", "Pace", "Race"]


_LONG_AGO = float("-inf")


class Candidate(NamedTuple):
    """One thing to try."""

    endpoint: Endpoint
    secret_index: int = 0
    """Under which of the network's secrets."""
    manner: Manner = Manner.DIRECT
    method: str = "direct"
    """The word for it in an ``Attempt``."""
    prepare: Callable[[float], Dialling] | None = None
    """Makes what brings about the stream, given the seconds that it has; None: the endpoint's transport does."""
    salt: bytes | None = None
    """What our handshake begins with (:mod:`crust.peers.meeting`); None: random bytes."""
    in_vain: Callable[[float], object] | None = None
    """Told how many seconds it took, if it was begun and led to no session, though no other one was quicker."""


class Pace(NamedTuple):
    """Seconds that one attempt has before the next one begins."""

    stagger: float = limits.DIAL_STAGGER
    stagger_on_link: float = limits.DIAL_STAGGER_ON_LINK
    utp_headstart: float = limits.UTP_HEADSTART
    circuit_headstart: float = limits.CIRCUIT_HEADSTART


CALM = Pace()
"""For a new session."""

URGENT = Pace(limits.REDIAL_STAGGER, limits.REDIAL_STAGGER, 0.0, limits.REDIAL_CIRCUIT_HEADSTART)
"""For a session that needs another link."""


class Race:
    """
    What is left to try in one effort, and when. ``now`` is seconds on any clock that only goes forward.

    Args:
        endpoints: Where the peer may be, in the order in which those of one class are tried.
        circuits: Through whom it may be reached, in order.
        pace: How long each attempt has for itself.
    """

    __slots__ = ("_circuits", "_circuits_at", "_followers", "_last_start", "_pace", "_row", "_started")

    def __init__(
        self, endpoints: Iterable[Endpoint], circuits: Iterable[Candidate] = (), pace: Pace = CALM
    ) -> None:
        self._pace = pace
        self._row: list[Candidate] = []  # short, and kept for long: a deque takes more room than all of it
        self._followers: list[Endpoint] = []  # µTP to hosts to which there is TCP, too
        self._started: dict[str, float] = {}  # when a host's followers have their turn
        self._last_start = _LONG_AGO  # of one of the row
        self._circuits = list(circuits)
        self._circuits_at: float | None = None  # None: not before something is dialled
        self.add(endpoints)

    @property
    def is_empty(self) -> bool:
        """Nothing is left to begin."""
        return not (self._row or self._followers or self._circuits)

    def add(self, endpoints: Iterable[Endpoint], under_way: Iterable[Endpoint] = ()) -> None:
        """
        Try these, too.

        Args:
            endpoints: Those that wait for their turn already are left out.
            under_way: So are those of attempts that :meth:`take` began, and that have not ended.
        """
        begun = set(under_way)
        waiting = {each.endpoint for each in self._row}
        new = [each for each in dict.fromkeys(endpoints) if each not in begun | waiting | {*self._followers}]
        hosts = {each.host for each in (*new, *waiting, *begun) if each.transport == "tcp"}
        for endpoint in new:
            if endpoint.transport == "tcp" and endpoint.host not in {each.host for each in begun}:
                self._started.pop(endpoint.host, None)  # of an earlier turn
        follows = {each for each in new if each.transport != "tcp" and each.host in hosts}
        self._followers += [each for each in new if each in follows]
        row = [*self._row, *(Candidate(each) for each in new if each not in follows)]
        self._row = sorted(row, key=_place)

    def add_circuits(self, circuits: Iterable[Candidate], under_way: Iterable[Endpoint] = ()) -> None:
        """Try these, too, now; those that wait, or are under way, are left out."""
        begun = {*under_way, *(each.endpoint for each in self._circuits)}
        new = [each for each in circuits if each.endpoint not in begun]
        self._circuits.extend(new)
        if new:
            self._circuits_at = _LONG_AGO

    def again(self, candidate: Candidate) -> None:
        """Try this before all others, whenever the row goes on; once, though it may wait for its turn already."""
        row = self._circuits if candidate.prepare is not None else self._row
        what = (candidate.endpoint, candidate.secret_index)
        row[:] = [candidate, *(each for each in row if (each.endpoint, each.secret_index) != what)]

    def clear(self) -> None:
        """Nothing more is to be begun."""
        self._row.clear()
        self._followers.clear()
        self._circuits.clear()

    def take(self, now: float) -> Candidate | None:
        """What is to be begun now; None: nothing yet, see :meth:`next_at`, or nothing at all."""
        for position, endpoint in enumerate(self._followers):
            at = self._started.get(endpoint.host)
            if at is not None and at <= now:
                del self._followers[position]
                return Candidate(endpoint)
        if self._circuits and self._circuits_due() <= now:
            self._circuits_at = now + self._pace.stagger
            return self._circuits.pop(0)
        if not self._row or self._row_at() > now:
            return None
        candidate = self._row.pop(0)
        if self._circuits_at is None:
            self._circuits_at = now + self._pace.circuit_headstart
        self._last_start = now
        self._started.setdefault(candidate.endpoint.host, now + self._pace.utp_headstart)
        return candidate

    def _row_at(self) -> float:
        on_link = self._row[0].endpoint.is_link_local
        return self._last_start + (self._pace.stagger_on_link if on_link else self._pace.stagger)

    def _circuits_due(self) -> float:
        if self._circuits_at is not None:
            return self._circuits_at
        return _LONG_AGO if not (self._row or self._followers) else float("inf")

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """That came to nothing: the next one, and the other transport to that host, need not wait any longer."""
        self._last_start = self._circuits_at = _LONG_AGO
        self._started[endpoint.host] = now

    def next_at(self) -> float | None:
        """When :meth:`take` has something again; None if it never has, or not before something fails."""
        times = [self._started[each.host] for each in self._followers if each.host in self._started]
        if self._row:
            times.append(self._row_at())
        if self._circuits and (due := self._circuits_due()) != float("inf"):
            times.append(due)
        return min(times, default=None)


def _place(candidate: Candidate) -> int:
    return rank(class_of(candidate.manner, candidate.endpoint.transport))
