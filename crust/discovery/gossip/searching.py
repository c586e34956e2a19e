"""
All searches of one node that are under way, and what it answers to those of others. Without I/O: time is an argument.

Whom one search asks, and whom it believes, is decided in :mod:`lookup`.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable, Iterable

from ... import limits
from ...wire import gossip as wire
from .clocks import WallClock
from .events import Ask, Found, Outcome, RecordLearned
from .link import Link, asked_of_each
from .lookup import Candidate, Lookup
from .record import Record
from .store import Store

__all__ = ["Searching"]

_NEVER = float("inf")


class Searching:
    """
    Args:
        our_id: 32 bytes.
        links: All of them, by peer.
        store: What is known.
        clock: Says which records hold still.
        out: Gets the questions, and :class:`Found`.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = ("_asked_lately", "_bites", "_clock", "_links", "_lookups", "_next", "_our_id", "_out", "_store")

    def __init__(
        self,
        our_id: bytes,
        links: dict[bytes, Link],
        store: Store,
        clock: WallClock,
        out: Outcome,
        bites: Callable[[str], object],
    ) -> None:
        self._our_id = our_id
        self._links = links
        self._store = store
        self._clock = clock
        self._out = out
        self._bites = bites
        self._asked_lately = asked_of_each()
        self._lookups: dict[int, Lookup] = {}
        self._next = 1

    @property
    def due(self) -> float:
        """When :meth:`go_on` has something to do."""
        return min((lookup.due for lookup in self._lookups.values()), default=_NEVER)

    # --- ours ---------------------------------------------------------------------------------------------------------

    def find(self, peer_id: bytes, now: float, newer_than: int) -> int:
        """See :meth:`Gossip.find`."""
        if len(self._lookups) >= limits.GOSSIP_FINDS_AT_ONCE:
            self._bites("GOSSIP_FINDS_AT_ONCE")
            raise ValueError(f"{limits.GOSSIP_FINDS_AT_ONCE} searches at once are the most")
        number = self._next
        self._next = number % 0xFFFFFFFF + 1
        record = self._store.of(peer_id)
        if record is not None and record.sequence > newer_than and self._clock.holds(record):
            self._out.events.append(Found(number, record, 0))
            return number
        lookup = Lookup(number, peer_id, now, self._seeds(peer_id, now), self._our_id, newer_than)
        self._lookups[number] = lookup
        self._advance(lookup, now)
        return number

    def _seeds(self, target: bytes, now: float) -> list[Candidate]:
        """Whom to begin with: on one path those that had links with us, on the other whoever is said to be nearest."""
        prefix = wire.prefix_of(target)
        most = limits.GOSSIP_FIND_ASKS
        vouched: dict[bytes, Record | None] = {link.peer_id: None for link in self._links.values()}
        for record in self._store.vouched(prefix, most, now):
            vouched.setdefault(record.node, record)
        turns = self._turns(prefix)
        careful = sorted(vouched, key=lambda node: (turns.get(node, 0), wire.prefix_of(node) ^ prefix))[:most]
        seeds = [Candidate(record.node, record, 1, b"") for record in self._store.nearest(prefix, most, now)]
        seeds = [one for one in seeds if one.node not in vouched]
        mixed = [Candidate(node, vouched[node], 0, b"", min(turns.get(node, 0), 1)) for node in careful]
        if not seeds:
            for one in [each for each in mixed if each.rank] or mixed[1::2]:
                one.path = 1
        return [*mixed, *seeds]

    def _turns(self, prefix: int) -> dict[bytes, int]:
        """How many at the same place are nearer: keys cost nothing, so of each place one is asked before another."""
        counts = collections.Counter[Hashable]()
        turns: dict[bytes, int] = {}
        for link in sorted(self._links.values(), key=lambda link: link.prefix ^ prefix):
            turns[link.peer_id] = counts[link.place]
            counts[link.place] += 1
        return turns

    def cancel(self, number: int) -> None:
        """Nobody wants that any more: there is no :class:`Found`."""
        self._lookups.pop(number, None)

    def go_on(self, now: float) -> None:
        """Ask whom it is time to ask, and end what has taken too long."""
        for lookup in [lookup for lookup in self._lookups.values() if lookup.due <= now]:
            self._advance(lookup, now)

    def _advance(self, lookup: Lookup, now: float) -> None:
        for candidate in lookup.next(now, self._asked_lately.permit):
            frame = wire.Find(lookup.number, lookup.target)
            if candidate.node in self._links:
                self._out.frames.append((candidate.node, frame))
            elif candidate.record is not None:
                self._out.asks.append(Ask(candidate.record, frame))
            else:
                lookup.failed(candidate.node)  # its link has ended
        if lookup.is_over(now):
            self._finish(lookup, None)
        else:
            lookup.wait(now)

    def _finish(self, lookup: Lookup, record: Record | None) -> None:
        self._lookups.pop(lookup.number, None)
        self._out.events.append(Found(lookup.number, record, lookup.asked))

    # --- what comes of them -------------------------------------------------------------------------------------------

    def awaiting(self, number: int, peer_id: bytes) -> Lookup | None:
        """The search of that number, if it waits for an answer of that peer."""
        lookup = self._lookups.get(number)
        return lookup if lookup is not None and lookup.awaits(peer_id) else None

    def answered(
        self, lookup: Lookup, peer_id: bytes, record: Record | None, nearer: Iterable[Record], now: float, wall: float
    ) -> None:
        """That peer knows the target, by this record, or at least nodes nearer to it."""
        self._store.reached(wire.prefix_of(peer_id))
        if record is not None and record.sequence > lookup.newer_than and record.holds(wall):
            self._finish(lookup, record)
            if self._store.add(record):
                self._out.events.append(RecordLearned(record, peer_id))
            return
        lookup.answered(peer_id, [one for one in nearer if one.holds(wall)])
        self._advance(lookup, now)

    def lied(self, lookup: Lookup, peer_id: bytes, now: float) -> None:
        """What that peer answered was wrong."""
        lookup.failed(peer_id)
        self._advance(lookup, now)

    def failed(self, peer_id: bytes, now: float) -> None:
        """That node could not be asked."""
        for lookup in list(self._lookups.values()):
            self.lied(lookup, peer_id, now)

    def learned(self, record: Record) -> None:
        """It came otherwise, and may be what is looked for."""
        for lookup in [one for one in self._lookups.values() if one.target == record.node]:
            self._finish(lookup, record)

    # --- others' ------------------------------------------------------------------------------------------------------

    def answer(self, link: Link, find: wire.Find, now: float) -> wire.Found:
        """The record of that node, or of those who may know: half of them known by links, not by hearsay."""
        record = self._store.of(find.target)
        if record is not None and self._clock.holds(record):
            return wire.Found(find.number, record.data, ())
        prefix = wire.prefix_of(find.target)
        skip = {link.prefix, self._store.prefix, prefix}
        most = limits.GOSSIP_NEARER_MAX
        nearer = self._store.vouched(prefix, most // 2, now, skip)
        skip.update(one.prefix for one in nearer)
        nearer += self._store.nearest(prefix, most - len(nearer), now, skip)
        return wire.Found(find.number, b"", tuple(one.data for one in nearer if self._clock.holds(one)))
