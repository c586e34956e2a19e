"""Where the peers with sessions were seen last: how many are at one address, and whether anybody is. (sans-IO)"""

from __future__ import annotations

import collections
import math
from collections.abc import Collection, Hashable, Iterable

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

    Who has been promised a session counts as if it had begun, once, however many of its calls have been: it takes one
    place, and none where it has one.
    """

    __slots__ = ("_counts", "_keys", "_promised")

    def __init__(self) -> None:
        self._keys: dict[PeerId, tuple[frozenset[bytes], frozenset[bytes]]] = {}  # where it is; where it had room
        self._counts: collections.Counter[bytes] = collections.Counter()
        self._promised: dict[Hashable, tuple[PeerId, frozenset[bytes]]] = {}  # by call

    def seen(self, peer_id: PeerId, *hosts: str, most: float = math.inf) -> None:
        """That peer's session is at those IP addresses now, where so many may be; at none: it is over."""
        keys = _keys(hosts)
        before, room = self._keys.get(peer_id, (_NOWHERE, _NOWHERE))
        if not room or not self.is_full(peer_id, hosts, most):
            had = keys
        else:  # as its introducer has said, who has nothing to do with it any more
            had = said if (said := frozenset(_SAID + key for key in keys)) <= room else room
        self._keys.pop(peer_id, None)
        self._counts.subtract(before | room)
        for key in before | room:
            if not self._counts[key]:
                del self._counts[key]
        if hosts:
            self._keys[peer_id] = keys, had
            self._counts.update(keys | had)

    def count(self, host: str) -> int:
        """How many of them are at an IP address, or are said to be. Takes no time: strangers cause it."""
        key = address_key(host)
        return self._counts[key] + self._counts[_SAID + key]

    def is_full(self, peer_id: PeerId, hosts: Iterable[str], most: float) -> bool:
        """
        Whether at one of those hosts are so many others already, or at its site, and there was no room for that peer.
        Who is said to be where so many are does not come in either: he may move there.
        """
        keys, (before, room) = _keys(hosts), self._keys.get(peer_id, (_NOWHERE, _NOWHERE))
        if keys <= room:
            return False
        more: collections.Counter[bytes] = collections.Counter()
        for each, places in self._begun().items():
            if each != peer_id:
                more.update(places.difference(*self._keys.get(each, ())))
        more.subtract(before | room)
        return any(
            self._counts[key] + more[key] >= most * (limits.SITE_SHARE if len(key.removeprefix(_SAID)) == 6 else 1)
            for key in keys.union(key.removeprefix(_SAID) for key in keys)
        )

    # --- promises -----------------------------------------------------------------------------------------------------

    def promise(self, call: Hashable, peer_id: PeerId, hosts: Iterable[str]) -> None:
        """That peer may have a session, of a call from there; it has not begun."""
        self._promised[call] = peer_id, _keys(hosts)

    def is_promised(self, peer_id: PeerId) -> bool:
        """Whether a call of that peer's waits for what it was promised."""
        return any(each == peer_id for each, _ in self._promised.values())

    def redeem(self, call: Hashable) -> None:
        """It begins now, or never will. Harmless if nothing was promised."""
        self._promised.pop(call, None)

    def has_place(self, peer_id: PeerId, those: Collection[PeerId], most: int) -> bool:
        """
        Whether that peer is one of those who have sessions, or may be one more where there are so many at most. No more
        calls than that wait for what they were promised, but for the first one of each peer.
        """
        begun = self._begun()
        if peer_id in begun and len(self._promised) >= most:
            return False
        others = sum(1 for each in begun if each != peer_id and each not in those)
        return peer_id in those or len(those) + others < most

    def _begun(self) -> dict[PeerId, frozenset[bytes]]:
        """Whom a session has been promised, and where they have called from."""
        begun: dict[PeerId, frozenset[bytes]] = {}
        for peer_id, keys in self._promised.values():
            begun[peer_id] = begun.get(peer_id, _NOWHERE) | keys
        return begun


def _keys(hosts: Iterable[str]) -> frozenset[bytes]:
    """What those count for: addresses, and sites; those that are said for themselves."""
    found: set[bytes] = set()
    for host in hosts:
        key = address_key(host)
        parts = (key, site_key(key))
        found.update((_SAID if isinstance(host, Said) else b"") + part for part in parts if part is not None)
    return frozenset(found)
