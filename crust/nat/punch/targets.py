"""
Which of another node's places may be tried from here. Sans-IO.

What a node names is only its word: it may name machines that are not its own. So what is private is tried only where
it can be the node: on a network that is ours too, or if others see both of us at one address, that of a NAT which we
share. That, the node's own word is not enough for. Nor is it for addresses that we have ourselves: its ports there
would be other programs of this machine, or what a router leads here. How much may be sent to what is tried:
:mod:`crust.nat.punch.allowance`.
"""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Collection, Iterable

from ... import limits
from ...addresses import IPAddress, IPNetwork, is_translated, is_unicast
from ...wire.frames import Place, TransportCode
from .contract import Terrain

__all__ = ["capped", "hosts_of", "targets"]

_BOTH = (TransportCode.TCP, TransportCode.UTP)


def targets(
    ours: Terrain,
    theirs: Iterable[Place],
    our_hosts: Collection[str],
    networks: Iterable[IPNetwork],
    transports: Collection[TransportCode] = _BOTH,
    *,
    seen: Collection[str] = (),
) -> tuple[Place, ...]:
    """
    The places that may be tried, in the order in which to try them: by class (TCP, then µTP), within a class those on
    our own networks first, then as the other node has them.

    Args:
        ours: What is known of the network here.
        theirs: What the other node says, best first.
        our_hosts: IP addresses at which others see us.
        networks: Those of our interfaces.
        transports: What this node uses.
        seen: IP addresses at which others than itself see the other node; loopback if it is seen on this machine.
    """
    nets = [*networks]
    places = [*dict.fromkeys(theirs)]
    public = {str(ip) for ip in map(_ip, our_hosts) if ip is not None} | hosts_of(ours.places)
    on_loopback = any(ip is not None and ip.is_loopback for ip in map(_ip, public))
    shares_nat = any(_is_global(host) and host in public for host in seen)
    own = public | {place.address[0] for place in ours.places}
    may_be_here = not own.isdisjoint(seen) or any(ip is not None and ip.is_loopback for ip in map(_ip, seen))
    here = {(place.transport, place.address) for place in ours.places}
    families = {net.version for net in nets if not (net.is_loopback or net.is_link_local)}
    found: dict[tuple[TransportCode, tuple[str, int]], tuple[bool, bool, int, Place]] = {}
    for number, place in enumerate(places):
        ip = _ip(place.address[0])
        name = (place.transport, place.address)
        if ip is None or not is_unicast(ip) or not place.address[1] or place.transport not in transports:
            continue
        if name in here or (place.address[0] in own and not may_be_here) or is_translated(ip):
            continue  # that is this node itself, or its machine; or an address that stands for another one
        is_near = any(ip in net for net in nets)
        if ip.is_loopback:
            allowed = on_loopback
        elif ip.is_global:
            allowed = ip.version in families
        else:
            allowed = is_near or (shares_nat and ip.version in families and not ip.is_link_local)
        if allowed:
            order = (place.transport is not TransportCode.TCP, not (is_near or ip.is_loopback), number, place)
            found.setdefault(name, order)
    return capped(each[3] for each in sorted(found.values(), key=lambda each: each[:3]))


def hosts_of(places: Iterable[Place]) -> set[str]:
    """The IP addresses of places that may be seen from elsewhere: no private ones, but loopback."""
    found = ((place.address[0], _ip(place.address[0])) for place in places)
    return {host for host, ip in found if ip is not None and (ip.is_loopback or _is_global(host))}


def _is_global(host: str) -> bool:
    ip = _ip(host)
    return ip is not None and ip.is_global and not ip.is_multicast


def _ip(host: str) -> IPAddress | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def capped(places: Iterable[Place]) -> tuple[Place, ...]:
    """The first ``CANDIDATES_MAX`` of each family."""
    counts: collections.Counter[bool] = collections.Counter()
    kept: list[Place] = []
    for place in places:
        is_ipv6 = ":" in place.address[0]
        counts[is_ipv6] += 1
        if counts[is_ipv6] <= limits.CANDIDATES_MAX:
            kept.append(place)
    return tuple(kept)
