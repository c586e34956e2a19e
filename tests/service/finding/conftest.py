"""What several tests of this folder begin with."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from crust import Endpoint
from tests.support.sockets import silent_listener


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a cache may be; nothing is there yet."""
    return tmp_path / "cache.json"


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """An address that swallows dials."""
    sockets, port = silent_listener()
    yield Endpoint("tcp", "127.0.0.1", port)
    for sock in sockets:
        sock.close()
