"""
What is announced, to whom, and when. Without I/O: time is an argument.

What is new concerns all links: it stands once in a list, and each link remembers how far in that list it has been told.
What one link alone lacks is in that link's queue. Of many links only so many are told in a second, so that a node with
thousands of them has time for something else: those whose turn comes late hear more at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ... import limits
from ...wire import gossip as wire
from .clocks import Allowance
from .link import Link
from .store import EVERYTHING, Store

__all__ = ["Announcing"]

_NEVER = float("inf")


class Announcing:
    """
    Args:
        links: All of them, by peer.
        store: What there is to announce.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = (
        *("_again_at", "_bites", "_budget", "_dues", "_first", "_latest", "_links", "_news"),
        *("_queued", "_store", "_turns", "is_public"),
    )

    def __init__(
        self, links: dict[bytes, Link], store: Store, bites: Callable[[str], object] = lambda limit: None
    ) -> None:
        self._bites = bites
        self._links = links
        self._store = store
        self.is_public = False
        """Strangers reach us."""
        self._budget = Allowance(limits.GOSSIP_TELLS, limits.GOSSIP_TELLS_BURST)
        self._news: list[int] = []  # prefixes
        self._first = 0  # the number of the first of them
        self._latest: dict[int, int] = {}  # the number under which each stands last
        self._dues = {True: _NEVER, False: _NEVER}  # when public links are told, and when the others
        self._queued: dict[bytes, float] = {}  # links with a queue, and when it is due
        self._turns: dict[bytes, None] = {}  # links that are to be told now
        self._again_at = _NEVER  # when the budget allows to go on

    @property
    def due(self) -> float:
        """When :meth:`flush` has something to do."""
        if self._turns:
            return self._again_at
        return min(self._dues[True], self._dues[False], min(self._queued.values(), default=_NEVER))

    # --- what there is to say -----------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A link takes part from now on; what was there before comes out when stores are compared."""
        link.told = self._first + len(self._news)

    def lost(self, link: Link) -> None:
        """There is no such link any more."""
        self._queued.pop(link.peer_id, None)
        self._turns.pop(link.peer_id, None)

    def spread(self, prefix: int, has: Iterable[bytes], now: float) -> None:
        """That record is new: for all links but those to peers that have it."""
        self._latest[prefix] = self._first + len(self._news)
        self._news.append(prefix)
        for peer_id in has:
            link = self._links.get(peer_id)
            if link is not None:
                self.knows(link, prefix)
        for is_public, due in self._dues.items():
            at = now if prefix == self._store.prefix else now + self._delay(is_public)
            self._dues[is_public] = min(due, at)

    def queue(self, link: Link, prefix: int, now: float) -> None:
        """That link alone is to hear of it."""
        if link.takes(prefix):
            if link.queue is None:
                link.queue = {}
            link.queue[prefix] = None
            at = now if prefix == self._store.prefix else now + self._delay(link.is_public)
            self._queued[link.peer_id] = min(at, self._queued.get(link.peer_id, at))

    def knows(self, link: Link, prefix: int) -> None:
        """That peer has it: it need not be told."""
        if link.queue is not None:
            link.queue.pop(prefix, None)
        number = self._latest.get(prefix, -1)
        if number >= link.told:
            if link.known is None:
                link.known = {}
            link.known[prefix] = number  # a later version is news again

    def _delay(self, is_public: bool) -> float:
        """Seconds that news waits for more to go with it."""
        if len(self._links) <= 2:
            return limits.GOSSIP_DELAY_PUBLIC  # there may be no other way
        if not self.is_public:
            return limits.GOSSIP_DELAY_LEAF
        return limits.GOSSIP_DELAY_PUBLIC if is_public else limits.GOSSIP_DELAY_OTHERS

    # --- saying it ----------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[tuple[bytes, wire.Announce]]:
        """What is to be said now, and to whom."""
        if not self._turns:
            self._take_turns(now)
        frames: list[tuple[bytes, wire.Announce]] = []
        said: dict[int, list[wire.Announce]] = {}  # most links are told the same
        while self._turns and self._budget.left(now) >= 1:
            peer_id = next(iter(self._turns))
            del self._turns[peer_id]
            announcements = self._tell(self._links[peer_id], said)
            self._budget.spend(now, len(announcements))
            frames.extend((peer_id, frame) for frame in announcements)
        if self._turns:
            self._again_at = now + limits.GOSSIP_TELLS_PAUSE
            self._bites("GOSSIP_TELLS")
        elif self._news:
            self._forget()
        return frames

    def _take_turns(self, now: float) -> None:
        """See who is to be told."""
        last = self._first + len(self._news)
        due = [is_public for is_public, at in self._dues.items() if at <= now]
        for is_public in due:
            self._dues[is_public] = _NEVER
        if due:
            for peer_id, link in self._links.items():
                # Whoever has become public meanwhile, or is so no longer, is not left out.
                if self._dues[link.is_public] == _NEVER and link.told < last and link.is_open and not link.is_short:
                    self._turns[peer_id] = None
        for peer_id, at in list(self._queued.items()):
            if at <= now:
                self._turns[peer_id] = None

    def _tell(self, link: Link, said: dict[int, list[wire.Announce]]) -> list[wire.Announce]:
        """All that a link has not been told."""
        told, known, queue = link.told, link.known, link.queue
        link.told = self._first + len(self._news)
        link.known = link.queue = None
        self._queued.pop(link.peer_id, None)
        is_usual = not (known or queue) and link.radius == EVERYTHING
        if is_usual and told in said:
            return said[told]
        found = dict.fromkeys(queue or ())
        start = max(told, self._first)
        for number, prefix in enumerate(self._news[start - self._first :], start):
            if self._latest[prefix] == number and not (known and known.get(prefix) == number) and link.takes(prefix):
                found[prefix] = None
        items = [(one.prefix, one.version) for one in map(self._store.get, found) if one is not None]
        most = limits.GOSSIP_ITEMS_MAX
        frames = [wire.Announce(tuple(items[at : at + most])) for at in range(0, len(items), most)]
        if is_usual:
            said[told] = frames
        return frames

    def _forget(self) -> None:
        """What all have been told need not be kept."""
        last = self._first + len(self._news)
        behind = min((each.told for each in self._links.values() if each.is_open and not each.is_short), default=last)
        # Whoever is so far behind gets the rest when stores are compared.
        first = max(behind, last - 2 * self._store.max_records)
        if first > self._first:
            for number, prefix in enumerate(self._news[: first - self._first], self._first):
                if self._latest[prefix] == number:
                    del self._latest[prefix]
            del self._news[: first - self._first]
            self._first = first
