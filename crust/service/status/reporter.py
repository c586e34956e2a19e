"""Takes snapshots of a node."""

from __future__ import annotations

import os
import threading

from ... import limits
from ...addresses import Contact, Endpoint
from ...peers.conversation import Conversation
from ...peers.session import State
from ...version import VERSION
from ...wire.handshake import Capability
from ..network.network import Network
from ..node import Node
from ..stats import Stats
from .snapshot import MappedPort, NatVerdict, PeerStatus, Status, Traffic
from .verdict import protocols, verdict

__all__ = ["Reporter"]

_Key = tuple[str, int]  # transport and family


class Reporter:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        network: What knows its addresses.
    """

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        self._began = node.clock.now()
        self.socket: str | None = None
        """The status socket, if it is open."""
        self.metrics: str | None = None
        """Where Prometheus asks, if that is open."""
        self._lock = threading.Lock()  # guards the fields below
        self._past = Traffic(0, 0, 0, 0)  # of sessions that are over
        self._told = self._past
        node.on_lost.append(self._lost)

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()

    def _lost(self, conversation: Conversation, _reason: str) -> None:
        with conversation.lock:
            final = _traffic(conversation)
        with self._lock:
            self._past = _sum(self._past, final)

    def take(self) -> Status:
        """The snapshot."""
        node, network = self._node, self._network
        config, key_pair = node.config, node.handshake.key_pair
        with self._lock:
            past = self._past
        conversations = node.registry.all()
        begun = (each for each in conversations if each.session.state not in (State.NEW, State.LOST))
        peers = tuple(_peer(each) for each in begun)
        addresses = network.addresses()
        mappings = self._mappings()
        return Status(
            version=VERSION,
            process=os.getpid(),
            at=node.wall(),
            uptime=node.clock.now() - self._began,
            id=key_pair.peer_id,
            contact=Contact(key_pair.peer_id, addresses[: limits.CONTACT_ENDPOINTS_MAX]),
            network=config.network.name,
            closed=config.network.secret_file is not None,
            role=config.network.role,
            accepts_bootstrap=node.registry.accept_bootstrap,
            serves_relay=config.relay.serve,
            listeners=network.listeners.endpoints(),
            addresses=addresses,
            candidates=network.candidates(),
            mappings=mappings,
            mapping_failure="" if mappings else network.port_mapping.failure,
            nat=self._verdict(mappings, addresses),
            peers=peers,
            via=node.circuits.via(),
            traffic=self._never_falling(_sum(past, *(each.traffic for each in peers))),
            stats=Stats.of(node),
            sections=node.sections.all(),
            socket=self.socket,
            metrics=self.metrics,
        )

    def _never_falling(self, found: Traffic) -> Traffic:
        """A session that ends meanwhile may be counted neither among the living nor among the dead."""
        with self._lock:
            before = self._told
            self._told = Traffic(
                max(found.bytes_sent, before.bytes_sent),
                max(found.bytes_received, before.bytes_received),
                max(found.messages_sent, before.messages_sent),
                max(found.messages_received, before.messages_received),
            )
            return self._told

    def _mappings(self) -> tuple[MappedPort, ...]:
        return tuple(
            MappedPort(each.local, each.endpoint, each.protocol, each.lease, each.reason)
            for each in self._network.port_mapping.mapped()
        )

    def _verdict(self, mappings: tuple[MappedPort, ...], addresses: tuple[Endpoint, ...]) -> NatVerdict:
        network = self._network
        seen: dict[_Key, tuple[Endpoint, ...]] = {}
        for local, endpoints in network.reflection.reflexive().items():
            if endpoints:
                key = local.transport, endpoints[0].family or 4
                seen[key] = tuple(dict.fromkeys((*seen.get(key, ()), *endpoints)))
        tried: dict[_Key, bool] = {}
        for (_, place), is_open in network.reflection.filtering.tried_places().items():
            key = place.transport, place.family or 4
            tried[key] = tried.get(key, False) or is_open
        tried.update(dict.fromkeys(network.outlook.entered, True))
        own = {each.host for each in network.listeners.on_interfaces()}
        return verdict(protocols(network.standings(), seen, tried), mappings, own, addresses)


def _peer(conversation: Conversation) -> PeerStatus:
    peer, session = conversation.peer, conversation.session
    with conversation.lock:
        return PeerStatus(
            id=peer.id,
            state=peer.state,
            role=peer.role,
            inbound=conversation.inbound,
            relays=bool(conversation.capabilities & Capability.RELAY),
            path=peer.path,
            traffic=_traffic(conversation),
            unacknowledged_messages=session.outbox.held_messages,
            unacknowledged_bytes=session.outbox.held_bytes,
            unread_bytes=session.inbox.used,
        )


def _traffic(conversation: Conversation) -> Traffic:
    """The conversation's lock is held."""
    sent, received = conversation.bytes_carried()
    return Traffic(sent, received, conversation.session.outbox.accepted[0], conversation.messages_received)


def _sum(*parts: Traffic) -> Traffic:
    return Traffic(
        sum(each.bytes_sent for each in parts),
        sum(each.bytes_received for each in parts),
        sum(each.messages_sent for each in parts),
        sum(each.messages_received for each in parts),
    )
