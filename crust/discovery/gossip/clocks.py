"""Budgets, and the time of day as far as it can be trusted. Without I/O: time is an argument."""

from __future__ import annotations

from collections import OrderedDict

from ... import limits
from .record import Record

__all__ = ["Allowance", "Doubt", "WallClock"]


class Allowance:
    """
    So many at once, and so many more a second. Not thread-safe.

    Args:
        rate: Units a second that come back.
        size: The most there can be, and what there is at first.
    """

    __slots__ = ("_left", "_when", "rate", "size")

    def __init__(self, rate: float, size: float) -> None:
        self.rate, self.size = rate, size
        self._left = size
        self._when = 0.0

    def left(self, now: float) -> float:
        """How many there are; less than none if more was taken."""
        if now > self._when:
            self._left = min(self.size, self._left + (now - self._when) * self.rate)
            self._when = now
        return self._left

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take so many if there are so many; whether it was so."""
        if self.left(now) < count:
            return False
        self._left -= count
        return True

    def spend(self, now: float, count: float) -> None:
        """Take so many, there or not."""
        self._left = self.left(now) - count


class WallClock:
    """
    What records are held against. When the clock of the machine is set, what is known does not lose its worth by that:
    it may have been right before. For as long as a record can hold from then on, old records hold by either time.
    """

    __slots__ = ("_before", "_now", "_offset", "_until")

    def __init__(self) -> None:
        self._now = 0.0
        self._offset: float | None = None
        self._before = 0.0
        self._until = float("-inf")

    def tell(self, now: float, wall: float) -> bool:
        """It is this late by both clocks; whether the one on the wall has been set since the last time."""
        offset, last = wall - now, self._offset
        self._now, self._offset = now, offset
        if last is None or abs(offset - last) < limits.GOSSIP_SKEW / 2:
            return False
        if now >= self._until:
            self._before = last  # of several jumps the first one counts: before it, there was order
        self._until = now + limits.GOSSIP_LIFE
        return True

    @property
    def wall(self) -> float | None:
        """Unix time, in seconds, as it was told last; None before that."""
        return None if self._offset is None else self._now + self._offset

    def holds(self, record: Record) -> bool:
        """Whether a record that is kept still holds. Before any time was told, each does."""
        if self._offset is None or record.holds(self._now + self._offset):
            return True
        return self._now < self._until and record.holds(self._now + self._before)


class Doubt:
    """
    Whether it is the clock on our wall that is wrong: several nodes have made records that cannot be of this time, all
    too late or all too early, and none has made one that can. Ids cost nothing, so this is good for a warning alone.
    """

    __slots__ = ("_offs", "off")

    def __init__(self) -> None:
        self._offs: OrderedDict[bytes, float] = OrderedDict()  # how much later it is here than in that node's record
        self.off: float | None = None
        """Seconds by which our clock seems to be ahead (less than 0: behind), give or take two hours; None: not."""

    def heard(self, record: Record, wall: float) -> bool:
        """Somebody else's record has come; whether that is the one that makes our clock doubtful."""
        off = wall - record.made / 1000
        if -limits.GOSSIP_SKEW <= off <= limits.GOSSIP_LIFE:
            self._offs.clear()
            self.off = None
            return False
        if 0 < off <= limits.GOSSIP_LIFE + limits.GOSSIP_SKEW:
            return False  # whoever has passed it on may be right by his own clock
        if any((off > 0) != (other > 0) for other in self._offs.values()):
            self._offs.clear()  # they cannot all be right
            self.off = None
        self._offs[record.node] = off
        if len(self._offs) > limits.GOSSIP_DOUBTS:
            self._offs.popitem(last=False)
        was_right = self.off is None
        if len(self._offs) >= limits.GOSSIP_DOUBTS:
            self.off = sorted(self._offs.values())[limits.GOSSIP_DOUBTS // 2]
        return was_right and self.off is not None
