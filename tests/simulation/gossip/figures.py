"""What a scenario has measured beside what was asked for, as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.simulation.svg import Panel

__all__ = ["Figure", "Outcome", "at_least", "at_most", "noted", "percentile", "table"]


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    what: str
    target: str
    """Empty: nothing is asked, it is only good to know."""
    measured: str
    good: bool = True

    @property
    def verdict(self) -> str:
        return ("reached" if self.good else "MISSED") if self.target else ""


@dataclass
class Outcome:
    """Of a scenario."""

    title: str
    name: str = ""
    """Of its chart."""
    notes: list[str] = field(default_factory=list)
    """For those who work on it."""
    figures: list[Figure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    seconds: float = 60.0
    """What the panels' time axis ends with."""

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if not figure.good]


def at_most(what: str, limit: float, value: float, shown: Callable[[float], str]) -> Figure:
    """``value`` must not be larger."""
    return Figure(what, f"≤ {shown(limit)}", shown(value), value <= limit)


def at_least(what: str, limit: float, value: float, shown: Callable[[float], str]) -> Figure:
    """``value`` must not be smaller."""
    return Figure(what, f"≥ {shown(limit)}", shown(value), value >= limit)


def noted(what: str, measured: str) -> Figure:
    """Nothing is asked of this one."""
    return Figure(what, "", measured)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a part of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(outcomes: Iterable[Outcome]) -> str:
    """All of them as one table in Markdown."""
    lines = ["| | target | measured | |", "|---|---|---|---|"]
    for outcome in outcomes:
        lines.append(f"| **{outcome.title}** | | | |")
        lines += [f"| {row.what} | {row.target} | {row.measured} | {row.verdict} |" for row in outcome.figures]
    return "\n".join(lines)
