"""
The public nodes that gossip tells of, for whoever needs one more peer.

There is room for few, and keys cost nothing: those of one address, or IPv6 /48, do not drive out others. An address in
a record costs nothing either, so half of the room is for nodes that say to be where a link of ours has led to them.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Sequence

from .... import limits
from ....addresses import Contact, Endpoint, PeerId, address_key
from ....discovery.gossip.record import Record
from ....peers.whereabouts import site_key
from ..dial_rules import DialRules, Grounds

__all__ = ["PublicNodes"]


class _Node:
    """One of them. Its addresses are parsed once, and looked at anew when what they are held against has changed."""

    __slots__ = ("_listed", "_usable", "is_met", "peer_id", "place")

    def __init__(self, record: Record, *met_at: bytes) -> None:
        self.peer_id = record.peer_id
        listed = record.endpoints
        places = {_place(each) for each in listed}
        place = next((each for each in met_at if each in places), None)
        self.is_met = place is not None
        # Where it is for certain comes first: by that it is chosen.
        self._listed = sorted(listed, key=lambda each: self.is_met and _place(each) != place)
        self.place = _place(self._listed[0]) if listed else b""
        """What others have to be at to share its room."""
        self._usable: tuple[Grounds, Contact | None] | None = None

    def usable(self, rules: DialRules, grounds: Grounds) -> Contact | None:
        """Where it may be dialled; None: nowhere. Threads that ask at the same time find the same."""
        usable = self._usable
        if usable is None or usable[0] != grounds:
            places = rules.usable(self._listed, limits.GOSSIP_DIALS)
            usable = self._usable = (grounds, Contact(self.peer_id, places) if places else None)
        return usable[1]


class PublicNodes:
    """
    Those of one node, ``GOSSIP_CONTACTS`` at most. Thread-safe; nothing here blocks.

    Args:
        rules: What may be dialled.
    """

    def __init__(self, rules: DialRules) -> None:
        self._rules = rules
        self._lock = threading.Lock()  # guards what follows
        self._nodes: dict[PeerId, _Node] = {}
        self._told: dict[bytes, dict[PeerId, None]] = {}  # by place; none is empty
        self._met: dict[bytes, dict[PeerId, None]] = {}

    def learned(self, record: Record, place: bytes | None = None) -> None:
        """
        What a node says of itself now.

        Args:
            place: Where a link of ours leads to it, an ``address_key`` or the /48 of that; None: there is no link.
        """
        peer_id = record.peer_id
        with self._lock:
            before = self._take_out(peer_id)
            if not record.is_public:
                return
            met_at = [] if place is None else [place]
            if before is not None and before.is_met:
                met_at.append(before.place)
            self._put(_Node(record, *met_at))
            if len(self._nodes) > limits.GOSSIP_CONTACTS:
                is_met = 2 * sum(map(len, self._met.values())) > limits.GOSSIP_CONTACTS
                lines = self._met if is_met else self._told
                self._take_out(random.choice([*max(lines.values(), key=len)]))

    def _put(self, node: _Node) -> None:
        self._nodes[node.peer_id] = node
        (self._met if node.is_met else self._told).setdefault(node.place, {})[node.peer_id] = None

    def _take_out(self, peer_id: PeerId) -> _Node | None:
        node = self._nodes.pop(peer_id, None)
        if node is not None:
            lines = self._met if node.is_met else self._told
            del lines[node.place][peer_id]
            if not lines[node.place]:
                del lines[node.place]
        return node

    def contacts(self, *, met: bool = False) -> Sequence[Contact]:
        """
        Those that may be dialled now, by chance, but one of each address before another one of any.

        Args:
            met: Only those that are where a link of ours has led to them.
        """
        with self._lock:
            nodes = [each for each in self._nodes.values() if each.is_met or not met]
        random.shuffle(nodes)
        counts: collections.Counter[bytes] = collections.Counter()
        turns: list[tuple[int, _Node]] = []
        for node in nodes:
            turns.append((counts[node.place], node))
            counts[node.place] += 1
        grounds = self._rules.grounds
        usable = (node.usable(self._rules, grounds) for _, node in sorted(turns, key=lambda each: each[0]))
        return [each for each in usable if each is not None and self._rules.can_afford(each.endpoints)]

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()


def _place(endpoint: Endpoint) -> bytes:
    """What counts as one address."""
    key = address_key(endpoint.host)
    return site_key(key) or key
