"""Where a beacon may ask: one link for each address of an interface on which all hear what is sent to all."""

from __future__ import annotations

import fnmatch
import functools
import ipaddress
from collections.abc import Iterable, Sequence

from ... import limits
from ...addresses import IPAddress
from ...runtime.interfaces import InterfaceAddress
from ...values import dataclass

__all__ = ["Link", "links_of"]


@dataclass(frozen=True)
class Link:
    """One address of this machine on a link."""

    interface: str
    """Its name: ``eth0``."""
    index: int
    """Its number."""
    host: str
    """Our address there; a link-local one of IPv6 with its scope."""
    prefix: int
    """Bits of the address that are the link's."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4

    @property
    def to_all(self) -> str:
        """The address of all on the link."""
        if self.family == 6:
            return limits.BEACON_GROUP
        return str(_network(self.host, self.prefix).broadcast_address)

    def has(self, host: str, index: int | None = None) -> bool:
        """
        Whether that address, of one machine, is on this link.

        Args:
            host: As the system tells it, without a scope.
            index: The interface by which it came, if known.
        """
        if index is not None and index != self.index:
            return False
        ip = ipaddress.ip_address(host)
        if ip.version != self.family or ip.is_multicast or ip.is_unspecified:
            return False
        if ip.version == 6:
            return ip.is_link_local
        network = _network(self.host, self.prefix)
        return ip in network and ip not in (network.network_address, network.broadcast_address)

    def with_scope(self, host: str) -> str:
        """An address on this link as others here can use it."""
        scope = self.host.partition("%")[2]
        return f"{host}%{scope}" if scope else host


@functools.lru_cache(maxsize=64)  # asked for with every packet
def _network(host: str, prefix: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((host, prefix), strict=False)


def links_of(addresses: Iterable[InterfaceAddress], include: Sequence[str] | None) -> frozenset[Link]:
    """
    The links behind addresses of this machine.

    For IPv4 every network with room for others, loopback included: that is where programs of one machine meet which has
    no network. For IPv6 the link-local addresses. What leads elsewhere than to a LAN (``BEACON_SKIPPED``) only if it is
    asked for by name.

    Args:
        addresses: As ``listen.interfaces`` lets them through.
        include: ``listen.interfaces.include``.
    """
    found = set()
    for each in addresses:
        if _matches(each.interface, limits.BEACON_SKIPPED) and not _matches(each.interface, include or ()):
            continue
        if each.index is not None and _has_others(each.ip, each.prefix):
            found.add(Link(each.interface, each.index, str(each.ip), each.prefix))
    return frozenset(found)


def _has_others(ip: IPAddress, prefix: int) -> bool:
    if ip.version == 6:
        return ip.is_link_local
    return prefix <= 30


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
