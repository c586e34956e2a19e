"""The result as one HTML file that can be sent to whoever helps, in the clothes of the report."""

from __future__ import annotations

from collections.abc import Iterator

import crust

from ...terminal import human_duration
from ..page import group_table, hint_list, safe, verdict_box, whole
from ..picture import as_svg
from .meeting import Meeting
from .rows import PRIVACY, date_of, groups, stops
from .verdict import advice_for, grade_of, title_of, why_of
from .words import GRADES

__all__ = ["as_page"]

_KIND = "Test between two machines"
_WAY = "The way between the two machines"


def as_page(meeting: Meeting) -> str:
    """The whole file as text."""
    made = f"Made by crust {crust.__version__} in {human_duration(meeting.seconds)}."
    return "\n".join(whole(_KIND, date_of(meeting), title_of(meeting), _body(meeting), (PRIVACY, made))) + "\n"


def _body(meeting: Meeting) -> Iterator[str]:
    grade = grade_of(meeting)
    yield from verdict_box(grade, why_of(meeting), f"{GRADES[grade]}.")
    yield f"<h2>{safe(_WAY)}</h2>"
    yield f'<div class="way">{as_svg(stops(meeting), _WAY)}</div>'
    yield from hint_list(advice_for(meeting))
    yield "<h2>What was found</h2>"
    for group in groups(meeting):
        yield from group_table(group)
