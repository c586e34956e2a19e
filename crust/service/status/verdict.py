"""What a node has found out about the routers and firewalls on its way, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ...addresses import Endpoint
from ...assessment import SiteKind
from ...nat.mapping.layers import is_global
from ...nat.punch.standing import DEPENDENT, INDEPENDENT, NOTHING
from ...wire.frames import Standing, TransportCode
from .snapshot import MappedPort, NatProtocol, NatVerdict

__all__ = ["protocols", "verdict"]

_MAPPING = {INDEPENDENT: "independent", DEPENDENT: "dependent", NOTHING: "blocked"}
_TRANSPORT = {TransportCode.TCP: "tcp", TransportCode.UTP: "utp"}

_TEXTS = {
    SiteKind.OPEN: "a public address, and strangers get in",
    SiteKind.FIREWALL: "a public address, but a firewall turns strangers away",
    SiteKind.MAPPED: "behind a router that opens ports for this node: strangers should get in",
    SiteKind.FULL_CONE: "behind a router that lets strangers in at the ports in use",
    SiteKind.TRANSLATED: "behind a router that keeps one outer port for all: others get in once this node calls them",
    SiteKind.SEQUENTIAL: "behind a router that counts: a new outer port for each destination, which can be foreseen",
    SiteKind.SYMMETRIC: "behind a router that draws a new outer port for each destination",
    SiteKind.UDP_BLOCKED: "UDP does not get through to the Internet",
    SiteKind.TCP_BLOCKED: "TCP does not get through to the Internet",
    SiteKind.CONNECTED: "something outside answers; whether strangers get in is not known",
    SiteKind.UNKNOWN: "not known: nobody outside has told this node how it is seen (peers do, and nat.stun_servers)",
}


def protocols(
    standings: Iterable[Standing],
    seen: Mapping[tuple[str, int], Collection[Endpoint]],
    tried: Mapping[tuple[str, int], bool],
) -> tuple[NatProtocol, ...]:
    """
    One for each transport and family of which something is known.

    Args:
        standings: What is known of translators.
        seen: Where others see the listeners, by transport and family.
        tried: Whether strangers got in, where that was tried or has happened.
    """
    known = {(_TRANSPORT[each.transport], each.family): each for each in standings if each.transport in _TRANSPORT}
    return tuple(_protocol(key, known.get(key), seen.get(key, ()), tried) for key in sorted({*known, *seen, *tried}))


def _protocol(
    key: tuple[str, int],
    standing: Standing | None,
    seen: Collection[Endpoint],
    tried: Mapping[tuple[str, int], bool],
) -> NatProtocol:
    return NatProtocol(
        transport=key[0],
        family=key[1],
        mapping="unknown" if standing is None else _MAPPING.get(standing.mapping, "unknown"),
        step=0 if standing is None else standing.step,
        ports=None if standing is None or not standing.high else (standing.low, standing.high),
        filtering="unknown" if key not in tried else "open" if tried[key] else "closed",
        resets=standing is not None and standing.resets,
        seen=tuple(seen),
    )


def verdict(
    found: tuple[NatProtocol, ...],
    mappings: Collection[MappedPort],
    own: Collection[str],
    addresses: Collection[Endpoint],
) -> NatVerdict:
    """
    Where a node stands.

    Args:
        found: By transport and family.
        mappings: Ports that its router has opened.
        own: Addresses of this machine.
        addresses: Where strangers are told that they reach it.
    """
    kind = _kind(found, mappings, own)
    if kind in (SiteKind.OPEN, SiteKind.MAPPED, SiteKind.FULL_CONE):
        public: bool | None = True
    elif kind in (SiteKind.UNKNOWN, SiteKind.CONNECTED):
        public = True if any(is_global(each.host) and each.host not in own for each in addresses) else None
    else:
        public = False
    return NatVerdict(kind, _TEXTS[kind], public, found)


def _kind(found: tuple[NatProtocol, ...], mappings: Collection[MappedPort], own: Collection[str]) -> SiteKind:
    at_home = any(is_global(each.host) and each.host in own for one in found for each in one.seen)
    if any(each.filtering == "open" for each in found):
        return SiteKind.OPEN if at_home else SiteKind.FULL_CONE
    if any(is_global(each.endpoint.host) and not each.reason for each in mappings):
        return SiteKind.MAPPED
    if at_home and any(each.filtering == "closed" for each in found):
        return SiteKind.FIREWALL
    mapped = [each for each in found if each.mapping != "unknown"]
    for each in sorted(mapped, key=lambda each: (each.family, each.transport != "utp")):  # UDP over IPv4 says most
        if each.mapping == "dependent":
            return SiteKind.SEQUENTIAL if each.step else SiteKind.SYMMETRIC
        if each.mapping == "independent" and not at_home:
            return SiteKind.TRANSLATED
        if each.mapping == "blocked":
            return SiteKind.UDP_BLOCKED if each.transport == "utp" else SiteKind.TCP_BLOCKED
    return SiteKind.CONNECTED if any(each.seen for each in found) else SiteKind.UNKNOWN
