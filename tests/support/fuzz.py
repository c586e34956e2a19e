"""A pytest plugin for `make properties`: the property tests with many new examples, whatever they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

_SETTINGS = "_hypothesis_internal_use_settings"  # where @settings leaves them; hypothesis has no public way to add


def replace_settings(items: list[pytest.Item], change: Callable[[settings], settings]) -> None:
    """Change those of every property test, and of every model: a model has its own in its class."""
    for item in items:
        model = getattr(item, "cls", None)
        if isinstance(getattr(model, "settings", None), settings):
            model.settings = change(model.settings)
            continue
        if item.get_closest_marker("hypothesis") and isinstance(item, pytest.Function):
            function = getattr(item.obj, "__func__", item.obj)
            setattr(function, _SETTINGS, change(getattr(function, _SETTINGS, None) or settings()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    examples = int(os.environ.get("CRUST_FUZZ_EXAMPLES", "20000"))

    def more(own: settings) -> settings:
        return settings(
            own, max_examples=examples, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
        )

    replace_settings(items, more)
