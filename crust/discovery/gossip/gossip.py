"""
The gossip of one node, without I/O: announce, pull, compare, find (docs/gossip.md).

Peers are named by the 32 bytes of their public keys here. Times are ``now``, of a monotonic clock, and ``wall``, Unix
time; both in seconds. Not thread-safe: its driver holds a lock, or is one thread.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable

from ... import limits
from ...exceptions import MalformedMessage
from ...values import dataclass
from ...wire import gossip as wire
from .announcing import Announcing
from .clocks import WallClock
from .events import Ask, Event, Misbehaved, Outcome, RecordLearned, Superseded
from .giving import Giving
from .link import Link, finds_of_all
from .pulling import Pulling
from .record import Reader, Record
from .replicas import Replicas
from .searching import Searching
from .store import EVERYTHING, Store

__all__ = ["Gossip", "GossipSettings"]

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """What may be chosen."""

    max_records: int = limits.GOSSIP_RECORDS
    """Records that are kept, our own included; at least 16."""


class Gossip:
    """
    What one node knows of others, and how it spreads.

    After any of the verbs below there may be something in ``frames_to_send``, ``asks`` and ``events``, and another time
    in ``get_timer``.

    Args:
        our_id: 32 bytes.
        settings: What may be chosen.
        read: Parses a record and verifies its signature (``record.read_with``); simulations put something cheaper here,
            which may give the same object for the same bytes.
        rng: For jitter and choices.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = (
        "_announcing",
        "_bites",
        "_clock",
        "_compare_at",
        "_finds",
        "_forced_at",
        "_giving",
        "_links",
        "_out",
        "_own",
        "_past",
        "_pulling",
        "_read",
        "_replicas",
        "_rng",
        "_searching",
        "our_id",
        "rejected",
        "settings",
        "store",
    )

    def __init__(
        self,
        our_id: bytes,
        settings: GossipSettings,
        read: Reader,
        rng: random.Random,
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self.our_id = our_id
        self.settings = settings
        self._bites = bites
        self.store = Store(our_id, settings.max_records, bites)
        """What is known; also for reading by the driver, and for a simulation to begin with."""
        self.rejected: dict[str, int] = {}
        """How many records were not taken, by the reason: ``forged``, ``time`` (expired, or of the future), ``old``."""
        self._read = read
        self._rng = rng
        self._clock = WallClock()
        self._out = Outcome()
        self._links: dict[bytes, Link] = {}
        self._past: OrderedDict[bytes, Link] = OrderedDict()
        self._pulling = Pulling(self._links, settings.max_records, bites)
        self._announcing = Announcing(self._links, self.store, bites)
        self._giving = Giving(self.store, self._out, bites)
        self._searching = Searching(our_id, self._links, self.store, self._clock, self._out, bites)
        self._replicas = Replicas()
        self._finds = finds_of_all()
        self._own: Record | None = None
        self._compare_at = _NEVER
        self._forced_at = _NEVER

    # --- results ------------------------------------------------------------------------------------------------------

    def frames_to_send(self) -> list[tuple[bytes, wire.GossipFrame]]:
        """What is to be sent now, in order, by peer; each frame once."""
        frames, self._out.frames = self._out.frames, []
        return frames

    def asks(self) -> list[Ask]:
        """What is to be brought to nodes that no link leads to; each once."""
        asks, self._out.asks = self._out.asks, []
        return asks

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._out.events = self._out.events, []
        return events

    def get_timer(self) -> float | None:
        """When ``handle_timer`` is to be called next; None: only after another verb."""
        parts = (self._announcing.due, self._giving.due, self._pulling.due, self._replicas.timer, self._searching.due)
        due = min(self._compare_at, self._forced_at, *parts)
        return None if due == _NEVER else due

    # --- links --------------------------------------------------------------------------------------------------------

    def link_up(
        self, peer_id: bytes, is_public: bool, now: float, *, short: bool = False, place: Hashable = None
    ) -> None:
        """
        A link to a peer with ``Capability.GOSSIP`` stands.

        Args:
            is_public: It was we who dialled it, without punching, or strangers reach it for other reasons.
            short: We made it for an :class:`Ask` only: nothing is announced on it. Say it again without, or the other
                way round, when that changes.
            place: What those have in common who share the answers to their questions; None: nobody with this peer.
        """
        link = self._links.get(peer_id)
        if link is not None:
            if link.is_short == short:
                link.is_public, link.place = is_public, peer_id if place is None else place
                if not (short or link.is_open):  # what was said on an earlier link may not have come through
                    self._out.frames.append((peer_id, wire.Summary(self.store.radius, False, ())))
                return
            self._drop(link)
        else:
            link = self._past.pop(peer_id, None)
        if link is None:
            link = Link(peer_id, is_public, short, self.settings.max_records)
        else:
            link.reset(is_public, short)
        link.place = peer_id if place is None else place
        self._links[peer_id] = link
        self.store.reached(link.prefix)
        if self.store.get(link.prefix) is not None:
            self.store.pin(link.prefix, link.place)
        if not short:
            self._out.frames.append((peer_id, wire.Summary(self.store.radius, False, ())))
            if self._compare_at == _NEVER:
                self._compare_at = now + self._jittered(limits.GOSSIP_COMPARE)

    def link_down(self, peer_id: bytes, now: float) -> None:
        """There is no link to that peer any more."""
        link = self._links.get(peer_id)
        if link is not None:
            self._drop(link)
            self._past[peer_id] = link
            while len(self._past) > limits.GOSSIP_PAST:
                self._past.popitem(last=False)
            self._pull(now)

    def _drop(self, link: Link) -> None:
        del self._links[link.peer_id]
        self._pulling.lost(link)
        self._announcing.lost(link)
        self._giving.lost(link)
        link.reset(link.is_public, link.is_short)

    @property
    def links(self) -> list[bytes]:
        """Peers that take part in gossip with us."""
        return [link.peer_id for link in self._links.values() if link.is_open and not link.is_short]

    # --- what comes in ------------------------------------------------------------------------------------------------

    def receive(self, peer_id: bytes, frame: wire.GossipFrame, now: float, wall: float) -> None:
        """A frame came from that peer. From one without a link only answers to what we asked count."""
        self._tell(now, wall)
        if isinstance(frame, wire.Found):
            self._found(peer_id, frame, now, wall)
            return
        link = self._links.get(peer_id)
        if link is None:
            return
        if isinstance(frame, wire.Announce):
            if self._may_read(link, len(frame.items), now):
                self._announced(link, frame.items, now)
                self._pull(now)
        elif isinstance(frame, wire.Records):
            self._records(link, frame.records, now, wall)
            self._pull(now)
        elif isinstance(frame, wire.Request):
            self._giving.requested(link, frame.prefixes, now)
        elif isinstance(frame, wire.Summary):
            self._summary(link, frame, now, wall)
        elif isinstance(frame, wire.Contents):
            self._contents(link, frame, now)
        elif isinstance(frame, wire.Find):
            self._asked(link, frame, now)

    def _tell(self, now: float, wall: float) -> None:
        if self._clock.tell(now, wall):
            self._forced_at = now + limits.GOSSIP_LIFE

    def _may_read(self, link: Link, count: int, now: float) -> bool:
        if link.items.take(now, count + 1):
            return True
        self._bites("GOSSIP_ITEMS_RATE")
        self._report(link, "flood", now)
        return False

    def _report(self, link: Link, kind: str, now: float) -> None:
        if now >= link.news.get(kind, -_NEVER) + limits.GOSSIP_NEWS_PERIOD:
            link.news[kind] = now
            self._out.events.append(Misbehaved(link.peer_id, kind))

    def _strike(self, link: Link, now: float) -> None:
        if link.strike(now):
            self._bites("GOSSIP_STRIKES")

    def _reject(self, why: str) -> None:
        self.rejected[why] = self.rejected.get(why, 0) + 1

    # --- announcing and pulling ---------------------------------------------------------------------------------------

    def _announced(self, link: Link, items: tuple[wire.Item, ...], now: float) -> None:
        """The peer has these."""
        store = self.store
        is_dear = store.is_half_full_with(len(self._pulling.wants))
        for prefix, version in items:
            known = store.get(prefix)
            if known is None:
                if store.wants(prefix):
                    self._pulling.offered(link, prefix, version, is_dear, now)
            elif known.version < version:
                self._pulling.offered(link, prefix, version, False, now)
            elif known.version > version:
                self._announcing.queue(link, prefix, now)
            else:
                self._announcing.knows(link, prefix)

    def _pull(self, now: float) -> None:
        for link, request in self._pulling.requests(now):
            self._out.frames.append((link.peer_id, request))

    def _records(self, link: Link, records: tuple[bytes, ...], now: float, wall: float) -> None:
        """Records that we asked for, or the peer's own."""
        for data in records:
            prefix = wire.prefix_of(data)
            claimed = self._pulling.claimed(link, prefix)
            if claimed is not None:
                record = self._verified(link, data, now, wall)
                if record is not None and record.version < claimed:
                    self._strike(link, now)
                known = self.store.get(prefix)
                has = known.version if known is not None else -1
                if record is None or record.version <= has:
                    self._pulling.came(link, prefix, has)
                else:
                    self._accept(record, link, now)
            elif data[: limits.PEER_ID_SIZE] == link.peer_id:
                if not link.checks.take(now):
                    self._bites("GOSSIP_CHECKS_LINK")
                    self._may_read(link, 3, now)  # of a few nothing is said: what it was asked for counts, too
                elif not self._pulling.may_check(link, now):
                    self._bites("GOSSIP_CHECKS")
                else:
                    record = self._verified(link, data, now, wall)
                    if record is not None and self._has_room(record, link, now):
                        self._accept(record, link, now)
            elif not link.items.take(now, 4):  # late, or not ours: it costs nothing but its way
                self._report(link, "unasked", now)

    def _has_room(self, record: Record, link: Link, now: float) -> bool:
        """Whether that peer's own record may be kept. Where space is dear a new node pays: keys cost nothing."""
        if self.store.get(record.prefix) is not None or not self.store.is_half_full_with(len(self._pulling.wants)):
            return True
        return self._pulling.may_add(link, now)

    def _verified(self, link: Link, data: bytes, now: float, wall: float) -> Record | None:
        try:
            record = self._read(data)
        except MalformedMessage:
            self._reject("forged")
            self._strike(link, now)
            self._report(link, "forged", now)
            return None
        if not record.holds(wall):
            self._reject("time")
            return None
        return record

    def _accept(self, record: Record, link: Link, now: float) -> None:
        """A record that is right and came by this link."""
        prefix = record.prefix
        linked = self._links.get(record.node)
        is_new = self.store.add(record, linked is not None, None if linked is None else linked.place)
        known = self.store.get(prefix)
        sources = self._pulling.came(link, prefix, record.version if known is None else known.version)
        if not is_new:
            self._reject("old")
            return
        if record.node == self.our_id:
            if self._own is None or record.version > self._own.version:
                self._out.events.append(Superseded(record))
        else:
            self._out.events.append(RecordLearned(record, link.peer_id))
        self._searching.learned(record)
        if known is record:
            self._announcing.spread(prefix, {link.peer_id, *sources}, now)

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _summary(self, link: Link, summary: wire.Summary, now: float, wall: float) -> None:
        """The peer takes part; and maybe wants to know where we differ."""
        if not self._may_read(link, len(summary.hashes), now) or link.is_short:
            return
        is_first = not link.is_open
        if is_first:
            link.is_open = True
            self._announcing.opened(link)
        link.radius = summary.radius
        if summary.asks and summary.hashes:
            if link.summaries.take(now):
                self._compare(link, summary.hashes, now, wall)
            else:
                self._bites("GOSSIP_SUMMARIES_LINK")
        elif is_first and self.store.prefix < link.prefix:
            self._ask_to_compare(link, now, wall)

    def _ask_to_compare(self, link: Link, now: float, wall: float) -> None:
        self.store.expire(self._clock.holds, now, wall)
        link.compared_until = now + limits.GOSSIP_CONTENTS_WAIT
        self._out.frames.append((link.peer_id, wire.Summary(self.store.radius, True, self.store.hashes())))

    def _compare(self, link: Link, hashes: tuple[int, ...], now: float, wall: float) -> None:
        """Tell all that we have where the peer has something else."""
        self.store.expire(self._clock.holds, now, wall)
        for first, last in self.store.differing(hashes, link.prefix, link.radius):
            self._tell_contents(link, first, last)

    def _tell_contents(self, link: Link, first: int, last: int) -> None:
        items = sorted(self.store.items(first, last))
        most = limits.GOSSIP_ITEMS_MAX
        while len(items) > most:
            middle = items[most][0] - 1
            self._out.frames.append((link.peer_id, wire.Contents(first, middle, tuple(items[:most]))))
            first, items = middle + 1, items[most:]
        self._out.frames.append((link.peer_id, wire.Contents(first, last, tuple(items))))

    def _contents(self, link: Link, contents: wire.Contents, now: float) -> None:
        """All that the peer has of a range."""
        if now > link.compared_until:
            self._report(link, "unasked", now)
            return
        if not self._may_read(link, len(contents.items), now):
            return
        ours = self.store.items(contents.first, contents.last)
        link.items.spend(now, len(ours))
        theirs = dict(contents.items)
        self._announced(link, contents.items, now)
        for prefix, _ in ours:
            if prefix not in theirs:
                self._announcing.queue(link, prefix, now)
        self._pull(now)

    # --- our own record -----------------------------------------------------------------------------------------------

    def publish(self, record: Record, now: float) -> None:
        """
        This is our own record from now on: announced to all links, and brought to the public nodes nearest to us if
        stores are smaller than the network. Call it again before half of its life is over, and when it changes.
        """
        self._own = record
        self._announcing.is_public = record.is_public
        self.store.add(record, pinned=True)
        self.store.pin(record.prefix)
        self._announcing.spread(record.prefix, (), now)
        if self.store.is_half_full_with(0) or any(link.radius != EVERYTHING for link in self._links.values()):
            self._replicas.begin(record, now)

    def _bring(self, now: float) -> None:
        target = self._replicas.next(self.store, now)
        record = self._replicas.record
        if target is None or record is None:
            return
        frame = wire.Records((record.data,))
        link = self._links.get(target.node)
        if link is None:
            self._out.asks.append(Ask(target, frame))
        elif not link.takes(record.prefix):
            self._out.frames.append((target.node, frame))

    def failed(self, peer_id: bytes, now: float) -> None:
        """
        Nobody could be reached where that node's record says; also the answer to an :class:`Ask` that failed. Do not
        say it of who has no record here because of dials by other addresses.
        """
        prefix = wire.prefix_of(peer_id)
        self.store.failed(prefix, now)
        self._replicas.failed(prefix, now)
        self._searching.failed(peer_id, now)

    # --- searching ----------------------------------------------------------------------------------------------------

    def find(self, peer_id: bytes, now: float, newer_than: int = -1) -> int:
        """
        Look for a node, or a newer record of it; :class:`Found` with this number follows, maybe at once, within 10 s.

        Raises:
            ValueError: 64 searches run already.
        """
        return self._searching.find(peer_id, now, newer_than)

    def cancel_find(self, number: int) -> None:
        """Nobody wants that any more: there is no :class:`Found`."""
        self._searching.cancel(number)

    def _found(self, peer_id: bytes, found: wire.Found, now: float, wall: float) -> None:
        """Somebody answers."""
        lookup = self._searching.awaiting(found.number, peer_id)
        if lookup is None:
            return
        try:
            record = self._read(found.record) if found.record else None
            nearer = [self._read(data) for data in found.nearer]
            if record is not None and record.node != lookup.target:
                raise MalformedMessage("the record of somebody else")
        except MalformedMessage:
            self._reject("forged")
            link = self._links.get(peer_id)
            if link is not None:
                self._report(link, "forged", now)
            self._searching.lied(lookup, peer_id, now)
        else:
            self._searching.answered(lookup, peer_id, record, nearer, now, wall)

    def _asked(self, link: Link, find: wire.Find, now: float) -> None:
        """Somebody looks for a node: here it is, or who may know."""
        limit = self._finds.refusal(link.place, now) if link.finds.take(now) else "GOSSIP_FINDS_LINK"
        if not limit:
            self._out.frames.append((link.peer_id, self._searching.answer(link, find, now)))
            return
        self._bites(limit)
        if limit == "GOSSIP_FINDS_LINK":  # else others have asked too much, with it or without
            self._report(link, "flood", now)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.75, 1.25)

    def handle_timer(self, now: float, wall: float) -> None:
        """Do what is due."""
        self._tell(now, wall)
        if self._announcing.due <= now:
            self._out.frames += self._announcing.flush(now)
        if self._giving.due <= now:
            self._giving.go_on(now)
        if self._pulling.due <= now:
            self._pulling.expire(now)
            self._pull(now)
        if self._compare_at <= now:
            self._compare_at = now + self._jittered(limits.GOSSIP_COMPARE)
            links = [link for link in self._links.values() if link.is_open and not link.is_short]
            if links:
                self._ask_to_compare(self._rng.choice(links), now, wall)
        if self._forced_at <= now:
            self._forced_at = _NEVER
            self.store.expire(self._clock.holds, now, wall, everywhere=True)
        if self._replicas.timer <= now:
            self._bring(now)
        self._searching.go_on(now)
