"""``crust.assess``: what a survey means for reaching peers."""

from __future__ import annotations

from ..assessment import Assessment
from ..findings import NetworkSurvey

__all__ = ["assess"]


def assess(survey: NetworkSurvey) -> Assessment:
    """
    What a survey means for reaching peers with this version of crust. Asks nobody; thread-safe.

    Args:
        survey: What `crust.survey` found.
    """
    from .verdict import verdict_on  # not before it is wanted: `import crust` stays cheap

    return verdict_on(survey)
