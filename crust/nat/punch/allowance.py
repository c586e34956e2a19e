"""
How much may be sent to addresses that another node has named: the one place that keeps traversal from being a weapon.

A peer may name any address as its own. One at which the introducer saw it is believed. Any other gets at most
``UNSEEN_PROBES`` datagrams and ``UNSEEN_SYNS`` SYNs, what the kernel resends counted, over all its ports, until the
peer has proven to be there. And nobody gets more than the searches' bounds, however often they begin anew. Where nobody
has answered, what all peers together may have sent is bounded, too (:mod:`crust.nat.punch.bystanders`).

Of private addresses, each of which may be somebody's machine in our own network, a peer may name a few, not a row.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterable

from ... import limits
from .bystanders import Bystanders

__all__ = ["Allowance"]


class Allowance:
    """
    What one peer may have us send, over all its attempts and methods. Thread-safe: its methods run side by side.

    Args:
        bites: Told the name of a limit that has bitten, with a lock held: must be quick.
        bystanders: What all peers together may have sent; None: this one is all there are.
    """

    __slots__ = (
        "_answered",
        "_bystanders",
        "_introducer",
        "_lock",
        "_probes",
        "_seen",
        "_seen_at",
        "_spent",
        "_syns",
        "_unseen_at",
        "bites",
    )

    def __init__(
        self, bites: Callable[[str], object] = lambda limit: None, bystanders: Bystanders | None = None
    ) -> None:
        self._bystanders = bystanders or Bystanders()
        self.bites = bites
        """Also for others who do something for that peer."""
        self._lock = threading.Lock()  # guards what follows
        self._introducer = b""
        self._seen: tuple[str, ...] = ()
        self._answered: tuple[str, ...] = ()
        # By host. Kept for each peer long after its last attempt, so as plainly as can be.
        self._probes: dict[str, int] = {}
        self._syns: dict[str, int] = {}
        self._seen_at = self._unseen_at = float("-inf")  # since when is counted what goes to either kind
        self._spent = False  # something has gone to an address that nobody saw since the last attempt began

    def begin(self, seen: Iterable[str], now: float = 0.0, introducer: bytes = b"") -> None:
        """
        Another attempt begins. What is counted is forgotten in time: ``ALLOWANCE_MEMORY`` after the last packet to an
        address that nobody saw; ``SEARCH_MEMORY`` for those at which the peer is seen; at once where it has answered.

        Args:
            seen: IP addresses at which the introducer saw the peer.
            now: Seconds on any clock that only goes forward.
            introducer: Who is to answer for that.
        """
        self._bystanders.tick(now)
        with self._lock:
            self._introducer = introducer
            if self._spent:
                self._unseen_at, self._spent = now, False  # it may have gone just now
            elif now - self._unseen_at > limits.ALLOWANCE_MEMORY:
                self._answered, self._probes, self._syns = (), {}, {}
                self._unseen_at = now
            self._seen = tuple(seen)
            forgotten = set(self._answered)
            if now - self._seen_at > limits.SEARCH_MEMORY:
                forgotten.update(self._seen)
                self._seen_at = now
            for host in forgotten:
                self._probes.pop(host, None)
                self._syns.pop(host, None)

    def answered(self, host: str) -> None:
        """The peer has proven to be at that IP address."""
        with self._lock:
            if host not in self._answered:
                self._answered = (*self._answered, host)[-limits.UNSEEN_HOSTS_MAX :]
        self._bystanders.answered(host)

    def is_trusted(self, host: str) -> bool:
        """Whether the full schedule may go there."""
        return host in self._seen or host in self._answered

    def probe(self, host: str, count: int = 1) -> bool:
        """Whether so many more datagrams may go there; counted if so."""
        with self._lock:
            return self._take(self._probes, host, count, "UNSEEN_PROBES", "SEARCH_PROBES", "UNPROVEN_PROBES")

    def syn(self, host: str, count: int = 1) -> bool:
        """Whether so many more SYNs may go there; counted if so."""
        with self._lock:
            return self._take(self._syns, host, count, "UNSEEN_SYNS", "SEARCH_SYNS", "UNPROVEN_SYNS")

    def _take(self, counts: dict[str, int], host: str, count: int, unseen: str, most: str, of_all: str) -> bool:
        trusted = self.is_trusted(host)
        before = counts.get(host, 0)
        limit = most if trusted else unseen
        if before + count > getattr(limits, limit):
            self.bites(limit)
            return False
        if not before and len(counts) >= limits.UNSEEN_HOSTS_MAX:
            self.bites("UNSEEN_HOSTS_MAX")
            return False
        if not (before or trusted or self._may_be_new(counts, host)):
            self.bites("UNSEEN_PRIVATE_MAX")
            return False
        if not self._bystanders.take(of_all, host, count, self._introducer):
            self.bites(of_all)
            return False
        counts[host] = before + count
        self._spent = self._spent or not trusted
        return True

    def _may_be_new(self, counts: dict[str, int], host: str) -> bool:
        """Whether one more address may be tried that nobody saw."""
        if not _is_private(host):
            return True
        return sum(_is_private(each) and not self.is_trusted(each) for each in counts) < limits.UNSEEN_PRIVATE_MAX


def _is_private(host: str) -> bool:
    """Also what is no address: nobody knows where that leads."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return True
