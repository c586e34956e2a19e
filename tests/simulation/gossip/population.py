"""Nodes by the thousand: how they come, who they are, and what they know of each other."""

from __future__ import annotations

import functools
import operator
import random
from collections.abc import Iterator

from crust import limits
from crust.discovery.gossip.gossip import Gossip, GossipSettings
from crust.discovery.gossip.record import Record
from crust.discovery.gossip.store import EVERYTHING, Store
from tests.simulation.gossip.internet import DELAY, Internet, Link
from tests.simulation.gossip.liars import Liar
from tests.simulation.gossip.node import Node
from tests.simulation.gossip.records import Identity
from tests.simulation.gossip.upkeep import GOAL

__all__ = ["CONTACTS", "PUBLIC", "Population"]

PUBLIC = 0.2  # the part of nodes that others can dial
CONTACTS = 3  # nodes that every configuration names
FILLED = 0.97  # the part of a store that is taken when there are more records than it keeps
CAPACITY = 60  # links that a public node takes: twice what all of them together must carry


class Population:
    """
    Args:
        seed: Of everything random.
        max_records: That each keeps of others; the default of a real node.
    """

    def __init__(self, seed: int, max_records: int = limits.GOSSIP_RECORDS) -> None:
        self.net = Internet(seed)
        self.random = random.Random(seed + 1)
        self.max_records = max_records
        self.contacts: list[Node] = []
        self.graves: list[Node] = []

    @property
    def nodes(self) -> list[Node]:
        """Those alive."""
        return list(self.net.nodes.values())

    def make(self, public: bool, lies: int = 0) -> Node:
        """Somebody new, who has not joined, and may make up so many others."""

        def core(node: Node) -> Gossip:
            settings = GossipSettings(max_records=self.max_records)
            rng = random.Random(self.random.getrandbits(64))
            if lies:
                return Liar(node.id, settings, node.read, rng, notary=net.notary, wall=net.wall, lies=lies)
            return Gossip(node.id, settings, node.read, rng)

        net = self.net
        return Node(net, Identity(self.random, public), core, CAPACITY)

    def join(self, node: Node) -> None:
        """It starts with nothing but the contacts."""
        node.join([contact.id for contact in self.contacts if contact is not node])

    def kinds(self, count: int) -> Iterator[bool]:
        """Who of so many is public: the first, who are contacts, and others here and there."""
        kinds = [index < PUBLIC * count for index in range(count)]
        contacts = kinds[:CONTACTS]
        rest = kinds[CONTACTS:]
        self.random.shuffle(rest)
        return iter(contacts + rest)

    def crowd(self, count: int, seconds: float) -> None:
        """So many come, evenly over that time, the contacts before them."""
        for index, public in enumerate(self.kinds(count)):
            node = self.make(public)
            if index < CONTACTS:
                self.contacts.append(node)
                self.net.later(0, self.join, node)
            else:
                self.net.later(self.random.uniform(0, seconds), self.join, node)

    def settled(self, count: int, liars: int = 0, lies: int = 0) -> None:
        """
        So many who have been there for hours: links stand, and each knows as much as its store takes. A number of them
        begin to lie now.
        """
        lying = set(self.random.sample(range(CONTACTS, count), liars))
        nodes = [self.make(public, lies if at in lying else 0) for at, public in enumerate(self.kinds(count))]
        self.contacts = nodes[:CONTACTS]
        public = [node for node in nodes if node.public]
        for node in nodes:
            self.net.nodes[node.id] = node
            while len(node.links) < min(GOAL, len(public) - 1):
                other = self.random.choice(public)
                if other is not node and other.id not in node.links and other.has_room:
                    link = Link(node, other, self.random.uniform(*DELAY))
                    node.links[other.id] = other.links[node.id] = link
        everybody = Store(bytes(32), count)
        for node in nodes:
            everybody.add(node.first_record(self.random))
        fits = FILLED * self.max_records / count
        for node in nodes:
            node.settle(everybody, EVERYTHING if fits >= 1 else int(fits * EVERYTHING))
        for node in nodes:
            node.begin([contact.id for contact in self.contacts if contact is not node])

    def some(self, part: float) -> list[Node]:
        """So large a part of the nodes, none of which is a contact."""
        nodes = self.nodes
        others = [node for node in nodes if node not in self.contacts]
        return self.random.sample(others, int(part * len(nodes)))

    def leave(self, node: Node, goodbye: bool | None = None) -> None:
        """It says goodbye or it does not, every other time unless told."""
        self.graves.append(node)
        self.net.kill(node, self.random.random() < 0.5 if goodbye is None else goodbye)

    # --- what they know -----------------------------------------------------------------------------------------------

    def known(self) -> float:
        """The part of all records, each at every other node, that is there in whatever version."""
        nodes = self.nodes
        pairs = len(nodes) * (len(nodes) - 1)
        return sum(node.known for node in nodes) / pairs if pairs else 1.0

    def current(self) -> float:
        """The part that is there in its newest version, of everybody alive."""
        nodes = self.nodes
        newest = [(node.id, node.record) for node in nodes if node.record is not None]
        whole = functools.reduce(operator.xor, (record.mix for _, record in newest), 0)
        there = 0
        for node in nodes:
            if node.core.store.hashes(0) == (whole,):  # as when two nodes compare: it has them all
                there += len(newest)
            else:
                there += sum(node.knows(peer, record.version) for peer, record in newest)
        return (there - len(newest)) / (len(newest) * (len(nodes) - 1))

    def holders(self, record: Record) -> float:
        """The part of nodes who know that record, or a newer one of the same node."""
        nodes = self.nodes
        return sum(node.knows(record.node, record.version) for node in nodes) / len(nodes)
