"""A group that is short looks again as soon as somebody becomes known, and not for each of many."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import Config, Identity, PeerId, limits
from crust.service.groups.actions import Dial
from crust.service.groups.core import Core
from tests.support import nodes as support
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until

NEVER = float("inf")


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups do not look by themselves."""
    monkeypatch.setattr(limits, "GROUP_LOOK", 1e6)


def turn(core: Core, now: float, known: dict[PeerId, str]) -> None:
    core.turn(now, known, lambda peer_id: True)


def test_news_are_looked_at_soon() -> None:
    """At once if nobody has looked lately; else a tenth of a second after that."""
    core = Core(random.Random(1).random)
    assert core.when_known() == NEVER
    core.open("all", 1, [], others=True, asks=False)
    assert core.when_known() <= 1000.0
    turn(core, 1000.0, {})
    assert core.when_known() == 1000.0 + limits.GROUP_NEWS < core.get_timer()


def test_who_knows_thousands_looks_less_often() -> None:
    """However fast news come: so many looks at peers a second, and no more."""
    core = Core(random.Random(1).random)
    core.open("all", 1, [], others=True, asks=False)
    known = {Identity.generate().peer_id: f"net {number}" for number in range(200)}
    turn(core, 1000.0, known)
    assert core.when_known() == 1000.0 + len(known) / limits.GROUP_LOOKS_PER_SECOND


def test_a_full_group_does_not_look() -> None:
    core, peer_id = Core(random.Random(1).random), Identity.generate().peer_id
    core.open("all", 1, [], others=True, asks=False)
    turn(core, 1000.0, {peer_id: ""})
    core.connected(peer_id, object(), 1000.1, inbound=False, network="")
    assert core.when_known() == NEVER


def test_whom_it_has_not_asked_for_it_asks_for_at_once() -> None:
    """Somebody goes missing while a turn goes on for which nobody was asked for."""
    core, peer_id, session = Core(random.Random(1).random), Identity.generate().peer_id, object()
    core.open("all", 1, [], others=True, asks=False)
    core.connected(peer_id, session, 1000.0, inbound=False, network="")
    turn(core, 1000.1, {peer_id: ""})
    assert not core.is_short
    core.suspended(peer_id, session, 1000.2)
    core.actions()
    late = 1000.2 + limits.GROUP_PATIENCE + 1.0
    assert not core.is_short
    core.turn(late, None, lambda peer_id: True)
    assert core.is_short and core.get_timer() == late
    other = Identity.generate().peer_id
    turn(core, late, {other: ""})
    assert [each.peer_id for each in core.actions() if isinstance(each, Dial)] == [other]
    assert core.get_timer() > late


def test_who_is_known_is_asked_without_a_lock() -> None:
    """Readers tell groups what happens: they do not wait until all that is known has been looked at."""
    with crust.testing.network() as net:
        me, other = net.service(), net.service()
        node = me._node
        assert node is not None and me._finding is not None
        lock = me._finding.groups._lock
        free: list[bool] = []

        class Source:
            name = "slow"

            def contacts(self) -> list[crust.Contact]:
                free.append(lock.acquire(timeout=5.0))
                if free[-1]:
                    lock.release()
                return [other.contact]

            def places(self, peer_id: PeerId) -> tuple[crust.Endpoint, ...]:
                return other.contact.endpoints if peer_id == other.id else ()

        node.directory.add(Source())
        group = me.group("all", 1)
        assert group.wait(10) and [peer.id for peer in group.peers] == [other.id]
        assert free and all(free)


@pytest.mark.usefixtures("_patient")
def test_a_record_that_comes_is_used() -> None:
    config = Config().replace(**{"lan.seek": "never", "bootstrap.cache.max_peers": 0})
    with crust.testing.network() as net:
        near, middle = (net.service(config, address=f"45.0.{number}.1") for number in range(2))
        net.connect(near, middle)
        net.advance(10.0)
        group = near.group("all", want=2)
        net.advance(10.0)
        assert {peer.id for peer in group.peers} == {middle.id}
        listen = {"listen.addresses": ("tcp://0.0.0.0:5483",), "listen.advertise": ("tcp://45.0.2.1:5483",)}
        far = net.service(config.replace(**listen), address="45.0.2.1")
        net.connect(far, middle)
        net.advance(4.0)
        assert {peer.id for peer in group.peers} == {middle.id, far.id}


@pytest.mark.usefixtures("_patient")
def test_who_answers_on_the_lan_is_used(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUST_LAN", "loopback")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    one, other = (nodes.start(support.config(lan__seek="bootstrap", lan__port=port)) for _ in range(2))
    group = one.group("all", want=1)
    wait_until(lambda: group.want == 1 and not group.peers, what="the group")
    for service in (one, other):
        service.start_service_discovery()
    wait_until(lambda: [peer.id for peer in group.peers] == [other.id], 10.0, "the session")
    assert nodes.heard(one).wait(crust.PeerDiscovered).contact.peer_id == other.id
