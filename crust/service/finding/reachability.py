"""
Whether those who join here can be reached by strangers, and whom to name to those for whom there is no room.

Who bootstraps off a node, as a node, says where it listens (CANDIDATES of no attempt, docs/wire-format.md). It is
knocked at there from a fresh port, at the address that its link comes from alone: nobody can have somebody else tried.
Who answers is a way in for others: it is named to them, and goes into the cache. Who does not is no worse a peer.
Only so many are tried in a second. The others wait, addresses taking turns: keys cost nothing.
"""

from __future__ import annotations

import collections
import functools
import random
import threading
from collections.abc import Callable, Iterable

from ... import limits
from ...addresses import Contact, Endpoint, PeerId, address_key
from ...nat.stun.opinions import network_of
from ...peers.conversation import Conversation
from ...peers.knocks import Knocked
from ...peers.link import Link
from ...peers.shares import Turns
from ...runtime.rates import Bucket
from ...runtime.timers import Timer
from ...wire.frames import Candidates
from ...wire.handshake import Role
from ..network.network import Network
from ..node import Node
from ..traversal.direct import endpoint_of
from .caching import Caching, as_a_stranger
from .crowd import Crowd

__all__ = ["Reachability"]


class Reachability:
    """
    Thread-safe; nothing here blocks.

    Args:
        node: The node, not started.
        network: What knows its addresses.
        caching: Nodes reached before.
    """

    def __init__(self, node: Node, network: Network, caching: Caching) -> None:
        self._node = node
        self._network = network
        self._caching = caching
        self._lock = threading.Lock()  # guards what follows
        self._bucket = Bucket(limits.REACHABILITY_PER_SECOND)
        self._tried_at: collections.OrderedDict[PeerId, float] = collections.OrderedDict()
        self._waiting: dict[Conversation, tuple[list[Endpoint], Link]] = {}  # what is to be tried of whom: all in _line
        self._line = Turns[Conversation](lambda each: address_key(self._waiting[each][1].connection.remote.host))
        self._turn: Timer | None = None
        self._joined: set[Conversation] = set()  # that began as a bootstrap, either way
        self._public: dict[PeerId, Contact] = {}
        self._crowd = Crowd()
        self._timer: Timer | None = None
        self.on_tried: list[Callable[[Conversation], object]] = []
        """They hear that :meth:`leads_in` may answer otherwise; on a thread of the node. Filled before the start."""
        node.on_joined.append(self._began)
        node.on_connected.append(self._connected)
        node.on_lost.append(lambda conversation, reason: self._lost(conversation))
        node.on_told.append(self._told)
        node.suggest = self.suggest
        node.sends_on = self._sends_on
        network.on_changed.append(self._moved)

    # --- questions ----------------------------------------------------------------------------------------------------

    def is_public(self, peer_id: PeerId) -> bool:
        """Whether that peer, which has joined here and is connected, has answered a stranger."""
        return peer_id in self._public

    def leads_in(self, conversation: Conversation) -> bool:
        """Whether strangers reach that peer, as far as is known: we dialled it directly, or it has answered one."""
        link, path = conversation.link, conversation.path
        if link is not None and path is not None and not link.inbound and not conversation.inbound:
            if path.path_class.startswith("direct"):
                return True
        return self.is_public(conversation.peer_id)

    def suggest(self, peer_id: PeerId, address: str | None) -> list[Contact]:
        """
        Whom to ask instead, for somebody for whom there is no room: a few nodes that strangers reach.

        Args:
            peer_id: Who asks.
            address: Where it is; of private addresses nobody hears who is not at one.
        """
        now, wall = self._node.clock.now(), self._node.wall()
        own = self._node.handshake.key_pair.peer_id
        recent = [each.contact for each in self._caching.entries if wall - each.seen < limits.ALTERNATE_AGE]
        with self._lock:
            known = {each.peer_id: each for each in (*recent, *self._public.values())}
        found = []
        for contact in known.values():
            if contact.peer_id in (own, peer_id) or self._node.access.is_banned(contact.peer_id, None, now):
                continue
            endpoints = [each for each in contact.endpoints if _means_the_same(each, address)]
            if endpoints:
                found.append(Contact(contact.peer_id, endpoints[: limits.CACHE_ENDPOINTS]))
        random.shuffle(found)
        return _spread(found)[: limits.ALTERNATES_MAX]

    def _sends_on(self, peer_id: PeerId, address: str | None) -> bool:
        """Whether many have joined here, and others can be named that may have room."""
        with self._lock:
            count = sum(each.inbound for each in self._joined)
        if count < self._node.config.bootstrap.max_links or not self.suggest(peer_id, address):
            return False
        with self._lock:
            sends_on = self._crowd.sends_on(peer_id, self._node.clock.now())
        if sends_on:
            self._node.refusals.count("bootstrap.max_links")
        return sends_on

    # --- we join: say where we are ------------------------------------------------------------------------------------

    def _began(self, conversation: Conversation) -> None:
        """A bootstrap, ours or the other side's, has led to a session (locks are held)."""
        with self._lock:
            self._joined.add(conversation)

    def _connected(self, conversation: Conversation) -> None:
        if conversation in self._joined and not conversation.inbound:
            self._node.io.call_soon(lambda: self._announce([conversation]))

    def _moved(self) -> None:
        """Our addresses are others: those with whom we have joined hear it, once what comes together has come."""
        with self._lock:
            if self._timer is None or not self._timer.active:
                self._timer = self._node.io.call_later(limits.REACHABILITY_DELAY, lambda _: self._announce_to_all())

    def _announce_to_all(self) -> None:
        with self._lock:
            joined = [each for each in self._joined if not each.inbound]
        self._announce(joined)

    def _announce(self, to: Iterable[Conversation]) -> None:
        bound = self._network.listeners.endpoints()
        if bound and self._node.config.network.role == "node":
            self._node.relocation.announce(self._network.candidates(), bound, to)

    # --- others join: try them ----------------------------------------------------------------------------------------

    def _told(self, conversation: Conversation, link: Link, frame: Candidates) -> None:
        """A peer says where it may be reached (the reader of its link)."""
        if conversation not in self._joined or not conversation.inbound or conversation.role is not Role.NODE:
            return
        if not self._node.config.bootstrap.reachability_test or link.circuit is not None:
            return
        remote = link.connection.remote
        places = dict.fromkeys(endpoint_of(place) for place in frame.places if place.address[0] == remote.host)
        found = [
            each
            for each in places
            if each.port >= limits.ECHO_PORT_MIN and (each.transport, each.port) != (remote.transport, remote.port)
        ][: limits.REACHABILITY_PLACES]
        if not found:
            return
        now = self._node.clock.now()
        with self._lock:
            rests = now - self._tried_at.get(conversation.peer_id, float("-inf")) < limits.REACHABILITY_REST
            if not rests and conversation in self._joined:
                self._waiting[conversation] = found, link
                self._line.append(conversation)
        if rests:
            self._node.refusals.count("REACHABILITY_REST")
        else:
            self._try_next()
            if conversation in self._waiting:
                self._node.refusals.count("REACHABILITY_PER_SECOND")

    def _try_next(self) -> None:
        """Try those whose turn it is, as many as may be."""
        while True:
            now = self._node.clock.now()
            with self._lock:
                if not self._line:
                    return
                if self._bucket.tokens(now) < 1.0:
                    if self._turn is None or not self._turn.active:
                        pause = 1.0 / limits.REACHABILITY_PER_SECOND
                        self._turn = self._node.io.call_later(pause, lambda _: self._try_next())
                    return
                self._bucket.take()
                conversation = self._line.popleft()
                places, link = self._waiting.pop(conversation)
                self._tried_at[conversation.peer_id] = now
                self._tried_at.move_to_end(conversation.peer_id)
                while len(self._tried_at) > limits.GATE_ADDRESSES_MAX:
                    self._tried_at.popitem(last=False)
            self._try(conversation, places, link.connection.local.host)

    def _try(self, conversation: Conversation, places: list[Endpoint], local: str) -> None:
        lock = threading.Lock()  # guards these two
        left, proven = [len(places)], set[Endpoint]()

        def heard(endpoint: Endpoint, came: Knocked) -> None:
            with lock:
                left[0] -= 1
                if came.is_there:
                    proven.add(endpoint)
                is_over = not left[0]
            if is_over:
                self._tried(conversation, [each for each in places if each in proven], local)

        for endpoint in places:
            self._node.knocks.knock(
                conversation.peer_id,
                endpoint,
                functools.partial(heard, endpoint),
                prepare=as_a_stranger(self._node, endpoint),
            )

    def _tried(self, conversation: Conversation, proven: list[Endpoint], local: str) -> None:
        """It has been tried."""
        peer_id = conversation.peer_id
        with self._lock:
            if conversation not in self._joined:
                return
            if proven:
                self._public[peer_id] = Contact(peer_id, proven)
            else:
                self._public.pop(peer_id, None)
        self._node.log.debug("strangers %s peer %s", "reach" if proven else "do not reach", peer_id)
        if proven:
            self._caching.met(Contact(peer_id, proven), local)
        for heard in self.on_tried:
            heard(conversation)

    def _lost(self, conversation: Conversation) -> None:
        with self._lock:
            if conversation in self._joined:
                self._joined.discard(conversation)
                self._public.pop(conversation.peer_id, None)
                self._waiting.pop(conversation, None)
                self._line.remove(conversation)

    def close(self) -> None:
        """Nothing is announced any more. Never blocks; idempotent."""
        with self._lock:
            for timer in (self._timer, self._turn):
                if timer is not None:
                    timer.cancel()
            self._joined.clear()  # nor does anybody wait for his turn
            self._waiting.clear()
            self._line.clear()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._joined, self._public, self._waiting = set(), {}, {}
        self._line.clear()
        self._turn = None


def _means_the_same(endpoint: Endpoint, address: str | None) -> bool:
    """Whether an address of ours can be of use to somebody there."""
    if endpoint.is_global:
        return True
    ip = None if address is None else Endpoint("tcp", address, 1).ip
    if ip is None or ip.is_global:
        return False
    return ip.is_loopback == endpoint.is_loopback


def _spread(contacts: list[Contact]) -> list[Contact]:
    """One of each network, then one more of each."""
    rounds: dict[str, int] = {}
    order = []
    for contact in contacts:
        network = network_of(contact.endpoints[0].host)
        rounds[network] = rounds.get(network, 0) + 1
        order.append((rounds[network], contact))
    return [contact for _, contact in sorted(order, key=lambda each: each[0])]
