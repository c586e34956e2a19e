"""The laboratory as a fixture; where there can be none, the test skips with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.natlab import needs
from tests.natlab.lab import Lab


@pytest.fixture
def laboratory() -> None:
    """There can be a laboratory here. Tests that have this are marked as slow by ``tests/conftest.py``."""
    needs.require()


@pytest.fixture
def lab(laboratory: None) -> Iterator[Lab]:
    """A network without hosts; it is taken down at the end of the test."""
    with Lab() as lab:
        yield lab
