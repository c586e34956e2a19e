"""When a node tells of itself, and what: on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import Contact, Endpoint, Identity, PeerId, limits
from crust.addresses import network_id
from crust.crypto.identity import KeyPair
from crust.discovery.gossip.record import Record, make_record
from crust.service.finding.gossip.publishing import Publishing

NETWORK = network_id(None)
KEYS = KeyPair(bytes(31) + b"\1")
WALL = 1_800_000_000.0


class World:
    """A node that publishes, and all that it has published."""

    def __init__(self, *, publish: str = "full", role: str = "node") -> None:
        self.now = 1000.0
        self.timers: list[Any] = []
        self.addresses = [Endpoint("tcp", "45.0.0.1", 5000)]
        self.via: list[Contact] = []
        self.passing: set[PeerId] = set()
        self.links: list[Any] = []
        self.made: list[Record] = []
        node = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: self.now),
            io=SimpleNamespace(call_at=self._call_at),
            wall=lambda: WALL + self.now,
            handshake=SimpleNamespace(key_pair=KEYS, network_id=NETWORK),
            config=SimpleNamespace(gossip=SimpleNamespace(publish=publish), network=SimpleNamespace(role=role)),
            circuits=SimpleNamespace(
                via=lambda: tuple(self.via), introducers=SimpleNamespace(has=lambda peer_id: True)
            ),
            registry=SimpleNamespace(all=lambda: self.links),
        )
        network = SimpleNamespace(
            addresses=lambda: tuple(self.addresses),
            listeners=SimpleNamespace(advertised=lambda: ()),
            outlook=SimpleNamespace(entered=(), opened=lambda: ()),
        )
        self.publishing = Publishing(cast(Any, node), cast(Any, network), self.passing.__contains__, self._due)

    def _call_at(self, at: float, call: Callable[[float], object]) -> Any:
        timer = SimpleNamespace(at=at, call=call)
        timer.cancel = lambda: self.timers.remove(timer) if timer in self.timers else None
        self.timers.append(timer)
        return timer

    def _due(self) -> None:
        record = self.publishing.make()
        if record is not None:
            self.made.append(record)

    def run(self, seconds: float) -> list[Record]:
        """What is published in that time."""
        before, end = len(self.made), self.now + seconds
        while self.timers and min(each.at for each in self.timers) <= end:
            timer = min(self.timers, key=lambda each: each.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.call(self.now)
        self.now = end
        return self.made[before:]

    def change(self) -> None:
        """Something may be told otherwise."""
        self.publishing.soon()

    def introduced_by(self, host: str = "45.0.0.9") -> PeerId:
        peer_id = Identity.generate().peer_id
        self.via.append(Contact(peer_id, (Endpoint("tcp", host, 5000),)))
        return peer_id


def begun(**named: str) -> World:
    world = World(**named)
    world.introduced_by()
    world.change()
    assert len(world.run(10.0)) == (named.get("publish") != "none")
    return world


def test_what_changes_together_is_told_together() -> None:
    """And what changes all the time is told now and then."""
    world = begun()
    for number in range(2, 6):
        world.addresses = [Endpoint("tcp", f"45.0.0.{number}", 5000)]
        world.change()
    (record,) = world.run(limits.GOSSIP_PUBLISH_DELAY)
    assert list(record.endpoints) == world.addresses
    for number in range(6, 106):
        world.addresses = [Endpoint("tcp", f"45.0.0.{number}", 5000)]
        world.change()
        world.run(1.0)
    assert 100 / limits.GOSSIP_PUBLISH_REST - 2 <= len(world.made) - 2 <= 100 / limits.GOSSIP_PUBLISH_REST + 1


@pytest.mark.parametrize(("publish", "role"), [("full", "client"), ("via", "node")])
def test_addresses_that_are_not_told_are_no_news(publish: str, role: str) -> None:
    """A client's, or those of a node that does not want them told: nobody hears of it when they change."""
    world = begun(publish=publish, role=role)
    assert [(record.endpoints, len(record.via)) for record in world.made] == [((), 1)]
    world.addresses = [Endpoint("tcp", "45.0.0.2", 5000)]
    world.change()
    assert world.run(limits.GOSSIP_PUBLISH_AGAIN - 20.0) == []
    assert len(world.run(30.0)) == 1


def test_the_first_who_introduces_it_is_news_at_once() -> None:
    """Whoever has just joined is found as soon as can be; that there are others, too, can wait."""
    world = World()
    world.change()
    (record,) = world.run(2 * limits.GOSSIP_PUBLISH_FIRST)
    assert record.via == ()
    introducer = world.introduced_by()
    world.change()
    (record,) = world.run(limits.GOSSIP_PUBLISH_DELAY + 0.1)
    assert [each.peer_id for each in record.via] == [introducer]
    world.introduced_by("45.0.0.10")
    world.change()
    assert world.run(limits.GOSSIP_VIA_REST - 2.0) == []
    assert [len(each.via) for each in world.run(2.0)] == [2]


def test_where_nothing_is_to_be_told_nothing_is() -> None:
    world = begun(publish="none")
    world.introduced_by()
    world.change()
    assert world.run(3 * limits.GOSSIP_PUBLISH_AGAIN) == []


def test_who_will_be_gone_soon_introduces_nobody() -> None:
    """The session with it is a guest's, or for a question."""
    world = World()
    passing, staying = world.introduced_by(), world.introduced_by("45.0.0.10")
    world.passing.add(passing)
    world.change()
    (record,) = world.run(10.0)
    assert [each.peer_id for each in record.via] == [staying]


def link(remote: str, *, local: str = "10.0.0.1", inbound: bool = True, circuit: bool = False) -> Any:
    ends = (Endpoint("tcp", host, 5000) for host in (remote, local))
    connection = SimpleNamespace(**dict(zip(("remote", "local"), ends, strict=True)))
    return SimpleNamespace(
        link=SimpleNamespace(circuit=object() if circuit else None, connection=connection, inbound=inbound)
    )


def test_in_a_network_of_its_own_who_is_dialled_is_public() -> None:
    """But not beside the Internet, where the neighbours get in and strangers do not."""
    guest, host, outside = link("10.0.0.2"), link("10.0.0.3", inbound=False), link("8.8.8.8", inbound=False)
    for links, expected in (
        ([], False),
        ([guest], True),
        ([host], False),
        ([host, guest], True),
        ([guest, outside], False),
        ([outside, guest], False),
        ([guest, link("10.0.0.4", local="8.8.8.9")], False),
        ([link("10.0.0.2", circuit=True)], False),
        ([guest, link("8.8.8.8", circuit=True)], True),
    ):
        world = World()
        world.links = links
        world.change()
        (record,) = world.run(10.0)
        assert record.is_public is expected


def test_another_program_with_our_identity_is_answered_ever_later() -> None:
    """The first time it may be an earlier run of ours, and is corrected at once; two programs would never end."""
    world = begun()

    def rival() -> Record:
        last = world.made[-1].sequence
        made = make_record(KEYS, NETWORK, wall=WALL + world.now, last=last, endpoints=world.addresses)
        assert made is not None
        return made

    assert not world.publishing.heard(world.made[-1]), "that is our own"
    assert not world.publishing.heard(rival())
    (record,) = world.run(limits.GOSSIP_PUBLISH_DELAY)
    assert world.publishing.heard(rival()), "there are two, which is said"
    assert world.run(limits.GOSSIP_RIVAL_REST - 5.0) == []
    (second,) = world.run(10.0)
    assert second.sequence > record.sequence
    assert not world.publishing.heard(rival()), "once"


def test_several_records_of_an_earlier_run_are_no_other_program() -> None:
    """Who begins again hears of what it was from several peers, of which one knows a later record than the other."""
    world = World()
    earlier: list[Record] = []
    for _ in range(3):
        last = earlier[-1].sequence if earlier else 0
        made = make_record(KEYS, NETWORK, wall=WALL - 60.0, last=last, endpoints=[Endpoint("tcp", "45.0.0.1", 4000)])
        assert made is not None
        earlier.append(made)
    assert [world.publishing.heard(each) for each in earlier] == [False, False, False]
    world.change()
    (record,) = world.run(limits.GOSSIP_PUBLISH_DELAY + limits.GOSSIP_PUBLISH_FIRST)
    assert record.sequence > earlier[-1].sequence
    other = make_record(KEYS, NETWORK, wall=WALL + world.now, last=record.sequence, endpoints=world.addresses)
    assert other is not None and world.publishing.heard(other), "this one was made later: there are two"


def test_nothing_is_told_after_the_end() -> None:
    world = begun()
    world.change()
    world.publishing.close()
    world.change()
    assert world.run(2 * limits.GOSSIP_PUBLISH_AGAIN) == [] and world.timers == []
