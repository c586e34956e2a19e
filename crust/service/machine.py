"""What a node takes from the computer it runs on. ``crust.testing`` has a computer in memory instead."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..addresses import Endpoint
from ..config import Config
from ..peers.echoes import Shots
from ..runtime.clock import Clock
from ..runtime.dispatcher import Dispatcher
from ..runtime.flusher import IoLoop
from ..runtime.interfaces import InterfaceAddress, local_addresses
from ..runtime.state_folder import state_folder
from ..runtime.threads import CrashHook, Spawn, Threads
from ..transports.contract import Transport
from ..transports.tcp import TcpTransport

if TYPE_CHECKING:
    from ..nat.mapping.gateway import Gateway
    from .network.surroundings import Surroundings

__all__ = ["Machine"]


class Machine:
    """This computer: its clock, threads and network. Making one does nothing."""

    has_links = True
    """Whether its interfaces are on links, where others may be asked for."""

    def __init__(self) -> None:
        self.clock = Clock()
        """Time, and what to wait with."""
        self.serves_programs = True
        """Other programs may look at a node here: ``status.socket``, ``status.metrics``."""
        self.meters = True
        """What peers cost may be held against the clock."""

    def wall(self) -> float:
        """Seconds since the epoch. They may jump."""
        return time.time()

    def state_folder(self) -> pathlib.Path | None:
        """Where what is found out may be kept for the next start, if that is not configured; None: nowhere."""
        return state_folder(os.environ)

    def threads(self, on_crash: CrashHook) -> Threads:
        """The maker of a node's threads."""
        return Threads(on_crash)

    def loop(self, on_crash: CrashHook) -> IoLoop:
        """A node's thread for timers and writing, not started."""
        return IoLoop(on_crash, self.clock.now)

    def dispatcher(self, on_crash: CrashHook) -> Dispatcher:
        """A node's thread for callbacks, not started."""
        return Dispatcher(on_crash, self.clock)

    def transports(
        self, loop: IoLoop, spawn: Spawn, on_crash: CrashHook, config: Config
    ) -> dict[str, Transport]:
        """
        The ways out, by the scheme of their endpoints.

        Args:
            loop: The node's.
            spawn: Makes threads, for transports that read for all their connections.
            on_crash: Told of what must not happen.
            config: The node's configuration.
        """
        from ..transports.utp.transport import (
            UtpTransport,  # not before the first start: `import crust` stays cheap
        )

        return {
            "tcp": TcpTransport(loop, on_crash),
            "utp": UtpTransport(loop, spawn, on_crash, congestion=config.utp.congestion),
        }

    def datagrams(self, remote: Endpoint, local: str) -> Shots:
        """
        A socket from which datagrams go to ``remote``, from the address ``local`` if possible.

        Raises:
            OSError: There is none to be had.
        """
        from ..transports.udp_once import UdpOnce  # not before the first echo

        return UdpOnce(remote, local)

    def addresses(self, include: Iterable[str] | None, exclude: Iterable[str]) -> list[InterfaceAddress]:
        """The addresses of the interfaces that these patterns let through, those that reach farthest first."""
        return local_addresses(include, exclude)

    def surroundings(self) -> Callable[[], Surroundings] | None:
        """What shows how the network around this machine is, and may block; None if that never changes."""
        from .network.surroundings import surroundings, ways_out

        return lambda: surroundings(self.addresses(None, ()), ways_out())

    def gateways(self) -> Callable[[], Sequence[Gateway]] | None:
        """
        What finds the routers that may be asked to open ports, and may block; None if none is to be asked
        (``CRUST_PORT_MAPPING=off`` in the environment).
        """
        from ..nat.mapping.gateway import default_gateways, is_switched_off  # not before the first listener

        return None if is_switched_off() else default_gateways
