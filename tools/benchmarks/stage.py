"""Two sides put up for one measurement: a hub, and spokes in one process or several."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import machine
from .children import Child
from .contract import WAIT, Options
from .peers import Contestant

__all__ = ["Settings", "Stage", "stage"]

_PER_SPOKE = 6  # descriptors a spoke may take in its process: a socket, a waker, a little more
_PER_PEER = 1  # and in the hub's
_SPARE = 1024
_SECONDS_PER_DIAL = 0.1  # allowed on a busy machine
_LIMIT = 600.0  # seconds, and more for many peers, after which the system ends a process


class Settings(NamedTuple):
    """Of the whole run."""

    rounds: int = 4
    seconds: float = 1.0
    """How long one measurement goes on."""
    sizes: tuple[int, ...] = (65_536, 1_048_576)
    """Bytes of the messages of ``bulk``."""
    connections: int | None = None
    """Of ``conns``; None: as the targets say."""
    settle: float | None = None
    """Seconds until ``conns`` and ``circuits`` read memory; None: as long as they do by themselves."""
    quick: bool = False
    certificate: str = ""
    key: str = ""


class Stage:
    """The two sides while they are up."""

    def __init__(self, hub: Child, spokes: list[Child], peers: int, introducer: Child | None = None) -> None:
        self.hub = hub
        self.spokes = spokes
        self.introducer = introducer
        self.peers = peers
        self.address: Any = None

    def listen(self) -> None:
        """Have the hub listen, or be known to an introducer that does."""
        if self.introducer is None:
            self.address = self.hub.call("listen", WAIT)
        else:
            self.address = self.hub.call("listen", WAIT, via=self.introducer.call("listen", WAIT))

    def dial(self, count: int | None = None) -> None:
        """Have all spokes, or ``count`` of them, connect, at once in every process; returns when the hub has them."""
        total = self.peers if count is None else count
        orders = [{"address": self.address, "count": share} for share in self.shares(total)]
        self.each("dial", WAIT + total * _SECONDS_PER_DIAL, orders)
        self.hub.call("wait_for", 2 * WAIT, count=total)

    def settle(self, seconds: float) -> None:
        """Let late work be done, then start from a defined state: no garbage of the dialling is left in any process."""
        time.sleep(seconds)
        for child in self._all:
            child.begin("collect")
        for child in self._all:
            child.result("collect", WAIT)

    def cpu(self) -> float:
        """Seconds of processor time that all processes have used; steady even on a machine that others use too."""
        used: float = sum(child.call("cpu", WAIT) for child in self._all)
        return used

    @property
    def _all(self) -> list[Child]:
        return [self.hub, *self.spokes, *filter(None, [self.introducer])]

    def each(self, name: str, timeout: float, arguments: list[dict[str, Any]]) -> list[Any]:
        """Run a method in every spokes process at once; the values in order."""
        for child, given in zip(self.spokes, arguments, strict=True):
            child.begin(name, **given)
        deadline = time.monotonic() + timeout
        return [child.result(name, deadline - time.monotonic()) for child in self.spokes]

    def shares(self, total: int) -> list[int]:
        """So many of something, spread over the spokes' processes."""
        count = len(self.spokes)
        return [total // count + (index < total % count) for index in range(count)]


@contextlib.contextmanager
def stage(
    settings: Settings,
    contestant: Contestant,
    role: str,
    *,
    placement: str,
    peers: int = 1,
    size: int = 100,
    processes: int = 1,
    spokes_mode: str = "",
    introducer: str = "introduce",
) -> Iterator[Stage]:
    """
    Start the processes; all have ended when this returns, however it does.

    Args:
        role: See ``contract``.
        placement: See ``machine``.
        peers: Connections there will be; 0: any number, one after another.
        processes: For the spokes.
        spokes_mode: Of the spokes; empty: as the hub.
        introducer: The role of the introducer, if the contestant has one.
    """
    options = Options(contestant.library, contestant.style, peers, size, settings.certificate, settings.key)
    limit = _LIMIT + 2 * _SECONDS_PER_DIAL * peers + 4 * settings.seconds
    hub_cpus, spoke_cpus = machine.placement_cpus(placement)
    with contextlib.ExitStack() as stack:

        def start(side: str, mode: str, cpus: list[int], descriptors: int, role: str = role) -> Child:
            child = Child(side, role, options, mode=mode, cpus=cpus, limit=limit, descriptors=descriptors)
            return stack.enter_context(child)

        hub = start("hub", contestant.mode, hub_cpus, peers * _PER_PEER)
        share = -(-peers // processes) * _PER_SPOKE
        mode = spokes_mode or contestant.mode
        spokes = [start("spokes", mode, spoke_cpus, share) for _ in range(processes)]
        third = None
        if contestant.introduced:
            third = start("hub", contestant.mode, hub_cpus if placement == "one" else [], 2 * peers, introducer)
        for child in (hub, *spokes, *filter(None, [third])):
            child.result("become", WAIT)
        yield Stage(hub, spokes, peers, third)


def affordable(peers: int) -> int:
    """So many connections, or as many as the limits of the system let a hub have."""
    wanted = peers * _PER_PEER + _SPARE
    limit = machine.raise_descriptor_limit(wanted)
    return peers if limit >= wanted else max(1, (limit - _SPARE) // _PER_PEER)
