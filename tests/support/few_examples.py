"""A pytest plugin for `make check`: the property tests with few examples, which show most mistakes."""

from __future__ import annotations

import pytest
from hypothesis import settings

from .fuzz import replace_settings

EXAMPLES = 15


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    replace_settings(items, lambda own: settings(own, max_examples=min(own.max_examples, EXAMPLES)))
