"""What a person could change so that more peers are reached; only what helps by the findings."""

from __future__ import annotations

from collections.abc import Iterator

from ..assessment import Hint, SiteKind
from ..findings import InterfaceKind, NetworkSurvey
from .methods import Entrance
from .sides import host_of, is_global, outer_address, side_of

__all__ = ["hints_for"]

PORT = 5483
"""What the guides use as the fixed port."""

_ROUTERS = {
    SiteKind.FULL_CONE,
    SiteKind.ADDRESS_RESTRICTED,
    SiteKind.PORT_RESTRICTED,
    SiteKind.RESETTING,
    SiteKind.SEQUENTIAL,
    SiteKind.SYMMETRIC,
    SiteKind.TRANSLATED,
    SiteKind.UDP_BLOCKED,
    SiteKind.TCP_BLOCKED,
}


def hints_for(survey: NetworkSurvey, kind: SiteKind) -> tuple[Hint, ...]:
    """The hints for a site of this kind, what helps most first."""
    return tuple(
        hint
        for source in (_first_of_all, _names, _vpn, _router, _second_router, _firewall, _blocked, _several)
        for hint in source(survey, kind)
    )


def _first_of_all(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if kind is SiteKind.NO_NETWORK:
        yield Hint("connect", "Connect this machine", "Plug in a cable or join a Wi-Fi, then try again.")
    elif kind is SiteKind.CAPTIVE_PORTAL:
        yield Hint(
            "log_in",
            "Log in to this network",
            "Open any page in a web browser: the login page of this network appears. Log in or accept the terms, then "
            "run this report again.",
        )
    elif kind is SiteKind.NO_INTERNET and "no_dns" not in survey.hints:
        yield Hint(
            "no_internet",
            "Check the way to the Internet",
            "Does a web page open on this machine? If not, restart the router, and ask the provider. If one does, the "
            "servers that were asked may be down, or a firewall lets only the browser out: name other servers.",
        )


def _names(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if kind is SiteKind.NO_NETWORK:
        return
    if "no_dns" in survey.hints:
        yield Hint(
            "no_dns",
            "Names cannot be looked up",
            "This machine found no address for any name of a server. Set a DNS server in its network settings, or name "
            "servers by their IP address.",
        )
    if "dns_lies" in survey.hints and kind is not SiteKind.CAPTIVE_PORTAL:
        yield Hint(
            "dns_lies",
            "Names are answered falsely",
            "Names of servers lead to addresses that cannot be theirs: a filter, an advertisement blocker or a login "
            "page answers instead. Choose another DNS server in the network settings.",
        )


def _vpn(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if "vpn" not in survey.hints or kind in (SiteKind.OPEN, SiteKind.MAPPED, SiteKind.NO_NETWORK):
        return
    names = [each.name for each in survey.interfaces if each.kind is InterfaceKind.VPN]
    yield Hint(
        "vpn",
        "Look at the line without the VPN",
        f"Traffic leaves through a VPN{f' ({names[0]})' if names else ''}, so this is the VPN's network, not yours. "
        "Switch it off and run this report again to see your own. If you need the VPN, ask its provider whether it can "
        "forward a port to you.",
    )


# --- the router at home -----------------------------------------------------------------------------------------------


def _router(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if kind not in _ROUTERS or "vpn" in survey.hints:
        return
    gateway = survey.gateway
    if gateway is not None and gateway.layers or not any(finding.translated for finding in survey.protocols):
        return
    if gateway is None or gateway.address:
        where = f"settings of your router{f' ({_named(survey)})' if gateway is not None else ''}"
        closed = False
        if gateway is not None and gateway.offers and not any(offer.works for offer in gateway.offers):
            closed = True
            yield Hint(
                "switch_on_upnp",
                "Let the router open ports",
                f"In the {where}, switch on UPnP; it may also be called UPnP IGD, NAT-PMP, PCP, or "
                '"allow programs to open ports". crust then opens the port that it needs by itself, and everybody can '
                "call you. If somebody else runs the router, ask them.",
            )
        yield Hint(
            "forward_port",
            "Or forward a port by hand" if closed else "Forward a port by hand",
            f"In the {'same settings' if closed else where}, forward port {PORT}, both TCP and UDP, to this "
            f"machine{_inner(survey)}. Then tell crust, in its configuration file: listen.addresses is "
            f"tcp://0.0.0.0:{PORT} and utp://0.0.0.0:{PORT}, and listen.advertise is {_advertised(survey)}.",
        )


def _second_router(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    layers = survey.gateway.layers if survey.gateway is not None else ""
    six = survey.finding("udp", 6) or survey.finding("tcp", 6)
    has_six = six is not None and bool(six.reachable)
    if layers == "carrier":
        rest = (
            "Your line has IPv6 already: peers that have it too can be reached that way."
            if has_six
            else "Ask for IPv6 as well: it needs no shared addresses."
        )
        yield Hint(
            "ask_provider",
            "Ask your provider for a public IPv4 address",
            'Ask for "a public IPv4 address of my own, no carrier-grade NAT"; it is often free, or costs little. No '
            f"setting of your own router, and no port forwarding there, helps without it. {rest}",
        )
    elif layers == "double":
        yield Hint(
            "bridge_mode",
            "Make one router out of two",
            f"Your router{_at(survey)} is behind a second one, usually the provider's box. Switch that one to bridge "
            "mode (modem mode), or yours to access point mode; then only one of them translates. Or forward the port "
            f"{PORT} on both: on the outer one to your router, on yours to this machine{_inner(survey)}.",
        )


def _firewall(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if kind is SiteKind.FIREWALL:
        yield Hint(
            "open_firewall",
            "Open a port in the firewall",
            f"Let TCP and UDP port {PORT} in, in the firewall of this machine and in that of its provider or router. "
            f"Then let crust listen there: listen.addresses is tcp://0.0.0.0:{PORT} and utp://0.0.0.0:{PORT}, and the "
            "same with [::] for IPv6.",
        )
        return
    closed = [
        way
        for way in side_of(survey).ways
        if way.family == 6 and way.out and way.entrance is Entrance.CLOSED and is_global(outer_address(survey, 6))
    ]
    if closed and kind is not SiteKind.OPEN:
        yield Hint(
            "open_ipv6",
            "Let IPv6 callers in",
            f"IPv6 works here, but the router's firewall turns callers away. In its settings, let TCP and UDP port "
            f"{PORT} in for this machine ({outer_address(survey, 6)}): then everybody who has IPv6 can call you, "
            f"without any translation. Let crust listen there: tcp://[::]:{PORT} and utp://[::]:{PORT}.",
        )


# --- what does not get out --------------------------------------------------------------------------------------------


def _blocked(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if kind is SiteKind.UDP_BLOCKED:
        yield Hint(
            "let_udp_out",
            "Let UDP out",
            "A firewall, on this machine or of whoever runs this network, stops UDP. crust does without, by TCP, but "
            "has one way less. Ask for UDP to be let out, to all ports.",
        )
    elif kind is SiteKind.TCP_BLOCKED:
        yield Hint(
            "let_tcp_out",
            "Let TCP out",
            "A firewall, on this machine or of whoever runs this network, stops TCP. crust does without, by UDP, but "
            "peers in networks that block UDP are out of reach. Ask for TCP to be let out, to all ports.",
        )
    elif kind is SiteKind.WEB_ONLY:
        ports = next((finding.open_ports for finding in survey.protocols if finding.open_ports), ())
        port = ports[0] if ports else 443
        yield Hint(
            "listen_on_web_port",
            f"Let your peer listen on port {port}",
            f"Only calls to port {' and '.join(str(each) for each in ports) or port} leave this network. A peer that "
            f"listens there can be called: on its machine, `crust node --listen tcp://0.0.0.0:{port}`. Or ask whoever "
            "runs this network to let TCP out to all ports.",
        )


def _several(survey: NetworkSurvey, kind: SiteKind) -> Iterator[Hint]:
    if "several_ways_out" not in survey.hints:
        return
    usual = (InterfaceKind.ETHERNET, InterfaceKind.WIRELESS, InterfaceKind.MOBILE)
    names = ", ".join(each.name for each in survey.interfaces if each.kind in usual)
    yield Hint(
        "several_ways_out",
        "More than one network",
        f"This machine is in several networks{f' ({names})' if names else ''}. The report is about the one that the "
        "system prefers; unplug it or switch it off to learn about the other.",
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _named(survey: NetworkSurvey) -> str:
    gateway = survey.gateway
    return "" if gateway is None else ", ".join(word for word in (gateway.model, f"http://{gateway.address}") if word)


def _at(survey: NetworkSurvey) -> str:
    gateway = survey.gateway
    return f" ({gateway.address})" if gateway is not None and gateway.address else ""


def _inner(survey: NetworkSurvey) -> str:
    for name in ("udp", "tcp"):
        finding = survey.finding(name, 4)
        if finding is not None and finding.local:
            return f" ({host_of(finding.local)})"
    return ""


def _advertised(survey: NetworkSurvey) -> str:
    outer = outer_address(survey, 4) or "<the router's public address>"
    return f"tcp://{outer}:{PORT} and utp://{outer}:{PORT}"
