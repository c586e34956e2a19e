"""What a plan wants done with sockets; the runner does it, in order."""

from __future__ import annotations

from ...values import dataclass
from .classes import Address

__all__ = ["Action", "Close", "Dial", "Listen", "Open", "Send", "Write"]


@dataclass(frozen=True)
class Open:
    """A UDP socket, bound to a free port of the address that leads to ``towards``."""

    slot: str
    towards: Address
    whole: bool = False
    """Its datagrams are not cut on the way, whatever the system believes of the path's MTU."""
    hops: int = 0
    """Its datagrams pass so many routers at most (0: as many as there are), and what ICMP says of that is heard."""


@dataclass(frozen=True)
class Send:
    """A datagram."""

    slot: str
    data: bytes
    address: Address


@dataclass(frozen=True)
class Listen:
    """A TCP listener on a free port of the address that leads to ``towards``; dials may come from that port."""

    slot: str
    towards: Address


@dataclass(frozen=True)
class Dial:
    """A TCP connection."""

    slot: str
    address: Address
    source: str = ""
    """The slot of the listener whose port it comes from; empty: any free port."""


@dataclass(frozen=True)
class Write:
    """Bytes on a TCP connection."""

    slot: str
    data: bytes


@dataclass(frozen=True)
class Close:
    """Close a socket of either kind."""

    slot: str


Action = Open | Send | Listen | Dial | Write | Close
