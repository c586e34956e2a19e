"""What the runs of the matrix say together: the table, the shares, and whether that is acceptable."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.natlab.matrix.outcome import Outcome, Verdict, judge
from tests.natlab.matrix.state import Conditions, Run
from tests.natlab.matrix.table import FIRST_MESSAGE, OUTSIDE, SHARE, SPECIAL, TABLE, Expectation, expected

Pair = tuple[str, str]


def percentile(values: Iterable[float], part: float = 0.95) -> float | None:
    """The least value that so many of all do not exceed; None if there are none."""
    found = sorted(values)
    return found[max(0, math.ceil(part * len(found)) - 1)] if found else None


@dataclasses.dataclass(frozen=True)
class Cell:
    """All runs of one ordered pair under the same conditions."""

    pair: Pair
    expectation: Expectation
    outcomes: Sequence[Outcome]

    @property
    def verdicts(self) -> list[Verdict]:
        return [judge(each, self.expectation) for each in self.outcomes]

    @property
    def good(self) -> int:
        """Runs within the budget."""
        return sum(each.word == "good" for each in self.verdicts)

    @property
    def outside(self) -> bool:
        """Whether too many runs are not."""
        return len(self.outcomes) - self.good > OUTSIDE * len(self.outcomes)

    @property
    def path(self) -> str:
        """What most runs ended on; ``-``: nothing."""
        return collections.Counter(each.final or "-" for each in self.outcomes).most_common(1)[0][0]

    @property
    def seconds(self) -> float | None:
        """Until the expected path, 95 % of the runs that reached it."""
        return percentile(each.seconds for each in self.verdicts if each.seconds is not None)

    @property
    def first_message(self) -> float | None:
        """Seconds, 95 % of the runs; None if one has none."""
        found = [each.first_message for each in self.outcomes]
        return None if None in found else percentile(each for each in found if each is not None)

    @property
    def meets(self) -> bool:
        """Whether the two reach each other without a relay in most runs."""
        through = sum(each.final not in ("", "relay") for each in self.outcomes)
        return 2 * through > len(self.outcomes)

    def shown(self) -> str:
        """As it stands in the table."""
        text = self.path if self.seconds is None else f"{self.path} {self.seconds:.2f}"
        if self.good < len(self.outcomes):
            text += f" ({self.good}/{len(self.outcomes)})"
        return f"**{text}**" if self.outside else text


def cells(outcomes: Mapping[Run, Outcome], conditions: Conditions) -> dict[Pair, Cell]:
    """The runs under these conditions, by pair."""
    found: dict[Pair, list[Outcome]] = collections.defaultdict(list)
    for run, outcome in outcomes.items():
        if run.conditions == conditions:
            found[run.one, run.other].append(outcome)
    made = {}
    for pair, each in found.items():
        expectation = expected(*pair, conditions.only)
        if expectation is not None:
            made[pair] = Cell(pair, expectation, each)
    return made


@dataclasses.dataclass(frozen=True)
class Share:
    """All runs of one letter."""

    letter: str
    runs: int
    good: int

    @property
    def enough(self) -> bool:
        return self.good >= SHARE * self.runs


def shares(found: Iterable[Cell]) -> list[Share]:
    """By letter."""
    runs: collections.Counter[str] = collections.Counter()
    good: collections.Counter[str] = collections.Counter()
    for cell in found:
        runs[cell.expectation.letter] += len(cell.outcomes)
        good[cell.expectation.letter] += cell.good
    return [Share(letter, count, good[letter]) for letter, count in sorted(runs.items())]


def faults(found: Mapping[Pair, Cell]) -> list[str]:
    """Why this is not acceptable: a sentence each; empty if it is."""
    wrong = [] if found else ["there are no runs"]
    for share in shares(found.values()):
        if not share.enough:
            wrong.append(f"{share.letter}: {share.good} of {share.runs} runs within the budget, not {SHARE:.0%}")
    for (one, other), cell in found.items():
        if cell.outside:
            wrong.append(f"{one} calls {other}: {len(cell.outcomes) - cell.good} of {len(cell.outcomes)} runs outside")
        if cell.first_message is None or cell.first_message > FIRST_MESSAGE:
            shown = "none" if cell.first_message is None else f"{cell.first_message:.2f} s"
            wrong.append(f"{one} calls {other}: first message {shown}, not {FIRST_MESSAGE} s")
    return wrong


def split(outcomes: Mapping[Run, Outcome], conditions: Conditions) -> str:
    """How many pairs meet by which transport when they have only one; a sentence."""
    everything = {(run.one, run.other) for run in outcomes}
    alone = [cells(outcomes, dataclasses.replace(conditions, only=only)) for only in ("tcp", "utp")]
    tcp, utp = ({pair for pair, cell in found.items() if cell.meets} for found in alone)
    return (
        f"Of {len(everything)} pairs {len(tcp - utp)} meet by TCP alone, {len(utp - tcp)} by UDP alone, "
        f"{len(tcp & utp)} by either, {len(everything - tcp - utp)} by a relay."
    )


def markdown(outcomes: Mapping[Run, Outcome], conditions: Conditions) -> str:
    """The page: a table as in docs/laboratory.md, the caller's kind at the left, and what follows from it."""
    return "\n".join(_lines(outcomes, conditions)) + "\n"


def _lines(outcomes: Mapping[Run, Outcome], conditions: Conditions) -> Iterator[str]:
    found = cells(outcomes, conditions)
    kinds = [kind for kind in TABLE if any(kind in pair for pair in found)]
    most = max((len(cell.outcomes) for cell in found.values()), default=0)
    yield f"{most} runs a cell, {_says(conditions)}."
    yield "In a cell: the path, the seconds until 95 % of the runs had what was expected, and in brackets how many were"
    yield "within the budget, if not all."
    yield ""
    if kinds:
        yield from _table(found, kinds)
    yield from _special(found)
    yield from ["", "| | runs | within the budget |", "|---|---|---|"]
    for share in shares(found.values()):
        yield f"| {share.letter} | {share.runs} | {share.good} ({share.good / share.runs:.1%}) |"
    yield ""
    outside = [" calls ".join(pair) for pair, cell in found.items() if cell.outside]
    yield f"Cells with more than {OUTSIDE:.0%} of their runs outside: {', '.join(outside) or 'none'}."
    first = percentile(each.first_message for cell in found.values() for each in cell.outcomes if each.first_message)
    slowest = max((cell.first_message or math.inf for cell in found.values()), default=math.inf)
    yield f"First message: {_seconds(first)} for 95 % of all runs, {_seconds(slowest)} in the slowest cell."
    yield f"Sites that were not idle before the call: {_unsettled(found.values())}."
    better = [f"{' calls '.join(pair)} ({cell.path})" for pair, cell in found.items() if _better(cell)]
    yield f"Better than expected: {', '.join(better) or 'none'}."
    if len({run.conditions.only for run in outcomes}) > 1:
        yield split(outcomes, conditions)


def _table(found: Mapping[Pair, Cell], kinds: Sequence[str]) -> Iterator[str]:
    yield "| caller | " + " | ".join(kinds) + " |"
    yield "|---" * (len(kinds) + 1) + "|"
    for one in kinds:
        row = [found[one, other].shown() if (one, other) in found else "" for other in kinds]
        yield f"| {one} | " + " | ".join(row) + " |"


def _special(found: Mapping[Pair, Cell]) -> Iterator[str]:
    rows = [f"| {name} | {found[name, name].shown()} |" for name in SPECIAL if (name, name) in found]
    if rows:
        yield from ["", "| | |", "|---|---|", *rows]


def _says(conditions: Conditions) -> str:
    words = [f"{conditions.delay * 4000:g} ms round trip by the server"]
    words += [f"{conditions.loss:.1%} lost"] if conditions.loss else []
    words += [f"{conditions.skew * 1000:g} ms skew"] if conditions.skew else []
    words += [f"{conditions.foreign:g} foreign flows a second"] if conditions.foreign else []
    words += [f"{conditions.only} only"] if conditions.only else []
    words += ["the callee's addresses known"] if conditions.addresses else []
    return ", ".join(words)


def _better(cell: Cell) -> bool:
    return any(each.better for each in cell.verdicts)


def _unsettled(found: Iterable[Cell]) -> str:
    outcomes = [each for cell in found for each in cell.outcomes]
    return f"{sum(not each.settled for each in outcomes)} of {len(outcomes)}"


def _seconds(value: float | None) -> str:
    return "never" if value is None or math.isinf(value) else f"{value:.2f} s"
