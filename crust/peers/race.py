"""
The race for a new connection: which address of a peer is tried when (sans-IO).

TCP is favoured, and nobody waits for it: its addresses are tried one after the other (RFC 8305 calls it Happy
Eyeballs), the next one ``DIAL_STAGGER`` after the last, or at once when one fails. µTP to the same host follows its TCP
by ``UTP_HEADSTART``, or at once when that has failed. Hosts that are known by µTP alone come last in the row.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NamedTuple

from .. import limits
from ..addresses import Endpoint
from .paths import class_of, rank

__all__ = ["Candidate", "Race"]


_LONG_AGO = float("-inf")


class Candidate(NamedTuple):
    """One thing to try."""

    endpoint: Endpoint
    secret_index: int = 0
    """Under which of the network's secrets."""


class Race:
    """
    What is left to try in one effort, and when. ``now`` is seconds on any clock that only goes forward.

    Args:
        endpoints: Where the peer may be, in the order in which those of one class are tried.
    """

    __slots__ = ("_followers", "_last_start", "_row", "_started")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._row: collections.deque[Candidate] = collections.deque()
        self._followers: list[Endpoint] = []  # µTP to hosts to which there is TCP, too
        self._started: dict[str, float] = {}  # when a host's followers have their turn
        self._last_start = _LONG_AGO  # of one of the row
        self.add(endpoints)

    @property
    def is_empty(self) -> bool:
        """Nothing is left to begin."""
        return not (self._row or self._followers)

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
        self._row = collections.deque(sorted(row, key=_place))

    def again(self, candidate: Candidate) -> None:
        """Try this before all others, whenever the row goes on."""
        self._row.appendleft(candidate)

    def clear(self) -> None:
        """Nothing more is to be begun."""
        self._row.clear()
        self._followers.clear()

    def take(self, now: float) -> Candidate | None:
        """What is to be begun now; None: nothing yet, see :meth:`next_at`, or nothing at all."""
        for position, endpoint in enumerate(self._followers):
            at = self._started.get(endpoint.host)
            if at is not None and at <= now:
                del self._followers[position]
                return Candidate(endpoint)
        if not self._row or self._row_at() > now:
            return None
        candidate = self._row.popleft()
        self._last_start = now
        self._started.setdefault(candidate.endpoint.host, now + limits.UTP_HEADSTART)
        return candidate

    def _row_at(self) -> float:
        on_link = self._row[0].endpoint.is_link_local
        return self._last_start + (limits.DIAL_STAGGER_ON_LINK if on_link else limits.DIAL_STAGGER)

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """That came to nothing: the next one, and the other transport to that host, need not wait any longer."""
        self._last_start = _LONG_AGO
        self._started[endpoint.host] = now

    def next_at(self) -> float | None:
        """When :meth:`take` has something again; None if it never has, or not before something fails."""
        times = [self._started[each.host] for each in self._followers if each.host in self._started]
        if self._row:
            times.append(self._row_at())
        return min(times, default=None)


def _place(candidate: Candidate) -> int:
    return rank(class_of("direct", candidate.endpoint.transport))
