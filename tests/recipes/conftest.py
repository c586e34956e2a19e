"""
The files of examples/, run as they stand against the real servers. Every server is a process of its own, so what the
tests find does not depend on whether they themselves run on threads or on greenlets: on greenlets they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.modes import on_greenlets
from tests.support.programs import Answers

collect_ignore_glob = ["test_*.py"] if on_greenlets() else []


@pytest.fixture
def answers() -> Iterator[Answers]:
    """The node that the recipes ask."""
    with Answers() as made:
        yield made
