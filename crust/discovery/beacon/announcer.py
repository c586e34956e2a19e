"""
Who wants to be found: which queries are answered, when, and what with (sans-IO).

An answer waits a random moment, so that not all of a link answer at once, and goes to the asker alone. It is smaller
than the query, and there are only so many of them a second, for each address and in all. Half of what there is in all
is for addresses that ask seldom: who asks all the time does not keep newcomers from being answered.
"""

from __future__ import annotations

import collections
import heapq
import itertools
from collections.abc import Callable

from ... import limits
from ...crypto.identity import KeyPair
from ...exceptions import MalformedMessage
from ...runtime.rates import Rates
from ...values import dataclass
from .links import Link
from .packet import AskingKey, NetworkKey, Offer, Place, Random, fact, open_query_untrusted, seal_answer
from .seeker import Uniform

__all__ = ["Announcer", "Reply"]


@dataclass(frozen=True)
class Reply:
    """An answer that is to be sent now."""

    link: Link
    to: Place
    data: bytes
    answering: AskingKey
    """What we are told in turn is sealed for this key."""


@dataclass(frozen=True)
class _Asker:
    link: Link
    source: Place
    key: bytes
    network: NetworkKey


class Announcer:
    """
    Not thread-safe.

    Args:
        networks: The keys of our network.
        ours: Who we are.
        offer: What there is to tell on a link now; None: nothing.
        is_ours: Whether we have asked with that key ourselves.
        random: So many random bytes.
        uniform: A random number between two.
        bites: Told the name of a limit that has bitten.
    """

    def __init__(
        self,
        networks: tuple[NetworkKey, ...],
        ours: KeyPair,
        offer: Callable[[Link], Offer | None],
        is_ours: Callable[[bytes], bool],
        random: Random,
        uniform: Uniform,
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._bites = bites
        self._networks = networks
        self._ours = ours
        self._offer = offer
        self._is_ours = is_ours
        self._random = random
        self._uniform = uniform
        self._ports: dict[Link, int] = {}
        self._rates = Rates(
            limits.BEACON_ANSWERS_PER_ADDRESS,
            limits.BEACON_ANSWERS_PER_SECOND,
            each_size=limits.BEACON_ANSWERS_AT_ONCE,
            all_size=2 * limits.BEACON_ANSWERS_PER_SECOND,
            names=("BEACON_ANSWERS_PER_ADDRESS", "BEACON_ANSWERS_PER_SECOND"),
        )
        self._seldom = Rates(limits.BEACON_ASKS_FORGOTTEN, float("inf"), each_size=limits.BEACON_ASKS_FEW)
        self._seen: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self._askers: collections.OrderedDict[tuple[Link, Place], tuple[_Asker, float]] = collections.OrderedDict()
        self._pending: list[tuple[float, int, _Asker, bool]] = []
        self._numbers = itertools.count()

    def set_links(self, ports: dict[Link, int]) -> None:
        """These are the links, and the ports from which we answer there."""
        self._ports = dict(ports)

    # --- being asked --------------------------------------------------------------------------------------------------

    def receive(self, link: Link, source: Place, data: bytes, now: float) -> bool:
        """
        A datagram that was sent to all of a link.

        Args:
            source: Where it came from, without a scope.

        Returns:
            Whether it will be answered.
        """
        if len(data) != limits.BEACON_QUERY_SIZE or link not in self._ports or not link.has(source[0]):
            return False
        try:
            query, network = open_query_untrusted(self._networks, source, data)
        except MalformedMessage:
            return False
        if self._is_ours(query.key) or not self._is_first(query.iv):
            return False
        asker = _Asker(link, source, query.key, network)
        self._askers[link, source] = asker, now
        self._askers.move_to_end((link, source))
        if len(self._askers) > limits.BEACON_ASKERS:
            self._askers.popitem(last=False)
            self._bites("BEACON_ASKERS")
        offer = self._offer(link)
        if offer is None or query.knows(fact(self._ours.peer_id, offer, link.host)):
            return False
        left = 0.0 if self._seldom.permit(source[0], now) else float(limits.BEACON_ANSWERS_PER_SECOND)
        if limit := self._rates.refusal(source[0], now, leave=left):
            self._bites(limit)
            return False
        return self._later(asker, now, wants=True)

    def _is_first(self, iv: bytes) -> bool:
        """Whether that query was not seen before: by another interface, or repeated by somebody."""
        if iv in self._seen:
            return False
        self._seen[iv] = None
        if len(self._seen) > limits.BEACON_PENDING:
            self._seen.popitem(last=False)
        return True

    def introduce(self, link: Link, to: Place, key: bytes, network: NetworkKey, now: float) -> None:
        """Somebody who has answered us wants to be told in turn: as many as we have heard, no more."""
        if link in self._ports:
            self._later(_Asker(link, to, key, network), now, wants=False)

    def changed(self, now: float) -> None:
        """There is something else to tell: those who have asked lately hear it."""
        for asker, asked in self._askers.values():
            if now - asked < limits.BEACON_KEY_LIFE and asker.link in self._ports:
                self._later(asker, now, wants=False)

    def _later(self, asker: _Asker, now: float, *, wants: bool) -> bool:
        if len(self._pending) >= limits.BEACON_PENDING:
            self._bites("BEACON_PENDING")
            return False
        due = now + self._uniform(0.0, limits.BEACON_DELAY)
        heapq.heappush(self._pending, (due, next(self._numbers), asker, wants))
        return True

    # --- answering ----------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never."""
        return self._pending[0][0] if self._pending else None

    def handle_timer(self, now: float, *, wants: bool) -> list[Reply]:
        """
        The answers that are due.

        Args:
            wants: Whether we want to know who asks.
        """
        replies = []
        while self._pending and self._pending[0][0] <= now:
            _, _, asker, may_want = heapq.heappop(self._pending)
            reply = self._reply(asker, wants=wants and may_want)
            if reply is not None:
                replies.append(reply)
        return replies

    def _reply(self, asker: _Asker, *, wants: bool) -> Reply | None:
        port, offer = self._ports.get(asker.link), self._offer(asker.link)
        if port is None or offer is None:
            return None  # neither the link nor the listener is there any more
        answering = AskingKey(asker.network, self._random)
        places = ((asker.link.host, port), asker.source)
        try:
            data = seal_answer(self._ours, offer, answering, asker.key, places, wants, self._random)
        except MalformedMessage:
            return None  # the key of nobody
        return Reply(asker.link, asker.source, data, answering)
