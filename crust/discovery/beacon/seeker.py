"""
Who looks for others: when each link is asked, and who has answered (sans-IO).

A link is asked three times within a second, to begin with, and then every minute if we go on. A query tells who need
not answer, since it has done so lately. So a link of many nodes is quiet, and nobody is forgotten who is still there.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping

from ... import limits
from ...addresses import PeerId
from ...exceptions import MalformedMessage
from ...runtime.rates import Rates
from ...values import dataclass
from .links import Link
from .packet import (
    ANSWER_SIZE,
    Answer,
    AskingKey,
    NetworkKey,
    Offer,
    Place,
    Random,
    fact,
    open_answer_untrusted,
    seal_query,
    unwrap_answer_untrusted,
)

__all__ = ["Found", "Seeker", "Uniform"]

Uniform = Callable[[float, float], float]
_KEYS = 3  # of one link that answers are taken for: those of the last askings


@dataclass(frozen=True)
class Found:
    """A peer has answered."""

    link: Link
    peer_id: PeerId
    host: str
    """Where it is: the source of its answer, with the scope of the link if it needs one."""
    offer: Offer
    is_new: bool
    """Whether it was not known there, or with other ports."""
    source: Place
    """Where to introduce ourselves, if it wants that."""
    wants: bytes | None = None
    """It wants to be told who we are, sealed for this key; in the network of that other one."""
    network: NetworkKey | None = None


class _Known:
    """What was heard of one peer at one address."""

    __slots__ = ("asked_again", "fact", "found", "heard")

    def __init__(self, found: Found, fact_: bytes, heard: float, asked_again: float) -> None:
        self.found = found
        self.fact = fact_
        self.heard = heard
        self.asked_again = asked_again  # from when on it has to answer anew


class _Key:
    """One key that answers may be sealed for."""

    __slots__ = ("asking", "expires", "seen")

    def __init__(self, asking: AskingKey, expires: float) -> None:
        self.asking = asking
        self.expires = expires
        # Answers that were opened: one that is repeated costs nothing more. The oldest are forgotten.
        self.seen: collections.OrderedDict[bytes, None] = collections.OrderedDict()


class _Asking:
    """One link."""

    __slots__ = ("afresh", "burst", "keys", "next", "port")

    def __init__(self, port: int) -> None:
        self.port = port
        self.burst: list[float] = []  # when the queries of a beginning are due
        self.next: float | None = None  # and the one after them
        self.afresh = False  # of this beginning: who has not been heard since it has to answer
        self.keys: collections.deque[_Key] = collections.deque(maxlen=_KEYS)

    @property
    def due(self) -> float | None:
        return self.burst[0] if self.burst else self.next


class Seeker:
    """
    Not thread-safe.

    Args:
        networks: The keys of our network, the one to ask with first.
        random: So many random bytes.
        uniform: A random number between two.
        bites: Told the name of a limit that has bitten.
    """

    def __init__(
        self,
        networks: tuple[NetworkKey, ...],
        random: Random,
        uniform: Uniform,
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._bites = bites
        self._networks = networks
        self._random = random
        self._uniform = uniform
        self._goes_on = False
        self._links: dict[Link, _Asking] = {}
        self._known: dict[tuple[Link, str], dict[PeerId, _Known]] = {}  # by address; none of them is empty
        self._expected: collections.OrderedDict[tuple[Link, Place], _Key] = collections.OrderedDict()
        self._opening = Rates(
            limits.BEACON_FOUND_PER_ADDRESS,
            limits.BEACON_FOUND_PER_SECOND,
            each_size=2 * limits.BEACON_PEERS_PER_ADDRESS,
            all_size=2 * limits.BEACON_FOUND_PER_SECOND,
            names=("BEACON_FOUND_PER_ADDRESS", "BEACON_FOUND_PER_SECOND"),
        )
        self._seldom = Rates(limits.BEACON_FOUND_FORGOTTEN, float("inf"), each_size=limits.BEACON_FOUND_FEW)

    # --- asking -------------------------------------------------------------------------------------------------------

    def set_links(self, ports: Mapping[Link, int], now: float, *, ask: bool) -> None:
        """
        These are the links from now on. What is known of others is forgotten.

        Args:
            ports: From which port each is asked.
            ask: Whether new ones are asked at once.
        """
        self._links = {link: asking for link, asking in self._links.items() if ports.get(link) == asking.port}
        self._known = {place: known for place, known in self._known.items() if place[0] in ports}
        for link, port in ports.items():
            if link not in self._links:
                self._links[link] = _Asking(port)
                if ask:
                    self._begin(link, now, afresh=False)

    def go_on(self, on: bool, now: float) -> None:
        """Ask again and again, from now on, or no more."""
        if on == self._goes_on:
            return
        self._goes_on = on
        for link, asking in self._links.items():
            asking.next = None
            if on and not asking.burst:
                self._begin(link, now, afresh=False)

    @property
    def goes_on(self) -> bool:
        """Whether it asks again and again."""
        return self._goes_on

    def seek(self, now: float) -> None:
        """Ask all links now, unless that is under way. Those that are known are to answer too."""
        for link, asking in self._links.items():
            if not (asking.burst and asking.afresh):
                self._begin(link, now, afresh=True)

    def ask(self, now: float) -> None:
        """Ask all links now, for those that are not known."""
        for link, asking in self._links.items():
            if not asking.burst:
                self._begin(link, now, afresh=False)

    def _begin(self, link: Link, now: float, *, afresh: bool) -> None:
        asking = self._links[link]
        asking.burst = [now + each for each in limits.BEACON_BURST]
        asking.next = None
        asking.afresh = afresh
        self._new_key(asking, now)

    def _new_key(self, asking: _Asking, now: float) -> None:
        asking.keys.append(_Key(AskingKey(self._networks[0], self._random), now + limits.BEACON_KEY_LIFE))

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never."""
        return min((due for asking in self._links.values() if (due := asking.due) is not None), default=None)

    def handle_timer(self, now: float) -> list[tuple[Link, bytes]]:
        """The queries that are due, each for all of a link."""
        due = self.get_timer()
        if due is None or due > now:
            return []
        self._forget(now)
        queries = []
        for link, asking in self._links.items():
            due = asking.due
            if due is None or due > now:
                continue
            if asking.burst:
                queries.append((link, self._query(link, asking, now, afresh=asking.afresh)))
                asking.burst = [each for each in asking.burst if each > now]
            else:
                self._new_key(asking, now)
                queries.append((link, self._query(link, asking, now, afresh=False)))
            if not asking.burst:
                asking.next = now + limits.BEACON_INTERVAL * self._spread() if self._goes_on else None
        return queries

    def _query(self, link: Link, asking: _Asking, now: float, *, afresh: bool) -> bytes:
        key = asking.keys[-1]
        since = key.expires - limits.BEACON_KEY_LIFE  # when this asking began
        here = (each for (where, _), known in self._known.items() if where == link for each in known.values())
        facts = [known.fact for known in here if (known.heard >= since if afresh else now < known.asked_again)]
        return seal_query(key.asking, (link.host, asking.port), facts, self._random)

    def _spread(self) -> float:
        return self._uniform(1 - limits.BEACON_SPREAD, 1 + limits.BEACON_SPREAD)

    def is_ours(self, public: bytes) -> bool:
        """Whether we have asked with that key: our queries come back to us."""
        return any(key.asking.public == public for asking in self._links.values() for key in asking.keys)

    # --- answers ------------------------------------------------------------------------------------------------------

    def expect(self, link: Link, source: Place, asking: AskingKey, now: float) -> None:
        """We have answered that asker, and said that we want to be told in turn."""
        self._expected[link, source] = _Key(asking, now + limits.BEACON_KEY_LIFE)
        self._expected.move_to_end((link, source))
        if len(self._expected) > limits.BEACON_ASKERS:
            self._expected.popitem(last=False)
            self._bites("BEACON_ASKERS")

    def receive(self, link: Link, source: Place, data: bytes, now: float) -> Found | None:
        """
        A datagram came to where we asked from; who has answered, if somebody has.

        Args:
            source: Where it came from, without a scope.
        """
        asking = self._links.get(link)
        if asking is None or len(data) != ANSWER_SIZE or not link.has(source[0]):
            return None
        expected = self._expected.get((link, source))
        for key in (*reversed(asking.keys), *((expected,) if expected is not None else ())):
            if now > key.expires or data in key.seen:
                continue
            try:
                unwrapped = unwrap_answer_untrusted(key.asking, (source, (link.host, asking.port)), data)
            except MalformedMessage:
                continue
            left = 0.0 if self._seldom.permit(source[0], now) else float(limits.BEACON_FOUND_PER_SECOND)
            if limit := self._opening.refusal(source[0], now, leave=left):
                self._bites(limit)
                return None
            key.seen[data] = None
            if len(key.seen) > 2 * limits.BEACON_PEERS:
                key.seen.popitem(last=False)
            try:
                answer = open_answer_untrusted(key.asking, unwrapped)
            except MalformedMessage:
                return None
            return self._learn(link, source, answer, key.asking.network, now)
        return None

    def _learn(self, link: Link, source: Place, answer: Answer, network: NetworkKey, now: float) -> Found | None:
        before = self._known.get((link, source[0]), {}).get(answer.peer_id)
        if before is None and not self._has_room(link, source[0]):
            return None
        host = link.with_scope(source[0])
        is_new = before is None or before.found.offer != answer.offer
        wants = answer.key if answer.wants else None
        found = Found(link, answer.peer_id, host, answer.offer, is_new, source, wants, network)
        self._keep(found, now)
        return found

    def _keep(self, found: Found, heard: float) -> None:
        told = fact(found.peer_id, found.offer, found.source[0])
        again = heard + limits.BEACON_REFRESH * self._spread()
        here = self._known.setdefault((found.link, found.source[0]), {})
        here[found.peer_id] = _Known(found, told, heard, again)

    def remember(self, known: Iterable[tuple[Found, float]]) -> None:
        """That was known, and heard then, before this seeker was made: as :meth:`known` gave it."""
        for found, heard in known:
            self._keep(found, heard)

    def _has_room(self, link: Link, host: str) -> bool:
        """Room for one more at that address; of too many, who has been silent longest goes for it where most are."""
        if len(self._known.get((link, host), ())) >= limits.BEACON_PEERS_PER_ADDRESS:
            self._bites("BEACON_PEERS_PER_ADDRESS")
            return False
        counts = [len(known) for known in self._known.values()]
        if sum(counts) >= limits.BEACON_PEERS:
            most = max(counts)
            crowds = ((place, known) for place, known in self._known.items() if len(known) == most)
            silent = ((each.heard, place, who) for place, known in crowds for who, each in known.items())
            _, place, who = min(silent, key=lambda each: each[0])
            del self._known[place][who]
            if not self._known[place]:
                del self._known[place]
            self._bites("BEACON_PEERS")
        return True

    # --- what is known ------------------------------------------------------------------------------------------------

    def _forget(self, now: float) -> None:
        for place, known in list(self._known.items()):
            left = {who: each for who, each in known.items() if now - each.heard < limits.BEACON_LIFE}
            if len(left) < len(known):
                self._known[place] = left
            if not left:
                del self._known[place]

    def known(self, now: float) -> list[tuple[Found, float]]:
        """Who is there, and when it was heard; the last heard first."""
        self._forget(now)
        every = ((each.found, each.heard) for known in self._known.values() for each in known.values())
        return sorted(every, key=lambda each: -each[1])
