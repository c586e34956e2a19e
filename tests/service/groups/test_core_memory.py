"""What the core of groups remembers, whoever comes, is bounded."""

from __future__ import annotations

import pytest

from crust import limits
from crust.service.groups.core import Core
from tests.service.groups.core_world import World, make_ids


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GROUP_PEERS_KNOWN", 20)
    ids = make_ids(200)
    world = World(ids)
    world.alive.clear()
    world.open("g", 8)
    for _ in range(10):
        world.run(0.5)
        assert len(world.core._peers) <= 20 + limits.KEEP_DIALS
    world.core.close("g")
    world.wants.clear()
    world.step()
    world.now += 3 * limits.DROPPED_SECONDS
    world.step()
    assert world.core._peers == {}


def test_of_those_that_were_refused_little_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody makes as many keys as he likes: neither their sessions stay, nor more of them than of others."""
    monkeypatch.setattr(limits, "GROUP_PEERS_KNOWN", 20)
    ids = make_ids(60)
    world = World([])
    world.verdicts = lambda name, peer_id: "no"
    world.open("g", 2, asks=True)
    refused = world.core._groups["g"].refused
    world.core.claim(ids[0])
    own = world.call(ids[0])
    world.run(1.0)
    for each in ids[1:]:
        world.call(each)
        world.run(1.0)
        assert [session for session, _ in refused.values() if session is not None] == [own]
        assert len(refused) <= 20
    assert [*refused] == [ids[0], *ids[-19:]] and len(world.offers) == 60
    world.run(limits.DROPPED_SECONDS)
    assert [*refused] == [ids[0]] and len(world.offers) == 60
    world.lose(ids[0])
    assert refused == {}


def test_nobody_is_remembered_who_came_while_there_was_no_group() -> None:
    """There is no turn then, and anybody makes as many keys as he likes."""
    core, ids, now = Core(), make_ids(2100), 0.0
    here = ids[:100]
    for each in here:
        core.connected(each, each, now, inbound=True, network="127.0.0.1")
    for each in ids[100:]:
        now += 0.1
        core.connected(each, each, now, inbound=True, network="127.0.0.1")
        core.lost(each, each, now)
        assert len(core._peers) <= 250
    assert all(core._peers[each].is_up for each in here)
