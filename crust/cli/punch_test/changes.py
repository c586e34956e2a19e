"""What is different from the report before; what differs every time, such as round trips and ports, is not counted."""

from __future__ import annotations

from collections.abc import Iterator

import crust

from .words import groups

__all__ = ["Seen", "carried", "changes", "seen"]

Seen = dict[str, str]
"""Everything in a report that lasts: where it stands, and what it says; nothing if it is not known."""


def seen(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> Seen:
    """What is to be compared with the next one."""
    found = {"network": assessment.title, "grade": assessment.grade or "none"}
    for group in groups(survey):
        for row in group.rows:
            place = f"{group.title}, {row.label}"
            text = row.text if row.lasting is None else row.lasting
            known = "" if row.mark == "unknown" and row.lasting is None else text
            found[place] = "; ".join(filter(None, [found.get(place), known]))
    return found


def changes(before: Seen, after: Seen) -> list[str]:
    """A line for each difference, the verdict first."""
    return list(_changes(before, after))


def carried(before: Seen, after: Seen) -> Seen:
    """What the next report is compared with: what is not known now is as it was."""
    return {place: text or before.get(place, "") for place, text in after.items()}


def _changes(before: Seen, after: Seen) -> Iterator[str]:
    for place in dict.fromkeys([*after, *before]):
        old, new = before.get(place), after.get(place)
        if old == new or new == "":  # what could not be found out this time has not changed
            continue
        if not old and not new:  # it was not known, and now there is nothing to know
            continue
        if not old:
            yield f"{place}: {new} (new)"
        elif new is None:
            yield f"{place}: no longer known (was: {old})"
        else:
            yield f"{place}: {new} (was: {old})"
