"""Where the peers with sessions were seen last: how many are at one address, and whether anybody is. (sans-IO)"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable

from .. import limits
from ..addresses import PeerId, address_key

__all__ = ["Said", "Whereabouts", "site_key"]

_SAID = b"by others' word:"  # before such keys: as long as no other one is
_NOWHERE: frozenset[bytes] = frozenset()


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
    """
    Not thread-safe: the registry's lock guards it. An IPv6 address stands for its /64, and counts for its /48.

    A session moves where its peer moves, also to where there are as many as may be. It counts where there was room for
    it, too, then: else those who begin at one address, and move to another one, would fill the node from there.
    """

    __slots__ = ("_counts", "_keys")

    def __init__(self) -> None:
        self._keys: dict[PeerId, tuple[frozenset[bytes], frozenset[bytes]]] = {}  # where it is; where it had room
        self._counts: collections.Counter[bytes] = collections.Counter()

    def seen(self, peer_id: PeerId, *hosts: str, most: float = math.inf) -> None:
        """That peer's session is at those IP addresses now, where so many may be; at none: it is over."""
        before, room = self._keys.pop(peer_id, (_NOWHERE, _NOWHERE))
        self._counts.subtract(before | room)
        for key in before | room:
            if not self._counts[key]:
                del self._counts[key]
        if hosts:
            keys = _keys(hosts)
            if not room or not self.is_full(hosts, most, ()):
                room = keys
            elif (said := frozenset(_SAID + key for key in keys)) <= room:
                room = said  # as its introducer has said, who has nothing to do with it any more
            self._keys[peer_id] = keys, room
            self._counts.update(keys | room)

    def has_room(self, peer_id: PeerId, hosts: Iterable[str]) -> bool:
        """Whether that peer has a session for which there was room at those."""
        return peer_id in self._keys and _keys(hosts) <= self._keys[peer_id][1]

    def count(self, host: str) -> int:
        """How many of them are at an IP address, or are said to be. Takes no time: strangers cause it."""
        key = address_key(host)
        return self._counts[key] + self._counts[_SAID + key]

    def is_full(self, hosts: Iterable[str], most: float, promised: Iterable[Iterable[str]]) -> bool:
        """
        Whether at one of those hosts are so many already, or at its site; those included that others begin, who are at
        the hosts ``promised``. Who is said to be where so many are does not come in either: he may move there.
        """
        begun = collections.Counter(key for each in promised for key in _keys(each))
        keys = _keys(hosts)
        return any(
            self._counts[key] + begun[key] >= most * (limits.SITE_SHARE if len(key.removeprefix(_SAID)) == 6 else 1)
            for key in keys.union(key.removeprefix(_SAID) for key in keys)
        )


def _keys(hosts: Iterable[str]) -> frozenset[bytes]:
    """What those count for: addresses, and sites; those that are said for themselves."""
    found: set[bytes] = set()
    for host in hosts:
        key = address_key(host)
        parts = (key, site_key(key))
        found.update((_SAID if isinstance(host, Said) else b"") + part for part in parts if part is not None)
    return frozenset(found)
