"""What a survey says, as methods need it: a `Side` with a `Way` for each transport and family."""

from __future__ import annotations

import ipaddress

from .. import limits
from ..findings import Behaviour, NetworkSurvey, ProtocolFinding, Unsolicited
from .methods import Entrance, Side, Way

__all__ = ["host_of", "is_global", "local_side", "opens_ports", "outer_address", "side_of"]

_TRANSPORTS = {"udp": "utp", "tcp": "tcp"}


def side_of(survey: NetworkSurvey) -> Side:
    """The side of the machine that was surveyed."""
    mapped = opens_ports(survey)
    ways: list[Way] = []
    for finding in survey.protocols:
        entrance = _entrance(finding, survey)
        shut = finding.reachable is False or finding.intercepted or finding.open_ports
        if mapped and finding.family == 4 and not shut and entrance is not Entrance.OPEN:
            entrance = Entrance.MAPPED
        ways.append(
            Way(
                transport=_TRANSPORTS[finding.protocol],
                family=finding.family,
                out=_gets_out(finding),
                out_ports=finding.open_ports,
                entrance=entrance,
                mapping=finding.mapping,
                filtering=finding.filtering,
                ports=finding.ports,
                unsolicited=finding.unsolicited,
                rtt=finding.rtt,
            )
        )
    return Side(tuple(ways))


def local_side(survey: NetworkSurvey) -> Side:
    """The same machine towards others in its own network: whatever the router does concerns nobody there."""
    families = {
        ipaddress.ip_address(host_of(address)).version
        for interface in survey.interfaces
        for address in interface.addresses
        if not ipaddress.ip_address(host_of(address)).is_loopback
    }
    return Side(
        tuple(
            Way(transport, family, True, Entrance.LIKELY, rtt=limits.FORECAST_RTT_LOCAL)
            for family in sorted(families)
            for transport in ("tcp", "utp")
        )
    )


def _gets_out(finding: ProtocolFinding) -> bool | None:
    if finding.intercepted:
        return False  # what answers is not who was called
    return True if finding.open_ports else finding.reachable


def _entrance(finding: ProtocolFinding, survey: NetworkSurvey) -> Entrance:
    if finding.reachable is False or finding.intercepted or finding.open_ports:
        return Entrance.CLOSED
    if finding.reachable is None or finding.translated is None:
        return Entrance.UNKNOWN
    if finding.translated and finding.mapping not in (Behaviour.INDEPENDENT, None):
        return Entrance.CLOSED
    stranger = _lets_strangers_in(finding)
    if stranger is None and finding.protocol == "tcp":
        return _like_udp(finding, survey)
    if stranger is None or (stranger and finding.translated and finding.mapping is None):
        return Entrance.UNKNOWN
    if not stranger:
        return Entrance.CLOSED
    return Entrance.KEPT if finding.translated else Entrance.OPEN


def _lets_strangers_in(finding: ProtocolFinding) -> bool | None:
    if finding.unsolicited is not None:
        return finding.unsolicited is Unsolicited.ACCEPTED
    return None if finding.filtering is None else finding.filtering is Behaviour.INDEPENDENT


def _like_udp(tcp: ProtocolFinding, survey: NetworkSurvey) -> Entrance:
    """What a filter does to TCP takes a helper to find out; it is hardly laxer than what it does to UDP."""
    udp = survey.finding("udp", tcp.family)
    if udp is None or udp.reachable is not True:
        return Entrance.UNKNOWN
    stranger = _lets_strangers_in(udp)
    if stranger is False:
        return Entrance.CLOSED
    return Entrance.LIKELY if stranger and not tcp.translated else Entrance.UNKNOWN


# --- the router -------------------------------------------------------------------------------------------------------


def opens_ports(survey: NetworkSurvey) -> bool:
    """Whether the router opens ports that can be reached from everywhere."""
    gateway = survey.gateway
    if gateway is None or gateway.layers:
        return False
    outer = outer_address(survey, 4)
    for offer in gateway.offers:
        if offer.works and (not offer.external or is_global(offer.external)):
            if not offer.external or not outer or host_of(offer.external) == outer:
                return True
    return False


def outer_address(survey: NetworkSurvey, family: int) -> str:
    """Our IP address of this family as servers see it; empty if none told."""
    for protocol in ("udp", "tcp"):
        finding = survey.finding(protocol, family)
        if finding is not None and finding.mapped and not finding.intercepted:
            return host_of(finding.mapped)
    return ""


def host_of(address: str) -> str:
    """The IP address of ``IP``, ``IP:port``, ``[IP]:port``, ``IP/bits`` or ``IP%scope``, without anything else."""
    text = address.partition("/")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.partition("%")[0]


def is_global(address: str) -> bool:
    """Whether an address is one of the whole Internet; shared ones of carriers (100.64.0.0/10) are not."""
    try:
        return ipaddress.ip_address(host_of(address)).is_global
    except ValueError:
        return False
