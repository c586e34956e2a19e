"""A pytest plugin for `make fuzz`: the property tests with many and new examples, whatever they ask for themselves."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

_SETTINGS = "_hypothesis_internal_use_settings"  # where @settings leaves them; hypothesis has no public way to add


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace the settings of every property test."""
    examples = int(os.environ.get("CRUST_FUZZ_EXAMPLES", "20000"))
    for item in items:
        if item.get_closest_marker("hypothesis") and isinstance(item, pytest.Function):
            function = getattr(item.obj, "__func__", item.obj)
            own = getattr(function, _SETTINGS, None) or settings()
            more = settings(
                own, max_examples=examples, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
            )
            setattr(function, _SETTINGS, more)
