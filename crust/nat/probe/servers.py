"""A STUN server as a plan sees it, and its file card for the report. No I/O."""

from __future__ import annotations

import dataclasses
import ipaddress

from ...findings import ServerFinding
from ...values import dataclass
from .classes import Address

__all__ = ["Server", "answered", "shown", "usable_other"]


@dataclass(frozen=True)
class Server:
    """A server to ask."""

    name: str
    """As it was given."""

    address: Address
    """One of its addresses, of the plan's family."""

    def finding(self) -> ServerFinding:
        """The card of one that has not answered yet."""
        return ServerFinding(self.name, shown(self.address))


def shown(address: Address) -> str:
    """``192.0.2.1:3478`` or ``[2001:db8::1]:3478``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def usable_other(primary: Address, other: Address | None) -> Address | None:
    """
    The second address that a server names (RFC 5780 section 7.4), if it is one: same family, another IP, another port.

    Servers behind a translator, and some that are set up halfway, name their own private address or 0.0.0.0; and no
    server makes us ask services of our own machine.
    """
    if other is None:
        return None
    ip, own = ipaddress.ip_address(other[0]), ipaddress.ip_address(primary[0])
    if ip.version != own.version or ip == own or not other[1] or other[1] == primary[1]:
        return None
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local or (own.is_global and not ip.is_global):
        return None
    if ip.is_loopback != own.is_loopback or (ip.version == 4 and ip.is_reserved):
        return None
    return other


def answered(card: ServerFinding, rtt: float, mapped: Address, tests_filtering: bool) -> ServerFinding:
    """The card after an answer."""
    return dataclasses.replace(card, rtt=rtt, mapped=shown(mapped), tests_filtering=tests_filtering)
