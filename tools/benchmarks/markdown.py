"""The tables for people."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from .results import Book, Case, Metric, Result

__all__ = ["report"]


def report(about: Mapping[str, Any], cases: Iterable[Case], book: Book) -> str:
    """All tables of a run, the targets first."""
    cases = list(cases)
    results = [result for case in cases for result in book.results(case)]
    parts = [_heading(about)]
    aimed = [result for result in results if result.target is not None]
    if aimed:
        met = sum(bool(result.met) for result in aimed)
        parts.append(f"## Targets: {met} of {len(aimed)} met\n\n" + _targets(aimed))
    test = ""
    for case in cases:
        own = book.results(case)
        if not own:
            continue
        if case.test != test:
            test = case.test
            parts.append(f"## {test}")
        parts.extend(_tables(case, own))
    notes = [f"- {r.case.test}, {r.case.title}: {r.contestant.label}: {r.note}" for r in results if r.note]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(dict.fromkeys(notes)))
    return "\n\n".join(parts) + "\n"


def _heading(about: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    lines = [
        f"{about['date']}: {about['processors']} × {about['processor']}, {about['system']}, load {about['load']} at "
        f"the start; Python {about['python']}, {about['openssl']}; {libraries}.",
        f"{about['rounds']} alternating rounds of {about['seconds']:g} s; medians; a ratio is the median of the "
        "rounds' ratios. Effort is processor time of both sides together: it hardly changes with what else the machine "
        "does.",
    ]
    lines += [f"Left out: {row['label']}: {row['why']}." for row in about["skipped"]]
    return "\n".join(lines)


def _targets(results: list[Result]) -> str:
    lines = ["| figure | peer | value | ratio | target | met |", "|---|---|---:|---:|---|---|"]
    for result in results:
        figure = f"{result.case.test}, {result.case.title}"
        if sum(not metric.aside for metric in result.case.metrics) > 1:
            figure += f": {result.metric.name}"
        lines.append(
            f"| {figure} | {result.contestant.label} | {_with_unit(result)} | "
            f"{_ratio(result)} | {result.target_text} | {_met(result)} |"
        )
    return "\n".join(lines)


def _tables(case: Case, results: list[Result]) -> list[str]:
    tables = []
    for index, metric in enumerate(case.metrics):
        if metric.aside:
            continue
        beside = list(itertools.takewhile(lambda each: each.aside, case.metrics[index + 1 :]))
        own = [result for result in results if result.metric == metric]
        if any(result.values for result in own):
            title = case.title if len(case.metrics) - len(beside) == 1 else f"{case.title}: {metric.name}"
            tables.append(f"### {title}\n\n" + _table(metric, beside, own, results))
    return tables


def _table(metric: Metric, beside: list[Metric], own: list[Result], results: list[Result]) -> str:
    labels = {result.reference.label for result in own if result.reference is not None}
    heads = ["peer", metric.unit or metric.name]
    if labels:
        heads.append(f"/ {labels.pop()}")
    heads += ["min..max", *[f"{each.name} {each.unit}" for each in beside], "target", "met"]
    rule = ["---"] + ["---:"] * (len(heads) - 3) + ["---", "---"]
    lines = [_row(heads), "|" + "|".join(rule) + "|"]
    for result in own:
        cells = [result.contestant.label, _number(result.median)]
        if "/ " in heads[2]:
            cells.append(_ratio(result))
        cells.append(f"{_number(min(result.values))}..{_number(max(result.values))}" if result.values else "failed")
        for each in beside:
            others = [r.median for r in results if r.metric == each and r.contestant == result.contestant]
            cells.append(_number(others[0]) if others else "")
        lines.append(_row([*cells, result.target_text, _met(result)]))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _with_unit(result: Result) -> str:
    return f"{_number(result.median)} {result.metric.unit}".strip() if result.values else "failed"


def _ratio(result: Result) -> str:
    return "" if result.ratio is None else f"{result.ratio:.2f}"


def _met(result: Result) -> str:
    return {None: "", True: "yes", False: "**no**"}[result.met]
