"""What is done to reach a peer to which no way is known: how much at once, through whom, and what is left of it."""

from __future__ import annotations

import itertools
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
        self.now = 1000.0
        self.jobs: list[Callable[[], object]] = []
        self.timers: list[Any] = []
        self.found: dict[PeerId, Callable[[Any, int], object]] = {}
        self.newer_than = -1
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
            clock=SimpleNamespace(now=lambda: self.now),
            io=SimpleNamespace(call_later=self._call_later, shielded=lambda job: job()),
            registry=SimpleNamespace(get=self.sessions.get),
            directory=SimpleNamespace(places=lambda peer_id, but=(): self.known),
            dialer=SimpleNamespace(dial=self._dial),
            circuits=SimpleNamespace(towards=lambda target, among: [f"a circuit by {each}" for each in among]),
        )
        self.records: dict[PeerId, Any] = {}
        self.gossiping = SimpleNamespace(
            can_find=True, age=60.0, put=self.jobs.append, find=self._find, record=self.records.get, on_learned=[]
        )
        self.usable = True
        rules = SimpleNamespace(
            usable=lambda endpoints, most: tuple(endpoints)[:most] if self.usable else (),
            afford=self._afford,
            may_dial=lambda peer_id: peer_id not in self.banned,
            avoid=lambda host: False,
        )
        borrowed = SimpleNamespace(use=self.borrowed.append, used=lambda peer_id: None)
        self.searches = Searches(cast(Any, node), cast(Any, self.gossiping), cast(Any, rules), cast(Any, borrowed))

    def _call_later(self, seconds: float, call: Callable[[float], object]) -> Any:
        def cancel() -> None:
            if timer in self.timers:
                self.timers.remove(timer)

        timer = SimpleNamespace(call=call, cancel=cancel, at=self.now + seconds)
        self.timers.append(timer)
        return timer

    def _find(
        self, target: PeerId, found: Callable[[Any, int], object], *, newer_than: int
    ) -> Callable[[], None]:
        self.found[target] = found
        self.newer_than = newer_than
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

    def look_for(self, peer_id: PeerId, *, patient: bool = False) -> Callable[[], object] | None:
        end = self.searches.look_for(peer_id, lambda *told: self.told.append(cast(Any, told)), patient)
        self.work()
        return end

    def answer(self, target: PeerId, *via: PeerId, sequence: int = 1) -> None:
        """Its record is found; it names those."""
        self.found.pop(target)(record(*via, sequence=sequence), 3)
        self.work()

    def miss(self, peer_id: PeerId) -> None:
        """A via peer is not reached."""
        self.waiters.pop(peer_id)(None, None)
        self.work()

    def link(self, peer_id: PeerId) -> None:
        """There is a session with it."""
        self.sessions[peer_id] = SimpleNamespace(peer_id=peer_id, session=SimpleNamespace(state=State.CONNECTED))

    def ring(self) -> None:
        """The only timer there is."""
        (timer,) = self.timers
        self.timers.clear()
        self.now = timer.at
        timer.call(self.now)
        self.work()

    def learn(self, target: PeerId, *via: PeerId, sequence: int = 1) -> None:
        """Its record comes, of itself."""
        self.records[target] = record(*via, sequence=sequence)
        for heard in self.gossiping.on_learned:
            heard()
        self.work()


def stranger() -> PeerId:
    return Identity.generate().peer_id


def record(*via: PeerId, sequence: int) -> Any:
    return SimpleNamespace(endpoints=PLACES, via=[Contact(each, PLACES) for each in via], sequence=sequence)


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


def test_who_introduces_is_looked_up_and_who_introduces_those() -> None:
    """However many there are one behind the other; where only records say that somebody is, the budget decides."""
    world = World()
    target, *row = (stranger() for _ in range(6))
    world.look_for(target)
    world.answer(target, row[0])
    assert world.told[-1] == (PLACES, (), None), "somebody has asked for that one"
    for via, behind in itertools.pairwise(row):
        assert world.look_for(via) is not None
        before = len(world.afforded)
        world.answer(via, behind)
        assert world.afforded[before] == PLACES and world.told[-1][0] == ()
    assert list(world.dials) == row


def test_so_many_are_reached_for_one() -> None:
    """Or records that name ever others would lead on for ever. Who is sought already costs nothing more."""
    world = World()
    target = stranger()
    world.look_for(target)
    rows = [[stranger() for _ in range(3)] for _ in range(limits.SEARCH_STEPS // 3)]
    world.answer(target, *rows[0])
    for before, row in itertools.pairwise(rows):
        world.look_for(before[0])
        world.answer(before[0], *row)
    assert list(world.dials) == [each for row in rows for each in row] and not world.bitten
    world.look_for(rows[0][1])
    world.answer(rows[0][1], rows[1][1], stranger())
    assert len(world.dials) == limits.SEARCH_STEPS and world.bitten["SEARCH_STEPS"] == 1
    world.miss(rows[1][1])
    assert "was left out" in str(world.told[-1][2]) and "was not reached" in str(world.told[-1][2])
    world.look_for(other := stranger())
    world.answer(other, via := stranger())
    assert via in world.dials, "for another one there are as many"


def test_nobody_is_reached_by_way_of_whom_it_is_to_lead_to() -> None:
    """Each would wait for the other until the time is over."""
    world = World()
    one, two, three = (stranger() for _ in range(3))
    world.look_for(one)
    world.answer(one, two)
    world.look_for(two)
    world.answer(two, three)
    world.look_for(three)
    world.answer(three, one, two, three)
    assert list(world.dials) == [two, three]
    assert str(world.told[-1][2]).count("is looked for by way of this one") == 3


def test_who_is_named_by_a_record_may_be_known_a_moment_later() -> None:
    """However long we have been here: it may be that one which has just joined. Nobody else is waited for."""
    world = World()
    target, via = stranger(), stranger()
    world.look_for(target)
    world.answer(target, via)
    world.look_for(via, patient=True)
    world.found.pop(via)(None, 3)
    world.work()
    assert [each.at - world.now for each in world.timers] == [limits.SEARCH_SECONDS, limits.SEARCH_LOOKS[0]]
    world.learn(stranger(), stranger())
    assert via not in world.found
    world.learn(via, behind := stranger())
    world.answer(via, behind)
    assert list(world.dials) == [via, behind]
    world.look_for(other := stranger(), patient=True)
    world.found.pop(other)(None, 3)
    assert "not found" in str(world.told[-1][2])


def test_who_has_just_joined_asks_again() -> None:
    """A few times, ever later; then it is told that nobody knows that peer. What takes longer is not repeated."""
    world = World()
    world.gossiping.age = 0.0
    world.look_for(target := stranger(), patient=True)
    began = world.now
    for seconds in limits.SEARCH_LOOKS:
        world.found.pop(target)(None, 3)
        assert [each.at - began for each in world.timers] == [seconds] and world.told == []
        world.ring()
    world.found.pop(target)(None, 3)
    assert "not found" in str(world.told[-1][2]) and world.searches._running == set()
    world.look_for(slow := stranger(), patient=True)
    world.now += limits.GOSSIP_FIND_TIMEOUT
    world.found.pop(slow)(None, 20)
    assert "not found" in str(world.told[-1][2]) and slow not in world.found


def test_what_leads_nowhere_is_gone_by_once_more_at_the_end() -> None:
    """Whoever had no link to the peer may have one some seconds later; who was not reached is not tried again."""
    world = World()
    target, via, gone = stranger(), stranger(), stranger()
    world.link(via)
    world.look_for(target, patient=True)
    world.answer(target, via, gone)
    world.miss(gone)
    circuits = ((), [f"a circuit by {via}"], None)
    for _ in limits.SEARCH_LOOKS:
        assert world.told.count(circuits) == 1 and world.told[-1][2] is None
        world.ring()
        world.answer(target, via, gone)
        assert gone not in world.waiters
    assert world.told.count(circuits) == 2
    assert f"peer {via} was asked; peer {gone} was not reached" in str(world.told[-1][2])


def test_news_of_a_peer_are_gone_by_at_once() -> None:
    """It may have moved while we were looking for it."""
    world = World()
    target, before, now = (stranger() for _ in range(3))
    world.look_for(target, patient=True)
    world.answer(target, before)
    world.miss(before)
    assert world.told[-1][2] is None and target not in world.found
    world.learn(target, before)
    assert target not in world.found, "that is no news"
    world.learn(target, now, sequence=2)
    world.answer(target, now, sequence=2)
    assert list(world.dials) == [before, now]


def test_others_are_asked_for_news_of_a_peer_that_has_just_begun() -> None:
    """
    They may have it before gossip brings it here: its first record names nobody. Where there was something to try,
    nobody is asked again.
    """
    world = World()
    world.usable = False
    world.look_for(target := stranger(), patient=True)
    world.answer(target, sequence=7)
    assert world.newer_than == -1
    world.ring()
    assert world.newer_than == 7
    world.found.pop(target)(None, 3)
    assert world.told == [((), (), None)] and len(world.timers) == 1
    world.ring()
    world.answer(target, via := stranger(), sequence=8)
    assert list(world.dials) == [via]
    world.miss(via)
    world.ring()
    assert world.newer_than == -1


def test_who_waits_for_news_keeps_nobody_from_looking() -> None:
    """It costs nothing."""
    world = World()
    for _ in range(limits.SEARCHES_MAX):
        world.look_for(target := stranger(), patient=True)
        world.answer(target)
    assert len(world.searches._running) == limits.SEARCHES_MAX == len(world.timers)
    end = world.look_for(stranger())
    assert end is not None and not world.bitten


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
    assert world.lost_interest == [via]
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
    world.link(via)
    world.look_for(target)
    world.answer(target, via)
    assert world.dials == {} and world.borrowed == []
    assert ((), [f"a circuit by {via}"], None) in world.told
