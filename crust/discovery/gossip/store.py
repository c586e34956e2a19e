"""
The records that one node keeps: bounded, the nearest to itself when there are more than it takes.

*Near* is by XOR of prefixes. A store that was full once keeps those within a radius; it says so to others, who then
send nothing else. The records lie in 256 parts, by the first byte of their prefix; each has the XOR of its records'
digests, by which stores are compared.
"""

from __future__ import annotations

import collections
from array import array
from collections.abc import Callable, Container, Hashable, Iterator

from ... import limits
from ...wire.gossip import Item, prefix_of
from .record import Record

__all__ = ["EVERYTHING", "Store"]

EVERYTHING = (1 << 64) - 1
"""The radius of a store that keeps whatever there is."""

_PARTS = 256
_SHIFT = 56
_NEVER = EVERYTHING
_LIFE = round(limits.GOSSIP_LIFE * 1000)


class Store:
    """
    Args:
        our_id: 32 bytes; what is near it is kept.
        max_records: The most that are kept, at least 16.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = (
        *("_bites", "_first_made", "_hashes", "_parts", "_pinned", "_size", "_sunk"),
        *("max_records", "prefix", "radius"),
    )

    def __init__(
        self, our_id: bytes, max_records: int, bites: Callable[[str], object] = lambda limit: None
    ) -> None:
        self._bites = bites
        self.prefix = prefix_of(our_id)
        self.max_records = max_records
        self.radius = EVERYTHING
        """Records of nodes are kept whose prefix XOR ours is at most this; pinned ones besides."""
        self._parts: list[dict[int, Record] | None] = [None] * _PARTS
        self._hashes = array("Q", bytes(8 * _PARTS))
        self._first_made = array("Q", [_NEVER]) * _PARTS  # no record in that part was made before this
        self._size = 0
        self._pinned: dict[int, Hashable] = {}  # at which place; the latest last
        self._sunk: dict[int, tuple[float, int]] = {}

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Record]:
        for part in self._parts:
            if part:
                yield from part.values()

    def get(self, prefix: int) -> Record | None:
        """The record of the node with that prefix."""
        part = self._parts[prefix >> _SHIFT]
        return part.get(prefix) if part else None

    def of(self, node: bytes) -> Record | None:
        """The record of that node."""
        record = self.get(prefix_of(node))
        return record if record is not None and record.node == node else None

    def wants(self, prefix: int) -> bool:
        """Whether a record of a node with that prefix, which is not here, would be kept."""
        return prefix ^ self.prefix <= self.radius and prefix not in self._sunk

    def is_half_full_with(self, more: int) -> bool:
        """Whether it is, with so many that are to come: from there on strangers pay for what they bring."""
        return 2 * (self._size + more) >= self.max_records

    # --- what comes and goes ------------------------------------------------------------------------------------------

    def add(self, record: Record, pinned: bool = False, place: Hashable = None) -> bool:
        """
        Keep a record, unless a version that holds against it is here, or it is too far off.

        Args:
            pinned: Its node gave it to us itself: not to be thrown out for what others bring; see :meth:`pin`.
            place: Where that node is, then.
        """
        prefix = record.prefix
        index = prefix >> _SHIFT
        part = self._parts[index]
        known = part.get(prefix) if part else None
        if known is not None and (known.version >= record.version or known.node != record.node):
            return False
        if known is None and not (pinned or prefix ^ self.prefix <= self.radius):
            return False
        if part is None:
            part = self._parts[index] = {}
        part[prefix] = record
        self._hashes[index] ^= record.mix if known is None else record.mix ^ known.mix
        if record.made < self._first_made[index]:
            self._first_made[index] = record.made
        if pinned:
            self.pin(prefix, place)
        if known is None:
            self._size += 1
            if self._size > self.max_records:
                self._make_room()
        elif prefix in self._sunk:
            del self._sunk[prefix]  # it may be somewhere else by now
        return True

    def remove(self, prefix: int) -> None:
        """Forget the record of that node, if there is one."""
        index = prefix >> _SHIFT
        part = self._parts[index]
        record = part.pop(prefix, None) if part else None
        if record is not None:
            self._hashes[index] ^= record.mix
            self._size -= 1
            self._pinned.pop(prefix, None)

    def pin(self, prefix: int, place: Hashable = None) -> None:
        """
        Do not throw out the record of that node, which is there, for those that others bring. There is room for 512 of
        these, at most a quarter of all; of the place that has most, the one that has been here longest makes room.
        """
        self._pinned.pop(prefix, None)
        self._pinned[prefix] = place
        if len(self._pinned) > min(limits.GOSSIP_PINNED, self.max_records // 4):
            counts = collections.Counter(where for each, where in self._pinned.items() if each != self.prefix)
            most = max(counts.values())
            others = (each for each, where in self._pinned.items() if each != self.prefix and counts[where] == most)
            del self._pinned[next(others)]
            self._bites("GOSSIP_PINNED")

    def expire(self, holds: Callable[[Record], bool], now: float, wall: float, everywhere: bool = False) -> None:
        """Forget what does not hold any more: cheap unless there is something. Widen the radius if there is room."""
        for prefix in [prefix for prefix in self._sunk if not self.is_sunk(prefix, now)]:
            del self._sunk[prefix]
        too_old = round(wall * 1000) - _LIFE
        for index in range(_PARTS):
            if self._first_made[index] < too_old or everywhere:
                part = self._parts[index] or {}
                for record in [record for record in part.values() if not holds(record)]:
                    self.remove(record.prefix)
                self._first_made[index] = min((record.made for record in part.values()), default=_NEVER)
        if self.radius != EVERYTHING and self._size < self.max_records - self.max_records // 16:
            self.radius = min(EVERYTHING, self.radius + self.radius // 8 + 1)

    def _make_room(self) -> None:
        """Throw out those that nobody reaches, and then the farthest; a few more than must be, so that it is rare."""
        target = self.max_records - self.max_records // 32
        for prefix in list(self._sunk):
            if self._size <= target:
                return
            if prefix not in self._pinned and self.get(prefix) is not None:
                self.remove(prefix)
                self._bites("gossip.max_records")
        for rank in range(_PARTS - 1, -1, -1):
            part = self._parts[(self.prefix >> _SHIFT) ^ rank]
            if not part:
                continue
            ours = self.prefix
            for distance in sorted((prefix ^ ours for prefix in part if prefix not in self._pinned), reverse=True):
                if self._size <= target:
                    return
                self.remove(distance ^ ours)
                self._bites("gossip.max_records")
                self.radius = max(distance - 1, 0)

    # --- who is reachable ---------------------------------------------------------------------------------------------

    def failed(self, prefix: int, now: float) -> None:
        """Nobody could be reached where that record says."""
        _, count = self._sunk.pop(prefix, (0.0, 0))
        self._sunk[prefix] = (now + limits.GOSSIP_SUNK, count + 1)
        if len(self._sunk) > limits.GOSSIP_SUNK_MAX:
            del self._sunk[next(iter(self._sunk))]

    def reached(self, prefix: int) -> None:
        """Somebody could be: a failure before that means nothing."""
        self._sunk.pop(prefix, None)

    def is_sunk(self, prefix: int, now: float) -> bool:
        """Whether that node could not be reached a while ago: ten minutes for each time."""
        until, count = self._sunk.get(prefix, (0.0, 0))
        return now < until + (count - 1) * limits.GOSSIP_SUNK

    def nearest(self, target: int, count: int, now: float, skip: Container[int] = ()) -> list[Record]:
        """Public nodes, the nearest to that prefix first, without those that were not reached and those to skip."""
        found: list[Record] = []
        top = target >> _SHIFT
        for rank in range(_PARTS):
            part = self._parts[top ^ rank]
            if part:
                found += [
                    record
                    for record in part.values()
                    if record.is_public and record.prefix not in skip and not self.is_sunk(record.prefix, now)
                ]
                if len(found) >= count:
                    break
        found.sort(key=lambda record: record.prefix ^ target)
        return found[:count]

    def vouched(self, target: int, count: int, now: float, skip: Container[int] = ()) -> list[Record]:
        """The same among those that were linked with us: liars do not get in here by words alone."""
        pinned = (self.get(prefix) for prefix in self._pinned if prefix not in skip)
        found = [r for r in pinned if r is not None and r.is_public and not self.is_sunk(r.prefix, now)]
        found.sort(key=lambda record: record.prefix ^ target)
        return found[:count]

    # --- comparing ----------------------------------------------------------------------------------------------------

    def hashes(self, bits: int | None = None) -> tuple[int, ...]:
        """Of 2 ** ``bits`` equal parts of all prefixes; by default so many that 16 records are in each."""
        if bits is None:
            bits = min(max((self._size // 16).bit_length(), 0), limits.GOSSIP_DEPTH_MAX)
        hashes = list(self._hashes)
        while len(hashes) > 1 << bits:
            hashes = [hashes[i] ^ hashes[i + 1] for i in range(0, len(hashes), 2)]
        return tuple(hashes)

    def items(self, first: int, last: int) -> list[Item]:
        """What there is from one prefix to another."""
        found: list[Item] = []
        for index in range(first >> _SHIFT, (last >> _SHIFT) + 1):
            part = self._parts[index]
            if part:
                found += [(prefix, record.version) for prefix, record in part.items() if first <= prefix <= last]
        return found

    def differing(self, theirs: tuple[int, ...], prefix: int, radius: int) -> list[tuple[int, int]]:
        """
        Ranges of prefixes that both keep wholly, and that differ; those side by side are one.

        Args:
            theirs: Hashes of 1, 2, 4 … 256 parts.
            prefix: Of the other node.
            radius: What it keeps.
        """
        bits = len(theirs).bit_length() - 1
        ours = self.hashes(bits)
        low = (1 << 64 - bits) - 1
        ranges: list[tuple[int, int]] = []
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            first = index << 64 - bits
            is_whole = (first ^ self.prefix) | low <= self.radius and (first ^ prefix) | low <= radius
            if one != other and is_whole:
                if ranges and ranges[-1][1] == first - 1:
                    ranges[-1] = (ranges[-1][0], first | low)
                else:
                    ranges.append((first, first | low))
        return ranges
