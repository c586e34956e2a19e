"""What several tests of the commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crust
from tests.cli.fakes import FakeService


@pytest.fixture
def fake_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeService]]:
    """Commands get a `FakeService`; those made are in ``made``, errors for the next starts in ``start_errors``."""
    monkeypatch.setattr(crust, "Service", FakeService)
    FakeService.made.clear()
    FakeService.start_errors.clear()
    yield FakeService
