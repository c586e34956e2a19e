"""Whom a node asks where it is: a STUN server, or a peer."""

from __future__ import annotations

from ... import limits
from ...addresses import Endpoint
from ...nat.stun.opinions import network_of
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...values import dataclass

__all__ = ["Source", "goes", "leaves_from"]


@dataclass(frozen=True)
class Source:
    """Somebody to ask: a server, or a peer."""

    name: str
    trusted: bool
    endpoints: tuple[tuple[str, Endpoint], ...]
    """By which transport, and where; hosts may be names."""

    conversation: Conversation | None = None
    """With whom, if it is a peer."""

    helps: bool = False
    """It is asked for what it shows of translators alone: if it could try whether strangers get in, that goes first."""

    only_lacking: bool = False
    """It is asked about those listeners alone of which no server of ours has said where they are seen."""

    @property
    def network(self) -> str:
        """The one of a peer."""
        return network_of(self.endpoints[0][1].host)

    @property
    def timeout(self) -> float:
        """Seconds that it has to answer."""
        return limits.STUN_TIMEOUT if self.trusted else limits.SOUNDING_TIMEOUT


def goes(local: Endpoint, server: Endpoint) -> bool:
    """Whether ``server`` can be asked from that listener."""
    if local.family != server.family or local.ip is None or not server.port:
        return False
    return local.ip.is_unspecified or local.is_loopback == server.is_loopback


def leaves_from(link: Link, local: Endpoint, server: Endpoint) -> bool:
    """Whether that link is a connection from a listener's port to that very address."""
    connection = link.connection
    own = connection.local
    return (own.transport, own.port, own.family) == (local.transport, local.port, local.family) and (
        connection.remote == server
    )
