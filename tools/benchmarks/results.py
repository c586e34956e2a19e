"""Figures of all rounds: medians, ratios, targets, and one JSON object for each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .peers import CONTESTANTS, Contestant
from .stage import Settings

__all__ = ["Book", "Case", "Metric", "Reference", "Result", "Target", "Trial"]


class Metric(NamedTuple):
    """One figure of a measurement."""

    name: str
    unit: str
    higher_is_better: bool = True
    aside: bool = False
    """Shown beside the first one before it that is not, without a table of its own."""


class Reference(NamedTuple):
    """What a figure is divided by."""

    label: str
    contestant: str
    case: str
    """Title of the case."""


class Target(NamedTuple):
    """What a figure should reach: a ratio if there is a reference, else the figure itself."""

    limit: float
    relative: bool = True


class Case(NamedTuple):
    """One table: the same measurement of several contestants."""

    test: str
    title: str
    where: dict[str, Any]
    """Its parameters."""
    metrics: tuple[Metric, ...]
    contestants: tuple[str, ...]
    rounds: int = 1_000_000
    """At the most."""
    reference: Callable[[str], Reference | None] = lambda contestant: None
    target: Callable[[str, str], Target | None] = lambda contestant, metric: None
    """Of a contestant and a metric."""


class Trial(NamedTuple):
    """One test: its cases, and how one measurement of one contestant is made."""

    name: str
    about: str
    cases: Callable[[Settings], list[Case]]
    run: Callable[[Settings, Case, Contestant], dict[str, Any]]
    """Metrics to figures; a text under ``note`` goes into the result."""


class Result(NamedTuple):
    """A contestant's figure in a case, over all rounds."""

    case: Case
    contestant: Contestant
    metric: Metric
    values: list[float]
    reference: Reference | None
    ratio: float | None
    """Median of the rounds' ratios."""
    target: Target | None
    met: bool | None
    note: str

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def target_text(self) -> str:
        """Such as ``≥ 1 × ssl``."""
        if self.target is None:
            return ""
        sign = "≥" if self.metric.higher_is_better else "≤"
        if self.target.relative and self.reference is not None:
            return f"{sign} {self.target.limit:g} × {self.reference.label}"
        return f"{sign} {self.target.limit:g} {self.metric.unit}".strip()

    def as_json(self) -> dict[str, Any]:
        """One line of the output."""
        return {
            "test": self.case.test,
            "case": self.case.where,
            "peer": self.contestant.name,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "median": _rounded(self.median),
            "min": _rounded(min(self.values, default=None)),
            "max": _rounded(max(self.values, default=None)),
            "rounds": [_rounded(value) for value in self.values],
            "reference": self.reference and self.reference.label,
            "ratio": _rounded(self.ratio),
            "target": self.target_text or None,
            "met": self.met,
            "note": self.note or None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


class Book:
    """All figures of one run."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str, str, str], dict[int, float]] = {}
        self._notes: dict[tuple[str, str, str], str] = {}
        self._failed: set[tuple[str, str, str]] = set()
        self.failures = 0
        """Measurements that did not come about."""

    def enter(self, case: Case, contestant: str, round_number: int, figures: dict[str, Any]) -> None:
        """Take the outcome of one measurement."""
        for metric in case.metrics:
            if metric.name in figures:
                key = (case.test, case.title, contestant, metric.name)
                self._figures.setdefault(key, {})[round_number] = float(figures[metric.name])
        if figures.get("note"):
            self._notes[case.test, case.title, contestant] = str(figures["note"])

    def fail(self, case: Case, contestant: str, error: str) -> None:
        """Note that a measurement did not come about."""
        self.failures += 1
        self._failed.add((case.test, case.title, contestant))
        self._notes[case.test, case.title, contestant] = f"failed: {error}"

    def results(self, case: Case) -> list[Result]:
        """Of every contestant that has figures or failed, by metric."""
        found = []
        for metric in case.metrics:
            for name in case.contestants:
                rounds = self._figures.get((case.test, case.title, name, metric.name), {})
                note = self._notes.get((case.test, case.title, name), "")
                if rounds or (case.test, case.title, name) in self._failed:
                    found.append(self._result(case, metric, name, rounds, note))
        return found

    def _result(self, case: Case, metric: Metric, name: str, rounds: dict[int, float], note: str) -> Result:
        reference = None if metric.aside else case.reference(name)
        ratio = None
        if reference is not None:
            others = self._figures.get((case.test, reference.case, reference.contestant, metric.name), {})
            ratio = _median(rounds[n] / others[n] for n in rounds if others.get(n))
        target = None if metric.aside else case.target(name, metric.name)
        measured = None
        if target is not None:
            measured = ratio if target.relative else _median(rounds.values())
        met = None
        if target is not None and measured is not None:
            met = measured >= target.limit if metric.higher_is_better else measured <= target.limit
        values = [rounds[number] for number in sorted(rounds)]
        return Result(case, CONTESTANTS[name], metric, values, reference, ratio, target, met, note)


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None
