"""What surveys of every kind of network find: examples by name, for whatever judges or shows them."""

from __future__ import annotations

import dataclasses
from typing import Any

from crust.assessment import SiteKind
from crust.findings import (
    Behaviour,
    GatewayFinding,
    InterfaceFinding,
    InterfaceKind,
    MappingOffer,
    NetworkSurvey,
    PortAllocation,
    ProtocolFinding,
    ServerFinding,
    Unsolicited,
)

__all__ = ["KINDS", "OUTER", "SURVEYS"]

OUTER = "20.0.1.1"
INNER = "192.168.1.20"
ROUTER = "192.168.1.1"
OUTER6 = "2a00:1450:1:2::20"
SERVERS = ("stun.example.org:3478", "stun.example.net:3478")

INDEPENDENT, ADDRESS, BOTH = Behaviour.INDEPENDENT, Behaviour.ADDRESS, Behaviour.ADDRESS_AND_PORT
PRESERVED, SEQUENTIAL, RANDOM = PortAllocation.PRESERVED, PortAllocation.SEQUENTIAL, PortAllocation.RANDOM

WIFI = InterfaceFinding("wlan0", InterfaceKind.WIRELESS, (f"{INNER}/24",), True, 1500)
WIRE = InterfaceFinding("eth0", InterfaceKind.ETHERNET, (f"{OUTER}/24",), True, 1500)
NO_OFFERS = tuple(MappingOffer(name, False, error="no answer") for name in ("pcp", "natpmp", "igd"))
HOME = GatewayFinding(ROUTER, "FRITZ!Box 7590", NO_OFFERS)


def _answered(address: str, mapped: str, rtt: float) -> tuple[ServerFinding, ...]:
    return tuple(
        ServerFinding(name, f"{address}{number}:3478", rtt + number / 100, mapped, number == 1)
        for number, name in enumerate(SERVERS, 1)
    )


def _udp(**changes: Any) -> ProtocolFinding:
    found = ProtocolFinding(
        "udp",
        4,
        True,
        local=f"{INNER}:41233",
        mapped=f"{OUTER}:41233",
        translated=True,
        mapping=INDEPENDENT,
        filtering=BOTH,
        ports=PRESERVED,
        hairpin=False,
        mtu=1492,
        rtt=0.023,
        servers=_answered("20.0.9.", f"{OUTER}:41233", 0.023),
    )
    return dataclasses.replace(found, **changes)


def _tcp(**changes: Any) -> ProtocolFinding:
    found = _udp(
        protocol="tcp", filtering=None, unsolicited=Unsolicited.DROPPED, mtu=None, rtt=0.025, local=f"{INNER}:41234"
    )
    return dataclasses.replace(found, **changes)


def _silent(protocol: str, family: int = 4, reason: str = "no answer", **changes: Any) -> ProtocolFinding:
    servers = tuple(ServerFinding(name, f"20.0.9.{n}:3478", error=reason) for n, name in enumerate(SERVERS, 1))
    return dataclasses.replace(ProtocolFinding(protocol, family, False, reason, servers=servers), **changes)


def _survey(
    *protocols: ProtocolFinding,
    gateway: GatewayFinding | None = HOME,
    interfaces: tuple[InterfaceFinding, ...] = (WIFI,),
    **changes: Any,
) -> NetworkSurvey:
    found = NetworkSurvey(1_795_264_300.0, 1.84, False, interfaces, protocols, gateway, SERVERS)
    return dataclasses.replace(found, **changes)


def _six(filtering: Behaviour, unsolicited: Unsolicited | None) -> tuple[ProtocolFinding, ProtocolFinding]:
    same: dict[str, Any] = {"family": 6, "local": f"[{OUTER6}]:41233", "mapped": f"[{OUTER6}]:41233"}
    same |= {"translated": False, "hairpin": None, "servers": ()}
    return _udp(filtering=filtering, **same), _tcp(unsolicited=unsolicited, **same)


PUBLIC: dict[str, Any] = {"local": f"{OUTER}:41233", "translated": False, "hairpin": None}
NO_WAY = "this machine has no way to the Internet by this family"
OPEN = _udp(filtering=INDEPENDENT, **PUBLIC), _tcp(unsolicited=Unsolicited.ACCEPTED, **PUBLIC)
PORT = _udp(), _tcp()
SYMMETRIC = _udp(mapping=BOTH, ports=RANDOM), _tcp(mapping=BOTH, ports=RANDOM)
SEQUENCE = (
    _udp(mapping=BOTH, ports=SEQUENTIAL, step=1),
    _tcp(mapping=BOTH, ports=SEQUENTIAL, step=1),
)
LENIENT = _udp(filtering=INDEPENDENT), _tcp(unsolicited=Unsolicited.ACCEPTED)
PORTAL = _tcp(
    mapped="",
    translated=None,
    mapping=None,
    intercepted="a web server answered on the port of a STUN server",
)
GRANTED = (
    MappingOffer("pcp", False, error="no answer"),
    MappingOffer("igd", True, OUTER, 0.41, 3600),
)
CARRIED = GatewayFinding(
    ROUTER,
    "FRITZ!Box 7590",
    (MappingOffer("igd", True, "100.64.3.7", 0.4, 3600),),
    "carrier",
    "the router's own address is 100.64.3.7, which carriers share out",
)

SURVEYS: dict[str, NetworkSurvey] = {
    "none": _survey(*OPEN, interfaces=(WIRE,), gateway=GatewayFinding("20.0.1.254", "", NO_OFFERS)),
    "none, TCP not tested": _survey(OPEN[0], _tcp(unsolicited=None, **PUBLIC), interfaces=(WIRE,), gateway=None),
    "firewall": _survey(
        _udp(**PUBLIC), _tcp(**PUBLIC), interfaces=(WIRE,), gateway=GatewayFinding("20.0.1.254", "", NO_OFFERS)
    ),
    "mapping works": _survey(*PORT, gateway=GatewayFinding(ROUTER, "FRITZ!Box 7590", GRANTED)),
    "full": _survey(*LENIENT),
    "full, TCP not tested": _survey(LENIENT[0], _tcp(unsolicited=None)),
    "addr": _survey(_udp(filtering=ADDRESS), _tcp()),
    "port": _survey(*PORT),
    "port, TCP not tested": _survey(PORT[0], _tcp(unsolicited=None)),
    "port, one plain server": _survey(
        _udp(mapping=None, filtering=None, ports=None), _tcp(mapping=None, unsolicited=None, ports=None)
    ),
    "rst": _survey(_udp(), _tcp(unsolicited=Unsolicited.RESET)),
    "sym": _survey(*SYMMETRIC),
    "symseq": _survey(*SEQUENCE),
    "cgnat": _survey(*PORT, gateway=CARRIED),
    "double": _survey(
        *PORT,
        gateway=GatewayFinding(
            ROUTER,
            "",
            (MappingOffer("igd", True, "10.0.0.7", 0.4, 3600),),
            "double",
            "the router's own address is 10.0.0.7, a private one",
        ),
    ),
    "udpblock": _survey(_silent("udp"), _tcp()),
    "tcpblock": _survey(_udp(), _silent("tcp")),
    "strict": _survey(
        _silent("udp"),
        _silent("tcp", reachable=True, reason="", open_ports=(443, 80)),
    ),
    "captive portal": _survey(
        _silent("udp"),
        _silent("tcp", intercepted="a web server answered on the port of a STUN server"),
        hints=("captive_portal", "dns_lies"),
    ),
    "nothing answers": _survey(_silent("udp"), _silent("tcp"), gateway=GatewayFinding(ROUTER)),
    "no names": _survey(
        ProtocolFinding("udp", 4, None, "no server's name could be looked up"),
        ProtocolFinding("tcp", 4, None, "no server's name could be looked up"),
        hints=("no_dns",),
    ),
    "no network": _survey(gateway=GatewayFinding(""), interfaces=(), contacted=(), hints=("no_network",)),
    "offline": _survey(
        *(ProtocolFinding(name, 4, None, "not tried: no server was named") for name in ("udp", "tcp")),
        *(ProtocolFinding(name, 6, False, NO_WAY) for name in ("udp", "tcp")),
        offline=True,
        contacted=(),
        gateway=None,
    ),
    "no route": _survey(*(ProtocolFinding(name, 4, False, NO_WAY) for name in ("udp", "tcp")), gateway=None),
    "a proxy for TCP": _survey(
        _udp(), _tcp(intercepted="a web server answered on the port of a STUN server"), hints=("captive_portal",)
    ),
    "offline, mapping works": _survey(
        *(ProtocolFinding(name, 4, None, "offline") for name in ("udp", "tcp")),
        offline=True,
        contacted=(),
        gateway=GatewayFinding(ROUTER, "", GRANTED),
    ),
    "vpn": _survey(
        *SYMMETRIC,
        interfaces=(
            dataclasses.replace(WIFI, default=False),
            InterfaceFinding("tun0", InterfaceKind.VPN, ("10.8.0.2/24",), True, 1420),
        ),
        gateway=GatewayFinding(""),
        hints=("vpn",),
    ),
    "two ways out": _survey(
        *PORT,
        interfaces=(WIFI, InterfaceFinding("wwan0", InterfaceKind.MOBILE, ("10.64.1.2/30",), True, 1428)),
        hints=("several_ways_out",),
    ),
    "ipv6 firewall": _survey(*PORT, *_six(BOTH, Unsolicited.DROPPED)),
    "ipv6 open": _survey(*PORT, *_six(INDEPENDENT, Unsolicited.ACCEPTED)),
    "none, one plain server": _survey(
        _udp(mapping=None, filtering=None, **PUBLIC), _tcp(mapping=None, unsolicited=None, **PUBLIC), interfaces=(WIRE,)
    ),
    "servers that tell nothing": _survey(*(ProtocolFinding(name, 4, True, rtt=0.02) for name in ("udp", "tcp"))),
    "none, but UDP is blocked": _survey(_silent("udp"), OPEN[1], interfaces=(WIRE,)),
    "captive portal, mapping works": _survey(
        _silent("udp"),
        PORTAL,
        gateway=GatewayFinding(ROUTER, "", GRANTED),
        hints=("captive_portal",),
    ),
    "cgnat, lenient": _survey(*LENIENT, gateway=CARRIED),
    "ipv6 open, a carrier's IPv4": _survey(*PORT, *_six(INDEPENDENT, Unsolicited.ACCEPTED), gateway=CARRIED),
    "ipv6 open, a portal by IPv4": _survey(
        _silent("udp"),
        PORTAL,
        *_six(INDEPENDENT, Unsolicited.ACCEPTED),
    ),
    "ipv6 alone": _survey(_silent("udp"), _silent("tcp"), *_six(BOTH, Unsolicited.DROPPED)),
}

KINDS: dict[str, tuple[SiteKind, str]] = {
    "none": (SiteKind.OPEN, "A"),
    "none, TCP not tested": (SiteKind.OPEN, "A"),
    "firewall": (SiteKind.FIREWALL, "B"),
    "mapping works": (SiteKind.MAPPED, "A"),
    "full": (SiteKind.FULL_CONE, "B"),
    "full, TCP not tested": (SiteKind.FULL_CONE, "B"),
    "addr": (SiteKind.ADDRESS_RESTRICTED, "B"),
    "port": (SiteKind.PORT_RESTRICTED, "B"),
    "port, TCP not tested": (SiteKind.PORT_RESTRICTED, "B"),
    "port, one plain server": (SiteKind.TRANSLATED, "C"),
    "rst": (SiteKind.RESETTING, "B"),
    "sym": (SiteKind.SYMMETRIC, "B"),
    "symseq": (SiteKind.SEQUENTIAL, "B"),
    "cgnat": (SiteKind.CARRIER, "B"),
    "double": (SiteKind.DOUBLE, "B"),
    "udpblock": (SiteKind.UDP_BLOCKED, "B"),
    "tcpblock": (SiteKind.TCP_BLOCKED, "B"),
    "strict": (SiteKind.WEB_ONLY, "E"),
    "captive portal": (SiteKind.CAPTIVE_PORTAL, "F"),
    "nothing answers": (SiteKind.NO_INTERNET, "F"),
    "no names": (SiteKind.NO_INTERNET, "F"),
    "no network": (SiteKind.NO_NETWORK, "F"),
    "offline": (SiteKind.UNKNOWN, ""),
    "no route": (SiteKind.NO_INTERNET, "F"),
    "a proxy for TCP": (SiteKind.TCP_BLOCKED, "B"),
    "offline, mapping works": (SiteKind.MAPPED, "A"),
    "vpn": (SiteKind.SYMMETRIC, "B"),
    "two ways out": (SiteKind.PORT_RESTRICTED, "B"),
    "ipv6 firewall": (SiteKind.PORT_RESTRICTED, "B"),
    "ipv6 open": (SiteKind.PORT_RESTRICTED, "B"),
    "ipv6 alone": (SiteKind.FIREWALL, "C"),
    "none, one plain server": (SiteKind.CONNECTED, "C"),
    "servers that tell nothing": (SiteKind.CONNECTED, "C"),
    "none, but UDP is blocked": (SiteKind.UDP_BLOCKED, "A"),
    "captive portal, mapping works": (SiteKind.CAPTIVE_PORTAL, "F"),
    "cgnat, lenient": (SiteKind.CARRIER, "B"),
    "ipv6 open, a carrier's IPv4": (SiteKind.CARRIER, "B"),
    "ipv6 open, a portal by IPv4": (SiteKind.OPEN, "C"),
}
"""What each example is, and how it is graded by what this version can do."""
