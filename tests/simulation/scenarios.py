"""
Flows that share a bottleneck, and what came of it.

A flow is named by its congestion control: ``fair`` and ``background`` are real µTP connections, ``cubic`` and ``reno``
the model of TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crust.transports.utp.connection import Settings
from tests.simulation.network import Behaviour, Link, World
from tests.simulation.tcp import Cubic, Flow, Reno
from tests.simulation.utp import connect

__all__ = ["Result", "bottleneck", "jain", "share"]

STEP = 0.05  # seconds between two looks
_TCP = {"cubic": Cubic, "reno": Reno}


@dataclass
class Result:
    """What was seen every :data:`STEP` seconds."""

    rate: float
    """Bytes per second of the bottleneck."""
    times: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    """Seconds of waiting in the bottleneck."""
    received: list[list[int]] = field(default_factory=list)
    """Of each flow: bytes of payload that came in order until then."""

    def shares(self, since: float, until: float | None = None) -> list[float]:
        """The part of the bottleneck that each flow filled with payload."""
        first = self._index(since)
        last = len(self.times) - 1 if until is None else self._index(until)
        seconds = self.times[last] - self.times[first]
        return [(each[last] - each[first]) / seconds / self.rate for each in self.received]

    def queue_percentile(self, percent: float, since: float) -> float:
        """Seconds that the queue stays below for so many percent of the time."""
        seen = sorted(self.queue[self._index(since) :])
        return seen[min(len(seen) - 1, int(len(seen) * percent / 100))]

    def _index(self, time: float) -> int:
        return min(range(len(self.times)), key=lambda index: abs(self.times[index] - time))


def bottleneck(
    world: World, mbit: float, rtt: float, *, queue: float | None = None, seed: int = 1
) -> tuple[Link, Link]:
    """
    A link of so many Mbit/s there and a free one back.

    Args:
        rtt: Seconds of round trip without a queue.
        queue: Seconds that the bottleneck's queue is long; a round trip by default, at least 64 KiB.
    """
    rate = mbit * 125_000
    there = Link(
        world,
        Behaviour(delay=rtt / 2, rate=rate, queue=max(65_536.0, rate * rtt) if queue is None else rate * queue),
        seed=seed,
    )
    return there, Link(world, Behaviour(delay=rtt / 2), seed=seed + 1)


def share(
    flows: Sequence[str],
    mbit: float,
    rtt: float,
    seconds: float,
    *,
    queue: float | None = None,
    loss: float = 0.0,
    starts: Sequence[float] | None = None,
    seed: int = 1,
    during: Callable[[World, Link], object] | None = None,
) -> Result:
    """
    Let endless flows share a bottleneck for some seconds.

    Args:
        starts: When each begins; one after the other within a round trip by default.
        during: Gets the world and the bottleneck before time begins, to plan what happens to it.
    """
    world = World()
    there, back = bottleneck(world, mbit, rtt, queue=queue, seed=seed)
    there.behaviour.loss = loss
    result = Result(there.behaviour.rate)
    readers: list[Callable[[], int]] = []
    for number, name in enumerate(flows):
        start = starts[number] if starts is not None else rtt * number / len(flows)
        if name in _TCP:
            flow = Flow(world, there, back, _TCP[name](1448), start=start, offset=number * 7_777_777)
            readers.append(lambda flow=flow: flow.delivered)  # type: ignore[misc]
        else:
            settings = Settings(congestion=name, clock_offset=number * 7_777_777)
            _, callee = connect(world, there, back, settings=settings, start=start, sequence=number * 331 & 0xFFFF)
            readers.append(lambda callee=callee: callee.received)  # type: ignore[misc]
        result.received.append([])
    began = world.now

    def look() -> None:
        result.times.append(world.now - began)
        result.queue.append(there.waiting)
        for seen, reader in zip(result.received, readers, strict=True):
            seen.append(reader())
        world.at(began + STEP * len(result.times), look)

    look()
    if during is not None:
        during(world, there)
    world.run(began + seconds + STEP / 2)
    return result


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 if all are equal, 1 / n if one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(each**2 for each in shares))
