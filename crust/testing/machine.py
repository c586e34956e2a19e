"""The computer in memory that a node runs on: real threads, virtual time, and a network without sockets."""

from __future__ import annotations

import errno
import fnmatch
import threading
import time
import weakref
from collections.abc import Callable, Iterable

from ..addresses import Endpoint
from ..config import Config
from ..peers.echoes import Shots
from ..runtime.flusher import IoLoop, Nap
from ..runtime.interfaces import InterfaceAddress
from ..runtime.threads import CrashHook, Deadline, Spawn, Threads, forward_interrupt
from ..service.machine import Machine
from ..transports.contract import Transport
from .cables import LOOPBACK, Cables, Host
from .clock import VirtualClock
from .transport import MemoryTransport

__all__ = ["MemoryMachine", "VirtualLoop", "VirtualThreads"]

_DAY = 1_800_000_000.0  # seconds since the epoch
_INTERFACE = "mem0"  # the one interface of a host, beside loopback


class VirtualThreads(Threads):
    """Threads that the clock knows of, from before they start to their end."""

    def __init__(self, on_crash: CrashHook, clock: VirtualClock) -> None:
        super().__init__(on_crash)
        self._clock = clock
        self._ended = clock.condition()
        self._over: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # they have ended, or are about to

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread; it is busy from now on."""
        ticket = self._clock.announce(name)
        try:
            return super().spawn(name, self._work, ticket, target, args)
        except BaseException:
            self._clock.end(ticket)
            raise

    def _work(self, ticket: object, target: Callable[..., object], args: tuple[object, ...]) -> None:
        self._clock.begin(ticket)
        try:
            target(*args)
        except BaseException as error:
            self.on_crash(threading.current_thread().name, error)
        finally:
            with self._ended:
                self._over.add(threading.current_thread())
                self._ended.notify_all()
            self._clock.end()

    def join(self, deadline: Deadline, but: Iterable[str] = ()) -> list[str]:
        """Wait for all threads but the calling one and those named; the names of those still running."""
        me = threading.current_thread()
        left_out = frozenset(but)
        with self._ended:
            while True:
                others = [each for each in self._running() if each is not me and each.name not in left_out]
                waiting = [each for each in others if each not in self._over]
                if not waiting or deadline.expired:
                    break
                self._ended.wait(deadline.remaining())
        for each in others:
            if each not in waiting:
                each.join()  # its work is done
        return sorted(each.name for each in waiting)


class VirtualLoop(IoLoop):
    """A loop that sleeps on the virtual clock. It has no descriptors and watches no sockets."""

    def __init__(self, on_crash: CrashHook, clock: VirtualClock) -> None:
        super().__init__(on_crash, clock.now)
        self._roused = clock.event()

    def start(self, spawn: Spawn) -> None:
        """Start the thread ``crust-io``."""
        self._running = True
        try:
            spawn("crust-io", self._run)
        except BaseException:
            self._running = False
            raise

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping = True
        self._roused.set()

    def _rouse(self, nap: Nap) -> None:
        self._roused.set()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            while self._goes_on():
                try:
                    self._turn_virtually()
                except KeyboardInterrupt as error:
                    if not forward_interrupt(error):
                        raise
        finally:
            self._ident = None
            self._running = False
            self._run_requests()
            self.flushes.clear()

    def _turn_virtually(self) -> None:
        while self._goes_on():
            self._run_timers()
            self._run_requests()
            self._run_flushes()
            if self.flushes or self._requests or self._new_timers:
                time.sleep(0)
            else:
                self._sleep_virtually()

    def _sleep_virtually(self) -> None:
        due = self._timers.next_due()
        self._nap = Nap(float("inf") if due is None else due)
        if not (self._stopping or self.flushes or self._requests or self._new_timers):
            self._roused.wait(None if due is None else due - self.now())
        self._roused.clear()
        self._nap = None


class MemoryMachine(Machine):
    """
    A computer of its own on a network in memory.

    Args:
        clock: The network's.
        cables: The network.
        host: The computer's place in it.
    """

    has_links = False

    def __init__(self, clock: VirtualClock, cables: Cables, host: Host) -> None:
        self.clock: VirtualClock = clock
        self._cables = cables
        self.host = host
        self.serves_programs = False  # they would wait by the real time
        self.meters = False  # work takes no time here

    def wall(self) -> float:
        """The virtual time, counted from a day in 2027."""
        return _DAY + self.clock.now()

    def state_folder(self) -> None:
        """Nothing is kept, unless the configuration names a file."""
        return None

    def threads(self, on_crash: CrashHook) -> VirtualThreads:
        """Threads that the clock knows."""
        return VirtualThreads(on_crash, self.clock)

    def loop(self, on_crash: CrashHook) -> VirtualLoop:
        """A loop whose timers go by the virtual clock."""
        return VirtualLoop(on_crash, self.clock)

    def transports(
        self, loop: IoLoop, spawn: Spawn, on_crash: CrashHook, config: Config
    ) -> dict[str, Transport]:
        """What stands in for TCP, and for µTP."""
        return {name: MemoryTransport(self._cables, self.host, loop, on_crash, name) for name in ("tcp", "utp")}

    def datagrams(self, remote: Endpoint, local: str) -> Shots:
        """There are no datagrams here."""
        raise OSError(errno.ENETUNREACH, "a network in memory carries no datagrams", str(remote))

    def addresses(self, include: Iterable[str] | None, exclude: Iterable[str]) -> list[InterfaceAddress]:
        """The addresses of the one interface, ``mem0``, and of loopback."""
        wanted = None if include is None else tuple(include)
        unwanted = tuple(exclude)
        return [
            InterfaceAddress(interface, ip, ip.max_prefixlen)
            for interface, ips in ((_INTERFACE, self.host.addresses), ("lo", LOOPBACK))
            for ip in ips
            if (wanted is None or _matches(interface, wanted)) and not _matches(interface, unwanted)
        ]

    def surroundings(self) -> None:
        """The network in memory stays as it is; what becomes of its lines, sessions notice."""
        return None

    def gateways(self) -> None:
        """There is no router in memory."""
        return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
