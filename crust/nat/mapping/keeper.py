"""
The thread of a node that keeps ports open: ``crust-portmap``, made when the first listener is to be mapped.

It sleeps in a selector, on two sockets for each router, on the relay to a UPnP router, and on what comes from the
native thread that talks to that (:mod:`crust.runtime.native`). Everything that decides is in
:mod:`crust.nat.mapping.mapper`.
"""

from __future__ import annotations

import importlib
import logging
import pathlib
import random
import secrets
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map

from ... import limits
from ...runtime.descriptors import exhaustion
from ...runtime.threads import Spawn, Waker, abandon_selector
from ...values import dataclass
from .gateway import Gateway
from .journal import Entry, Journal
from .layers import Layers, is_global, judge_layers
from .line import Line
from .mapper import Failed, Leftover, Mapped, Unmapped
from .ways import Wanted

__all__ = ["Keeper", "Mapping", "Settings"]

NO_GATEWAY = "this machine has no default gateway over IPv4: there is no router to ask"


@dataclass(frozen=True)
class Mapping:
    """A port of a router that leads to one of our listeners."""

    wanted: Wanted
    external_ip: str
    """The router's outer address; empty if it names none."""
    external: int
    protocol: str
    """By which it was opened: ``pcp``, ``natpmp`` or ``igd``."""
    lifetime: int
    """Seconds until it must be renewed; 0: it has no end."""
    gateway: str
    layers: Layers = Layers()
    """What stands beyond the router, as far as is known."""


@dataclass(frozen=True)
class Settings:
    """What a keeper needs to know."""

    protocols: tuple[str, ...]
    """Of ``pcp``, ``natpmp``, ``igd``."""
    lifetime: int
    """Seconds to ask for."""
    description: str
    """Of our ports in a UPnP router's table."""
    folder: pathlib.Path | None
    """For the list of open ports; None: none is kept."""


class Keeper:
    """
    Keeps ports open for one node. All methods that are not the thread's own are thread-safe; none waits.

    Args:
        settings: What to do.
        gateways: Finds the routers; may block.
        spawn: Makes the thread.
        now: The clock.
        changed: Called on the thread, without a lock, when :meth:`mappings`, the failure, or where others see us has
            changed.
        bites: Told the name of a limit that has bitten; on that thread.
    """

    def __init__(
        self,
        settings: Settings,
        gateways: Callable[[], Sequence[Gateway]],
        spawn: Spawn,
        now: Callable[[], float],
        changed: Callable[[], object],
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._bites = bites
        self._settings = settings
        self._find = gateways
        self._spawn = spawn
        self._now = now
        self._changed = changed
        self._lock = threading.Lock()  # guards what other threads ask for and see, down to _look_now
        self._wanted: dict[Wanted, str] = {}
        self._running = False
        self._close_by: float | None = None
        self._mappings: tuple[Mapping, ...] = ()
        self._failure = ""
        self._seen: str | None = None
        self._look_now = False
        self._waker: Waker | None = None
        # What follows belongs to the thread.
        self._selector: selectors.BaseSelector | None = None
        self._lines: list[Line] = []
        self._told: tuple[tuple[Mapping, ...], str, str | None] = ((), "", None)
        self._journal: Journal | None = None
        self._entries: dict[Leftover, float] = {}
        self._orphans: list[Entry] = []  # of routers that are not here now
        self._unwritten = False  # the list on disk is an older one, and that has been said
        self._held: dict[tuple[Line, Wanted], Mapped] = {}
        self._failures: dict[tuple[Line, Wanted], str] = {}
        self._look_at = 0.0
        self._gateways: tuple[Gateway, ...] | None = None
        self._log = logging.getLogger("crust.nat")

    # --- for others ---------------------------------------------------------------------------------------------------

    def want(self, wanted: Map[Wanted, str]) -> None:
        """
        From now on exactly these listeners are to be mapped, each with the address that it is bound to (empty: all).
        The thread begins with the first of them.
        """
        with self._lock:
            if self._close_by is not None:
                return
            self._wanted = dict(wanted)
            if self._running or not self._wanted:
                start = False
            else:
                self._running = start = True
                self._waker = Waker()
            waker = self._waker
        if start:
            try:
                self._spawn("crust-portmap", self._run)
            except BaseException:
                with self._lock:
                    self._running = False
                self._end()
                raise
        elif waker is not None:
            waker.wake()

    def mappings(self) -> tuple[Mapping, ...]:
        """What is open now, public addresses first."""
        with self._lock:
            return self._mappings

    @property
    def failure(self) -> str:
        """Why not everything that is wanted is open; empty: it is."""
        with self._lock:
            return self._failure

    def seen_at(self, address: str | None) -> None:
        """Others see us at this IPv4 address (STUN): what the router says can be compared with it."""
        with self._lock:
            self._seen = address
            waker = self._waker
        if waker is not None:
            waker.wake()

    def look(self) -> None:
        """See at once which routers are there: the network may be another one."""
        with self._lock:
            self._look_now = True
            waker = self._waker
        if waker is not None:
            waker.wake()

    def close(self, timeout: float | None) -> None:
        """Close the ports and end the thread, within ``MAPPING_CLOSE`` seconds, or half of ``timeout``. No wait."""
        limit = limits.MAPPING_CLOSE if timeout is None else min(limits.MAPPING_CLOSE, timeout / 2)
        with self._lock:
            if self._close_by is None:
                self._close_by = self._now() + limit
            waker = self._waker
        if waker is not None:
            waker.wake()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._close_by = float("-inf")
        for line in self._lines:
            line.abandon()
        if self._waker is not None:
            self._waker.abandon()
        abandon_selector(self._selector)
        if self._journal is not None:
            self._journal.abandon()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        waker = self._waker
        assert waker is not None
        try:
            self._selector = selectors.DefaultSelector()
            self._selector.register(waker.fileno(), selectors.EVENT_READ, None)
            self._open_journal()
            while self._turn():
                for key, _ in self._selector.select(self._nap()):
                    if key.data is None:
                        waker.drain()
                    else:
                        key.data()
        finally:
            self._end()

    def _nap(self) -> float:
        now = self._now()
        if any(line.mapper.has_changes for line in self._lines):
            return 0.0
        due = [timer for line in self._lines if (timer := line.get_timer()) is not None]
        due.append(now + limits.MAPPING_CHECK)
        due.append(self._look_at if self._close_by is None else self._close_by)
        return max(0.0, min(due) - now)

    def _turn(self) -> bool:
        """Do what is due; False: it is over."""
        now = self._now()
        with self._lock:
            wanted, close_by = self._wanted, self._close_by
            look, self._look_now = self._look_now, False
        if close_by is None and (look or now >= self._look_at):
            self._look(now)
        for index, line in enumerate(self._lines):
            if close_by is not None:
                line.mapper.close(now)
            else:
                turn = index == 0 or self._failed_before(index)
                mine = [each for each, host in wanted.items() if turn and host in ("", line.gateway.local)]
                line.mapper.want(mine, now)
            line.mapper.handle_timer(now)
            self._take(line)
        self._tell()
        self._save(now)
        for line in self._lines:
            line.send(now)
        if close_by is None:
            return True
        return now < close_by and not all(line.mapper.closed for line in self._lines)

    def _failed_before(self, index: int) -> bool:
        """Whether the routers before that one open nothing: then it is its turn."""
        return all(any(each is line for each, _ in self._failures) for line in self._lines[:index])

    def _look(self, now: float) -> None:
        """Which routers are there now?"""
        self._look_at = now + limits.MAPPING_CHECK
        try:
            importlib.import_module(".definition", __package__)  # now: a file that cannot be opened is no answer either
            found = tuple(self._find())[: limits.MAPPING_GATEWAYS_MAX]
        except OSError as error:  # such as no descriptors: that says nothing about routers
            self._log.info("port mapping: the system does not tell the gateways: %s", error)
            return
        if found == self._gateways:
            return
        self._gateways = found
        for line in self._lines:
            self._orphans += [Entry(each, self._until(each)) for each in line.mapper.in_table()]
            line.close(self._selector)
        self._held.clear()
        self._failures.clear()
        self._lines = []
        for gateway in found:
            if is_global(gateway.local):
                continue  # the Internet reaches us without a router's help
            try:
                line = Line(gateway, self._settings, self._now, random.Random(secrets.randbits(64)), self._bites)
            except OSError as error:
                self._log.info("port mapping: cannot speak to the router %s: %s", gateway.address, error)
                if exhaustion(error):
                    self._gateways = None  # that passes: the next look begins anew
                continue
            assert self._selector is not None
            line.register(self._selector)
            mine = [each for each in self._orphans if each.leftover.gateway == gateway.address]
            mine = [each for each in mine if each.leftover.local == gateway.local]
            self._orphans = [each for each in self._orphans if each not in mine]
            self._entries.update({each.leftover: each.until for each in mine})
            line.mapper.sweep(each.leftover for each in mine)
            self._lines.append(line)

    def _take(self, line: Line) -> None:
        """What has changed at one router."""
        for change in line.mapper.changes():
            key = (line, change.wanted)
            if isinstance(change, Mapped):
                self._held[key] = change
                self._failures.pop(key, None)
            elif isinstance(change, Unmapped):
                self._held.pop(key, None)
            elif isinstance(change, Failed):
                self._failures[key] = change.reason

    def _tell(self) -> None:
        """Show others what has changed."""
        with self._lock:
            wanted, seen = self._wanted, self._seen
            mappings = tuple(
                Mapping(
                    each.wanted,
                    each.external_ip,
                    each.external,
                    each.protocol,
                    each.lifetime,
                    line.gateway.address,
                    judge_layers(each.external_ip, seen=seen),
                )
                for (line, _), each in self._held.items()
            )
            failure = self._why_not(wanted)
            news = mappings, failure, seen
            if news == self._told:
                return
            self._told = news
            self._mappings, self._failure = mappings, failure
        self._changed()

    def _why_not(self, wanted: Map[Wanted, str]) -> str:
        open_now = {each for _, each in self._held}
        if not wanted or open_now.issuperset(wanted):
            return ""
        if not self._lines:
            return "" if self._gateways else NO_GATEWAY
        reasons = []
        for line in self._lines:
            reasons += [
                reason for (each, what), reason in self._failures.items() if each is line and what in wanted
            ]
            if line.mapper.mismatch:
                reasons.append(judge_layers("", mismatch=True).reason)
        return "; ".join(dict.fromkeys(reasons))

    # --- the list on disk ---------------------------------------------------------------------------------------------

    def _open_journal(self) -> None:
        folder = self._settings.folder
        if folder is None:
            return
        try:
            self._journal = Journal(folder)
            self._orphans = self._journal.take_over(time.time())
            self._journal.save(self._orphans)
        except OSError as error:
            self._log.info("no list of open ports can be kept in %s: %s", folder, error)

    def _save(self, now: float) -> None:
        if self._journal is None:
            return
        self._orphans = [each for each in self._orphans if each.until > time.time()][-limits.MAPPING_LEFTOVERS_MAX :]
        entries = list(self._orphans)
        current: dict[Leftover, float] = {}
        for line in self._lines:
            for leftover in line.mapper.in_table():
                current[leftover] = self._entries.get(leftover, 0.0)
        for leftover, until in current.items():
            if until < time.time() + leftover.ask.lifetime / 4:  # new, or renewed since
                current[leftover] = self._until(leftover)
        self._entries = current
        entries += [Entry(leftover, until) for leftover, until in current.items()]
        try:
            self._journal.save(entries)
        except OSError as error:  # a full disk; it stays ours, lest somebody takes us for dead and closes our ports
            if not self._unwritten:
                self._log.info("the list of open ports cannot be written: %s", error)
            self._unwritten = True
        else:
            self._unwritten = False

    @staticmethod
    def _until(leftover: Leftover) -> float:
        return time.time() + (leftover.ask.lifetime or limits.MAPPING_LEFTOVER_AGE)

    def _end(self) -> None:
        """Whatever happened: let go of everything."""
        for line in self._lines:
            line.close(self._selector)
        if self._journal is not None:
            self._journal.close()
        with self._lock:
            waker, self._waker = self._waker, None
            self._mappings = ()
        if self._selector is not None:
            self._selector.close()
        if waker is not None:
            waker.close()
