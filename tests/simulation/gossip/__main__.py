"""
Gossip among thousands of simulated nodes: what was asked of it, and what it does.

``python -m tests.simulation.gossip`` prints a table in Markdown; ``--plots FOLDER`` draws what has a course in time, as
``make simulate`` does for docs/gossip.md. See ``--help`` for smaller networks, single scenarios and other seeds.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import sys
import time

from tests.simulation.gossip.figures import Outcome, table
from tests.simulation.gossip.runs import RUNS, Size
from tests.simulation.svg import chart


def main(arguments: list[str] | None = None) -> int:
    """0: everything was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.gossip", description=(__doc__ or "").strip())
    parser.add_argument("--scenario", action="append", choices=RUNS, help="only this one, or these")
    parser.add_argument("--nodes", type=int, default=1000, help="in all but the largest (1000)")
    parser.add_argument("--many", type=int, default=10_000, help="in the largest (10000)")
    parser.add_argument("--seed", type=int, action="append", help="of everything random (1); may be given again")
    parser.add_argument("--plots", type=pathlib.Path, help="a folder for charts")
    options = parser.parse_args(arguments)
    missed = False
    for seed in options.seed or [1]:
        outcomes: list[Outcome] = []
        for name in options.scenario or RUNS:
            began = time.perf_counter()
            found = RUNS[name](Size(options.nodes, options.many), seed)
            outcomes += found
            for outcome in found:
                sys.stderr.writelines(f"{outcome.title}: {note}\n" for note in outcome.notes)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            sys.stderr.write(f"{name}, seed {seed}: {time.perf_counter() - began:.0f} s, at most {memory:.0f} MiB\n")
            if options.plots is not None:
                _draw(options.plots, name, found)
        sys.stdout.write(f"{table(outcomes)}\n")
        missed = missed or any(outcome.missed for outcome in outcomes)
    return int(missed)


def _draw(folder: pathlib.Path, name: str, outcomes: list[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        if outcome.panels:
            path = folder / f"{outcome.name or name}.svg"
            path.write_text(chart(outcome.title, outcome.panels, outcome.seconds), encoding="utf-8")
            sys.stderr.write(f"{path}\n")


if __name__ == "__main__":
    sys.exit(main())
