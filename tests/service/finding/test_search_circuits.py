"""Whom our peers are asked to introduce us to while first peers are looked for."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterable, Iterator

import pytest

import crust
from crust import Attempt, Config, Contact, Endpoint, Identity, PeerId, limits
from crust.discovery.cache.core import Entry
from crust.discovery.cache.form import build_cache
from tests.support.nodes import Nodes, config
from tests.support.sockets import unused_port
from tests.support.waiting import wait_until

DEAD = 12


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


def nobody() -> Contact:
    return Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", unused_port()),))


def with_cache(path: pathlib.Path, contacts: Iterable[Contact], **changes: object) -> Config:
    entries = [Entry(contact, time.time() - 60, 0, "loopback") for contact in contacts]
    path.write_bytes(build_cache(entries, crust.addresses.network_id(None), time.time()))
    return config(bootstrap__cache={"file": str(path), "max_peers": 200}, gossip__enabled=False, **changes)


def circuits(attempts: Iterable[tuple[PeerId, Attempt]]) -> list[PeerId]:
    """To whom circuits were tried."""
    return [peer_id for peer_id, attempt in attempts if attempt.endpoint.startswith("relay://")]


def test_where_a_link_stands_nobody_is_asked_for_the_dead(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Of a cache whose entries are all gone; the neighbour would be asked for each of them."""
    dead = [nobody() for _ in range(DEAD)]
    neighbour = nodes.start(config(bootstrap__accept=True, gossip__enabled=False))
    near = nodes.make(with_cache(tmp_path / "cache.json", dead, bootstrap__links=3))
    tried: list[tuple[PeerId, Attempt]] = []
    near.on(crust.PathAttempted, lambda event: tried.append((event.peer_id, event.attempt)))
    near.start()
    near.connect(neighbour.contact)  # it counts, whoever has asked for it
    near.start_bootstrap()
    assert near._finding is not None
    bootstrap = near._finding.bootstrap
    wait_until(lambda: {each.peer_id for each in dead} <= bootstrap._rests.keys(), 10.0, "their failures")
    assert {peer_id for peer_id, _ in tried} >= {each.peer_id for each in dead}
    assert circuits(tried) == []


def test_where_none_stands_a_few_are_looked_for_through_others(
    nodes: Nodes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every contact is: an application has named it."""
    monkeypatch.setattr(limits, "BOOTSTRAP_CIRCUITS", 3)
    dead, named = [nobody() for _ in range(DEAD)], nobody()
    near = nodes.make(with_cache(tmp_path / "cache.json", dead))
    tried: list[tuple[PeerId, Attempt]] = []
    near.on(crust.PathAttempted, lambda event: tried.append((event.peer_id, event.attempt)))
    near.start()
    caller = nodes.start(config(gossip__enabled=False))
    caller.connect(near.contact)  # who has called is none of those that are kept up
    nodes.heard(near).wait(crust.ConnectSuccess)
    with pytest.raises(crust.ConnectError):
        near.bootstrap(contacts=[named])
    nodes.heard(near).wait(crust.BootstrapFailed)  # after all that was tried
    asked = circuits(tried)
    assert named.peer_id in asked
    assert len({*asked} - {named.peer_id}) == 3


def test_who_is_named_later_is_looked_for_through_others(nodes: Nodes) -> None:
    """A dial without circuits is under way, and somebody else wants the peer, and names it."""
    near = nodes.start(config(gossip__enabled=False))
    caller = nodes.start(config(gossip__enabled=False))
    caller.connect(near.contact)
    nodes.heard(near).wait(crust.ConnectSuccess)
    far = nobody()
    tried: list[tuple[PeerId, Attempt]] = []
    near.on(crust.PathAttempted, lambda event: tried.append((event.peer_id, event.attempt)))
    node = near._node
    assert node is not None
    ends: list[object] = []

    def dial(*, circuits: bool) -> None:
        node.dialer.dial(
            *(far.peer_id, far.endpoints, crust.wire.handshake.Purpose.CONNECT, 10.0),
            lambda conversation, error: ends.append(error),
            seek=False,
            circuits=circuits,
        )

    with node.dialer._lock:  # nothing ends in between
        dial(circuits=False)
        dial(circuits=True)
    wait_until(lambda: len(ends) == 2, 10.0, "both ends")
    wait_until(lambda: bool(circuits(tried)), 10.0, "what was tried")
    dial(circuits=False)
    wait_until(lambda: len(ends) == 3, 10.0, "the third end")
    seen = len(circuits(tried))
    assert seen == 1
