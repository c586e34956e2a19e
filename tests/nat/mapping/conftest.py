"""What the tests of port mapping share: routers on loopback, keepers that are ended."""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from crust.nat.mapping.gateway import Gateway
from crust.nat.mapping.keeper import Keeper, Mapping, Settings
from crust.nat.mapping.ways import Wanted
from crust.runtime.native import native_workers
from crust.runtime.threads import Deadline, Threads
from tests.nat.mapping.fake import FakeRouter
from tests.support.waiting import wait_until

TCP, UDP = Wanted("tcp", 4711), Wanted("udp", 4711)


class Kept:
    """A keeper on real time, and what it told."""

    def __init__(
        self, gateways: Callable[[], list[Gateway]], protocols: tuple[str, ...], folder: pathlib.Path | None
    ):
        self.crashes: list[BaseException] = []
        self.threads = Threads(lambda name, error: self.crashes.append(error))
        self.changed = threading.Event()
        settings = Settings(protocols, 3600, "crust test", folder)
        self.keeper = Keeper(settings, gateways, self.threads.spawn, time.monotonic, self.changed.set)
        self.began = time.monotonic()

    def want(self, *wanted: Wanted) -> None:
        self.began = time.monotonic()
        self.keeper.want(dict.fromkeys(wanted, ""))

    def wait_open(self, count: int, timeout: float = 5.0) -> tuple[Mapping, ...]:
        """Until so many ports are open."""
        wait_until(lambda: len(self.keeper.mappings()) >= count, timeout, f"{count} mappings")
        return self.keeper.mappings()

    def wait_failure(self, timeout: float = 12.0) -> str:
        wait_until(lambda: self.keeper.failure, timeout, "a failure")
        return self.keeper.failure

    def close(self, timeout: float = 5.0) -> float:
        """End it; seconds that it took."""
        began = time.monotonic()
        self.keeper.close(timeout)
        assert self.threads.join(Deadline(3.0)) == [], "the thread did not end"
        assert self.crashes == []
        return time.monotonic() - began


MakeKept = Callable[..., Kept]


@pytest.fixture
def fake() -> Iterator[FakeRouter]:
    """A router on loopback."""
    with FakeRouter() as made:
        yield made
    wait_until(lambda: native_workers() == [], 10.0, "the end of the native threads")


@pytest.fixture
def keep(fake: FakeRouter, tmp_path: pathlib.Path) -> Iterator[MakeKept]:
    """Makes keepers for the fake router, and ends them."""
    made: list[Kept] = []

    def make(
        protocols: tuple[str, ...] = ("pcp", "natpmp", "igd"),
        gateways: Callable[[], list[Gateway]] = lambda: [fake.gateway],
    ) -> Kept:
        kept = Kept(gateways, protocols, tmp_path / "state")
        made.append(kept)
        return kept

    yield make
    for kept in made:
        kept.close()
