"""
From which port a dial over TCP leaves.

A router forgets the outer port of a TCP listener when nothing goes out from there any more. So behind a router one link
leaves from the listening port, the first that is dialled, and as long as it lives the others leave from ports of their
own, as usual: peers that have had nothing from the listening port can show whether strangers get in.

None does where STUN servers are configured, since these show the port, and the first peer may be the only stranger; nor
when a session is resumed, as the old link's port may still be taken at the other end.
"""

from __future__ import annotations

from collections.abc import Callable

from ...addresses import Endpoint, IPNetwork
from ...nat.punch.contract import Terrain
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...wire.frames import PlaceKind, TransportCode
from .filtering import is_near

__all__ = ["WayOut"]


class WayOut:
    """
    Thread-safe, and takes no lock: the dialer asks.

    Args:
        listeners: Where this node listens, as bound.
        networks: Those of this machine's interfaces, as far as they have been looked at.
        terrain: What is known of the network.
        has_servers: Whether STUN servers are configured.
    """

    def __init__(
        self,
        listeners: Callable[[], tuple[Endpoint, ...]],
        networks: Callable[[], tuple[IPNetwork, ...]],
        terrain: Callable[[], Terrain],
        *,
        has_servers: Callable[[], bool],
    ) -> None:
        self._listeners = listeners
        self._networks = networks
        self._terrain = terrain
        self._has_servers = has_servers
        self._held: dict[int, tuple[Conversation, Link]] = {}  # by family: who has a link from there

    def met(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link, path = conversation.link, conversation.path
        if link is None or path is None or path.inbound or link.connection.transport != "tcp":
            return
        local = link.connection.local
        for listener in self._listeners():
            if (listener.transport, listener.port, listener.family) == ("tcp", local.port, local.family):
                self._held[local.family or 4] = conversation, link

    def is_held(self, family: int) -> bool:
        """Whether a link leaves from the listening port."""
        conversation, link = self._held.get(family, (None, None))
        return conversation is not None and conversation.link is link and not conversation.ended_reason

    def port_for(self, endpoint: Endpoint) -> int | None:
        """The port to come from when that is dialled; None: any."""
        if endpoint.transport != "tcp" or self._has_servers():
            return None
        if endpoint.host == "localhost" or (endpoint.ip is not None and is_near(endpoint, list(self._networks()))):
            return None
        family = endpoint.family or 4  # a name may stand for either; IPv6 is rarely translated
        if self.is_held(family) or self._is_global(family):
            return None
        for listener in self._listeners():
            if listener.transport == "tcp" and listener.family == family and not listener.is_loopback:
                return listener.port
        return None

    def _is_global(self, family: int) -> bool:
        """Whether the Internet reaches this machine without a router's help."""
        for place in self._terrain().places:
            if place.kind is PlaceKind.INTERFACE and place.transport is TransportCode.TCP:
                ip = Endpoint("tcp", *place.address).ip
                if ip is not None and ip.version == family and ip.is_global:
                    return True
        return False
