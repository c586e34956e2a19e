"""The result for programs: one JSON object, as ``conf/punch-test-pair.schema.json`` describes it."""

from __future__ import annotations

import json

import crust

from ...as_json import JSON, value_as_json
from .meeting import Meeting
from .verdict import advice_for, grade_of, outcome_of, reasons_for, title_of, why_of

__all__ = ["SCHEMA", "as_document"]

SCHEMA = 1
"""The version: a field that is added leaves it, one that changes or goes raises it."""


def as_document(meeting: Meeting, *, fine: bool) -> str:
    """The object, on one line."""
    found: dict[str, JSON] = {
        "event": "result",
        "schema": SCHEMA,
        "crust": crust.__version__,
        "fine": fine,
        "outcome": outcome_of(meeting),
        "grade": grade_of(meeting),
        "title": title_of(meeting),
        "text": why_of(meeting),
        "reasons": value_as_json(reasons_for(meeting)),
        "advice": value_as_json(advice_for(meeting)),
        "test": value_as_json(meeting),
    }
    return json.dumps(found)
