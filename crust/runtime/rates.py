"""How often something may happen: token buckets, in all and for each address. Sans-IO: the clock is an argument."""

from __future__ import annotations

import collections
import threading

from .. import limits

__all__ = ["Bucket", "Rates"]


class Bucket:
    """
    Tokens that come back at ``rate`` a second. Not thread-safe.

    Args:
        rate: Tokens a second.
        size: The most there can be, at least 1; None: one second's worth.
    """

    __slots__ = ("_rate", "_size", "_tokens", "_when")

    def __init__(self, rate: float, size: float | None = None) -> None:
        self._rate = rate
        self._size = max(rate if size is None else size, 1.0)
        self._tokens = self._size
        self._when = 0.0

    def tokens(self, now: float) -> float:
        """How many there are."""
        elapsed = max(0.0, now - self._when)
        self._when = max(self._when, now)
        self._tokens = min(self._size, self._tokens + elapsed * self._rate)
        return self._tokens

    def change_rate(self, rate: float) -> None:
        """Come back at ``rate`` from now on, one second's worth at most."""
        self._rate, self._size = rate, max(rate, 1.0)

    def take(self, tokens: float = 1.0) -> None:
        """Take some that are there."""
        self._tokens -= tokens

    def give_back(self) -> None:
        """One was taken for nothing."""
        self._tokens = min(self._size, self._tokens + 1.0)


class Rates:
    """
    One bucket for each key and one for all. Remembers the keys seen last. Thread-safe.

    Args:
        each: Tokens a second for a key.
        all_: Tokens a second for all keys together.
        each_size: The most that a key can save up; None: one second's worth.
        all_size: The same for all together.
        keys: How many keys are remembered; who has been forgotten begins with a full bucket.
        names: Of the two limits, for :meth:`refusal`.
    """

    def __init__(
        self,
        each: float,
        all_: float,
        *,
        each_size: float | None = None,
        all_size: float | None = None,
        keys: int = limits.GATE_ADDRESSES_MAX,
        names: tuple[str, str] = ("each", "all"),
    ) -> None:
        self._names = names
        self._each = (each, each_size)
        self._keys = keys
        self._lock = threading.Lock()  # guards the buckets
        self._all = Bucket(all_, all_size)
        self._buckets: collections.OrderedDict[object, Bucket] = collections.OrderedDict()

    def permit(self, key: object, now: float) -> bool:
        """May ``key`` have it once more? Takes a token of its own and one of all if so."""
        return not self.refusal(key, now)

    def refusal(self, key: object, now: float) -> str:
        """The same: the name of the limit that ``key`` meets; empty: it may."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = self._buckets[key] = Bucket(*self._each)
                if len(self._buckets) > self._keys:
                    self._buckets.popitem(last=False)
            else:
                self._buckets.move_to_end(key)
            if bucket.tokens(now) < 1.0:
                return self._names[0]
            if self._all.tokens(now) < 1.0:
                return self._names[1]
            bucket.take()
            self._all.take()
            return ""

    def give_back(self, key: object) -> None:
        """That ``key`` had it once need not count."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is not None:
                bucket.give_back()
                self._all.give_back()
