"""Whether there is another NAT beyond the router: an opened port then leads from that NAT's inside only."""

from __future__ import annotations

import ipaddress

from ...values import dataclass

__all__ = ["CARRIER", "DOUBLE", "SHARED", "Layers", "is_global", "judge_layers", "usable_ipv4"]

CARRIER = "carrier"
DOUBLE = "double"
SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: what carriers number their customers with


@dataclass(frozen=True)
class Layers:
    """What stands beyond our router."""

    kind: str = ""
    """``carrier``, ``double``, or empty: nothing that is known of."""
    reason: str = ""
    """How that is known, in a sentence."""


def is_global(address: str) -> bool:
    """Whether a text is an address of the public Internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_global and not ip.is_multicast  # not is_private: 100.64.0.0/10 is neither


def usable_ipv4(external: object) -> str:
    """What a router calls its outer address, if it can be one; else empty: not the nonsense that some give."""
    try:
        ip = ipaddress.IPv4Address(str(external))
    except ValueError:
        return ""
    nonsense = ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local or ip.is_reserved
    return "" if nonsense else str(ip)


def judge_layers(external: str, *, seen: str | None = None, mismatch: bool = False) -> Layers:
    """
    Whether there is a NAT beyond the router, or between us and it.

    Args:
        external: The router's outer address, as it says; empty: it does not say.
        seen: The address that others see us at (STUN), if known.
        mismatch: The router that answered by PCP sees another address than ours on our packets.
    """
    if mismatch:
        return Layers(DOUBLE, "another NAT stands between this machine and the router that answers")
    if not external:
        return Layers()
    try:
        ip = ipaddress.ip_address(external)
    except ValueError:
        return Layers()
    if ip in SHARED:
        return Layers(
            CARRIER,
            f"the router's outer address, {external}, is one that Internet providers share among customers: the"
            " provider has a NAT of its own, which the router cannot open",
        )
    if ip.is_unspecified or ip.is_loopback or ip.is_multicast:
        return Layers()
    if not is_global(external):
        return Layers(
            DOUBLE,
            f"the router's outer address, {external}, is a private one: there is another router before it",
        )
    if (
        seen is not None
        and is_global(seen)
        and seen != external
        and ipaddress.ip_address(seen).version == ip.version
    ):
        return Layers(
            DOUBLE,
            f"the router names {external} as its outer address, but others see us at {seen}: there is another NAT"
            " beyond it, or it is mistaken",
        )
    return Layers()
