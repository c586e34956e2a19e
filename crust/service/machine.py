"""What a node takes from the computer it runs on. ``crust.testing`` has a computer in memory instead."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import Config
from ..runtime.clock import Clock
from ..runtime.dispatcher import Dispatcher
from ..runtime.flusher import IoLoop
from ..runtime.interfaces import InterfaceAddress, local_addresses
from ..runtime.threads import CrashHook, Spawn, Threads
from ..transports.contract import Transport
from ..transports.tcp import TcpTransport

__all__ = ["Machine"]


class Machine:
    """This computer: its clock, threads and network. Making one does nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        """Time, and what to wait with."""

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

    def addresses(self, include: Iterable[str] | None, exclude: Iterable[str]) -> list[InterfaceAddress]:
        """The addresses of the interfaces that these patterns let through, those that reach farthest first."""
        return local_addresses(include, exclude)
