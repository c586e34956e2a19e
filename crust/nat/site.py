"""What kind of network a machine is in, in a word and in plain sentences."""

from __future__ import annotations

from ..assessment import SiteKind
from ..findings import Behaviour, NetworkSurvey, PortAllocation, ProtocolFinding, Unsolicited
from .methods import Entrance
from .sides import opens_ports, side_of

__all__ = ["WORDS", "kind_of"]

WORDS: dict[SiteKind, tuple[str, str]] = {
    SiteKind.OPEN: (
        "Open to the Internet",
        "This machine has a public address of its own, and nothing turns callers away.",
    ),
    SiteKind.FIREWALL: (
        "A public address behind a firewall",
        "This machine has a public address of its own, but a firewall turns away everybody who was not called first.",
    ),
    SiteKind.MAPPED: (
        "A router that opens ports",
        "This machine shares its router's public address with others at home, but the router opens a port for crust "
        "when it is asked, so that callers get through.",
    ),
    SiteKind.FULL_CONE: (
        "A lenient router",
        "This machine shares its router's public address. While a connection to anywhere is kept up, everybody may "
        "call in by the same port (a full-cone NAT); crust keeps one up once it has a peer that has tried that.",
    ),
    SiteKind.ADDRESS_RESTRICTED: (
        "An ordinary router, of the milder kind",
        "This machine shares its router's public address. The router lets in only those whom this machine has called "
        "before, from whatever port (an address-restricted NAT).",
    ),
    SiteKind.PORT_RESTRICTED: (
        "An ordinary home router",
        "This machine shares its router's public address. The router lets in only answers: from exactly where this "
        "machine has called (a port-restricted NAT).",
    ),
    SiteKind.RESETTING: (
        "A router that hangs up on strangers",
        "This machine shares its router's public address. The router lets in only answers, and refuses strangers' "
        "calls by TCP at once instead of ignoring them (it answers RST).",
    ),
    SiteKind.SEQUENTIAL: (
        "A strict router, with foreseeable ports",
        "The router shows another port to each destination, one after the other, so an address that one server sees "
        "is of no use to others (a symmetric NAT with sequential ports).",
    ),
    SiteKind.SYMMETRIC: (
        "A strict router",
        "The router shows another, random port to each destination, so an address that one server sees is of no use "
        "to others (a symmetric NAT). Offices and some mobile networks do this.",
    ),
    SiteKind.TRANSLATED: (
        "Behind a router",
        "This machine shares its router's public address. What the router does with callers could not be found out.",
    ),
    SiteKind.CONNECTED: (
        "Connected to the Internet",
        "Servers outside answer this machine, but whether callers get through to it could not be found out.",
    ),
    SiteKind.CARRIER: (
        "The provider shares your address among customers",
        "Beyond your router is another one, of the provider, with a public address that many customers share "
        "(carrier-grade NAT). No setting at home opens a port there.",
    ),
    SiteKind.DOUBLE: (
        "Two routers, one behind the other",
        "Your router is not on the Internet itself: it is behind a second one. A caller would have to pass both.",
    ),
    SiteKind.UDP_BLOCKED: (
        "UDP is blocked",
        "Of the two kinds of traffic that crust uses, TCP and UDP, this network lets only TCP out.",
    ),
    SiteKind.TCP_BLOCKED: (
        "TCP is blocked",
        "Of the two kinds of traffic that crust uses, TCP and UDP, this network lets only UDP out.",
    ),
    SiteKind.WEB_ONLY: (
        "Only web traffic gets out",
        "This network lets out what looks like a web page being fetched, and nothing else; offices and hotels do this.",
    ),
    SiteKind.CAPTIVE_PORTAL: (
        "A login page stands before the Internet",
        "Whatever is called, this network's own login page answers. Until you have logged in, nothing gets out.",
    ),
    SiteKind.NO_INTERNET: (
        "No way to the Internet",
        "This machine has a local network, but nothing outside answered.",
    ),
    SiteKind.NO_NETWORK: ("No network", "This machine is connected to no network."),
    SiteKind.UNKNOWN: (
        "Not looked at from outside",
        "Nobody outside was asked, so how this machine appears from there is not known.",
    ),
}


def kind_of(survey: NetworkSurvey) -> SiteKind:
    """The kind; what matters most first: whether anything gets out, then whether callers get in."""
    if "no_network" in survey.hints or not survey.interfaces and not survey.protocols:
        return SiteKind.NO_NETWORK
    if not any(_works(finding) for finding in survey.protocols):
        return _cut_off(survey)
    entrances = {way.entrance for way in side_of(survey).ways if way.family == _family(survey)}
    blocked = _blocked(survey)
    if Entrance.MAPPED in entrances and blocked is not SiteKind.WEB_ONLY:
        return SiteKind.MAPPED
    if blocked is not None:
        return blocked
    if Entrance.OPEN in entrances:
        return SiteKind.OPEN
    return _translator(survey, entrances)


def _cut_off(survey: NetworkSurvey) -> SiteKind:
    """Nothing outside has answered: why?"""
    if "captive_portal" in survey.hints:
        return SiteKind.CAPTIVE_PORTAL
    asked = any(finding.servers for finding in survey.protocols) or "no_dns" in survey.hints
    possible = any(finding.reachable is None for finding in survey.protocols) or not survey.protocols
    if possible and not asked:
        return SiteKind.MAPPED if opens_ports(survey) else SiteKind.UNKNOWN
    return SiteKind.NO_INTERNET


def _family(survey: NetworkSurvey) -> int:
    """The family that the verdict is about: the older one, unless only the newer one works."""
    four = [finding for finding in survey.protocols if finding.family == 4]
    return 4 if any(_works(finding) for finding in four) else 6


def _blocked(survey: NetworkSurvey) -> SiteKind | None:
    family = _family(survey)
    udp, tcp = survey.finding("udp", family), survey.finding("tcp", family)
    if tcp is not None and tcp.open_ports:
        return SiteKind.WEB_ONLY if udp is None or not udp.reachable else SiteKind.TCP_BLOCKED
    if udp is not None and _fails(udp) and tcp is not None and _works(tcp):
        return SiteKind.UDP_BLOCKED
    if tcp is not None and _fails(tcp) and udp is not None and _works(udp):
        return SiteKind.TCP_BLOCKED
    return None


def _works(finding: ProtocolFinding) -> bool:
    return bool((finding.reachable or finding.open_ports) and not finding.intercepted)


def _fails(finding: ProtocolFinding) -> bool:
    return finding.reachable is False or bool(finding.intercepted)


def _translator(survey: NetworkSurvey, entrances: set[Entrance]) -> SiteKind:
    family = _family(survey)
    findings = [finding for name in ("udp", "tcp") if (finding := survey.finding(name, family)) is not None]
    known = [finding for finding in findings if finding.reachable]
    if not any(finding.translated for finding in known):
        unclear = {Entrance.UNKNOWN, Entrance.LIKELY} & entrances and Entrance.CLOSED not in entrances
        return SiteKind.CONNECTED if unclear else SiteKind.FIREWALL
    if survey.gateway is not None and survey.gateway.layers == "carrier":
        return SiteKind.CARRIER
    if survey.gateway is not None and survey.gateway.layers == "double":
        return SiteKind.DOUBLE
    if Entrance.KEPT in entrances:
        return SiteKind.FULL_CONE
    return _by_behaviour(known)


def _by_behaviour(known: list[ProtocolFinding]) -> SiteKind:
    """UDP speaks first: more can be found out about it."""
    varying = [finding for finding in known if finding.mapping not in (Behaviour.INDEPENDENT, None)]
    if varying and len(varying) == len([finding for finding in known if finding.mapping is not None]):
        sequential = all(finding.ports is PortAllocation.SEQUENTIAL for finding in varying)
        return SiteKind.SEQUENTIAL if sequential else SiteKind.SYMMETRIC
    if any(finding.unsolicited is Unsolicited.RESET for finding in known):
        return SiteKind.RESETTING
    filtering = next((finding.filtering for finding in known if finding.filtering is not None), None)
    if filtering is Behaviour.ADDRESS:
        return SiteKind.ADDRESS_RESTRICTED
    if filtering is Behaviour.ADDRESS_AND_PORT or any(f.unsolicited is Unsolicited.DROPPED for f in known):
        return SiteKind.PORT_RESTRICTED
    return SiteKind.TRANSLATED
