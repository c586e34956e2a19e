"""Where the peers with sessions were seen last: how many are at one address, and whether anybody is. (sans-IO)"""

from __future__ import annotations

import collections

from ..addresses import PeerId, address_key

__all__ = ["Whereabouts"]


class Whereabouts:
    """Not thread-safe: the registry's lock guards it. An IPv6 address stands for its /64."""

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
            keys = self._keys[peer_id] = tuple(set(map(address_key, hosts)))
            self._counts.update(keys)

    def count(self, host: str) -> int:
        """How many of them are at an IP address. Takes no time: strangers cause it."""
        return self._counts[address_key(host)]
