"""When sessions end that a node began for itself: on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crust import Identity, PeerId, limits
from crust.service.finding.gossip.borrowed import Borrowed


class World:
    """A node with a session that stays on a circuit, and those that are borrowed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[float], object]]] = []
        self.sessions: dict[PeerId, Any] = {}
        self.introducer = self.add()
        self.add(by=self.introducer)
        node = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: self.now),
            io=SimpleNamespace(
                call_later=lambda seconds, call: self.timers.append((self.now + seconds, call))
            ),
            registry=SimpleNamespace(get=self.sessions.get, all=lambda: list(self.sessions.values())),
        )
        self.held: set[PeerId] = set()
        self.borrowed = Borrowed(cast(Any, node), self.held.__contains__)

    def add(self, *, by: PeerId | None = None, inbound: bool = False, received: int = 0, sent: int = 0) -> PeerId:
        """Another session; on a circuit by that one; messages that have gone by it."""
        peer_id = Identity.generate().peer_id
        circuit = by and SimpleNamespace(legs=SimpleNamespace(conversation=self.sessions[by]))
        self.sessions[peer_id] = SimpleNamespace(
            peer_id=peer_id,
            link=SimpleNamespace(circuit=circuit),
            inbound=inbound,
            messages_received=received,
            session=SimpleNamespace(outbox=SimpleNamespace(accepted=[sent])),
            end=lambda reason, goodbye: self.sessions.pop(peer_id),
        )
        return peer_id

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and min(self.timers, key=lambda each: each[0])[0] <= end:
            first = min(self.timers, key=lambda each: each[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1](self.now)
        self.now = end


@pytest.mark.parametrize("guest", [False, True])
def test_a_session_on_a_circuit_keeps_what_helps_it_and_no_guest(guest: bool) -> None:
    """It may be there for good, while a guest comes each minute."""
    world = World()
    one = world.add()
    world.borrowed.use(one, guest=guest)
    world.run(3 * max(limits.BORROWED_SECONDS, limits.GUEST_SECONDS))
    assert (one in world.sessions) is not guest
    assert world.borrowed.covers(one) is not guest


def test_of_many_those_stay_that_the_circuit_goes_by_and_that_were_used_last() -> None:
    """However long the session stays on its circuit, and however many are asked meanwhile."""
    world = World()
    world.borrowed.use(world.introducer)
    others = [world.add() for _ in range(3 * limits.BORROWED_SPARED)]
    for each in others:
        world.borrowed.use(each)
        world.run(1.0)
    again = others.pop(0)
    world.borrowed.used(again)
    world.run(3 * limits.BORROWED_SECONDS)
    stay = {world.introducer, again, *others[1 - limits.BORROWED_SPARED :]}
    assert {each for each in (world.introducer, again, *others) if each in world.sessions} == stay
    assert {each for each in (world.introducer, again, *others) if world.borrowed.covers(each)} == stay


def test_none_stays_when_the_circuit_is_over() -> None:
    world = World()
    one = world.add()
    for each in (world.introducer, one):
        world.borrowed.use(each)
    world.run(3 * limits.BORROWED_SECONDS)
    assert one in world.sessions and world.introducer in world.sessions
    for session in world.sessions.values():
        session.link.circuit = None
    world.run(limits.BORROWED_SECONDS)
    assert one not in world.sessions and world.introducer not in world.sessions
    assert len(world.borrowed) == 0


def test_only_what_we_began_and_nobody_uses_is_ended() -> None:
    """A session that the other side began meanwhile, or on which a message has gone, is not ours to end."""
    world = World()
    others = [world.add(inbound=True), world.add(received=1), world.add(sent=1)]
    unused = world.add()
    for each in (*others, unused):
        world.borrowed.use(each, guest=True)
    world.run(3 * limits.GUEST_SECONDS)
    assert unused not in world.sessions
    assert all(each in world.sessions for each in others)
    assert len(world.borrowed) == 0, "nor are they looked at again"


def test_what_somebody_holds_is_ended_when_nobody_does() -> None:
    """As a group that has given the peer a place, for a while."""
    world = World()
    one = world.add()
    world.held.add(one)
    world.borrowed.use(one, guest=True)
    world.run(5 * limits.GUEST_SECONDS)
    assert one in world.sessions and world.borrowed.covers(one)
    world.held.clear()
    world.run(limits.GUEST_SECONDS)
    assert one not in world.sessions


def test_what_the_application_wants_is_its_own() -> None:
    """From then on, used or not."""
    world = World()
    one = world.add()
    world.borrowed.use(one, guest=True)
    world.run(1.0)
    world.borrowed.keep(one)
    assert not world.borrowed.covers(one) and not world.borrowed.is_guest(one)
    world.borrowed.used(one)
    world.run(5 * limits.GUEST_SECONDS)
    assert one in world.sessions


def test_a_use_never_shortens_the_time() -> None:
    """A guest that is asked something stays as long as it would have."""
    world = World()
    one = world.add()
    world.borrowed.use(one, guest=True)
    world.run(1.0)
    world.borrowed.used(one)
    world.run(limits.GUEST_SECONDS - 2.0)
    assert one in world.sessions
    world.run(limits.BORROWED_SECONDS)
    assert one not in world.sessions
