"""
The nodes that were reached before: the last seen first, and which of them to look at next. Sans-IO.

A node is here if strangers reach it: we dialled it, and it answered. It goes after ``CACHE_FAILURES`` failures in a
row. If there are too many, those at the address that has most give way, the longest unseen first: keys cost nothing,
and one machine with many would be all that is known after a restart. An IPv6 /48 counts as some addresses at most. In
the same order they are dialled, or one machine that is silent then would keep the others waiting.

Looked at are those to which a link was lost, at once and a few times, and by turns those that nobody has seen for long:
usually one a minute, of those unseen for an hour. Where nodes come and go that would leave a list of the dead. So each
one that is found dead makes the next look come sooner by far, and each living one a little later: then about one look
in fifty meets a dead one, where there is time for so many.

Several processes may share a file. Each merges what it has changed into what the others have (:meth:`Cache.merge`).
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterable, Sequence

from ... import limits
from ...addresses import Contact, PeerId, address_key
from ...peers.whereabouts import site_key
from ...values import dataclass

__all__ = ["Cache", "Entry", "in_turns"]


@dataclass(frozen=True)
class Entry:
    """One node."""

    contact: Contact
    """Where it was reached, the last place first."""

    seen: float
    """When it was there last, seconds since the epoch."""

    failures: int = 0
    """Since then, in a row."""

    around: str = ""
    """For a private address: the network of ours in which it was reached; see :mod:`crust.discovery.hearsay`."""

    @property
    def peer_id(self) -> PeerId:
        """Who it is."""
        return self.contact.peer_id


class Cache:
    """
    Not thread-safe. ``wall`` is seconds since the epoch, which may jump; ``now`` is seconds on a clock that does not.

    Args:
        max_peers: The most that are kept.
        uniform: Random numbers in [0, 1), for jitter.
    """

    def __init__(self, max_peers: int, uniform: Callable[[], float]) -> None:
        self.max_peers = max_peers
        self._uniform = uniform
        self._entries: dict[PeerId, Entry] = {}
        self._order: dict[PeerId, int] = {}  # of those seen at the same time, the greater goes first
        self._count = 0
        self._shared: dict[PeerId, Entry] = {}  # what the file had when we knew all of it
        self._checks: dict[PeerId, float] = {}  # when to look at one again, of those that seem to have gone
        self._busy: set[PeerId] = set()  # being looked at
        self._pace = limits.CACHE_PACE
        self._turn = 0.0  # when the next of those unseen for long has its turn
        self.changed = False
        """There is something that the file does not have. Set here, and unset by whoever saves it."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer_id: PeerId) -> bool:
        return peer_id in self._entries

    def get(self, peer_id: PeerId) -> Entry | None:
        """That one, if it is known."""
        return self._entries.get(peer_id)

    def entries(self) -> tuple[Entry, ...]:
        """All, the last seen first."""
        key = self._order.__getitem__
        return tuple(sorted(self._entries.values(), key=lambda each: (each.seen, key(each.peer_id)), reverse=True))

    # --- what happens -------------------------------------------------------------------------------------------------

    def met(self, contact: Contact, wall: float, around: str = "") -> None:
        """It was reached there: it comes first."""
        self._mend(wall)
        before = self._entries.get(contact.peer_id)
        known = () if before is None or before.around != around else before.contact.endpoints
        endpoints = tuple(dict.fromkeys((*contact.endpoints, *known)))[: limits.CACHE_ENDPOINTS]
        if not endpoints:
            return
        self._set(Entry(Contact(contact.peer_id, endpoints), wall, 0, around))
        self._count += 1
        self._order[contact.peer_id] = self._count
        self._checks.pop(contact.peer_id, None)
        self._trim()

    def present(self, peer_ids: Iterable[PeerId], wall: float) -> None:
        """Links to these stand: they are there now. Their order among each other stays."""
        self._mend(wall)
        for peer_id in peer_ids:
            entry = self._entries.get(peer_id)
            if entry is not None:
                self._set(Entry(entry.contact, wall, 0, entry.around))
                self._checks.pop(peer_id, None)

    def lost(self, peer_id: PeerId, now: float) -> None:
        """A link to it is over: look soon whether it is still there."""
        if peer_id in self._entries and peer_id not in self._busy:
            self._checks[peer_id] = self._later(now, limits.CACHE_CHECKS[0])

    def answered(self, peer_id: PeerId, wall: float, contact: Contact | None = None) -> None:
        """It is there. ``contact``: at these places, and no others."""
        self._busy.discard(peer_id)
        self._checks.pop(peer_id, None)
        entry = self._entries.get(peer_id)
        if entry is not None:
            self._mend(wall)
            self._set(Entry(contact or entry.contact, wall, 0, entry.around))
            self._pace = min(limits.CACHE_PACE, self._pace * limits.CACHE_CALM)

    def failed(self, peer_id: PeerId, now: float) -> bool:
        """It is not there. True: that was once too often, and it is gone from here."""
        self._busy.discard(peer_id)
        entry = self._entries.get(peer_id)
        if entry is None:
            return False
        if not entry.failures:
            self._pace = max(limits.CACHE_PACE_MIN, self._pace / limits.CACHE_ALARM)
        failures = entry.failures + 1
        if failures >= limits.CACHE_FAILURES:
            self.remove(peer_id)
            return True
        self._set(Entry(entry.contact, entry.seen, failures, entry.around))
        self._checks[peer_id] = self._later(now, limits.CACHE_CHECKS[min(failures, len(limits.CACHE_CHECKS) - 1)])
        return False

    def undecided(self, peer_id: PeerId, now: float, *, again: bool) -> None:
        """Nothing was learned: maybe it is we who are cut off. ``again``: look at it once more, after a while."""
        self._busy.discard(peer_id)
        if again and peer_id in self._entries:
            self._checks[peer_id] = self._later(now, limits.CACHE_PACE)

    def remove(self, peer_id: PeerId) -> None:
        """It is not to be known any more."""
        if self._entries.pop(peer_id, None) is not None:
            self.changed = True
        self._order.pop(peer_id, None)
        self._checks.pop(peer_id, None)

    def _later(self, now: float, seconds: float) -> float:
        return now + seconds * (1 + limits.JITTER * (2 * self._uniform() - 1))

    def _set(self, entry: Entry) -> None:
        if self._entries.get(entry.peer_id) != entry:
            self._entries[entry.peer_id] = entry
            self._order.setdefault(entry.peer_id, 0)
            self.changed = True

    def _mend(self, wall: float) -> None:
        """The clock has gone back: nothing was seen in the future."""
        for entry in [each for each in self._entries.values() if each.seen > wall]:
            self._set(Entry(entry.contact, wall, entry.failures, entry.around))

    def _trim(self) -> None:
        if len(self._entries) <= self.max_peers:
            return
        for entry in in_turns(self.entries())[self.max_peers :]:
            self.remove(entry.peer_id)

    # --- whom to look at ----------------------------------------------------------------------------------------------

    def due(self, now: float, wall: float, but: Collection[PeerId] = ()) -> Entry | None:
        """
        Whom to look at now; :meth:`answered`, :meth:`failed` or :meth:`undecided` must follow.

        Args:
            but: Not these: links to them stand, or nobody may dial them.
        """
        for peer_id, at in sorted(self._checks.items(), key=lambda each: each[1]):
            if at > now:
                break
            if peer_id in but:
                self._checks[peer_id] = self._later(now, limits.CACHE_PACE)
            elif peer_id not in self._busy:
                del self._checks[peer_id]
                self._busy.add(peer_id)
                return self._entries[peer_id]
        if now < self._turn:
            return None
        oldest = wall - limits.CACHE_AGE * (self._pace / limits.CACHE_PACE) ** 1.5
        for entry in reversed(self.entries()):
            peer_id = entry.peer_id
            if oldest < entry.seen <= wall:
                break
            if peer_id not in but and peer_id not in self._busy and peer_id not in self._checks:
                self._turn = self._later(now, self._pace)
                self._busy.add(peer_id)
                return entry
        return None

    def next_at(self, now: float) -> float:
        """When to ask :meth:`due` again, at the latest."""
        turn = self._turn if self._turn > now else now + self._pace
        return min([turn, *self._checks.values()])

    # --- the file -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """There is no file, or none that can be used: what it had is not to be missed."""
        self._shared = {}

    def merge(self, theirs: Sequence[Entry], wall: float) -> None:
        """
        Take over what others have changed in the file since we knew it, as far as we have not seen the node later.

        Args:
            theirs: What the file has, the last seen first.
        """
        before, others = self._shared, {each.peer_id: each for each in theirs}
        for number, peer_id in enumerate(dict.fromkeys((*others, *self._entries))):
            ours, known, other = self._entries.get(peer_id), before.get(peer_id), others.get(peer_id)
            chosen = _merged(ours, known, other)
            if chosen is None:
                self.remove(peer_id)
            elif chosen != ours:
                self._entries[peer_id] = chosen
                self._order.setdefault(peer_id, -number)
        self._mend(wall)
        self._trim()

    def saved(self) -> None:
        """The file has all of this now."""
        self._shared = dict(self._entries)
        self.changed = False


def in_turns(entries: Iterable[Entry]) -> list[Entry]:
    """
    One of each address, then another one of each, and so on: whom to keep, and whom to dial first.

    Args:
        entries: The last seen first. So it stays among those whose turn comes at once.
    """
    counts: collections.Counter[bytes] = collections.Counter()
    ranked: list[tuple[int, int, Entry]] = []  # how many at its address, or site, were seen later; how many of all
    for index, entry in enumerate(entries):
        place = _place(entry)
        site = site_key(place)
        more = counts[place] if site is None else max(counts[place], counts[site] // limits.SITE_SHARE)
        ranked.append((more, index, entry))
        counts.update(each for each in (place, site) if each is not None)
    return [entry for _, _, entry in sorted(ranked, key=lambda each: each[:2])]


def _place(entry: Entry) -> bytes:
    """What others have to be at to share its room."""
    endpoint = entry.contact.endpoints[0]
    return address_key(endpoint.host) if endpoint.is_ip else b"by name: " + endpoint.host.encode()


def _merged(ours: Entry | None, known: Entry | None, other: Entry | None) -> Entry | None:
    """What is true of one node, given what both had, and what each of the two has made of it."""
    if ours == known or ours == other:
        return other
    if other == known:
        return ours
    seen = float("-inf") if known is None else known.seen
    if ours is None or other is None:  # one has removed it: unless it was seen since then
        rest = ours or other
        return rest if rest is not None and rest.seen > seen else None
    if ours.seen == other.seen:
        return max(ours, other, key=lambda each: each.failures)
    return max(ours, other, key=lambda each: each.seen)
