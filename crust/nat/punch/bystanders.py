"""
What may be sent to a host where nobody has answered, however many peers are said to be there: keys cost nothing, and
an introducer can invent as many as it likes. (sans-IO)
"""

from __future__ import annotations

import collections
import threading

from ... import limits
from ...addresses import address_key

__all__ = ["Bystanders"]


class _Host:
    """What has gone to one host since a time, by limit, and introducer."""

    __slots__ = ("all", "by", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.all: collections.Counter[str] = collections.Counter()
        self.by: collections.Counter[tuple[str, bytes]] = collections.Counter()

    @property
    def spent(self) -> int:
        return self.all.total()


class Bystanders:
    """
    For all peers of a node. Thread-safe.

    Within ``SEARCH_MEMORY`` one introducer may have us send to such a host what one peer may, and all of them twice as
    much: one that lies leaves the other half to those that do not. An IPv6 /64 is one host, but that a peer is at one
    of its addresses says nothing of the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._now = 0.0
        self._proven: collections.OrderedDict[str, float] = collections.OrderedDict()  # until when that is believed
        self._hosts: dict[bytes, _Host] = {}  # the others, to which something has gone

    def tick(self, now: float) -> None:
        """
        Time goes on: seconds on any clock that only goes forward. It is told when attempts begin: what is counted of
        one that has been under way for a while is forgotten that much earlier.
        """
        with self._lock:
            self._now = max(self._now, now)

    def answered(self, host: str) -> None:
        """A peer has proven to be there: what goes there is no bystander's concern, for ``ALLOWANCE_MEMORY``."""
        with self._lock:
            self._proven[host] = self._now + limits.ALLOWANCE_MEMORY
            self._proven.move_to_end(host)
            if len(self._proven) > limits.ALLOWANCES_MAX:
                self._proven.popitem(last=False)

    def take(self, limit: str, host: str, count: int, introducer: bytes) -> bool:
        """
        Whether so many packets more may go there; counted if so.

        Args:
            limit: ``UNPROVEN_PROBES`` or ``UNPROVEN_SYNS``.
            introducer: Who says that a peer is there.
        """
        with self._lock:
            if self._proven.get(host, self._now) > self._now:
                return True
            place = _place(host)
            found = self._hosts.get(place)
            if found is None or self._now - found.since > limits.SEARCH_MEMORY:
                found = self._hosts[place] = _Host(self._now)
                self._trim(place)
            most: int = getattr(limits, limit)
            if found.all[limit] + count > most or found.by[limit, introducer] + count > most // 2:
                return False
            found.all[limit] += count
            found.by[limit, introducer] += count
            return True

    def _trim(self, newest: bytes) -> None:
        """Forget those whose time is over; if there are too many still, some that got least: not one for each new."""
        if len(self._hosts) <= limits.UNPROVEN_HOSTS:
            return
        for host in [host for host, each in self._hosts.items() if self._now - each.since > limits.SEARCH_MEMORY]:
            del self._hosts[host]
        if len(self._hosts) > limits.UNPROVEN_HOSTS:
            others = sorted((each.spent, host) for host, each in self._hosts.items() if host != newest)
            for _, host in others[: limits.UNPROVEN_HOSTS // 16 + 1]:
                del self._hosts[host]

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()


def _place(host: str) -> bytes:
    try:
        return address_key(host.partition("%")[0])
    except ValueError:  # nobody knows where that leads
        return host.encode()
