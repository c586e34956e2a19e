"""
The plots of docs/utp.md: flows on a simulated bottleneck, their throughput and the queue over time.

``python -m tests.simulation.plots`` (``make simulate``) writes them anew into docs/utp-plots.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

from tests.simulation.network import Link, World
from tests.simulation.scenarios import STEP, Result, share
from tests.simulation.svg import Line, Panel, chart
from tests.support.source import ROOT

__all__ = ["PLOTS", "draw", "write"]

FOLDER = ROOT / "docs" / "utp-plots"
SECONDS = 60.0
AVERAGE = 20  # steps of the scenarios: throughput is that of a second
QUEUE_EVERY = 4  # steps


def draw(title: str, names: list[str], result: Result, mark: float | None = None) -> str:
    """The chart of one run; ``mark`` is a line in its queue, in milliseconds."""
    speed = Panel("Mbit/s", top=result.rate / 125_000)
    times = result.times[::AVERAGE]
    for name, received in zip(names, result.received, strict=True):
        seen = received[::AVERAGE]
        rates = [(later - earlier) / (AVERAGE * STEP) / 125_000 for earlier, later in zip(seen, seen[1:], strict=False)]
        speed.lines.append(Line(name, times[1:], rates))
    # The longest queue of each interval: what a packet might have met.
    queue = [
        1000 * max(result.queue[at : at + QUEUE_EVERY]) for at in range(0, len(result.queue), QUEUE_EVERY)
    ]
    waiting = Panel("queue, ms", [Line("", result.times[::QUEUE_EVERY], queue)], mark=mark)
    return chart(title, [speed, waiting], SECONDS)


def _alone(kind: str) -> Callable[[], str]:
    def plot() -> str:
        result = share([kind], 20, 0.04, SECONDS, queue=0.2)
        title = f"{kind} alone: 20 Mbit/s, 40 ms round trip, queue of 200 ms"
        return draw(title, [kind], result, 60 if kind == "background" else None)

    return plot


def _beside_tcp(kind: str) -> Callable[[], str]:
    def plot() -> str:
        def leave(world: World, there: Link) -> None:
            world.at(world.now + 40.0, there.refuse, tuple)  # the model's packets are tuples

        result = share([kind, "cubic"], 20, 0.04, SECONDS, queue=0.2, starts=(0.0, 10.0), during=leave)
        title = f"{kind}, and TCP (CUBIC) from 10 to 40 s: 20 Mbit/s, 40 ms, queue of 200 ms"
        return draw(title, [kind, "TCP"], result, 60 if kind == "background" else None)

    return plot


def _two(kind: str) -> Callable[[], str]:
    def plot() -> str:
        result = share([kind, kind], 20, 0.04, SECONDS, queue=0.2, starts=(0.0, 10.0))
        title = f"two of {kind}, the second from 10 s on: 20 Mbit/s, 40 ms, queue of 200 ms"
        return draw(title, ["first", "second"], result, 60 if kind == "background" else None)

    return plot


def _loss() -> str:
    ours = share(["fair"], 100, 0.04, SECONDS, loss=1e-4)
    theirs = share(["cubic"], 100, 0.04, SECONDS, loss=1e-4)
    ours.received += theirs.received
    title = "each alone, one packet in 10,000 lost: 100 Mbit/s, 40 ms; the queue is that of fair"
    return draw(title, ["fair", "TCP"], ours)


PLOTS: dict[str, Callable[[], str]] = {
    "fair-alone": _alone("fair"),
    "background-alone": _alone("background"),
    "fair-beside-tcp": _beside_tcp("fair"),
    "background-beside-tcp": _beside_tcp("background"),
    "fair-two": _two("fair"),
    "background-two": _two("background"),
    "random-loss": _loss,
}


def write(folder: pathlib.Path = FOLDER) -> None:
    """Draw all plots into ``folder``."""
    folder.mkdir(exist_ok=True)
    for name, plot in PLOTS.items():
        path = folder / f"{name}.svg"
        path.write_text(plot(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    write()
