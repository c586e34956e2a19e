"""
What is known of the network around this machine: the values of a survey, made for people and for JSON.

The words for NATs are those of RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5780. None always means "not known": not asked,
or no answer that would tell.
"""

from __future__ import annotations

import enum

from .values import dataclass

__all__ = [
    "Behaviour",
    "GatewayFinding",
    "InterfaceFinding",
    "InterfaceKind",
    "MappingOffer",
    "NetworkSurvey",
    "PortAllocation",
    "ProtocolFinding",
    "ServerFinding",
    "SurveyProgress",
    "Unsolicited",
]


class Behaviour(str, enum.Enum):
    """On what a NAT's mapping, or what its filter lets in, depends (RFC 4787 sections 4.1 and 5)."""

    INDEPENDENT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"


class PortAllocation(str, enum.Enum):
    """How a NAT chooses the outer port of a new mapping (RFC 4787 section 4.2)."""

    PRESERVED = "preserved"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


class Unsolicited(str, enum.Enum):
    """What becomes of a TCP SYN from outside that nobody asked for (RFC 5382 section 4.3)."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    RESET = "reset"


class InterfaceKind(str, enum.Enum):
    """What an interface is, judged by its name and the system."""

    ETHERNET = "ethernet"
    WIRELESS = "wireless"
    MOBILE = "mobile"
    VPN = "vpn"
    CONTAINER = "container"
    OTHER = "other"


@dataclass(frozen=True)
class ServerFinding:
    """One STUN server, asked by one protocol."""

    name: str
    """As it was given: ``stun.example.org:3478``."""

    address: str
    """The IP address and port that was asked; empty if the name has none of this family."""

    rtt: float | None = None
    """Seconds until its answer; None: it did not answer."""

    mapped: str = ""
    """Where it saw us, ``IP:port``."""

    tests_filtering: bool = False
    """It has a second address and can be asked to answer from there (RFC 5780)."""

    error: str = ""
    """Why there was no answer, in a sentence."""


@dataclass(frozen=True)
class ProtocolFinding:
    """What the network does to one protocol of one family."""

    protocol: str
    """``udp`` or ``tcp``."""

    family: int
    """4 or 6."""

    reachable: bool | None = None
    """Whether anything outside answers by this protocol; None: not tried."""

    reason: str = ""
    """Why it is not reachable, or was not tried, in a sentence."""

    local: str = ""
    """The address and port that was used on this machine."""

    mapped: str = ""
    """The same as seen from outside."""

    translated: bool | None = None
    """Whether there is a translation on the way: the two differ."""

    mapping: Behaviour | None = None
    """On what the outer address and port depend; ADDRESS_AND_PORT also if only the former is certain to vary."""

    filtering: Behaviour | None = None
    """Who may send to an outer address in use: anybody, addresses that were sent to, only the very ports."""

    ports: PortAllocation | None = None
    """How outer ports are chosen."""

    step: int | None = None
    """The distance of one outer port to the next, if they are sequential."""

    hairpin: bool | None = None
    """Whether a machine inside reaches another one inside by its outer address."""

    unsolicited: Unsolicited | None = None
    """TCP: what becomes of a stranger's SYN."""

    lifetime: tuple[float, float | None] | None = None
    """Seconds for which a quiet mapping surely lives, and after which it surely has gone (None: not found)."""

    mtu: int | None = None
    """UDP: bytes of the largest IP packet that went out and was answered whole."""

    rtt: float | None = None
    """Seconds to the nearest server that answered."""

    open_ports: tuple[int, ...] = ()
    """TCP: ports outside that could be reached (443, 80), if the server's own could not."""

    intercepted: str = ""
    """Something answered that is not who was asked, in a sentence: a captive portal, or a proxy."""

    servers: tuple[ServerFinding, ...] = ()
    """Every server asked."""


@dataclass(frozen=True)
class MappingOffer:
    """One protocol by which a router may open a port for us, and what it said."""

    protocol: str
    """``pcp``, ``natpmp`` or ``igd``."""

    works: bool
    """A mapping was made, and removed again."""

    external: str = ""
    """The outer address that the router names."""

    seconds: float | None = None
    """Until the mapping stood."""

    lease: int | None = None
    """Seconds that were granted; 0: for ever."""

    error: str = ""
    """What it said instead, in a sentence; ``no answer`` if nothing."""


@dataclass(frozen=True)
class GatewayFinding:
    """The router that this machine's packets go to."""

    address: str
    """Its address on our network; empty: there is none."""

    model: str = ""
    """What it calls itself, if it says so (UPnP)."""

    offers: tuple[MappingOffer, ...] = ()
    """Ways to have it open a port; empty: not asked."""

    layers: str = ""
    """``carrier`` or ``double`` if there is another NAT beyond this router, which it cannot open; else empty."""

    reason: str = ""
    """How that is known, in a sentence."""

    hops: tuple[str, ...] = ()
    """The first routers on the way out over IPv4, nearest first; an empty text for one that keeps silent."""


@dataclass(frozen=True)
class InterfaceFinding:
    """A network interface of this machine."""

    name: str
    kind: InterfaceKind
    addresses: tuple[str, ...]
    default: bool
    """Whether packets to the Internet leave by it."""

    mtu: int | None = None


@dataclass(frozen=True)
class NetworkSurvey:
    """All that a survey found."""

    started: float
    """Seconds since the epoch."""

    seconds: float
    """How long it took."""

    offline: bool
    """Nobody outside this network was asked."""

    interfaces: tuple[InterfaceFinding, ...] = ()
    protocols: tuple[ProtocolFinding, ...] = ()
    """UDP and TCP, IPv4 and IPv6, in this order: udp 4, tcp 4, udp 6, tcp 6."""

    gateway: GatewayFinding | None = None
    """None: not looked for."""

    contacted: tuple[str, ...] = ()
    """Who was asked, beside the gateway: servers and helping peers, as they were given."""

    hints: tuple[str, ...] = ()
    """What else stood out, a word each: ``vpn``, ``captive_portal``, ``dns_lies``, ``several_ways_out``,
    ``no_network``, ``no_dns``."""

    def finding(self, protocol: str, family: int) -> ProtocolFinding | None:
        """What was found for a protocol (``udp``, ``tcp``) and family (4, 6)."""
        for each in self.protocols:
            if (each.protocol, each.family) == (protocol, family):
                return each
        return None


@dataclass(frozen=True)
class SurveyProgress:
    """A survey goes on."""

    stage: str
    """What: ``interfaces``, ``dns``, ``udp4``, ``tcp4``, ``udp6``, ``tcp6``, ``gateway``, ``lifetime``."""

    text: str
    """The same for people."""

    done: bool
    """It has ended; else it begins."""

    seconds: float
    """Since the survey began."""
