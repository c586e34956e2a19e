"""At which addresses a node tells another one that it may be reached, in the form of the wire. Sans-IO."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...addresses import Endpoint, is_unicast
from ...candidates import Candidate, CandidateKind
from ...wire.frames import Place, PlaceKind, TransportCode
from .targets import capped

__all__ = ["place_of", "places"]

_KINDS = {
    CandidateKind.CONFIGURED: PlaceKind.CONFIGURED,
    CandidateKind.INTERFACE: PlaceKind.INTERFACE,
    CandidateKind.MAPPED: PlaceKind.MAPPED,
    CandidateKind.REFLEXIVE: PlaceKind.REFLEXIVE,
}
_CODES = {"tcp": TransportCode.TCP, "utp": TransportCode.UTP}


def places(
    candidates: Iterable[Candidate],
    hearsay: Iterable[Endpoint] = (),
    *,
    opened: Collection[Endpoint] = (),
    entered: Collection[tuple[str, int]] = (),
) -> tuple[Place, ...]:
    """
    Best first: configured ones, global addresses of interfaces, mapped, reflexive, private addresses of interfaces. At
    most ``CANDIDATES_MAX`` of each family.

    Args:
        candidates: Where this node may be reached.
        hearsay: Where others see it, too, who need not be believed: in a session that costs only attempts.
        opened: Those of them at which strangers get in, as far as known. (Configured ones count as such, and so do
            global addresses of IPv4: most of IPv6 has a firewall in front.)
        entered: Transports and families by which strangers came in already.
    """
    known = [*candidates]
    known += [Candidate(CandidateKind.REFLEXIVE, each, None, False) for each in hearsay]
    usable = [each for each in known if _is_usable(each.endpoint)]
    if any(not each.endpoint.is_loopback for each in usable):  # else this node is for its own machine alone
        usable = [each for each in usable if not each.endpoint.is_loopback]
    usable.sort(key=_rank)
    found: dict[tuple[str, Endpoint], Place] = {}
    for each in usable:
        is_open = _is_open(each, opened, entered)
        found.setdefault((each.endpoint.transport, each.endpoint), place_of(each, is_open))
    return capped(found.values())


def place_of(candidate: Candidate, is_open: bool) -> Place:
    """One candidate in the form of the wire."""
    endpoint = candidate.endpoint
    return Place(_KINDS[candidate.kind], _CODES[endpoint.transport], is_open, (endpoint.host, endpoint.port))


def _is_usable(endpoint: Endpoint) -> bool:
    """The wire carries addresses of IP, without the scope that IPv6's link-local ones need."""
    ip = endpoint.ip
    if ip is None or not endpoint.port or endpoint.transport not in _CODES or not is_unicast(ip):
        return False
    return ip.version == 4 or not ip.is_link_local


def _rank(candidate: Candidate) -> tuple[int, bool]:
    """By kind, and TCP first."""
    is_global = candidate.endpoint.ip is not None and candidate.endpoint.ip.is_global
    ranks = {CandidateKind.CONFIGURED: 0, CandidateKind.MAPPED: 2, CandidateKind.REFLEXIVE: 3}
    rank = ranks.get(candidate.kind, 1 if is_global else 4)
    return rank, candidate.endpoint.transport != "tcp"


def _is_open(candidate: Candidate, opened: Collection[Endpoint], entered: Collection[tuple[str, int]]) -> bool:
    endpoint = candidate.endpoint
    ip = endpoint.ip
    if candidate.kind is CandidateKind.CONFIGURED or endpoint in opened:
        return True
    if candidate.kind is not CandidateKind.INTERFACE or ip is None or not ip.is_global:
        return False
    return ip.version == 4 or (endpoint.transport, ip.version) in entered
