"""
What a survey of the network means for somebody who wants to reach peers: the values of ``crust.assess``.

Texts are for people who have never heard of NAT; the words in capitals and the letters are for programs.
"""

from __future__ import annotations

import enum

from .values import dataclass

__all__ = ["Assessment", "Forecast", "Hint", "Reach", "SiteKind"]


class SiteKind(str, enum.Enum):
    """What kind of network a machine is in."""

    OPEN = "open"
    """A public address, and callers get through."""

    FIREWALL = "firewall"
    """A public address, but a firewall turns callers away."""

    MAPPED = "mapped"
    """Behind a router that opens a port when crust asks."""

    FULL_CONE = "full_cone"
    """Behind a router that lets anybody answer to a port in use."""

    ADDRESS_RESTRICTED = "address_restricted"
    """Behind a router that lets in who was called, from any port."""

    PORT_RESTRICTED = "port_restricted"
    """Behind an ordinary router: only who was called gets in, from the very port."""

    RESETTING = "resetting"
    """The same, and strangers' TCP calls are refused instead of ignored."""

    SEQUENTIAL = "sequential"
    """Behind a router with a new outer port for each destination, the next one each time."""

    SYMMETRIC = "symmetric"
    """Behind a router with a new outer port for each destination, unforeseeable."""

    TRANSLATED = "translated"
    """Behind a router about which not enough was found out."""

    CONNECTED = "connected"
    """Something outside answers, but whether callers get in was not found out."""

    CARRIER = "carrier"
    """The provider shares one public address among its customers."""

    DOUBLE = "double"
    """Two routers, one behind the other."""

    UDP_BLOCKED = "udp_blocked"
    TCP_BLOCKED = "tcp_blocked"

    WEB_ONLY = "web_only"
    """Only the ports of the web get out."""

    CAPTIVE_PORTAL = "captive_portal"
    """A login page stands before the Internet."""

    NO_INTERNET = "no_internet"
    """A local network, and nothing outside answers."""

    NO_NETWORK = "no_network"
    """No network at all."""

    UNKNOWN = "unknown"
    """Nobody outside was asked."""


@dataclass(frozen=True)
class Reach:
    """By what a connection comes about."""

    method: str
    """``direct``: an address is dialled. What else there is depends on the version of crust."""

    path_class: str
    """What ``peer.path.path_class`` will be: ``direct-tcp``, ``direct-utp``."""

    chance: float | None
    """From 0 to 1; None: it depends on what was not found out."""

    seconds: float
    """Until the first message, about."""

    @property
    def likely(self) -> bool:
        """Rather than not."""
        return self.chance is not None and self.chance >= 0.5


@dataclass(frozen=True)
class Forecast:
    """What to expect with peers in one kind of network. None stands for: this version has no way."""

    peer: str
    """The kind in a word: ``open``, ``home_mapped``, ``home``, ``carrier``, ``office``, ``udp_blocked``, ``web_only``,
    ``ipv6``, ``local``."""

    title: str
    """The kind for people: ``a home whose router opens no port``."""

    call: Reach | None
    """When this machine calls them."""

    called: Reach | None
    """When they call this machine."""

    note: str = ""
    """An exception, in a sentence."""

    @property
    def best(self) -> Reach | None:
        """The better one of the two."""
        found = [reach for reach in (self.call, self.called) if reach is not None]
        return max(found, key=lambda reach: -1.0 if reach.chance is None else reach.chance, default=None)


@dataclass(frozen=True)
class Hint:
    """Something that would improve matters here."""

    name: str
    """In a word: ``switch_on_upnp``."""

    title: str
    """In a few words, for people."""

    text: str
    """What to do, in sentences."""


@dataclass(frozen=True)
class Assessment:
    """What a `NetworkSurvey` means, for this version of crust: what later versions can is not counted."""

    kind: SiteKind
    title: str
    """The kind for people, in a few words."""

    text: str
    """What it means, in sentences."""

    grade: str
    """``A`` (everybody who can call is welcome) to ``F`` (nothing outside can be reached); empty: not known."""

    reason: str
    """Why this grade, in a sentence."""

    forecasts: tuple[Forecast, ...]
    """Whom one can reach, and by whom one can be reached."""

    hints: tuple[Hint, ...]
    """What to change, what helps most first."""

    gaps: tuple[str, ...]
    """What was not found out and why, a sentence each."""

    @property
    def fine(self) -> bool:
        """Whether most kinds of peers can be reached: grade A or B."""
        return self.grade in ("A", "B")
