"""
Who has called a listener and has not shown yet to be where he says: anybody may send SYNs, from any address he claims.

To answer one costs as much as dozens of datagrams that are thrown away. So only so many are answered in a second, from
wherever they come, and of a network so many wait at once. One more makes the one go who has waited longest, of all or
of his network: an answer comes within a round trip, or never. But no network has more answered than have waited for
``UTP_HALF_OPEN_LEAST_SECONDS``, or it would use up the answers of all.
"""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ... import limits
from ...runtime.rates import Bucket

__all__ = ["Callers"]

T = TypeVar("T")


class Callers(Generic[T]):
    """The callers of one listener that are waited for. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: collections.OrderedDict[T, str] = collections.OrderedDict()  # and their networks; oldest first
        self._networks: dict[str, dict[T, float]] = {}  # since when they wait; oldest first
        self._answers = Bucket(limits.UTP_SYNS_PER_SECOND, limits.UTP_SYNS_AT_ONCE)

    def __iter__(self) -> Iterator[T]:
        return iter(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def limit(self, host: str, each: int, now: float) -> str:
        """
        The limit by which a caller at that IP address gets no answer; empty: he is to get one.

        Args:
            each: How many of one network may wait.
        """
        neighbours = self._networks.get(_network(host), {})
        if len(neighbours) >= each and now - next(iter(neighbours.values())) < limits.UTP_HALF_OPEN_LEAST_SECONDS:
            return "limits.utp_half_open_per_network"
        if self._answers.tokens(now) < 1.0:
            return "UTP_SYNS_PER_SECOND"
        self._answers.take()
        return ""

    def displaced(self, host: str, most: int, each: int) -> tuple[str, T | None]:
        """The limit by which somebody has to make room for a caller at that IP address, and who it is, if anybody."""
        neighbours = self._networks.get(_network(host), {})
        if len(neighbours) >= each:
            return "limits.utp_half_open_per_network", next(iter(neighbours))
        if len(self._waiting) >= most:
            return "limits.utp_half_open", next(iter(self._waiting))
        return "", None

    def add(self, caller: T, host: str, now: float) -> None:
        """He is waited for."""
        network = self._waiting[caller] = _network(host)
        self._networks.setdefault(network, {})[caller] = now

    def forget(self, caller: T) -> bool:
        """He is not, any more; False: he was not."""
        network = self._waiting.pop(caller, None)
        if network is None:
            return False
        neighbours = self._networks[network]
        del neighbours[caller]
        if not neighbours:
            del self._networks[network]
        return True


def _network(host: str) -> str:
    """The network that an address is counted for: its /24 (IPv4) or /48 (IPv6)."""
    ip: Any = ipaddress.ip_address(host.partition("%")[0])
    bits = 8 if ip.version == 4 else 80
    return f"{ip.version}:{int(ip) >> bits:x}"
