"""
Which packets are duplicates from before the sequence numbers went round.

On a fast path 2^16 packets take less than a second, and a packet may lie in some queue for longer. Whoever sent packet
``n`` had our acknowledgement of packet ``n - 2^15``, since fewer than 2^15 are ever under way: so its timestamp is
later than those of packets before that. A timestamp now and then is enough to compare with. (TCP's PAWS, RFC 7323
section 5.)
"""

from __future__ import annotations

import collections

__all__ = ["Freshness"]

_INTERVAL = 1 << 13  # packets between two remembered timestamps
_KEPT = 6  # of them: 2^15 packets and one more interval
_HALF = 1 << 31  # microseconds of half a timestamp's circle
_OLD = 1000.0  # seconds after which a timestamp may have gone half round, and says nothing any more


class Freshness:
    """What is remembered of one connection's timestamps. Numbers are unwrapped."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: collections.deque[tuple[int, int, float]] = collections.deque(maxlen=_KEPT)

    def advanced(self, before: int, number: int, timestamp: int, now: float) -> None:
        """The stream, in order so far up to ``before``, goes on up to ``number``, with a packet of that timestamp."""
        if number // _INTERVAL != before // _INTERVAL or not self._known:
            self._known.append((number, timestamp, now))

    def is_stale(self, number: int, timestamp: int, now: float) -> bool:
        """Whether the packet of that timestamp cannot be the one whose number it bears."""
        for known, stamp, when in self._known:
            if known <= number - 0x8000 and now - when < _OLD and (timestamp - stamp) & 0xFFFFFFFF >= _HALF:
                return True
        return False
