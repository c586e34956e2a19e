"""What gossip promises, in small networks on a virtual clock; ``make simulate`` runs the large ones."""

from __future__ import annotations

import random

import pytest

from crust.wire import gossip as wire
from crust.wire.frames import build_record
from tests.simulation.gossip import scenes
from tests.simulation.gossip.figures import Outcome, at_least, at_most, table
from tests.simulation.gossip.population import Population
from tests.simulation.gossip.records import Identity, size_of


def check(outcome: Outcome) -> None:
    """Everything that was asked for was reached."""
    assert outcome.figures
    assert not outcome.missed, f"\n{table([outcome])}"


def settled(count: int, max_records: int = 4096) -> Population:
    population = Population(7, max_records)
    population.settled(count)
    return population


@pytest.mark.slow
def test_those_who_join_are_linked_and_soon_known_to_all():
    """Everybody who comes through three contacts has links, and is known everywhere, at a bounded cost."""
    population = Population(7)
    check(scenes.join(population, 120, during=20))
    check(scenes.change(population))


@pytest.mark.slow
def test_look_ups_find_living_peers_while_others_come_and_go():
    """When a tenth of the nodes leaves every minute and as many join, living peers are found."""
    check(scenes.churn(settled(100), minutes=3))


def test_two_parts_of_a_network_find_together_again():
    """After minutes in which nothing passed between them, both soon know all that has changed meanwhile."""
    check(scenes.partition(settled(100), minutes=3))


def test_what_is_kept_by_others_is_found():
    """Stores take less than half of all records, a third of the nodes is dead: living peers are found all the same."""
    check(scenes.dead(settled(400, 164), lookups=200))


def test_nodes_that_nothing_happens_to_say_little():
    """Links on which nothing is new cost little."""
    check(scenes.quiet(settled(60)))


@pytest.mark.slow
def test_liars_neither_fill_stores_nor_hide_honest_nodes():
    """A few who make up many nodes cost the others a bounded number of signatures, and hide nobody."""
    check(scenes.liars(Population(7, 256), 80, made_up=40_000, minutes=1.5))


@pytest.mark.parametrize("public", [True, False])
def test_the_bytes_that_are_counted_are_those_that_would_be_sent(public):
    """What the simulation counts for each kind of frame is what the wire has."""
    rng = random.Random(3)
    introducers = tuple(Identity(rng, True) for _ in range(3))
    record = Identity(rng, public).record(1e9, introducers).data
    frames = [
        wire.Summary(7, True, (1, 2, 3, 4)),
        wire.Contents(3, 9, ((4, 5), (6, 7))),
        wire.Announce(((4, 5), (6, 7), (8, 9))),
        wire.Request((1, 2)),
        wire.Records((record, record)),
        wire.Find(9, bytes(32)),
        wire.Found(9, record, (record, record)),
        wire.Found(9, b"", ()),
    ]
    assert [size_of(frame) for frame in frames] == [len(build_record([frame])) for frame in frames]


def test_a_table_says_what_was_missed():
    """A value beyond its target is told as such, and one at it is not."""
    figures = [at_most("slow", 8, 8.5, scenes.seconds), at_least("known", 0.99, 0.99, scenes.share)]
    outcome = Outcome("a scene", figures=figures)
    assert outcome.missed == figures[:1]
    assert table([outcome]).splitlines()[3:] == [
        "| slow | ≤ 8.0 s | 8.5 s | MISSED |",
        "| known | ≥ 99.0 % | 99.0 % | reached |",
    ]
