"""How often something may happen: token buckets, in all, for each key and each place. Sans-IO: time is an argument."""

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
        gained = elapsed * self._rate if elapsed else 0.0  # the rate may be infinite
        self._tokens = min(self._size, self._tokens + gained)
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
    One bucket for each key, for each place that keys are at, and for all. Remembers those seen last. Thread-safe.

    Args:
        each: Tokens a second for a key.
        all_: Tokens a second for all keys together.
        each_size: The most that a key can save up; None: one second's worth.
        all_size: The same for all together.
        keys: How many keys are remembered; who has been forgotten begins with a full bucket.
        names: Of the two limits, for :meth:`refusal`.
        part: Of what there is for all, those at one place may take, though no less than one key.
        seldom: Tokens a second for each key where there are none for all, and the most that it can save up: who asks
            seldom has not to wait for those who ask all the time.
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
        part: float = 1.0,
        seldom: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._seldom = seldom
        self._names = names
        self._each = (each, each if each_size is None else each_size)
        self._whole = (all_, all_ if all_size is None else all_size)
        self.part = part
        """May be changed at any time; places that are remembered keep what they have."""
        self._keys = keys
        self._lock = threading.Lock()  # guards the buckets
        self._all = Bucket(all_, all_size)
        self._buckets: collections.OrderedDict[object, Bucket] = collections.OrderedDict()

    def permit(self, key: object, now: float) -> bool:
        """May ``key`` have it once more? Takes a token of its own and one of all if so."""
        return not self.refusal(key, now)

    def refusal(
        self, key: object, now: float, place: bytes | None = None, *, leave: float = 0.0, spare: float = 0.0
    ) -> str:
        """
        The same: the name of the limit that ``key`` meets; empty: it may.

        Args:
            place: Where it is, if many keys can be there; None: it does not count.
            leave: So many of the tokens for all are left to others.
            spare: So many of the key's own are left for what matters more.
        """
        with self._lock:
            bucket = self._bucket(key, self._each)
            if bucket.tokens(now) < 1.0 + spare:
                return self._names[0]
            shared = None
            if place is not None and self.part < 1.0:
                (rate, size), (all_, all_size) = self._each, self._whole
                terms = max(rate, all_ * self.part), max(size, all_size * self.part)
                shared = self._bucket(("place", place), terms)
                if shared.tokens(now) < 1.0:
                    return "limits.peers_per_address"
            whole, least = self._all, 1.0 + leave
            if whole.tokens(now) < least and self._seldom[0]:
                whole, least = self._bucket(("seldom", key), self._seldom), 1.0
            if whole.tokens(now) < least:
                return self._names[1]
            bucket.take()
            whole.take()
            if shared is not None:
                shared.take()
            return ""

    def _bucket(self, key: object, terms: tuple[float, float]) -> Bucket:
        """The lock is held."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(*terms)
            if len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def give_back(self, key: object) -> None:
        """That ``key`` had it once need not count."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is not None:
                bucket.give_back()
                self._all.give_back()
