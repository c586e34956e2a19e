"""
A mesh of nodes that is hurt for as long as asked, and what becomes of its messages: ``python -m tests.soak``.

The exit code is 0 if all is well, 1 if not, and 2 if there can be no laboratory here. Ctrl-C ends it early, with a
verdict; a second one ends it at once. What is not well is to be found in build/soak.
"""

from __future__ import annotations

import argparse
import json
import random
import sys

from tests.natlab import needs
from tests.soak.interrupts import Interrupts
from tests.soak.run import Soak, Wanted
from tests.soak.schedule import KINDS

PAUSE = 10.0  # seconds between two lines, where they are not written over each other


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__, allow_abbrev=False)
    made.add_argument("--seconds", type=float, default=120.0, help="of chaos; 120")
    made.add_argument("--seed", type=int, help="of what happens; by default another each time")
    made.add_argument("--nodes", type=int, default=10, help="two of them are public servers; 10")
    made.add_argument("--rate", type=float, default=200.0, help="messages a second, of all together; 200")
    made.add_argument("--interval", type=float, default=2.0, help="seconds from one blow to the next; 2")
    made.add_argument("--without", choices=KINDS, action="append", default=[], help="this does not happen")
    made.add_argument("--fault", choices=("deaf", "twice"), default="", help="nodes lie, to show that it is noticed")
    made.add_argument("--json", action="store_true", help="what it comes to as JSON on standard output")
    options = made.parse_args()
    if options.nodes < 5:
        made.error("a mesh has five nodes at least")
    if reason := needs.missing() or needs.absent("miniupnpd"):
        made.exit(2, f"{reason}; {needs.ADVICE}\n")
    interrupts = Interrupts()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    wanted = Wanted(
        seed=seed,
        seconds=options.seconds,
        nodes=options.nodes,
        rate=options.rate,
        interval=options.interval,
        without=tuple(options.without),
        fault=options.fault,
    )
    lively = sys.stderr.isatty()
    out = sys.stderr

    def show(text: str) -> None:
        out.write(f"\r\x1b[K{text}" if lively else f"{text}\n")
        out.flush()

    show(f"soak: {wanted.nodes} nodes, {wanted.seconds:g} s, seed {seed}")
    try:
        outcome = Soak(wanted, show, 1.0 if lively else PAUSE, interrupts).run()
    except KeyboardInterrupt:
        show("interrupted twice: no verdict\n")
        return 130
    if lively:
        out.write("\r\x1b[K")
    sys.stdout.write(json.dumps(outcome.as_dict(), indent=2) + "\n" if options.json else outcome.text())
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
