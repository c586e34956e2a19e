"""
Where peers are, and who of them may look for a path where not all can: keys cost nothing, addresses do. (sans-IO)

A place is two addresses: that of the introducer, which may say anything of its callers, and the one at which it sees
the peer, which counts among the callers of one introducer.
"""

from __future__ import annotations

import collections
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from ... import limits
from ...addresses import Endpoint, address_key
from ...peers.link import Link

__all__ = ["Lately", "SpotsByPlace", "Where", "seen_hosts", "where_is"]

T = TypeVar("T", bound=Hashable)

Where = tuple[bytes, bytes]
"""The introducer's address, or the peer's if there is none; and the peer's, as the introducer sees it."""


def where_is(link: Link) -> Where:
    """Where the other end of a link is."""
    connection = link.connection
    host = connection.remote.host
    observed = getattr(connection, "observed", None)
    return address_key(host), address_key(host if observed is None else observed[0])


def seen_hosts(link: Link) -> frozenset[str]:
    """
    Where the other end of a link is, as others say than itself: the introducer of a circuit, or our own eyes. An
    introducer that we reach at a public address sees nobody at a private one that means the same here as there.
    """
    connection = link.connection
    if connection.transport != "relay":
        return frozenset((connection.remote.host,))
    observed = getattr(connection, "observed", None)
    if observed is None:
        return frozenset()
    seen, introducer = Endpoint("tcp", *observed), connection.remote
    if not seen.is_global and (introducer.is_global or seen.is_loopback and not introducer.is_loopback):
        return frozenset()
    return frozenset((observed[0],))


class SpotsByPlace(Generic[T]):
    """Those that do something of which there can be only so much. Who has most of it gives way. Not thread-safe."""

    __slots__ = ("_where",)

    def __init__(self) -> None:
        self._where: dict[T, Where] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[T]:
        return iter(self._where)

    def take(self, one: T, where: Where, most: int) -> tuple[bool, T | None]:
        """
        Whether that one may, which has a spot then until :meth:`leave`; and who has to give way, who has none any more.

        Args:
            most: How many spots there are.
        """
        if one in self._where:
            return True, None
        weaker = None
        if len(self._where) >= most:
            weaker = self._who_gives_way(where)
            if weaker is None:
                return False, None
            del self._where[weaker]
        self._where[one] = where
        return True, weaker

    def leave(self, one: T) -> None:
        """It needs its spot no more. Idempotent."""
        self._where.pop(one, None)

    def _who_gives_way(self, where: Where) -> T | None:
        """The oldest of those who have most, if they then still have no less than the newcomer with one."""
        outer = collections.Counter(each[0] for each in self._where.values())
        first, count = outer.most_common(1)[0]
        among = first if count > outer[where[0]] + 1 else where[0]
        inner = collections.Counter(each for each in self._where.values() if each[0] == among)
        if not inner:
            return None
        greatest, count = inner.most_common(1)[0]
        if among == where[0] and count <= inner[where] + 1:
            return None
        return next(one for one, each in self._where.items() if each == greatest)


class Lately:
    """Which places have had their turn, and in what order. Not thread-safe."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: dict[bytes | Where, int] = {}  # the last one's number; the longest ago first

    def had(self, where: Where) -> None:
        """It is that one's turn."""
        number = next(reversed(self._turns.values()), 0) + 1
        for each in (where[0], where):
            self._turns.pop(each, None)
            self._turns[each] = number
        while len(self._turns) > limits.ALLOWANCES_MAX:
            del self._turns[next(iter(self._turns))]

    def rank(self, where: Where) -> tuple[int, int]:
        """Who has the lowest goes first."""
        return self._turns.get(where[0], 0), self._turns.get(where, 0)
