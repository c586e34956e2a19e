"""The report for a terminal: short, in plain words, no wider than the window."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

import crust

from ..terminal import human_duration, printable
from .words import MEETING, PRIVACY, Group, answers, date_of, groups, remarks

__all__ = ["GRADES", "STYLES", "WIDTH_MAX", "Paint", "as_text", "group_lines", "heading", "hint_lines", "wrapped"]

Paint = Callable[..., str]

WIDTH_MAX = 100  # columns; longer lines are hard to read
_LABEL = 18  # columns of the labels
STYLES = {"good": ("green",), "bad": ("red",), "unknown": ("yellow",), "plain": ()}
GRADES = {"A": "good", "B": "good", "C": "unknown", "D": "unknown", "E": "bad", "F": "bad"}
_STACKED = 48  # columns below which labels have no column of their own
_BESIDE = 76  # columns from which the two directions stand side by side


def as_text(survey: crust.NetworkSurvey, assessment: crust.Assessment, *, width: int, paint: Paint) -> list[str]:
    """
    The lines of the report.

    Args:
        width: Columns of the window.
        paint: Called with a text and names of styles; gives back the text as it is, or in colours.
    """
    return list(_lines(survey, assessment, max(30, min(width, WIDTH_MAX)), paint))


def _lines(survey: crust.NetworkSurvey, assessment: crust.Assessment, width: int, paint: Paint) -> Iterator[str]:
    yield from (paint(line, "dim") for line in wrapped(f"Network report, {date_of(survey)}", width, ""))
    yield from wrapped(f"crust {crust.__version__}, took {human_duration(survey.seconds)}{_asked(survey)}", width, "")
    yield ""
    style = STYLES[GRADES.get(assessment.grade, "unknown")]
    yield from (paint(line, "bold") for line in wrapped(assessment.title, width, ""))
    yield from wrapped(assessment.text, width, "")
    grade = f"Grade {assessment.grade}: {assessment.reason}." if assessment.grade else f"{assessment.reason}."
    yield from (paint(line, "bold", *style) for line in wrapped(_capital(grade), width, ""))
    yield from _forecasts(assessment, width, paint)
    yield from hint_lines(assessment.hints, width, paint)
    yield from heading("What was found", paint)
    for group in groups(survey):
        yield from group_lines(group, width, paint)
    if assessment.gaps:
        yield from heading("What was not found out", paint)
        for gap in assessment.gaps:
            yield from wrapped(f"- {gap}", width, "  ", "")
    yield ""
    yield from wrapped(PRIVACY, width, "")


def _asked(survey: crust.NetworkSurvey) -> str:
    return f"; asked {', '.join(survey.contacted)}" if survey.contacted else "; nobody outside was asked"


def heading(text: str, paint: Paint) -> Iterator[str]:
    """An empty line, and what follows it is about."""
    yield ""
    yield paint(text, "bold")


def hint_lines(hints: Sequence[crust.Hint], width: int, paint: Paint) -> Iterator[str]:
    """What would help; nothing if nothing would."""
    if hints:
        yield from heading("What would help", paint)
        for number, hint in enumerate(hints, 1):
            yield from wrapped(f"{number}. {hint.title}", width, "   ", "")
            yield from wrapped(hint.text, width, "   ")


def group_lines(group: Group, width: int, paint: Paint) -> Iterator[str]:
    """Findings on one subject, a label and a text each."""
    yield f"  {group.title}"
    for row in group.rows:
        if width < _STACKED:
            for line in wrapped(f"{row.label}: {row.text}", width, "      ", "    "):
                yield paint(line, *STYLES[row.mark])
            continue
        lines = list(wrapped(row.text, width - _LABEL - 4, ""))
        for number, line in enumerate(lines):
            label = printable(row.label)[: _LABEL - 1] if number == 0 else ""
            yield f"    {label:<{_LABEL}}{paint(line, *STYLES[row.mark])}".rstrip()


def _forecasts(assessment: crust.Assessment, width: int, paint: Paint) -> Iterator[str]:
    yield from heading("Whom you reach", paint)
    yield from wrapped(MEETING, width, "")
    beside = width >= _BESIDE
    rest = width - 2
    columns = (rest - 2 * (rest * 32 // 100), rest * 32 // 100, rest * 32 // 100)
    if beside:
        yield f"  {'':<{columns[0]}}{'you call them':<{columns[1]}}they call you"
    for forecast in assessment.forecasts:
        cells = answers(forecast)
        if not beside:
            yield from wrapped(forecast.title, width, "  ")
            for label, (text, mark) in zip(("you call them", "they call you"), cells, strict=True):
                for line in wrapped(f"{label}: {text}", width, "      ", "    "):
                    yield paint(line, *STYLES[mark])
            continue
        parts = [list(wrapped(forecast.title, columns[0] - 2, ""))]
        parts += [list(wrapped(text, size - 2, "")) for (text, _), size in zip(cells, columns[1:], strict=True)]
        for number in range(max(len(part) for part in parts)):
            shown = [part[number] if number < len(part) else "" for part in parts]
            call, called = (
                paint(text, *STYLES[mark]) if text else "" for text, (_, mark) in zip(shown[1:], cells, strict=True)
            )
            gap = " " * (columns[1] - len(shown[1]))  # outside of the colours
            yield f"  {shown[0]:<{columns[0]}}{call}{gap}{called}".rstrip()
    for remark in remarks(assessment):
        yield from wrapped(f"({remark})", width, "  ")


def wrapped(text: str, width: int, indent: str, first: str | None = None) -> Iterator[str]:
    """Lines of at most so many columns; what others have said is made harmless."""
    safe = printable(text, 4000)
    first = indent if first is None else first
    yield from textwrap.wrap(
        safe, max(width, 12), initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
