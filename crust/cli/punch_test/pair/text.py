"""The result for a terminal: short, in plain words, no wider than the window."""

from __future__ import annotations

from collections.abc import Iterator

import crust

from ...terminal import human_duration
from ..text import GRADES as MARKS
from ..text import STYLES, WIDTH_MAX, Paint, group_lines, hint_lines, wrapped
from .meeting import End, Meeting
from .rows import PRIVACY, date_of, groups, network_of
from .verdict import advice_for, grade_of, title_of, why_of
from .words import GRADES

__all__ = ["as_text", "end_lines"]


def as_text(meeting: Meeting, *, width: int, paint: Paint) -> list[str]:
    """
    The lines of the result.

    Args:
        width: Columns of the window.
        paint: Called with a text and names of styles; gives back the text as it is, or in colours.
    """
    return list(_lines(meeting, max(30, min(width, WIDTH_MAX)), paint))


def _lines(meeting: Meeting, width: int, paint: Paint) -> Iterator[str]:
    yield ""
    made = f"Test between two machines, {date_of(meeting)}"
    yield from (paint(line, "dim") for line in wrapped(made, width, ""))
    yield from wrapped(f"crust {crust.__version__}, took {human_duration(meeting.seconds)}", width, "")
    yield ""
    grade = grade_of(meeting)
    yield from (paint(line, "bold") for line in wrapped(title_of(meeting), width, ""))
    yield from wrapped(why_of(meeting), width, "")
    reason = f"Grade {grade}: {GRADES[grade]}."
    yield from (paint(line, "bold", *STYLES[MARKS.get(grade, "unknown")]) for line in wrapped(reason, width, ""))
    yield from hint_lines(advice_for(meeting), width, paint)
    yield ""
    for group in groups(meeting):
        yield from group_lines(group, width, paint)
    yield ""
    yield from wrapped(PRIVACY, width, "")


def end_lines(end: End) -> Iterator[str]:
    """What this network looks like, before anybody has called."""
    for row in network_of(end):
        yield from wrapped(f"{row.label}: {row.text}", WIDTH_MAX, "    ", "  ")
