"""
What delays in one direction tell of the queue on the way: RFC 6817, sections 3.4 and 4.

The other side measures with its own clock, so a delay by itself means nothing; only by how much it exceeds the shortest
one does. That one is forgotten after minutes, since routes change and clocks drift.
"""

from __future__ import annotations

from ... import limits

__all__ = ["BaseDelay", "OneWayDelays"]

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
_UNKNOWN = float("inf")


class BaseDelay:
    """The shortest delay in one direction during the last minutes. Delays are u32 microseconds that wrap around."""

    __slots__ = ("_last", "_minute", "_minutes", "_until", "base")

    def __init__(self) -> None:
        self.base = _UNKNOWN
        """The shortest delay, on a scale that does not wrap around; infinite until measured."""
        self._last = 0  # the last sample on that scale
        self._minute = _UNKNOWN  # the shortest one of this minute
        self._until = 0.0  # when this minute ends
        self._minutes: list[tuple[float, float]] = []  # when each of the minutes before ended, and its shortest

    def add(self, sample: int, now: float) -> float:
        """
        Take a measurement.

        Returns:
            By how many microseconds it exceeds the shortest one.
        """
        last = self._last
        value = last + ((sample - last + _HALF) & _MASK) - _HALF
        self._last = value
        if now >= self._until:
            self._turn(now)
        if value < self._minute:
            self._minute = value
            if value < self.base:
                self.base = value
        return value - self.base

    def shift(self, microseconds: float) -> None:
        """Raise all that is remembered: the clocks have drifted."""
        self.base += microseconds
        self._minute += microseconds
        self._minutes = [(end, shortest + microseconds) for end, shortest in self._minutes]

    def _turn(self, now: float) -> None:
        """A minute has passed, or more."""
        oldest = now - 60.0 * (limits.LEDBAT_BASE_HISTORY - 1)
        self._minutes.append((self._until, self._minute))
        self._minutes = [each for each in self._minutes if each[0] > oldest]
        self.base = min((shortest for _, shortest in self._minutes), default=_UNKNOWN)
        self._minute = _UNKNOWN
        self._until = now + 60.0


class OneWayDelays:
    """
    Both directions of a connection. If our base rises because the clocks drift apart, then the other direction's falls
    by as much, which no queue can cause; so ours follows (what libutp does).
    """

    __slots__ = ("_ours", "_theirs")

    def __init__(self) -> None:
        self._ours = BaseDelay()
        self._theirs = BaseDelay()

    def sent(self, sample: int, now: float) -> float | None:
        """
        What the other side measured of a packet of ours.

        Returns:
            Microseconds of queue on the way there; None if this was no measurement.
        """
        if sample == 0 or sample == 0x7FFFFFFF:  # limits.UTP_NO_SAMPLE
            return None
        return self._ours.add(sample, now)

    def received(self, sample: int, now: float) -> None:
        """What we measured of a packet of the other side."""
        if sample in limits.UTP_NO_SAMPLE:
            return
        theirs = self._theirs
        before = theirs.base
        theirs.add(sample, now)
        fall = before - theirs.base
        if 0 < fall <= limits.CLOCK_DRIFT_MAX:
            self._ours.shift(fall)
