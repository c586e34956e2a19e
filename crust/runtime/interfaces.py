"""The addresses of this machine's network interfaces, and what each is good for."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..addresses import IPAddress, IPNetwork
from ..values import dataclass

if TYPE_CHECKING:
    import ifaddr

__all__ = ["InterfaceAddress", "local_addresses"]

_SCOPE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # names that work after "%"; Windows needs the number


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of one interface."""

    interface: str
    """The interface's name as people know it: ``eth0``."""

    ip: IPAddress
    """The address; a link-local IPv6 address has its scope: ``fe80::1%eth0``."""

    prefix: int
    """Bits of the address that are the network's."""

    index: int | None = None
    """The system's number of the interface, if it has one."""

    @property
    def network(self) -> IPNetwork:
        """The network on the link, without scope."""
        return ipaddress.ip_network((self.ip.packed, self.prefix), strict=False)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.ip.version

    @property
    def is_loopback(self) -> bool:
        """Reaches this machine only."""
        return self.ip.is_loopback

    @property
    def is_link_local(self) -> bool:
        """Reaches this link only: 169.254.0.0/16 or fe80::/10."""
        return self.ip.is_link_local

    @property
    def is_global(self) -> bool:
        """An address of the public internet."""
        return self.ip.is_global


def local_addresses(
    include: Iterable[str] | None = None, exclude: Iterable[str] = ()
) -> list[InterfaceAddress]:
    """
    The unicast addresses of all interfaces that the patterns let through, each once.

    The order is stable: what reaches farthest first (global, private, link-local, loopback), then IPv4 before IPv6,
    then by interface.

    Args:
        include: Patterns of interface names, such as ``eth*``; upper and lower case differ. None: all.
        exclude: Patterns of names that are left out even if they are included.

    Raises:
        OSError: the system does not tell.
    """
    import ifaddr  # when needed: it has ctypes look for the C library, with another program

    wanted = None if include is None else tuple(include)
    unwanted = tuple(exclude)
    found = {
        address: None
        for adapter in ifaddr.get_adapters()
        if _passes((adapter.name, adapter.nice_name), wanted, unwanted)
        for address in _addresses(adapter)
    }
    return sorted(found, key=_order)


def _passes(names: Sequence[str], include: Sequence[str] | None, exclude: Sequence[str]) -> bool:
    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)

    return (include is None or matches(include)) and not matches(exclude)


def _addresses(adapter: ifaddr.Adapter) -> Iterator[InterfaceAddress]:
    for entry in adapter.ips:
        ip = ipaddress.ip_address(entry.ip if isinstance(entry.ip, str) else entry.ip[0].partition("%")[0])
        if ip.is_unspecified or ip.is_multicast:
            continue
        if ip.version == 6 and ip.is_link_local:
            name = adapter.nice_name
            scope = name if _SCOPE_NAME.fullmatch(name) else adapter.index
            if scope is None:
                continue  # nobody could use it
            ip = ipaddress.IPv6Address(f"{ip}%{scope}")
        yield InterfaceAddress(adapter.nice_name, ip, entry.network_prefix, adapter.index)


def _order(address: InterfaceAddress) -> tuple[int, int, str, int]:
    if address.is_loopback:
        reach = 3
    elif address.is_link_local:
        reach = 2
    else:
        reach = 0 if address.is_global else 1
    return reach, address.family, address.interface, int(address.ip)
