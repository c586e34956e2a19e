"""What of that which others say may be dialled: the rules for hearsay, with the bans and the blacklist."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ...addresses import Endpoint, IPNetwork, PeerId
from ...discovery.hearsay import LOOPBACK, may_be_dialled
from ...peers.conversation import Conversation
from ..network.network import Network
from ..node import Node
from .blacklist import Blacklist
from .dropped import Dropped
from .neighbours import Neighbours
from .strangers import Strangers

__all__ = ["DialRules", "Grounds"]

Grounds = tuple[tuple[IPNetwork, ...], str, tuple[str, ...]]
"""The networks of our interfaces, what is around us, and the blacklist."""


class DialRules:
    """
    Those of one node. Thread-safe.

    Args:
        node: The node.
        network: What knows its addresses.
        dropped: Whom nobody dials for a while.
        neighbours: How often those are dialled that only the LAN has told of.
    """

    def __init__(self, node: Node, network: Network, dropped: Dropped, neighbours: Neighbours) -> None:
        self._node = node
        self._network = network
        self._dropped = dropped
        self._neighbours = neighbours
        self._known: tuple[tuple[str, ...], Blacklist] = ((), Blacklist(()))
        self._strangers = Strangers(node.refusals.count)

    def may_dial(self, peer_id: PeerId, *, unasked: bool = True) -> bool:
        """Whether this node may dial that peer; ``unasked``: of its own accord."""
        node = self._node
        now = node.clock.now()
        if peer_id == node.handshake.key_pair.peer_id or node.access.is_banned(peer_id, None, now):
            return False
        if self._blacklist.covers_peer(peer_id):
            return False
        return not (unasked and self._dropped.covers(peer_id, now))

    def usable(self, endpoints: Sequence[Endpoint], most: int) -> tuple[Endpoint, ...]:
        """Where of all that a peer may be dialled, at most so many; what others say of it, or it says itself."""
        networks, around, _ = self.grounds
        avoid = self._blacklist.covers
        fit = (each for each in endpoints if may_be_dialled(each, networks, around) and not avoid(each.ip))
        return tuple(itertools.islice(fit, most))

    @property
    def grounds(self) -> Grounds:
        """What :meth:`usable` goes by: while this is the same, so is what comes of it."""
        around = LOOPBACK if self._is_alone else ""
        return self._network.outlook.networks, around, self._node.config.bootstrap.blacklist

    def avoid(self, host: str) -> bool:
        """Whether that IP address is not to be dialled."""
        return self._blacklist.covers(host)

    def afford(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """Of those that others alone have told, what this node may dial now of its own accord; it counts as dialled."""
        return self._strangers.afford(endpoints, self._node.clock.now())

    def can_afford(self, endpoints: Sequence[Endpoint]) -> bool:
        """Whether :meth:`afford` would leave any."""
        return self._strangers.can_afford(endpoints, self._node.clock.now())

    def afford_neighbours(self, peer_id: PeerId, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """The same of those of one peer that only answers on the LAN have told of."""
        return self._neighbours.afford(peer_id, endpoints, self._node.clock.now())

    def connected(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held): a node is where that leads."""
        link = conversation.link
        if link is not None and link.circuit is None:
            self._strangers.answered(link.connection.remote)

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._strangers.abandon()

    @property
    def _is_alone(self) -> bool:
        """This node listens to programs of its machine alone: there "loopback" means the same for everybody."""
        bound = self._network.listeners.endpoints()
        return bool(bound) and all(each.is_loopback for each in bound)

    @property
    def _blacklist(self) -> Blacklist:
        """The configuration's, which may be another one by now."""
        entries = self._node.config.bootstrap.blacklist
        known, blacklist = self._known
        if known != entries:
            blacklist = Blacklist(entries)
            self._known = (entries, blacklist)
        return blacklist
