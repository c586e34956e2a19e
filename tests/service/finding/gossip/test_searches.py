"""What is done to reach a peer to which no way is known: how much at once, through whom, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import Contact, Endpoint, Identity, PeerId, limits
from crust.peers.session import State
from crust.service.finding.gossip.searches import Searches
from tests.support.bitten import Bitten

PLACES = (Endpoint("tcp", "45.0.0.1", 5000),)


class World:
    """A node with gossip that answers what the test says, and a dialler that does nothing by itself."""

    def __init__(self) -> None:
        self.bitten = Bitten()
        self.jobs: list[Callable[[], object]] = []
        self.timers: list[Any] = []
        self.found: dict[PeerId, Callable[[Any, int], object]] = {}
        self.cancelled: list[PeerId] = []
        self.dials: dict[PeerId, Contact] = {}
        self.waiters: dict[PeerId, Any] = {}
        self.lost_interest: list[PeerId] = []
        self.sessions: dict[PeerId, Any] = {}
        self.banned: set[PeerId] = set()
        self.afforded: list[Sequence[Endpoint]] = []
        self.borrowed: list[PeerId] = []
        self.told: list[tuple[Any, Any, str | None]] = []
        self.known: tuple[Endpoint, ...] = ()
        node = SimpleNamespace(
            on_connected=[],
            refusals=SimpleNamespace(count=self.bitten),
            io=SimpleNamespace(call_later=self._call_later, shielded=lambda job: job()),
            registry=SimpleNamespace(get=self.sessions.get),
            directory=SimpleNamespace(places=lambda peer_id, but=(): self.known),
            dialer=SimpleNamespace(dial=self._dial),
            circuits=SimpleNamespace(towards=lambda target, among: [f"a circuit by {each}" for each in among]),
        )
        gossiping = SimpleNamespace(can_find=True, age=60.0, put=self.jobs.append, find=self._find)
        rules = SimpleNamespace(
            usable=lambda endpoints, most: tuple(endpoints)[:most],
            afford=self._afford,
            may_dial=lambda peer_id: peer_id not in self.banned,
            avoid=lambda host: False,
        )
        borrowed = SimpleNamespace(use=self.borrowed.append, used=lambda peer_id: None)
        self.searches = Searches(cast(Any, node), cast(Any, gossiping), cast(Any, rules), cast(Any, borrowed))

    def _call_later(self, seconds: float, call: Callable[[float], object]) -> Any:
        timer = SimpleNamespace(call=call, cancel=lambda: self.timers.remove(timer))
        self.timers.append(timer)
        return timer

    def _find(self, target: PeerId, found: Callable[[Any, int], object]) -> Callable[[], None]:
        self.found[target] = found
        return lambda: self.cancelled.append(target)

    def _afford(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        self.afforded.append(tuple(endpoints))
        return ()

    def _dial(self, peer_id: PeerId, endpoints: Any, purpose: Any, time: Any, waiter: Any, *_: Any, **__: Any) -> Any:
        self.dials[peer_id], self.waiters[peer_id] = Contact(peer_id, endpoints), waiter
        return lambda: self.lost_interest.append(peer_id)

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()

    def look_for(self, peer_id: PeerId) -> Callable[[], object] | None:
        end = self.searches.look_for(peer_id, lambda *told: self.told.append(cast(Any, told)), False)
        self.work()
        return end

    def answer(self, target: PeerId, *via: PeerId) -> None:
        """Its record is found; it names those."""
        record = SimpleNamespace(endpoints=PLACES, via=[Contact(each, PLACES) for each in via])
        self.found[target](record, 3)
        self.work()


def stranger() -> PeerId:
    return Identity.generate().peer_id


def test_so_many_are_looked_for_at_once() -> None:
    """However many an application dials; whoever is given up, or not found, makes room."""
    world = World()
    targets = [stranger() for _ in range(limits.SEARCHES_MAX)]
    ends = [world.look_for(each) for each in targets]
    assert None not in ends
    assert world.look_for(stranger()) is None and world.bitten["SEARCHES_MAX"] == 1
    assert ends[0] is not None
    ends[0]()
    world.work()
    assert world.cancelled == [targets[0]]
    assert world.look_for(stranger()) is not None
    assert world.look_for(stranger()) is None
    world.found[targets[1]](None, 3)
    world.work()
    assert "not found" in str(world.told[-1][2])
    assert world.look_for(stranger()) is not None, "it is over, though nobody has ended it"


def test_what_was_in_vain_is_not_remembered() -> None:
    """A node that looks for many one after the other goes on doing so."""
    world = World()
    for _ in range(3 * limits.SEARCHES_MAX):
        target = stranger()
        assert world.look_for(target) is not None
        world.found[target](None, 3)
        world.work()
    assert world.searches._running == set()


def test_nobody_is_reached_through_whom_may_not_be_dialled() -> None:
    """A ban of ours holds whatever a record names."""
    world = World()
    target, banned, other = stranger(), stranger(), stranger()
    world.banned.add(banned)
    world.look_for(target)
    world.answer(target, banned, other)
    assert list(world.dials) == [other] == world.borrowed
    lone = stranger()
    world.look_for(lone)
    world.answer(lone, banned)
    assert list(world.dials) == [other] and "names nobody who introduces it" in str(world.told[-1][2])


def test_who_introduces_is_looked_up_and_nobody_for_its_sake() -> None:
    """Two steps at most, or records that name each other would lead on for ever; a step further costs the budget."""
    world = World()
    target, via, second, third = (stranger() for _ in range(4))
    world.look_for(target)
    world.answer(target, via)
    assert world.told[-1] == (PLACES, (), None), "somebody has asked for that one"
    assert world.look_for(via) is not None
    before = len(world.afforded)
    world.answer(via, second)
    assert world.afforded[before] == PLACES and world.told[-1][0] == ()
    assert world.look_for(second) is None
    assert world.look_for(third) is not None


@pytest.mark.parametrize("how", ["ended", "too late"])
def test_a_search_that_ends_takes_its_dials_along(how: str) -> None:
    """And leaves nothing behind: neither timers, nor what it knew of those it waited for."""
    world = World()
    target, via = stranger(), stranger()
    end = world.look_for(target)
    world.answer(target, via)
    assert end is not None and len(world.timers) == 1 and world.lost_interest == []
    if how == "ended":
        end()
    else:
        world.timers[0].call(0.0)
    world.work()
    assert world.lost_interest == [via] and world.searches.depths == {}
    assert world.searches._running == set()
    assert how == "too late" or world.timers == []
    before = list(world.told)
    world.waiters[via](None, None)
    world.work()
    assert world.told == before


def test_where_others_alone_say_that_an_introducer_is_the_budget_decides() -> None:
    """Records may name any address, of anybody: where nothing can be afforded nothing is dialled but what we know."""
    world = World()
    target, via = stranger(), stranger()
    world.look_for(target)
    world.answer(target, via)
    assert world.afforded == [PLACES] and world.dials[via].endpoints == ()
    world.known = (Endpoint("tcp", "45.0.0.2", 5000),)
    other = stranger()
    world.look_for(stranger())
    world.answer(next(reversed(world.found)), other)
    assert world.dials[other].endpoints == world.known


def test_who_is_linked_to_us_introduces_at_once() -> None:
    """No dial is needed, nor is its session borrowed."""
    world = World()
    target, via = stranger(), stranger()
    world.sessions[via] = SimpleNamespace(peer_id=via, session=SimpleNamespace(state=State.CONNECTED))
    world.look_for(target)
    world.answer(target, via)
    assert world.dials == {} and world.borrowed == []
    assert ((), [f"a circuit by {via}"], None) in world.told
