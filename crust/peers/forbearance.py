"""
How long a link may bring nothing before it is suspected (sans-IO): the timeout of RFC 6298, grown as that is.

A narrow line is silent, too: a record of 64 KiB takes six seconds at 10 kB/s, and what was measured before says
nothing of that. Whoever leaves such a link for another one over the same line has to send the record again, for ever.
So the time doubles whenever a link was suspected, as of a retransmission timer (RFC 6298, 5.5), until something is
answered; and from then on it is twice what answers have taken lately.
"""

from __future__ import annotations

from .. import limits

__all__ = ["Forbearance"]

_FACTOR_MAX = 64
_FORGETS = 0.5  # with each answer, of what earlier ones have taken


class Forbearance:
    """Of one session, whichever links carry it. Not thread-safe. Times are in seconds."""

    __slots__ = ("_factor", "_slowest")

    def __init__(self) -> None:
        self._factor = 1
        self._slowest = 0.0

    def suspected(self) -> None:
        """A link was, in vain or not."""
        self._factor = min(2 * self._factor, _FACTOR_MAX)

    def answered(self, waited: float) -> None:
        """Something was answered, after so long."""
        self._factor = 1
        self._slowest = max(waited, _FORGETS * self._slowest)

    def seconds(self, rto: float) -> float:
        """The time, where an answer is overdue after ``rto``."""
        least = max(3 * rto, limits.SUSPICION_MIN)
        return max(least, min(max(least, 2 * self._slowest) * self._factor, limits.SUSPICION_MAX))
