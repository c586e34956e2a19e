"""What a node gives the runners of its traversals: its sockets and ports, servers to ask, and a place for winners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...addresses import Endpoint
from ...nat.methods import Method
from ...nat.punch.allowance import Allowance
from ...nat.punch.contract import Address, family_of
from ...nat.punch.runner import Hand, Runner
from ...nat.punch.tcp_hand import TcpHand, WonTcp
from ...nat.punch.udp_desk import Desk
from ...nat.punch.udp_hand import UdpHand, WonUdp
from ...nat.stun.udp import UdpStun
from ...peers.conversation import Conversation
from ...peers.meeting import candidate_for
from ...peers.race import Candidate
from ...transports.contract import Connection, Listener
from ...transports.tcp import TcpTransport
from ...transports.udp import UdpHub
from ...transports.utp.listener import UtpListener
from ...transports.utp.transport import UtpTransport
from ..node import Node

if TYPE_CHECKING:
    from .traversal import Traversal

__all__ = ["Ground", "Hands"]


class Ground(Protocol):
    """What is known of the network under a node's feet. Nothing here blocks."""

    stun: UdpStun
    """Asks from listening UDP sockets."""

    def listening(self) -> tuple[Listener, ...]:
        """The listeners that are open now."""

    def servers(self, transport: str) -> tuple[Address, ...]:
        """Where STUN is answered over ``tcp`` or ``utp``: the echo ports of our peers, those of one peer together."""


class Hands:
    """
    Thread-safe.

    Args:
        node: The node.
        ground: See :class:`Ground`.
    """

    def __init__(self, node: Node, ground: Ground) -> None:
        self._node = node
        self._ground = ground
        self._desk = Desk()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._desk.abandon()

    def of(self, traversal: Traversal, method: Method, runner: Runner, allowance: Allowance) -> tuple[Hand, ...]:
        """The hands of a method's runner."""
        hands: list[Hand] = []
        utp, tcp = self._node.transports.get("utp"), self._node.transports.get("tcp")
        listeners = self._ground.listening()
        conversation, keys = traversal.conversation, traversal.keys
        if keys is None:
            return ()
        if isinstance(utp, UtpTransport):
            hubs = {_name("udp", each): each.hub for each in reversed(listeners) if isinstance(each, UtpListener)}
            for hub in hubs.values():
                self._desk.serve(hub)
            hands.append(
                UdpHand(
                    runner,
                    transport=utp,
                    desk=self._desk,
                    stun=self._ground.stun,
                    hubs=hubs,
                    servers=self._ground.servers("utp"),
                    allowance=allowance,
                    key_in=keys[1],
                    won=lambda _, won: self._won_udp(utp, conversation, method, traversal.leads, allowance, won),
                )
            )
        if isinstance(tcp, TcpTransport):
            ports = {
                _name("tcp", each): (each.endpoint.host, each.endpoint.port)
                for each in reversed(listeners)
                if each.endpoint.transport == "tcp"
            }
            hands.append(
                TcpHand(
                    runner,
                    self._node.io,
                    allowance,
                    ports,
                    lambda family: [each for each in self._ground.servers("tcp") if family_of(each) == family],
                    lambda _, won: self._won_tcp(tcp, conversation, method, traversal.leads, keys, won),
                )
            )
        return tuple(hands)

    # --- winners (any thread) -----------------------------------------------------------------------------------------

    def _won_udp(
        self,
        utp: UtpTransport,
        conversation: Conversation,
        method: Method,
        leads: bool,
        allowance: Allowance,
        won: WonUdp,
    ) -> None:
        hub, address = won.hub, won.address
        self._desk.serve(hub)
        try:
            if leads:
                if not allowance.probe(address[0], limits.DIRECT_PROBES):
                    return  # a method of another package has not seen to it that somebody is there
                self._node.dialer.pursue(
                    conversation,
                    Candidate(
                        Endpoint("utp", address[0], address[1]),
                        manner=method.manner,
                        method=method.name,
                        prepare=lambda timeout: utp.dialling_over(hub, address, timeout),
                    ),
                )
            elif hub.acceptor is None:
                self._answer(utp, hub, address)
        finally:
            hub.release()

    def _answer(self, utp: UtpTransport, hub: UdpHub, address: Address) -> None:
        """Take one call on a socket that does not listen otherwise: the other end's, which is about to come."""
        try:
            listener = utp.listen_over(hub)
        except OSError:  # it has been closed meanwhile
            return

        def accepted(connection: Connection) -> None:
            if connection.remote.host.partition("%")[0] != address[0]:
                connection.abort()  # a stranger, who must not take the other end's place
                return
            self._node.acceptor.accepted(connection)
            listener.close()

        try:
            self._node.spawn("crust-listen-punched", listener.run, accepted)
        except RuntimeError:  # no thread to be had
            listener.close()
            return
        self._node.io.call_later(limits.PUNCHED_CALL_TIMEOUT, lambda _: listener.close())

    def _won_tcp(
        self,
        tcp: TcpTransport,
        conversation: Conversation,
        method: Method,
        leads: bool,
        keys: tuple[bytes, bytes],
        won: WonTcp,
    ) -> None:
        try:
            connection = tcp.adopt(won.sock, Endpoint("tcp", won.remote[0], won.remote[1]))
        except OSError:  # it has ended already
            return
        candidate = candidate_for(
            connection,
            keys,
            leads,
            self._node.handshake,
            self._node.acceptor.accepted,
            method.manner,
            method.name,
        )
        if not self._node.dialer.pursue(conversation, candidate):
            connection.abort()


def _name(protocol: str, listener: Listener) -> str:
    return f"{protocol}{listener.endpoint.family}"
