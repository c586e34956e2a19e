"""Addresses and networks of IP: how they are read, what a quota counts by, and which of them are of one machine."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from .text import check_text, fail

__all__ = ["IPAddress", "IPNetwork", "address_key", "is_translated", "is_unicast", "parse_ip", "parse_networks"]

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215


@functools.lru_cache(maxsize=1024)  # a node meets the same addresses again and again
def parse_ip(text: str) -> IPAddress:
    """
    Read an IP address; an IPv4-mapped IPv6 address (``::ffff:192.0.2.7``) becomes the IPv4 address it stands for.

    Raises:
        ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(text)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def is_unicast(ip: IPAddress) -> bool:
    """Whether one machine can have it."""
    return not (ip.is_multicast or ip.is_unspecified or (ip.version == 4 and ip.is_reserved))


def is_translated(ip: IPAddress) -> bool:
    """An address of IPv6 that leads to one of IPv4: whoever may not be sent more could be sent it that way."""
    return isinstance(ip, ipaddress.IPv6Address) and (
        ip.sixtofour is not None or ip.teredo is not None or any(ip in net for net in _NAT64)
    )


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """
    Read IP networks (``192.0.2.0/24``, ``2001:db8::/32``) and single addresses.

    IPv4-mapped networks become IPv4 networks, like the addresses that they are compared with.

    Raises:
        ContactSyntaxError: names the entry that is no network.
    """
    return tuple(map(_parse_network, texts))


def _parse_network(text: str) -> IPNetwork:
    check_text("network", text)
    if "%" in text:
        raise fail("network: an interface (%…) has no place here", text, text.index("%"))
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise fail("network: expected an address or a network such as 192.0.2.0/24", text, 0) from error
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise fail(f"network: bits are set beyond the prefix; did you mean {network}?", text, 0) from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        low = int(network.network_address) & 0xFFFFFFFF
        return ipaddress.IPv4Network((low, network.prefixlen - 96))
    return network


def address_key(ip: str | IPAddress) -> bytes:
    """
    What quotas count by: 4 bytes, the whole IPv4 address; 8 bytes, the /64 of an IPv6 address.

    One site easily has 2^64 IPv6 addresses, so a single one means nothing. Nor does a scope.

    Raises:
        ValueError: ``ip`` is no IP address.
    """
    packed = parse_ip(str(ip)).packed
    return packed if len(packed) == 4 else packed[:8]
