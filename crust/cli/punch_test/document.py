"""The report for programs: one JSON object, as ``conf/punch-test.schema.json`` describes it."""

from __future__ import annotations

import json

import crust

from ..as_json import JSON, value_as_json

__all__ = ["SCHEMA", "as_document"]

SCHEMA = 1
"""The version: a field that is added leaves it, one that changes or goes raises it."""


def as_document(survey: crust.NetworkSurvey, assessment: crust.Assessment) -> str:
    """The object, on one line."""
    found: dict[str, JSON] = {
        "schema": SCHEMA,
        "crust": crust.__version__,
        "fine": assessment.fine,
        "assessment": value_as_json(assessment),
        "survey": value_as_json(survey),
    }
    return json.dumps(found)
