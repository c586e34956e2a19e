"""What is remembered of introducers: how often a peer was to be reached through them, for a while, and for so many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crust import Identity, limits
from crust.addresses import Endpoint
from crust.peers.circuits.introducers import Introducers
from crust.peers.session import State
from crust.wire.handshake import Capability

ONE, OTHER, TARGET, ELSEWHERE = (Identity.generate().peer_id for _ in range(4))


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def introducers(clock: list[float]) -> Introducers:
    return Introducers(lambda: clock[0])


def test_whoever_was_tried_more_gives_the_others_a_start(introducers: Introducers, clock: list[float]) -> None:
    """For that peer alone, only if there are others, so many seconds at most, and not for ever."""
    for times in range(1, 20):
        introducers.was_tried(ONE, TARGET)
        start = min(times * limits.CIRCUIT_HANDICAP, limits.CIRCUIT_HANDICAP_MAX)
        assert introducers.handicaps(TARGET, [ONE, OTHER]) == [start, 0.0]
    assert introducers.handicaps(TARGET, [ONE]) == [0.0]
    assert introducers.handicaps(ELSEWHERE, [ONE, OTHER]) == [0.0, 0.0]
    clock[0] += limits.CIRCUIT_TRIED_MEMORY
    assert introducers.handicaps(TARGET, [ONE, OTHER]) == [0.0, 0.0]


def test_what_led_to_nothing_counts_for_the_time_that_it_took(introducers: Introducers) -> None:
    introducers.was_tried(ONE, TARGET, wasted=3 * limits.CIRCUIT_HANDICAP)
    introducers.was_tried(OTHER, TARGET)
    assert introducers.handicaps(TARGET, [ONE, OTHER]) == [3 * limits.CIRCUIT_HANDICAP, 0.0]


def peer(number: int, capabilities: Capability) -> Any:
    """What is looked at of a session with an introducer, each in a network of its own."""
    link = SimpleNamespace(
        circuit=None, verdict="", connection=SimpleNamespace(remote=Endpoint("tcp", f"127.0.{number}.1", 5483))
    )
    session = SimpleNamespace(state=State.CONNECTED, suspected=False, srtt=0.01)
    peer_id = Identity.generate().peer_id
    return SimpleNamespace(peer_id=peer_id, capabilities=capabilities, link=link, session=session)


def test_who_says_that_it_carries_data_and_leads_nowhere_keeps_out_no_others(introducers: Introducers) -> None:
    says = [peer(each, Capability.CIRCUITS | Capability.RELAY) for each in range(limits.CIRCUIT_INTRODUCERS)]
    silent = peer(limits.CIRCUIT_INTRODUCERS, Capability.CIRCUITS)
    for each in [*says, silent]:
        introducers.add(each)
    assert silent not in introducers.towards(TARGET)
    for each in says:
        for _ in range(limits.CIRCUIT_WORN):
            assert silent not in introducers.towards(TARGET)
            introducers.was_tried(each.peer_id, TARGET)
    assert introducers.towards(TARGET)[-1] is silent
    assert silent not in introducers.towards(ELSEWHERE)


def test_whoever_had_no_room_comes_later_for_longer(introducers: Introducers, clock: list[float]) -> None:
    introducers.had_no_room(ONE, TARGET)
    assert introducers.roomless(TARGET) == {ONE}
    clock[0] += limits.CIRCUIT_ROOM_MEMORY
    assert introducers.roomless(TARGET) == set()
    assert introducers.handicaps(TARGET, [ONE, OTHER]) == [limits.CIRCUIT_HANDICAP, 0.0]
    clock[0] += limits.CIRCUIT_ROOM_RECORD - limits.CIRCUIT_ROOM_MEMORY
    assert introducers.handicaps(TARGET, [ONE, OTHER]) == [0.0, 0.0]


def test_so_many_peers_are_remembered(introducers: Introducers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not tried for longest is forgotten."""
    monkeypatch.setattr(limits, "CIRCUIT_TRIED_PEERS", 2)
    for target in (TARGET, ELSEWHERE, TARGET, OTHER):
        introducers.was_tried(ONE, target)
    assert [introducers.handicaps(each, [ONE, OTHER])[0] > 0 for each in (TARGET, ELSEWHERE, OTHER)] == [
        True,
        False,
        True,
    ]
