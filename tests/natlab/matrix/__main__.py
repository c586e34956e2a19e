"""
Two nodes behind every pair of kinds of sites, that know each other's id and share a rendezvous: what they come to, and
how quickly. ``make matrix`` runs it; docs/laboratory.md explains what it prints. The exit code says whether that is
what must be.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import queue
import signal
import sys
import threading
import types
from collections.abc import Iterator

from tests.natlab import needs
from tests.natlab.matrix import report
from tests.natlab.matrix.outcome import Outcome, judge
from tests.natlab.matrix.state import Conditions, Run, State
from tests.natlab.matrix.table import SPECIAL, TABLE, expected, pairs
from tests.natlab.matrix.worker import Worker

Result = tuple[Run, Outcome] | Exception


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.natlab.matrix", description=__doc__, allow_abbrev=False)
    add = made.add_argument
    add("--runs", type=int, default=3, metavar="N", help="of each cell; 3")
    add("--kinds", type=_kinds, default=list(TABLE), metavar="A,B,…", help="all pairs of these; all kinds")
    add("--cells", type=_cells, metavar="A:B,…", help="these pairs only; the first of each calls")
    add("--special", action="store_true", help="pairs of other sorts as well: " + ", ".join(SPECIAL))
    add("--delay", type=_milli, default=0.01, metavar="MS", help="on each site's line, one way; 10")
    add("--loss", type=_percent, default=0.0, metavar="PERCENT", help="of the packets on each site's line, one way")
    add("--skew", type=_milli, default=0.0, metavar="MS", help="more for what the callee's site sends")
    add("--foreign", type=float, default=0.0, metavar="N", help="flows a second of another machine behind each NAT")
    add("--addresses", action="store_true", help="the caller knows the callee's addresses, not its id alone")
    only = made.add_mutually_exclusive_group()
    only.add_argument("--only", choices=("tcp", "utp"), default="", help="both nodes use one transport")
    only.add_argument("--split", action="store_true", help="each cell with both transports, then with each alone")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="laboratories at once; as processors")
    add("--state", type=pathlib.Path, metavar="FILE", help="where runs are kept; those in it are not done again")
    add("--markdown", type=pathlib.Path, metavar="FILE", help="where the table goes as well")
    add("--logs", type=pathlib.Path, metavar="FOLDER", help="for all that was said in runs that were not good")
    return made


def _kinds(text: str) -> list[str]:
    found = text.split(",")
    if unknown := set(found) - set(TABLE):
        raise argparse.ArgumentTypeError(f"no kinds: {', '.join(sorted(unknown))}; there are {', '.join(TABLE)}")
    return found


def _cells(text: str) -> list[tuple[str, str]]:
    found = []
    for each in text.split(","):
        one, _, other = each.partition(":")
        found.append((one, other))
        if one != other or one not in SPECIAL:
            _kinds(f"{one},{other}")
    return found


def _milli(text: str) -> float:
    return float(text) / 1000


def _percent(text: str) -> float:
    return float(text) / 100


def planned(options: argparse.Namespace) -> tuple[Conditions, list[Run]]:
    """What the table is about, and all runs, the first of every cell before the second of any."""
    names = ("delay", "loss", "skew", "foreign", "addresses", "only")
    conditions = Conditions(**{name: getattr(options, name) for name in names})
    every = [conditions]
    if options.split:
        every += [dataclasses.replace(conditions, only=only) for only in ("tcp", "utp")]
    cells = options.cells or list(pairs(options.kinds))
    cells += [(name, name) for name in SPECIAL] if options.special else []
    runs = [
        Run(one, other, number, each)
        for number in range(1, options.runs + 1)
        for each in every
        for one, other in cells
        if expected(one, other, each.only)
    ]
    return conditions, runs


class Crew:
    """
    Workers, and a thread for each, that do runs; use it in a ``with``.

    Args:
        runs: In this order, as workers become free.
        jobs: How many workers.
        logs: See `play`.
    """

    def __init__(self, runs: list[Run], jobs: int, logs: pathlib.Path | None) -> None:
        self._count = len(runs)
        self._runs: queue.SimpleQueue[Run] = queue.SimpleQueue()
        for run in runs:
            self._runs.put(run)
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._workers = [Worker(logs) for _ in range(min(jobs, len(runs)))]
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in self._workers]

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()

    def results(self) -> Iterator[tuple[Run, Outcome]]:
        """As they come. EOFError if a worker has died."""
        for _ in range(self._count):
            result = self._results.get()
            if isinstance(result, Exception):
                raise result
            yield result

    def _work(self, worker: Worker) -> None:
        with worker:
            while not self._stopped.is_set():
                try:
                    run = self._runs.get_nowait()
                    self._results.put((run, worker.do(run)))
                except queue.Empty:
                    return
                except EOFError as error:
                    self._results.put(error)
                    return


def progress(done: int, of: int, run: Run, outcome: Outcome) -> str:
    """A line about a run."""
    expectation = expected(run.one, run.other, run.conditions.only)
    assert expectation is not None
    verdict = judge(outcome, expectation)
    ways = " > ".join(f"{step.path_class or '-'} {step.seconds:.2f}" for step in outcome.caller)
    first = "-" if outcome.first_message is None else f"{outcome.first_message:.2f}"
    words = [f"{done}/{of}", f"{run.one}:{run.other}", run.conditions.only, f"#{run.number}", expectation.letter]
    words += [verdict.word, "better" if verdict.better else "", f"first {first}", ways]
    words += [] if outcome.ended is None else [f"ended {outcome.ended:.2f}"]
    words += [] if outcome.settled else ["not idle before"]
    return " ".join(filter(None, [*words, outcome.error]))


def _interrupted(number: int, frame: types.FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # what is taken down is so once
    raise KeyboardInterrupt


def main() -> int:
    """0: all is as it must be; 1: it is not; 2: nothing could be found out; 130: interrupted, without a table."""
    made = parser()
    options = made.parse_args()
    if reason := needs.missing():
        made.exit(2, f"{reason}; {needs.ADVICE}\n")
    conditions, runs = planned(options)
    try:
        state = State(options.state)
    except ValueError as error:
        made.exit(2, f"{error}\n")
    missing = state.missing(runs)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        with Crew(missing, options.jobs, options.logs) as crew:
            for done, (run, outcome) in enumerate(crew.results(), 1):
                state.add(run, outcome)
                sys.stderr.write(progress(done, len(missing), run, outcome) + "\n")
    except KeyboardInterrupt:
        return 130
    except EOFError as error:
        made.exit(2, f"{error}\n")
    wanted = {run: state.outcomes[run] for run in runs}
    page, wrong = result(wanted, conditions)
    sys.stdout.write(page)
    if options.markdown:
        options.markdown.write_text(page)
    sys.stdout.writelines(f"{each}\n" for each in wrong)
    return 1 if wrong else 0


def result(outcomes: dict[Run, Outcome], conditions: Conditions) -> tuple[str, list[str]]:
    """The page, with a table for each transport alone first if they were tried so, and what is not acceptable."""
    pages, wrong = [], []
    alone = sorted({run.conditions.only for run in outcomes} - {conditions.only})
    for only in alone:
        each = dataclasses.replace(conditions, only=only)
        part = {run: outcome for run, outcome in outcomes.items() if run.conditions == each}
        pages.append(report.markdown(part, each))
        wrong += [f"{only} alone: {fault}" for fault in report.faults(report.cells(part, each))]
    pages.append(report.markdown(outcomes, conditions))
    return "\n".join(pages), wrong + report.faults(report.cells(outcomes, conditions))


if __name__ == "__main__":
    sys.exit(main())
