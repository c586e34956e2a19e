"""Where the peers with sessions were seen last: how many are at one address, and whether anybody is. (sans-IO)"""

from __future__ import annotations

import collections
from collections.abc import Iterable

from .. import limits
from ..addresses import PeerId, address_key

__all__ = ["Said", "Whereabouts", "site_key"]

_SAID = b"by others' word:"  # before such keys: as long as no other one is


class Said(str):
    """An IP address where a peer is by the word of its introducer, who may lie: it counts among such alone."""

    __slots__ = ()


def site_key(key: bytes) -> bytes | None:
    """
    What quotas count by besides, of an ``address_key``: 6 bytes, the /48 of an IPv6 address; None for IPv4.

    One site may have a /48 (RFC 6177), and with it 65,536 networks of which each has a quota of its own.
    """
    return key[:6] if len(key) == 8 else None


class Whereabouts:
    """Not thread-safe: the registry's lock guards it. An IPv6 address stands for its /64, and counts for its /48."""

    __slots__ = ("_counts", "_keys")

    def __init__(self) -> None:
        self._keys: dict[PeerId, tuple[bytes, ...]] = {}
        self._counts: collections.Counter[bytes] = collections.Counter()

    def seen(self, peer_id: PeerId, *hosts: str) -> None:
        """That peer's session is at those IP addresses now; at none: it is over."""
        for before in self._keys.pop(peer_id, ()):
            self._counts[before] -= 1
            if not self._counts[before]:
                del self._counts[before]
        if hosts:
            keys = self._keys[peer_id] = tuple(_keys(hosts))
            self._counts.update(keys)

    def count(self, host: str) -> int:
        """How many of them are at an IP address, or are said to be. Takes no time: strangers cause it."""
        key = address_key(host)
        return self._counts[key] + self._counts[_SAID + key]

    def is_full(self, hosts: Iterable[str], most: int, promised: Iterable[Iterable[str]]) -> bool:
        """Whether at one of those hosts are so many already, or at its site; those included that others begin, who
        are at the hosts ``promised``."""
        begun = collections.Counter(key for each in promised for key in _keys(each))
        return any(
            self._counts[key] + begun[key] >= most * (limits.SITE_SHARE if len(key.removeprefix(_SAID)) == 6 else 1)
            for key in _keys(hosts)
        )


def _keys(hosts: Iterable[str]) -> set[bytes]:
    """What those count for: addresses, and sites; those that are said for themselves."""
    found: set[bytes] = set()
    for host in hosts:
        key = address_key(host)
        parts = (key, site_key(key))
        found.update((_SAID if isinstance(host, Said) else b"") + part for part in parts if part is not None)
    return found
