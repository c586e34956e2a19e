"""
A group among many nodes of which one is killed every two seconds: ``python -m tests.natlab.groups [--kills N]
[--nodes N] [--want N]``. Shows how long it took each time until the group was full again. The exit code says whether
that was always within 5 seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import signal
import statistics
import sys
from typing import Any

from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.support.programs import Program
from tests.support.source import ROOT

LIMIT = 5.0  # seconds
HOSTS = 5  # each is a network of its own
CROWD = str(ROOT / "tests" / "natlab" / "crowd.py")
HOLDER = str(ROOT / "tests" / "natlab" / "group_holder.py")
PATIENCE = 90.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    filled: float
    """Seconds until the group was full for the first time."""

    times: tuple[float, ...]
    """The same after each kill."""

    peers: int
    """In the group at the end."""

    most: int
    """Connected at once, at any time a kill had been made up for."""

    networks: int
    """Hosts that the group was spread over at the end."""

    @property
    def in_time(self) -> bool:
        return max(self.times) <= LIMIT


def told(program: Program, kind: str) -> dict[str, Any]:
    """The next line of a kind."""
    found: dict[str, Any] = json.loads(program.wait_for(f'^{{"kind": "{kind}".*', PATIENCE)[0])
    return found


def held(lab: Lab, folder: pathlib.Path, nodes: int, want: int, kills: int, *, shows: bool = False) -> Outcome:
    """A group of ``want`` among so many nodes, of which so many are killed."""
    share = nodes // HOSTS
    for number in range(HOSTS):
        lab.host(f"crowd{number}").start(sys.executable, CROWD, str(folder), str(number * share), str(share))
    holder = lab.host("holder").start(
        sys.executable, HOLDER, str(folder), str(share * HOSTS), str(want), str(kills)
    )
    filled = told(holder, "full")["seconds"]
    times = []
    for number in range(kills):
        times.append(float(told(holder, "killed")["seconds"]))
        if shows:
            sys.stdout.write(f"{number + 1:3} {times[-1]:6.2f} s\n")
            sys.stdout.flush()
    end = told(holder, "end")
    return Outcome(filled, tuple(times), end["peers"], end["most"], end["networks"])


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m tests.natlab.groups", description=__doc__, allow_abbrev=False)
    made.add_argument("--kills", type=int, default=60, metavar="N", help="one every two seconds; 60")
    made.add_argument("--nodes", type=int, default=50, metavar="N", help="50")
    made.add_argument("--want", type=int, default=8, metavar="N", help="8")
    options = made.parse_args()
    if reason := needs.missing():
        made.exit(2, f"{reason}; {needs.ADVICE}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the laboratory is taken down
    with Lab() as lab:
        outcome = held(lab, lab.folder, options.nodes, options.want, options.kills, shows=True)
    sys.stdout.write(
        f"full after {outcome.filled:.2f} s; after a kill: median {statistics.median(outcome.times):.2f} s, "
        f"worst {max(outcome.times):.2f} s; {outcome.peers} peers at the end on {outcome.networks} hosts, "
        f"{outcome.most} at most\n"
    )
    return 0 if outcome.in_time else 1


if __name__ == "__main__":
    sys.exit(main())
