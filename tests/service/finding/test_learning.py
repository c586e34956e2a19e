"""What bootstrap makes of failures: how long a lead rests, and whom the cache hears of. On a clock of ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

import crust
import crust.testing
from crust import Contact, Denied, Endpoint, Identity, PeerId, Service, limits
from crust.paths import Attempt
from crust.service.finding.bootstrap import Bootstrap
from crust.service.finding.search import Failure, Lead, Search


@pytest.fixture
def node() -> Iterator[Service]:
    with crust.testing.network() as net:
        yield net.service()


def bootstrap(node: Service) -> Bootstrap:
    assert node._finding is not None
    return node._finding.bootstrap


def lead(source: str) -> Lead:
    return Lead(Contact(Identity.generate().peer_id, (Endpoint("tcp", "192.0.2.1", 5000),)), source)


def learn(node: Service, *failures: Failure, won: Lead | None = None, linked: bool = False) -> None:
    """A search has ended so; ``linked``: there was a link before."""
    winners = [] if won is None else [object()]
    search: Any = SimpleNamespace(won=[] if won is None else [won], winners=winners, failures=list(failures))
    bootstrap(node)._learn(search, frozenset({Identity.generate().peer_id} if linked else ()))


def rest(node: Service, peer_id: PeerId) -> float:
    """Seconds for which that one is left alone."""
    assert node._node is not None
    return bootstrap(node)._rests[peer_id][1] - node._node.clock.now()


@pytest.mark.parametrize("kind", ["nobody else", "another took us", "a link before"])
def test_how_long_a_busy_node_rests(node: Service, kind: str) -> None:
    """Minutes if we have somebody; who has nobody asks again soon, as there may be room by then."""
    full = lead("contact")
    busy = Failure(full, Denied("full", (), "busy"))
    learn(node, busy, won=lead("cache") if kind == "another took us" else None, linked=kind == "a link before")
    found = rest(node, full.contact.peer_id)
    expected = limits.BOOTSTRAP_PAUSE if kind == "nobody else" else limits.BOOTSTRAP_SENT_ON
    assert expected * (1 - limits.JITTER) <= found <= expected * (1 + limits.JITTER)


def test_who_was_dropped_while_it_was_dialled_is_not_blamed(node: Service) -> None:
    """The dial ended for that: the node may well be there, and stays in the cache."""
    assert node._finding is not None and node._node is not None
    dropped, gone = lead("cache"), lead("cache")
    told: list[PeerId] = []
    cast(Any, node._finding.caching).failed = told.append
    bootstrap(node)._dropped.add(dropped.contact.peer_id, node._node.clock.now())
    refused = Denied("another network", (), "network")
    learn(node, Failure(dropped, refused), Failure(gone, refused))
    assert told == [gone.contact.peer_id]


def test_what_is_remembered_of_failures_is_bounded(node: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many leads fail; the last ones count."""
    monkeypatch.setattr(limits, "BOOTSTRAP_LEADS", 10)
    failures = [Failure(lead("gossip"), crust.ConnectError("not there")) for _ in range(30)]
    for each in failures:
        learn(node, each)
    assert list(bootstrap(node)._rests) == [each.lead.contact.peer_id for each in failures[-10:]]


def test_a_refusal_through_an_introducer_says_nothing_of_networks() -> None:
    """The address is the introducer's; what the refusing node's own addresses say counts."""
    search: Any = object.__new__(Search)
    search._networks = [ipaddress.ip_network("192.168.1.0/24")]
    circuit = Attempt("circuit", "relay://192.168.1.1:7000", 0.1, "denied")
    direct = Attempt("direct", "tcp://192.168.1.9:7000", 0.1, "denied")
    for attempts, expected in (((circuit,), ""), ((direct, circuit), "192.168.1.0/24"), ((direct,), "192.168.1.0/24")):
        assert search._around(Denied("refused", attempts, "not_accepting")) == expected
