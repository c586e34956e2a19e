"""Who joins where many have joined is sent on to others, and is taken if these have no room."""

from __future__ import annotations

from typing import Any

import pytest

import crust
from crust import Config, Identity, Service, limits
from crust.service.finding.crowd import Crowd
from tests.service.finding import shared
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

PATIENCE = 10.0


def config(**changes: Any) -> Config:
    return shared.config(**{"bootstrap__accept": True, **changes})


def reached(at: Service, who: Service) -> None:
    """Wait until that node has found out that strangers reach the other."""
    assert at._finding is not None
    part = at._finding.reachability
    wait_until(lambda: part.is_public(who.id), PATIENCE, "the trial")


def ids(service: Service) -> set[crust.PeerId]:
    return {peer.id for peer in service.peers}


# --- who is to ask others, on a virtual clock -------------------------------------------------------------------------


def test_who_comes_back_soon_is_taken() -> None:
    crowd, who, other = Crowd(), Identity.generate().peer_id, Identity.generate().peer_id
    assert crowd.sends_on(who, 0.0)
    assert crowd.sends_on(other, 1.0)
    assert not crowd.sends_on(who, limits.CROWD_SECONDS - 1.0)
    assert crowd.sends_on(who, limits.CROWD_SECONDS), "it was taken once for that"


def test_who_comes_back_late_is_sent_on_again() -> None:
    crowd, who = Crowd(), Identity.generate().peer_id
    assert crowd.sends_on(who, 0.0)
    assert crowd.sends_on(who, limits.CROWD_SECONDS)
    assert limits.BOOTSTRAP_SENT_ON * (1 - limits.JITTER) > limits.CROWD_SECONDS


def test_no_crowd_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CROWD_REMEMBERED", 4)
    crowd, first = Crowd(), Identity.generate().peer_id
    assert crowd.sends_on(first, 0.0)
    for _ in range(4):
        assert crowd.sends_on(Identity.generate().peer_id, 1.0)
    assert len(crowd._sent_on) == 4
    assert crowd.sends_on(first, 2.0), "forgotten"


# --- real nodes -------------------------------------------------------------------------------------------------------


def test_a_crowd_is_spread(nodes: Nodes) -> None:
    """One after the other through one contact: it keeps two, who take two each, and so on."""
    middle = nodes.start(config(bootstrap__max_links=2))
    for _ in range(6):
        near = nodes.start(config(bootstrap__max_links=2))
        parent = near.bootstrap(contacts=[middle.contact]).id
        (known,) = [each for each in nodes._services if each.id == parent]
        reached(known, near)
    assert len(middle.peers) == 2


def test_those_who_connect_are_no_crowd(nodes: Nodes) -> None:
    """Neither are they sent on, nor do they take the place of somebody who joins."""
    middle = nodes.start(config(bootstrap__max_links=1))
    callers = [nodes.start(config()) for _ in range(3)]
    for each in callers[:2]:
        each.connect(middle.contact)
    near = nodes.start(config())
    assert near.bootstrap(contacts=[middle.contact]).id == middle.id
    reached(middle, near)
    assert callers[2].connect(middle.contact).id == middle.id
    late = nodes.start(config())
    assert late.bootstrap(contacts=[middle.contact]).id == near.id, "sent on"
    assert middle.stats().refusals["bootstrap.max_links"] >= 1


def test_nobody_is_kept_out(nodes: Nodes) -> None:
    """Who was sent on, and finds no room there, comes back and is taken."""
    middle = nodes.start(config(bootstrap__max_links=1))
    near = nodes.start(config(bootstrap__accept=False))
    near.bootstrap(contacts=[middle.contact])
    reached(middle, near)
    late = nodes.start(config())
    assert late.bootstrap(contacts=[middle.contact]).id == middle.id
    wait_until(lambda: ids(middle) == {near.id, late.id}, PATIENCE, "the session")
    assert near.stats().gate.admitted > 1, "it was asked first"


def test_those_whom_a_node_has_joined_itself_are_no_crowd(nodes: Nodes) -> None:
    """They cost it what it wanted: only who came to it takes a place."""
    first, second = nodes.start(config()), nodes.start(config())
    middle = nodes.start(config(bootstrap__max_links=2))
    for each in (first, second):
        middle.bootstrap(contacts=[each.contact])
    wait_until(lambda: ids(middle) == {first.id, second.id}, PATIENCE, "the links")
    for _ in range(2):
        near = nodes.start(config())
        assert near.bootstrap(contacts=[middle.contact]).id == middle.id
        reached(middle, near)
    late = nodes.start(config())
    assert late.bootstrap(contacts=[middle.contact]).id != middle.id, "sent on"


def test_where_nobody_else_is_known_all_are_taken(nodes: Nodes) -> None:
    middle = nodes.start(config(bootstrap__max_links=1, bootstrap__reachability_test=False))
    joining = [nodes.start(config()) for _ in range(4)]
    for each in joining:
        assert each.bootstrap(contacts=[middle.contact]).id == middle.id
    wait_until(lambda: ids(middle) == {each.id for each in joining}, PATIENCE, "the sessions")


def test_who_leaves_makes_room(nodes: Nodes) -> None:
    middle = nodes.start(config(bootstrap__max_links=2))
    first, second = nodes.start(config()), nodes.start(config())
    for each in (first, second):
        each.bootstrap(contacts=[middle.contact])
        reached(middle, each)
    first.close()
    wait_until(lambda: ids(middle) == {second.id}, PATIENCE, "its end")
    assert nodes.start(config()).bootstrap(contacts=[middle.contact]).id == middle.id
