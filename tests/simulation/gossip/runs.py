"""The scenarios by name, each in a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crust import limits
from tests.simulation.gossip import scenes
from tests.simulation.gossip.figures import Outcome
from tests.simulation.gossip.population import Population

__all__ = ["RUNS", "Size"]


@dataclass(frozen=True)
class Size:
    """Of the networks."""

    nodes: int
    many: int
    """In those that are larger than what a node keeps."""

    @property
    def kept(self) -> int:
        """Records that a node keeps where that is less than there are: 4,096 of 10,000."""
        return limits.GOSSIP_RECORDS * self.many // 10_000


def _join(size: Size, seed: int) -> list[Outcome]:
    population = Population(seed)
    return [scenes.join(population, size.nodes), scenes.change(population)]


def _settled(scene: Callable[[Population], Outcome]) -> Callable[[Size, int], list[Outcome]]:
    def run(size: Size, seed: int) -> list[Outcome]:
        population = Population(seed)
        population.settled(size.nodes)
        return [scene(population)]

    return run


def _many(size: Size, seed: int) -> list[Outcome]:
    population = Population(seed, size.kept)
    population.settled(size.many)
    return [scenes.quiet(population), scenes.dead(population)]


def _liars(size: Size, seed: int) -> list[Outcome]:
    return [scenes.liars(Population(seed), size.nodes)]


RUNS: dict[str, Callable[[Size, int], list[Outcome]]] = {
    "join": _join,
    "churn": _settled(scenes.churn),
    "partition": _settled(scenes.partition),
    "many": _many,
    "liars": _liars,
}
