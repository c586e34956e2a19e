"""
Where nodes may be that we know from others, or from a file: what of that may be dialled from here. Sans-IO.

Whoever tells of a node may name a machine that is no node at all. So what one machine cannot have is never dialled, and
what is private only where it can mean the same machine as for who told it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..addresses import Contact, Endpoint, IPAddress, IPNetwork

__all__ = ["LOOPBACK", "may_be_dialled", "usable"]

LOOPBACK = "loopback"
"""The name of this machine's own network, see `around`."""


def may_be_dialled(endpoint: Endpoint, networks: Iterable[IPNetwork], around: str = "") -> bool:
    """
    Whether to dial what somebody has told.

    Args:
        networks: Those of our interfaces.
        around: The network in which it was so, as text, or :data:`LOOPBACK`: if it is ours now, it may be so again.
            Empty: not known; then only what is near is dialled of what is private.
    """
    ip = endpoint.ip
    if ip is None or not endpoint.is_single_host:
        return False
    if ip.is_loopback:
        return around == LOOPBACK
    nets = [*networks]
    if any(ip in net and ip in _ends(net) for net in nets):
        return False
    if ip.is_global:
        return True
    return any(ip in net for net in nets) or any(str(net) == around for net in nets)


def usable(
    contact: Contact, networks: Collection[IPNetwork], around: str = "", *, most: int | None = None
) -> Contact | None:
    """The contact with what of it may be dialled, at most so many endpoints of it; None: nothing may."""
    endpoints = [each for each in contact.endpoints if may_be_dialled(each, networks, around)]
    return Contact(contact.peer_id, endpoints[:most]) if endpoints else None


def _ends(net: IPNetwork) -> tuple[IPAddress, ...]:
    """The addresses of an IPv4 network that stand for all of it."""
    if net.version == 6 or net.prefixlen >= 31:
        return ()
    return (net.network_address, net.broadcast_address)
