"""The command: options, and the order in which everything runs."""

from __future__ import annotations

import argparse
import fnmatch
import json
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import machine
from .certificates import certificate
from .children import ChildFailed
from .markdown import report
from .peers import CONTESTANTS
from .results import Book, Case, Trial
from .stage import Settings
from .trials import TRIALS

__all__ = ["main"]

_QUICK = Settings(rounds=1, seconds=0.05, sizes=(65_536,), quick=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 if a measurement failed, 130 if it was interrupted."""
    given = _parser().parse_args(argv)
    default = _QUICK if given.quick else Settings()
    settings = default._replace(
        rounds=given.rounds or default.rounds,
        seconds=given.seconds or default.seconds,
        sizes=tuple(given.size or default.sizes),
        connections=given.connections,
        settle=given.settle,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the children are ended
    with certificate() as (chain, key):
        return _measure(settings._replace(certificate=chain, key=key), given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description="Measure crust beside raw TCP, ssl, pyzmq and websockets, on loopback, in alternating rounds. "
        "Prints one JSON object for each figure, then Markdown tables; progress goes to standard error. "
        "What is not installed is named and left out.",
        epilog="tests: " + "; ".join(f"{trial.name}: {trial.about}" for trial in TRIALS.values()),
    )
    parser.add_argument("--only", type=_tests, metavar="TEST,…", default=list(TRIALS), help="only these tests")
    parser.add_argument(
        "--peers",
        type=_peers,
        metavar="NAME,…",
        default=list(CONTESTANTS),
        help="only these peers; * and ? are wildcards: " + ", ".join(CONTESTANTS),
    )
    parser.add_argument("--rounds", type=_up_to(1000, int), metavar="N", help="alternating rounds (default: 4)")
    parser.add_argument(
        "--seconds", type=_up_to(600, float), metavar="S", help="length of one measurement (default: 1)"
    )
    parser.add_argument(
        "--size", type=_sizes, metavar="BYTES,…", help="sizes of the messages of bulk (default: 65536,1048576)"
    )
    parser.add_argument(
        "--connections", type=_up_to(100_000, int), metavar="N", help="of conns (default: 1000 and 10000)"
    )
    parser.add_argument(
        "--settle",
        type=_up_to(600, float),
        metavar="S",
        help="seconds until conns and circuits read memory (default: 0.5 and 22); gossip among 100 nodes needs 15",
    )
    parser.add_argument("--quick", action="store_true", help="tiny runs: shows that it works, measures nothing")
    parser.add_argument("--json", action="store_true", help="the JSON objects alone, without tables")
    return parser


def _tests(text: str) -> list[str]:
    return _chosen(text, list(TRIALS), "test")


def _peers(text: str) -> list[str]:
    return _chosen(text, list(CONTESTANTS), "peer")


def _chosen(text: str, known: list[str], kind: str) -> list[str]:
    wanted = set()
    for pattern in text.split(","):
        found = fnmatch.filter(known, pattern.strip())
        if not found:
            raise argparse.ArgumentTypeError(f"no {kind} is called {pattern!r}; there are: {', '.join(known)}")
        wanted.update(found)
    return [name for name in known if name in wanted]


def _up_to(most: int, kind: type[Any]) -> Any:
    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value <= most:
            raise ValueError(text)
        return value

    convert.__name__ = f"{kind.__name__} above 0, up to {most:,}"  # argparse shows it after "invalid"
    return convert


def _sizes(text: str) -> list[int]:
    sizes = [int(each) for each in text.split(",")]
    if not all(1 < size <= 2 * 1024 * 1024 for size in sizes):
        raise ValueError(text)
    return sizes


def _measure(settings: Settings, given: argparse.Namespace) -> int:
    book = Book()
    cases: list[Case] = []
    absent = {name: why for name in given.peers if (why := CONTESTANTS[name].absent())}
    about: dict[str, Any] = {
        **machine.about(),
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "skipped": [{"peer": name, "label": CONTESTANTS[name].label, "why": why} for name, why in absent.items()],
    }
    for row in about["skipped"]:
        _say(f"left out: {row['label']}: {row['why']}")
    print(json.dumps({"about": about}), flush=True)
    taking_part = [name for name in given.peers if name not in absent]
    status = 0
    try:
        for name in given.only:
            own = TRIALS[name].cases(settings)
            cases.extend(own)
            _run(TRIALS[name], own, taking_part, settings, book)
            for case in own:
                for result in book.results(case):
                    print(json.dumps(result.as_json(), ensure_ascii=False), flush=True)
    except KeyboardInterrupt:
        _say("interrupted; what has been measured so far follows")
        status = 130
    if not given.json:
        print()
        print(report(about, cases, book), end="", flush=True)
    return status or (1 if book.failures else 0)


def _run(trial: Trial, cases: list[Case], taking_part: list[str], settings: Settings, book: Book) -> None:
    """Round by round, and in each round all contestants of all cases, every other time in reverse."""
    for number in range(settings.rounds):
        for case in cases:
            if number >= case.rounds:
                continue
            names = [name for name in case.contestants if name in taking_part]
            for name in names if number % 2 == 0 else names[::-1]:
                _run_one(trial, case, name, number, settings, book)


def _run_one(trial: Trial, case: Case, name: str, number: int, settings: Settings, book: Book) -> None:
    contestant = CONTESTANTS[name]
    began = time.monotonic()
    try:
        figures = trial.run(settings, case, contestant)
    except (ChildFailed, RuntimeError, OSError) as error:
        book.fail(case, name, str(error))
        outcome = f"FAILED: {error}" + (f"\n{error.__cause__}" if isinstance(error.__cause__, ChildFailed) else "")
    else:
        book.enter(case, name, number, figures)
        outcome = ", ".join(
            f"{figures[metric.name]:,.4g} {metric.unit}" for metric in case.metrics if metric.name in figures
        )
    _say(
        f"{case.test}, {case.title}, round {number + 1}: {contestant.label}: {outcome}"
        f" [{time.monotonic() - began:.1f} s]"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
