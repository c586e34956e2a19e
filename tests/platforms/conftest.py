"""Nodes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nodes import Nodes


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Real nodes on loopback, closed and checked at the end of the test."""
    with Nodes() as made:
        yield made
