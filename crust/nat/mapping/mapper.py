"""
The plan for one router, sans-IO: which protocol to use, and each listener's mapping, made, renewed, watched, removed.

All protocols are tried at once: each is asked whether it is there, which changes nothing in the router. A port is then
asked for by the best one that has answered; one that answers first waits for better ones for a moment
(:data:`crust.limits.MAPPING_GRACE`). So the router's table never has the same port twice. A protocol that refuses is
followed by the next.

The owner sends what :meth:`Mapper.datagrams` and :meth:`Mapper.searches` give, makes the calls of
:meth:`Mapper.next_job`, brings back what comes, and calls :meth:`Mapper.handle_timer` when :meth:`Mapper.get_timer`
says; then takes :meth:`Mapper.changes`.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Collection, Iterable, Sequence

from ... import limits
from ...values import dataclass
from .datagram_way import DatagramWay
from .gateway import Gateway
from .igd_way import IgdWay, Job
from .lease import Lease, first_port, other_port
from .natpmp_way import NatPmpWay
from .pcp import NONCE_SIZE
from .pcp_way import PcpWay
from .ways import (
    Absent,
    Ask,
    Granted,
    Outcome,
    Ready,
    Refusal,
    Refused,
    Removed,
    Restarted,
    Vanished,
    Wanted,
    Way,
    WayState,
)

__all__ = ["Failed", "Leftover", "Mapped", "Mapper", "Unmapped"]

_ORDER = ("pcp", "natpmp", "igd")


@dataclass(frozen=True)
class Mapped:
    """A listener can be reached at a port of the router, or: at another one than before."""

    wanted: Wanted
    external_ip: str
    """The router's outer address, as it says; empty if it does not say."""
    external: int
    protocol: str
    """``pcp``, ``natpmp`` or ``igd``."""
    lifetime: int
    """Seconds granted; 0: without end."""


@dataclass(frozen=True)
class Unmapped:
    """It no longer can."""

    wanted: Wanted


@dataclass(frozen=True)
class Failed:
    """The router opens no port for a listener."""

    wanted: Wanted
    reason: str


@dataclass(frozen=True)
class Leftover:
    """A mapping that may be in the router's table, for the list on disk."""

    gateway: str
    local: str
    protocol: str
    """The way: ``pcp``, ``natpmp`` or ``igd``."""
    ask: Ask


class _Want:
    """What is known of one listener."""

    def __init__(self, wanted: Wanted, external: int, nonce: bytes) -> None:
        self.wanted = wanted
        self.external = external
        self.nonce = nonce
        self.lease: Lease | None = None
        self.way: Way | None = None
        """Who has the mapping, or is asked for it."""
        self.asking = False
        self.stands = False  # what is being renewed is in the router's table, as far as we know
        self.refused: dict[str, str] = {}  # by protocol
        self.tries = 0
        self.permanent = False
        self.failure = ""
        self.failed = False  # by all protocols, since they were looked for last


class Mapper:
    """
    Args:
        gateway: The router.
        protocols: Which to try, of ``pcp``, ``natpmp``, ``igd``.
        lifetime: Seconds to ask for.
        source: Of random ports.
        make_nonce: Makes ``n`` random bytes.
    """

    def __init__(
        self,
        gateway: Gateway,
        protocols: Collection[str],
        lifetime: int,
        source: random.Random,
        make_nonce: Callable[[int], bytes],
    ) -> None:
        self.gateway = gateway
        self._lifetime = lifetime
        self._source = source
        self._make_nonce = make_nonce
        ways: dict[str, Callable[[], Way]] = {
            "pcp": lambda: PcpWay(gateway.local),
            "natpmp": NatPmpWay,
            "igd": lambda: IgdWay(gateway.address),
        }
        self.ways = {name: ways[name]() for name in _ORDER if name in protocols}
        self._wants: dict[Wanted, _Want] = {}
        self._changes: collections.deque[Mapped | Unmapped | Failed] = collections.deque()
        self._leftovers: dict[str, list[Ask]] = {}
        self._removing: list[tuple[str, Ask]] = []
        self._unsure: list[tuple[str, Ask]] = []  # the router did not say that it removed them
        self._started: float | None = None
        self._graceful = False  # the time for which a better way is waited for is not over
        self._retry_at: float | None = None
        self._retry_after = limits.MAPPING_RETRY
        self._check_at = float("inf")
        self._restart_at = float("-inf")  # until then a restart is not believed
        self._closing = False
        self.mismatch = False
        """The router saw another address than ours on our packets."""

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def want(self, wanted: Iterable[Wanted], now: float) -> None:
        """From now on exactly these listeners are to be mapped."""
        wanted = list(dict.fromkeys(wanted))
        for each in [each for each in self._wants if each not in wanted]:
            self._drop(self._wants.pop(each), now)
        new = [each for each in wanted if each not in self._wants]
        for each in new:
            self._wants[each] = self._make(each)
        if new and (self._started is None or self._retry_at is not None):
            self._probe(now)
        self._step(now)

    def _make(self, wanted: Wanted) -> _Want:
        for asks in self._leftovers.values():
            for ask in asks:
                if (
                    ask.wanted == wanted
                ):  # ours, from before a crash: the router gives it back to who knows the nonce
                    asks.remove(ask)
                    return _Want(wanted, ask.external, ask.nonce or self._make_nonce(NONCE_SIZE))
        return _Want(wanted, first_port(wanted.port, self._source), self._make_nonce(NONCE_SIZE))

    def sweep(self, leftovers: Iterable[Leftover]) -> None:
        """Remove these mappings of a node that crashed, as soon as their protocol is there. Before :meth:`want`."""
        for each in leftovers:
            if (
                each.gateway == self.gateway.address
                and each.local == self.gateway.local
                and each.protocol in self.ways
            ):
                self._leftovers.setdefault(each.protocol, []).append(each.ask)

    def close(self, now: float) -> None:
        """Remove all mappings: :attr:`closed` follows."""
        self._closing = True
        self.want((), now)
        for way in self.ways.values():
            for outcome in way.outcomes():
                self._take(way, outcome, now)

    @property
    def closed(self) -> bool:
        """After :meth:`close`: nothing is left to be removed, or to wait for."""
        return self._closing and not self._removing

    def in_table(self) -> list[Leftover]:
        """All mappings that may be in the router's table now."""
        local, address = self.gateway.local, self.gateway.address
        found = [
            Leftover(address, local, name, ask) for name, asks in self._leftovers.items() for ask in asks
        ]
        found += [Leftover(address, local, name, ask) for name, ask in (*self._removing, *self._unsure)]
        for want in self._wants.values():
            if want.way is not None and (want.asking or want.lease is not None):
                ask = want.lease.ask if want.lease is not None else self._ask_of(want)
                found.append(Leftover(address, local, want.way.name, ask))
        return list(dict.fromkeys(found))

    def _drop(self, want: _Want, now: float) -> None:
        if want.lease is not None:
            self._changes.append(Unmapped(want.wanted))
        if want.way is None or (want.lease is None and not want.asking):
            return
        ask = want.lease.ask if want.lease is not None else self._ask_of(want)
        self._remove(want.way, ask, now)
        want.way, want.lease, want.asking = None, None, False

    def _remove(self, way: Way, ask: Ask, now: float) -> None:
        if (way.name, ask) not in self._removing:
            self._removing.append((way.name, ask))
            way.remove(ask, now)

    # --- which way ----------------------------------------------------------------------------------------------------

    def _probe(self, now: float) -> None:
        self._started = now
        self._graceful = True
        self._retry_at = None
        for want in self._wants.values():
            want.refused.clear()
            want.tries, want.permanent, want.failed = 0, False, False
        for way in self.ways.values():
            way.state = WayState.UNKNOWN
            way.probe(now)

    def _step(self, now: float) -> None:
        """Go on with every listener as far as it goes."""
        for _ in range(4):  # what one way says may decide about another
            for way in self.ways.values():
                for outcome in way.outcomes():
                    self._take(way, outcome, now)
            for want in self._wants.values():
                if want.lease is None and not want.asking:
                    self._choose(want, now)

    def _choose(self, want: _Want, now: float) -> None:
        if self._started is None or want.failed:
            return
        waiting = False
        for way in self.ways.values():
            if way.name in want.refused:
                continue
            if way.state is WayState.READY:
                self._ask(want, way, now)
                return
            if way.state is WayState.UNKNOWN:
                waiting = True
                if self._graceful:
                    return  # a better one may still answer
        if not waiting:
            self._fail(want, now)

    def _ask(self, want: _Want, way: Way, now: float) -> None:
        want.way, want.asking = way, True
        way.ask(self._ask_of(want), now)

    def _ask_of(self, want: _Want) -> Ask:
        lifetime = 0 if want.permanent and isinstance(want.way, IgdWay) else self._lifetime
        return Ask(want.wanted, want.external, lifetime, want.nonce)

    def _fail(self, want: _Want, now: float) -> None:
        reasons = [
            f"{way.title}: {want.refused.get(way.name) or way.reason or 'no answer'}"
            for way in self.ways.values()
        ]
        reason = f"the router {self.gateway.address} opens no port ({'; '.join(reasons)})"
        if self._retry_at is None:  # the other listeners go on meanwhile
            self._retry_at = now + self._retry_after
            self._retry_after = min(2 * self._retry_after, limits.MAPPING_RETRY_MAX)
        want.failed = True
        if want.failure != reason:
            want.failure = reason
            self._changes.append(Failed(want.wanted, reason))

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def _take(self, way: Way, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Ready):
            self._ready(way, now)
        elif isinstance(outcome, Granted):
            self._granted(way, outcome, now)
        elif isinstance(outcome, Refused):
            self._refused(way, outcome, now)
        elif isinstance(outcome, Removed):
            if not outcome.sure and (way.name, outcome.ask) in self._removing:
                self._doubt((way.name, outcome.ask))
            self._removing = [each for each in self._removing if each != (way.name, outcome.ask)]
        elif isinstance(outcome, Restarted):
            if now >= self._restart_at:  # ages that jump with each answer would have us ask without end
                self._restart_at = now + limits.MAPPING_RESTART
                self._ask_again([each for each in self._wants.values() if each.way is way], now)
        elif isinstance(outcome, Vanished):
            held = self._wants.get(outcome.ask.wanted)
            if held is not None and held.lease is not None and held.lease.ask == outcome.ask:
                self._ask_again([held], now)
        elif isinstance(outcome, Absent):
            self._doubt(*(each for each in self._removing if each[0] == way.name))
            self._removing = [each for each in self._removing if each[0] != way.name]

    def _doubt(self, *removals: tuple[str, Ask]) -> None:
        """Nobody said that these are gone. The last ones are listed: a router may never answer, and ports change."""
        self._unsure = [*self._unsure, *removals][-limits.MAPPING_LEFTOVERS_MAX :]

    def _ready(self, way: Way, now: float) -> None:
        for ask in self._leftovers.pop(way.name, []):
            self._remove(way, ask, now)
        if not way.external_ip:
            return
        for want in self._wants.values():
            lease = want.lease
            if want.way is way and lease is not None and lease.external_ip != way.external_ip:
                lease.external_ip = way.external_ip
                self._tell(want)

    def _ask_again(self, wants: Sequence[_Want], now: float) -> None:
        for want in wants:
            if want.lease is not None and not want.asking and want.way is not None:
                want.external = want.lease.ask.external
                want.tries, want.stands = 0, False
                self._ask(want, want.way, now)

    def _granted(self, way: Way, granted: Granted, now: float) -> None:
        want = self._wants.get(granted.ask.wanted)
        if want is None or want.way is not way or not want.asking:
            self._remove(way, Ask(granted.ask.wanted, granted.external, 0, granted.ask.nonce), now)
            return
        before = want.lease
        want.asking, want.failure, want.tries = False, "", 0
        want.lease = Lease.of(granted, now)
        want.external = granted.external
        self._retry_after = limits.MAPPING_RETRY
        if self._check_at == float("inf"):
            self._check_at = now + limits.MAPPING_CHECK
        after = want.lease
        if before is None or (before.ask.external, before.external_ip) != (
            granted.external,
            after.external_ip,
        ):
            self._tell(want)

    def _tell(self, want: _Want) -> None:
        assert want.lease is not None and want.way is not None
        lease = want.lease
        self._changes.append(
            Mapped(want.wanted, lease.external_ip, lease.ask.external, want.way.name, lease.lifetime)
        )

    def _refused(self, way: Way, refused: Refused, now: float) -> None:
        want = self._wants.get(refused.ask.wanted)
        if want is None or want.way is not way or not want.asking:
            return
        want.asking = False
        if refused.kind is Refusal.BEHIND_NAT:
            self.mismatch = True
        if refused.kind is Refusal.PERMANENT_ONLY and not want.permanent and isinstance(way, IgdWay):
            want.permanent = True
            self._ask(want, way, now)
            return
        lease = want.lease
        if lease is not None and not lease.is_over(now) and (want.stands or refused.kind is not Refusal.CONFLICT):
            # One failure is no reason to let go of a port that others know: it is tried again before its time is up.
            if want.stands:
                lease.missed(now)
            else:
                lease.renew_at = min(lease.renew_at, now + limits.MAPPING_CHECK)
            return
        if self._next_port(want, refused.kind):
            want.tries += 1
            self._ask(want, way, now)
            return
        self._lose(want)
        want.refused[way.name] = refused.reason
        want.way = None

    def _next_port(self, want: _Want, kind: Refusal) -> bool:
        """Whether there is another outer port to try."""
        if want.tries + 1 >= limits.MAPPING_PORT_TRIES:
            return False
        if kind is Refusal.CONFLICT:
            want.external = other_port(want.external, self._source)
            return True
        if kind is Refusal.SAME_PORT and want.external != want.wanted.port >= limits.MAPPING_PORT_MIN:
            want.external = want.wanted.port
            return True
        return False

    def _lose(self, want: _Want) -> None:
        if want.lease is not None:
            want.lease = None
            self._changes.append(Unmapped(want.wanted))

    # --- for the owner ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the router's port for PCP and NAT-PMP."""
        for way in self.ways.values():
            if isinstance(way, DatagramWay):
                way.receive(data, now)
        self._step(now)

    def unreachable(self, now: float) -> None:
        """The router says that nobody is at that port."""
        for way in self.ways.values():
            if isinstance(way, DatagramWay):
                way.unreachable()
        self._step(now)

    def receive_answer(self, data: bytes, source: str, now: float) -> None:
        """A datagram to the socket that searches for UPnP routers."""
        way = self.ways.get("igd")
        if isinstance(way, IgdWay):
            way.receive_answer(data, source, now)
        self._step(now)

    def datagrams(self) -> list[bytes]:
        """What is to be sent to the router's port for PCP and NAT-PMP."""
        return [
            data
            for way in self.ways.values()
            if isinstance(way, DatagramWay)
            for data in way.datagrams()
        ]

    def searches(self) -> list[bytes]:
        """What is to be sent to find UPnP routers."""
        way = self.ways.get("igd")
        return way.datagrams() if isinstance(way, IgdWay) else []

    def next_job(self, now: float) -> Job | None:
        """The next call to a UPnP router, if none is under way."""
        way = self.ways.get("igd")
        return way.next_job(now) if isinstance(way, IgdWay) else None

    def job_done(self, job: Job, result: object, now: float) -> None:
        """What it returned, or the :class:`~crust.nat.mapping.igd.IgdError` that it raised."""
        way = self.ways.get("igd")
        if isinstance(way, IgdWay):
            way.job_done(job, result, now)
        self._step(now)

    def lost_thread(self, reason: str, now: float) -> None:
        """No calls to UPnP routers can be made."""
        way = self.ways.get("igd")
        if isinstance(way, IgdWay):
            way.lost_thread(reason)
        self._step(now)

    def changes(self) -> list[Mapped | Unmapped | Failed]:
        """What has changed since the last call."""
        found = list(self._changes)
        self._changes.clear()
        return found

    @property
    def has_changes(self) -> bool:
        """Whether :meth:`changes` has something."""
        return bool(self._changes)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never."""
        due = [timer for way in self.ways.values() if (timer := way.get_timer()) is not None]
        for want in self._wants.values():
            if want.lease is not None and not want.asking:
                due.append(min(want.lease.renew_at, want.lease.expires_at))
        if self._retry_at is not None:
            due.append(self._retry_at)
        if self._started is not None and self._graceful:
            due.append(self._started + limits.MAPPING_GRACE)
        due.append(self._check_at)
        first = min(due)
        return None if first == float("inf") else first

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._started is not None and now >= self._started + limits.MAPPING_GRACE:
            self._graceful = False
        for way in self.ways.values():
            way.handle_timer(now)
        self._step(now)
        if self._retry_at is not None and now >= self._retry_at:
            self._probe(now)
        self._renew(now)
        if now >= self._check_at:
            self._check(now)
        for way in self.ways.values():  # what the steps above want to be sent goes out now
            way.handle_timer(now)
        self._step(now)

    def _renew(self, now: float) -> None:
        for want in self._wants.values():
            lease = want.lease
            if lease is None or want.asking or want.way is None:
                continue
            if lease.is_over(now):
                self._lose(want)
                want.way = None
                self._probe(now)
            elif now >= lease.renew_at:
                want.external, want.tries, want.stands = lease.ask.external, 0, True
                self._ask(want, want.way, now)

    def _check(self, now: float) -> None:
        held: dict[str, list[Ask]] = {}
        for want in self._wants.values():
            if want.lease is not None and want.way is not None:
                held.setdefault(want.way.name, []).append(want.lease.ask)
        self._check_at = now + limits.MAPPING_CHECK if held else float("inf")
        for name, asks in held.items():
            self.ways[name].check(asks, now)
