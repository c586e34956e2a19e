"""
What a birthday search costs while a stream of messages goes on over the relay: ``python -m tests.natlab.searching
[--runs N]``. The exit code says whether every search kept its bounds, and the stream its pace.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import sys
import tempfile
import time

from crust import limits
from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.natlab.matrix.places import node, rendezvous
from tests.natlab.matrix.run import idle, link
from tests.natlab.recorder import Recorder, Seen
from tests.natlab.stream import Stream

DELAY = 0.01  # seconds on each site's line, one way
PAIRS = {"udp": ("tcpblock", "sym"), "tcp": ("udpblock", "sym"), "both": ("port", "sym")}
SECONDS = 15.0  # until the search must have found something
GAP = 0.2  # seconds without a message that nobody notices


@dataclasses.dataclass(frozen=True)
class Cost:
    """One search."""

    seconds: float | None
    """From the call to the path that it found; None: it found none."""

    gap: float
    """The longest time without a message until then."""

    lost: int
    ports: int
    """Ports of the other router that either host tried, by the protocol with most."""

    rate: int
    """The most first packets to new ports within one second."""


def search(pair: tuple[str, str], home: pathlib.Path) -> Cost:
    """Have two nodes search, and look."""
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        server = lab.server()
        sites = [lab.site(name, kind, delay=DELAY) for name, kind in zip(("home", "office"), pair, strict=True)]
        middle = stack.enter_context(rendezvous(server, home))
        caller, callee = (stack.enter_context(node(each.host, home)) for each in sites)
        recorders = [stack.enter_context(Recorder(each.host)) for each in sites]
        link((caller, callee), middle)
        idle(recorders)
        began = time.monotonic()
        reply = caller.ask("connect", peer=callee.peer, timeout=SECONDS)
        assert reply["ok"], reply
        with Stream(caller, callee) as stream:
            found: float | None = None
            with contextlib.suppress(AssertionError):
                at, _ = caller.first(
                    lambda line: line.get("event") == "path_changed" and line["new"]["class"] == "birthday", SECONDS
                )
                found = at - began
            damage = stream.end(began, time.monotonic())
        ports, rate = zip(*(spread(each.packets()) for each in recorders), strict=True)
    return Cost(found, damage.gap, damage.lost + damage.doubled + damage.reordered, max(ports), max(rate))


def spread(seen: list[Seen]) -> tuple[int, int]:
    """How many ports of one address were tried by one protocol, and how many new ones within a second at most."""
    tried: dict[tuple[str, str], dict[int, float]] = collections.defaultdict(dict)
    for each in seen:
        if each.outgoing and (each.protocol == "udp" or each.syn):
            tried[each.protocol, each.destination[0]].setdefault(each.destination[1], each.at)
    most = max(tried.values(), key=len, default={})
    times = sorted(most.values())
    return len(most), max((sum(at <= other < at + 1 for other in times) for at in times), default=0)


HEAD = """\
| search | seconds | longest gap, s | lost | ports | new ports in a second |
|---|---|---|---|---|---|
"""


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m tests.natlab.searching", description=__doc__, allow_abbrev=False)
    made.add_argument("--runs", type=int, default=5, metavar="N", help="of each pair; 5")
    made.add_argument("--pair", choices=PAIRS, action="append", help="only this; may be repeated")
    options = made.parse_args()
    if reason := needs.missing():
        made.exit(2, f"{reason}; {needs.ADVICE}\n")
    well = True
    sys.stdout.write(HEAD)
    for name in options.pair or PAIRS:
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory() as home:
                cost = search(PAIRS[name], pathlib.Path(home))
            seconds = "none" if cost.seconds is None else f"{cost.seconds:.1f}"
            sys.stdout.write(f"| {name} | {seconds} | {cost.gap:.3f} | {cost.lost} | {cost.ports} | {cost.rate} |\n")
            sys.stdout.flush()
            well = well and is_well(cost)
    return 0 if well else 1


def is_well(cost: Cost) -> bool:
    """Whether it is what docs/nat-traversal.md promises."""
    return cost.seconds is not None and cost.gap <= GAP and not cost.lost and is_bounded(cost)


def is_bounded(cost: Cost) -> bool:
    """Whether no more was tried than may be."""
    return cost.ports <= limits.BIRTHDAY_PROBES + _BESIDE and cost.rate <= limits.BIRTHDAY_RATE + _BESIDE


_BESIDE = 20  # ports that dials and punches try in the same attempt


if __name__ == "__main__":
    sys.exit(main())
