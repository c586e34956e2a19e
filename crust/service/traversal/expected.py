"""Addresses from which a peer that looks for a path with us may begin many connections, and end all but one."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable

from ... import limits
from ...addresses import address_key

__all__ = ["Expected"]


class Expected:
    """For all peers of a node. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _until
        self._until: collections.OrderedDict[bytes, float] = collections.OrderedDict()

    def expect(self, hosts: Iterable[str], now: float) -> None:
        """A peer that is seen there begins to look for a path."""
        with self._lock:
            for host in hosts:
                key = _near(address_key(host))
                self._until[key] = now + limits.SEARCHED_SECONDS
                self._until.move_to_end(key)
                if len(self._until) > limits.ALLOWANCES_MAX:
                    self._until.popitem(last=False)

    def expects(self, key: bytes, now: float) -> bool:
        """Whether one does so, or did a moment ago, at that address (an ``address_key``), or near it."""
        with self._lock:
            return self._until.get(_near(key), now) > now

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()


def _near(key: bytes) -> bytes:
    """Routers with several addresses have them side by side: the IPv4 /24, the IPv6 /64."""
    return key[:3] if len(key) == 4 else key
