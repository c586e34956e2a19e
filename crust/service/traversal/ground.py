"""What traversals find under a node's feet: its listeners, and servers that tell how routers translate them."""

from __future__ import annotations

from collections.abc import Callable

from ...nat.punch.contract import Address
from ...nat.stun.udp import UdpStun
from ...transports.contract import Listener
from ..network.echo_desk import EchoDesk

__all__ = ["NodeGround"]


class NodeGround:
    """
    See :class:`crust.service.traversal.hands.Ground`. Thread-safe.

    Args:
        listening: The listeners that are open now.
        stun: Asks from listening UDP sockets.
        desk: Knows the echo ports of our peers.
    """

    def __init__(self, listening: Callable[[], tuple[Listener, ...]], stun: UdpStun, desk: EchoDesk) -> None:
        self._listening = listening
        self._desk = desk
        self.stun = stun

    def listening(self) -> tuple[Listener, ...]:
        """The listeners that are open now."""
        return self._listening()

    def servers(self, transport: str) -> tuple[Address, ...]:
        """Where STUN is answered over ``tcp`` or ``utp``: the echo ports of our peers, those of one peer together."""
        found: list[Address] = []
        for conversation in self._desk.introducers():
            ports, link = self._desk.ports_of(conversation), conversation.link
            if ports is None or link is None:
                continue
            host = link.connection.remote.host.partition("%")[0]
            found += [(host, port) for port in (ports.tcp if transport == "tcp" else ports.udp)]
        return tuple(found)
