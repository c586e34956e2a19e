"""What nodes bring of themselves: a key costs nothing, so whoever has many fills no store with them."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from crust.discovery.gossip import Gossip, GossipSettings, Record, read_with
from crust.wire import gossip as wire
from tests.discovery.gossip.mesh import NETWORK, WALL, key_pair, record_of
from tests.support.bitten import Bitten

EVERYTHING = (1 << 64) - 1
MOST = 128


class Node:
    """A core to which others come, one after the other, each with its own record."""

    def __init__(self) -> None:
        self.bitten = Bitten()
        own_id = key_pair(1).peer_id.public_key
        self.core = Gossip(own_id, GossipSettings(MOST), read_with(NETWORK), random.Random(1), self.bitten)
        self.now = 0.0

    def visit(self, numbers: Iterable[int], place: object) -> list[Record]:
        """Nodes at that place come for a moment; which of their records are kept."""
        records = [record_of(key_pair(number)) for number in numbers]
        for record in records:
            self.core.link_up(record.node, True, self.now, place=place)
            self.core.receive(record.node, wire.Summary(EVERYTHING, False, ()), self.now, WALL)
            self.core.receive(record.node, wire.Records((record.data,)), self.now, WALL)
            self.core.link_down(record.node, self.now)
            self.now += 0.1
        return [record for record in records if self.core.store.of(record.node) is not None]


@pytest.fixture
def node() -> Node:
    """A half of its store is full, of nodes that came from anywhere."""
    node = Node()
    for number in range(1000, 1000 + MOST // 2):
        node.visit([number], number)
    assert len(node.core.store) == MOST // 2
    return node


def test_many_keys_at_one_address_do_not_fill_a_store(node: Node) -> None:
    """Each calls once and brings itself: an 8th of the store in ten minutes, as by hearsay."""
    kept = node.visit(range(2000, 2200), "there")
    assert MOST // 8 <= len(kept) <= MOST // 8 + 1
    assert node.bitten["GOSSIP_FRESH_SECONDS"] > 0
    assert len(node.visit(range(1000, 1000 + MOST // 2), "there")) == MOST // 2  # those that were here are here still


def test_who_comes_after_them_from_elsewhere_is_kept(node: Node) -> None:
    """However many addresses they have had."""
    for place in range(4):
        node.visit(range(2000 + 100 * place, 2100 + 100 * place), place)
    assert len(node.visit([3000, 3001], "elsewhere")) == 2


def test_who_is_known_brings_what_is_new_of_itself(node: Node) -> None:
    """That costs it nothing of what it has, wherever it is by now."""
    node.visit(range(2000, 2200), "there")
    keys = key_pair(1000)
    newer = record_of(keys, WALL + 60)
    node.core.link_up(newer.node, True, node.now, place="there")
    node.core.receive(newer.node, wire.Records((newer.data,)), node.now, WALL + 60)
    kept = node.core.store.of(newer.node)
    assert kept is not None and kept.version == newer.version


def test_many_keys_at_one_address_do_not_take_the_pins_of_others() -> None:
    """Neither as they come for the first time, nor when they come again."""
    node = Node()
    honest = range(1000, 1012)
    for _ in range(2):
        for number in honest:
            node.visit([number], number)
        node.visit(range(2000, 2000 + MOST // 4 + 8), "there")
        pinned = node.core.store._pinned
        assert len(pinned) == MOST // 4 and node.bitten["GOSSIP_PINNED"] > 0
        assert [each for each in honest if wire.prefix_of(key_pair(each).peer_id.public_key) not in pinned] == []
