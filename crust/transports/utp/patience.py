"""
How much of no use µTP connections may bring beyond what each has earned: those of one address, and all together.

A key costs nothing, and so do connections: were each to have an allowance of its own, whoever wants to flood a port
would make fifty of them. So what time allows belongs to the address (IPv6: the /64) of their other ends; and what all
addresses together get is bounded, as it is the work of one thread. An address that has used up its own gets it back
without asking the others: next to nothing is heard of it meanwhile.
"""

from __future__ import annotations

import collections
import threading
import weakref

from ... import limits
from ...addresses import address_key
from ...runtime.rates import Bucket

__all__ = ["Patience", "Patiences"]

_KEPT = 10.0  # seconds, in any case: longer than it takes to be as new


class Patience:
    """With one address. Hubs that share it may hear at the same time: a packet may go uncounted then."""

    __slots__ = ("__weakref__", "_all", "_at", "_credit", "_ration", "_ration_at")

    def __init__(self, for_all: Bucket, now: float) -> None:
        self._all = for_all
        self._credit = 0.0
        self._at = now  # when the credit was so
        self._ration = 0.0
        self._ration_at = 0.0

    def left(self, now: float) -> float:
        """Packets of no use that may come now; below 0: it is at its end."""
        earned = max(0.0, now - self._at) * limits.UTP_USELESS_PER_SECOND
        self._at = max(self._at, now)
        if self._credit < 0.0:
            self._credit = min(limits.UTP_USELESS_BEGUN, self._credit + earned)
        elif self._credit < limits.UTP_USELESS_BURST:
            wanted = min(earned, limits.UTP_USELESS_BURST - self._credit)
            taken = max(0.0, min(wanted, self._all.tokens(now)))
            self._all.take(taken)
            self._credit += taken
        return self._credit

    def try_with(self, packets: float, now: float) -> bool:
        """So many have come; False: that was too much."""
        most = limits.UTP_USELESS_PER_SECOND * limits.UTP_NOISY_SECONDS  # however long a flood is
        self._credit = max(-most, self.left(now) - packets)
        return self._credit >= 0.0

    def admits(self, packets: int, now: float) -> bool:
        """Whether so many packets are looked at although it is at its end."""
        most = limits.SIEVE_PASS * limits.SIEVE_PERIOD
        self._ration = min(most, self._ration + max(0.0, now - self._ration_at) * limits.SIEVE_PASS)
        self._ration_at = max(self._ration_at, now)
        if self._ration <= 0.0:
            return False
        self._ration -= packets
        return True


class Patiences:
    """With all of a node's. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all
        self._all = Bucket(limits.UTP_USELESS_ALL_PER_SECOND, limits.UTP_USELESS_BURST)
        self._known: weakref.WeakValueDictionary[bytes, Patience] = weakref.WeakValueDictionary()
        # Whoever ends all its connections and makes others is the same.
        self._recent: collections.deque[tuple[float, Patience]] = collections.deque()

    def of(self, host: str, now: float) -> Patience:
        """With the address of a connection that begins."""
        key, recent = address_key(host), self._recent
        with self._lock:
            while recent and recent[0][0] + _KEPT < now:
                recent.popleft()
            patience = self._known.get(key)
            if patience is None:
                patience = self._known[key] = Patience(self._all, now)
                recent.append((now, patience))
            return patience
