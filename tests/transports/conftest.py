"""What the tests of transports begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crust.transports.utp.transport import UtpTransport
from tests.support.threads import Crew


@pytest.fixture
def crew() -> Iterator[Crew]:
    """Threads and an I/O loop; whatever crashes there fails the test."""
    with Crew() as crew:
        yield crew


@pytest.fixture
def utp(crew: Crew) -> UtpTransport:
    """One node's µTP."""
    return UtpTransport(crew.io, crew.spawn, crew.crashed)
