"""The public nodes that gossip tells of, for whoever needs one more peer."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from .... import limits
from ....addresses import Contact, Endpoint, PeerId
from ....discovery.gossip.record import Record
from ..dial_rules import DialRules, Grounds

__all__ = ["PublicNodes"]


class _Node:
    """One of them. Its addresses are parsed once, and looked at anew when what they are held against has changed."""

    __slots__ = ("_listed", "_usable", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self._listed: tuple[Endpoint, ...] | None = None
        self._usable: tuple[Grounds, Contact | None] | None = None

    def usable(self, rules: DialRules, grounds: Grounds) -> Contact | None:
        """Where it may be dialled; None: nowhere. Threads that ask at the same time find the same."""
        usable = self._usable
        if usable is None or usable[0] != grounds:
            if self._listed is None:
                self._listed = self.record.endpoints
            places = rules.usable(self._listed, limits.GOSSIP_DIALS)
            usable = self._usable = (grounds, Contact(self.record.peer_id, places) if places else None)
        return usable[1]


class PublicNodes:
    """
    Those of one node, ``GOSSIP_CONTACTS`` at most, chosen by chance. Thread-safe; nothing here blocks.

    Args:
        rules: What may be dialled.
    """

    def __init__(self, rules: DialRules) -> None:
        self._rules = rules
        self._lock = threading.Lock()  # guards what follows
        self._nodes: dict[PeerId, _Node] = {}

    def learned(self, record: Record) -> None:
        """What a node says of itself now."""
        peer_id = record.peer_id
        with self._lock:
            if not record.is_public:
                self._nodes.pop(peer_id, None)
                return
            self._nodes[peer_id] = _Node(record)
            if len(self._nodes) > limits.GOSSIP_CONTACTS:
                del self._nodes[random.choice(list(self._nodes))]

    def contacts(self) -> Sequence[Contact]:
        """Those that may be dialled now, in no order."""
        with self._lock:
            nodes = list(self._nodes.values())
        random.shuffle(nodes)
        grounds = self._rules.grounds
        usable = (each.usable(self._rules, grounds) for each in nodes)
        return [each for each in usable if each is not None and self._rules.can_afford(each.endpoints)]

    def abandon(self) -> None:
        """In a forked child: takes no lock."""
        self._lock = threading.Lock()
