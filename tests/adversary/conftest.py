"""
Nodes for the tests of this folder; docs/security.md says which promise each of its files shows.

Proofs are altered field by field and bit by bit in tests/crypto/test_proofs.py; forgers in a session are in
tests/service/test_signed.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nodes import Nodes


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Real nodes on loopback, closed and checked at the end of the test."""
    with Nodes() as made:
        yield made
