"""How often an address is dialled of which others alone have told. Sans-IO: the clock is an argument."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable, Sequence

from ... import limits
from ...addresses import Endpoint
from ...runtime.rates import Bucket

__all__ = ["Strangers", "place_of"]


class Strangers:
    """
    Thread-safe.

    An identity costs nothing, so any number of records may name one address, which need not be that of a node. Where
    nobody has answered yet one dial is made, by each transport, and then none for ``HEARSAY_REST``; where somebody has,
    there may be more nodes. On this machine itself each port is an address of its own.

    Args:
        bites: Told the name of a limit that has bitten, with a lock held: must be quick.
    """

    def __init__(self, bites: Callable[[str], object] = lambda limit: None) -> None:
        self._bites = bites
        self._lock = threading.Lock()  # guards what follows
        self._unknown: collections.OrderedDict[str, float] = collections.OrderedDict()  # dialled, and when
        self._known: collections.OrderedDict[str, Bucket] = collections.OrderedDict()  # somebody has answered there

    def answered(self, endpoint: Endpoint) -> None:
        """A node is there."""
        key = place_of(endpoint)
        with self._lock:
            self._unknown.pop(key, None)
            if key not in self._known:  # else it would pay to answer again and again
                self._known[key] = Bucket(limits.HEARSAY_ANSWERED_PER_SECOND, limits.HEARSAY_ANSWERED_AT_ONCE)
            self._known.move_to_end(key)
            if len(self._known) > limits.HEARSAY_ADDRESSES:
                self._known.popitem(last=False)
                self._bites("HEARSAY_ADDRESSES")

    def can_afford(self, endpoints: Iterable[Endpoint], now: float) -> bool:
        """Whether :meth:`afford` would leave any."""
        with self._lock:
            return any(self._is_free(place_of(each), now) for each in endpoints)

    def afford(self, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, ...]:
        """Those that may be dialled now; they count as dialled."""
        found: dict[tuple[str, str], Endpoint] = {}
        with self._lock:
            for each in endpoints:
                key = place_of(each)
                if (each.transport, key) in found:
                    continue
                if self._is_free(key, now):
                    found[each.transport, key] = each
                else:
                    self._bites("HEARSAY_ANSWERED_PER_SECOND" if key in self._known else "HEARSAY_REST")
            for key in {key for _, key in found}:
                self._take(key, now)
        return tuple(found.values())

    def _is_free(self, key: str, now: float) -> bool:
        known = self._known.get(key)
        if known is not None:
            return known.tokens(now) >= 1.0
        return now >= self._unknown.get(key, float("-inf")) + limits.HEARSAY_REST

    def _take(self, key: str, now: float) -> None:
        known = self._known.get(key)
        if known is not None:
            known.take()
            return
        self._unknown[key] = now
        self._unknown.move_to_end(key)
        if len(self._unknown) > limits.HEARSAY_ADDRESSES:
            self._unknown.popitem(last=False)
            self._bites("HEARSAY_ADDRESSES")

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()


def place_of(endpoint: Endpoint) -> str:
    """What counts as one address: all ports of another machine, but each port of this one."""
    return f"{endpoint.host} {endpoint.port}" if endpoint.is_loopback else endpoint.host
