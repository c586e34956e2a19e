"""
Two ends behind their routers, and time that a test turns: what TCP plans are tried in.

The kernels know what of TCP matters before data flows: SYNs that cross, that are repeated, refused, accepted. The
routers are RFC 5382's, and track connections as Linux does: a reset closes a connection's entry, and what comes then is
a stranger's; which strangers are let in, and whether others are answered by a reset, are settings. Packets are delayed
and lost by a seeded chance, signals arrive in order, some late. Other machines behind a router open connections, too.
"""

from __future__ import annotations

import dataclasses
import errno
import heapq
import itertools
import random
from collections.abc import Callable

from crust import limits
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import (
    Action,
    Address,
    Close,
    Connect,
    Context,
    Finish,
    Note,
    Plan,
    Sample,
    Tell,
    Terrain,
    Win,
)
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode

SERVERS = [("20.0.9.1", 4000), ("20.0.9.1", 5000)]
LISTENING = 5483
SYN_TIMES = (1.0, 3.0, 7.0)  # seconds after the first SYN, on Linux before 6.5: the fewest
KEY = bytes(32)


@dataclasses.dataclass(frozen=True)
class Packet:
    """One segment: SYN, SYNACK, ACK or RST, with the numbers that make it fit."""

    kind: str
    source: Address
    to: Address
    number: int = 0
    ack: int = 0


@dataclasses.dataclass
class Entry:
    """One connection as a router tracks it."""

    inner: Address
    outer: int
    remote: Address
    closed: bool = False


@dataclasses.dataclass
class Router:
    """One router and its settings."""

    host: str
    dependent: bool = False
    """Another port for each destination."""
    step: int = 0
    """From one such port to the next; 0: random ones."""
    filtering: str = "port"
    """``port``, ``address`` or ``none``."""
    resets: bool = False
    foreign: float = 0.0
    """Connections that others begin, each second."""
    block: tuple[int, int] = (1024, 65_535)

    def __post_init__(self) -> None:
        self.random = random.Random(0)
        self.entries: dict[tuple[int, Address], Entry] = {}  # by outer port and remote
        self.inside: dict[tuple[Address, Address], Entry] = {}
        self.kept: dict[Address, int] = {}
        self.next = 40_000
        self.foreign_at = 0.0

    def out(self, packet: Packet, now: float) -> Packet:
        """Something leaves."""
        entry = self.inside.get((packet.source, packet.to))
        if entry is None or (entry.closed and packet.kind == "SYN"):
            if entry is not None:
                self.entries.pop((entry.outer, entry.remote), None)
            entry = Entry(packet.source, self._port(packet.source, now), packet.to)
            self._remember(entry)
        if packet.kind == "RST":
            entry.closed = True
        return dataclasses.replace(packet, source=(self.host, entry.outer))

    def _remember(self, entry: Entry) -> None:
        self.inside[entry.inner, entry.remote] = entry
        self.entries[entry.outer, entry.remote] = entry

    def _port(self, inner: Address, now: float) -> int:
        if not self.dependent:
            port = self.kept[inner] = inner[1]
            return port
        if not self.step:
            return self.random.randint(*self.block)
        if self.foreign:
            self.foreign_at = self.foreign_at or now
            while (pause := self.random.expovariate(self.foreign)) + self.foreign_at < now:
                self.foreign_at += pause
                self.next += self.step
        self.next += self.step
        return self.next

    def into(self, packet: Packet) -> tuple[Packet | None, Packet | None]:
        """Something comes: what goes in, and what is answered."""
        entry = self.entries.get((packet.to[1], packet.source))
        if entry is not None and not (entry.closed and packet.kind == "SYN"):
            if packet.kind == "RST":
                entry.closed = True
            return dataclasses.replace(packet, to=entry.inner), None
        inner = next((each for each, port in self.kept.items() if port == packet.to[1]), None)
        known = any(remote[0] == packet.source[0] for _, remote in self.entries)
        if packet.kind == "SYN" and inner and (self.filtering == "none" or (self.filtering == "address" and known)):
            self._remember(Entry(inner, packet.to[1], packet.source))
            return dataclasses.replace(packet, to=inner), None
        if self.resets and packet.kind == "SYN":
            return None, Packet("RST", packet.to, packet.source, ack=packet.number)
        return None, None


@dataclasses.dataclass
class Sock:
    """One end of a connection in a kernel."""

    name: str
    local: Address
    remote: Address
    number: int
    state: str = "SYN_SENT"
    peer: int = 0
    lives: int = 0  # changes when what is repeated is no longer wanted


class End:
    """One end: a kernel, a plan, and what became of it."""

    def __init__(self, world: World, router: Router, home: str) -> None:
        self.world = world
        self.router = router
        self.home: Address = (home, LISTENING)
        self.other: End
        self.plan: Plan
        self.allowance = Allowance()
        self.socks: dict[tuple[Address, Address], Sock] = {}
        self.names: dict[str, Sock] = {}
        self.ports = itertools.count(50_000)
        self.servers = itertools.cycle(SERVERS)
        self.syns: dict[Address, int] = {}
        self.most = 0
        """Connections that were under way at once."""
        self.wins: list[tuple[str, float]] = []
        self.standing: set[frozenset[int]] = set()
        self.notes: list[Note] = []
        self.finished: str | None = None
        self.told = self.asked = 0
        self.clear_at = 0.0  # of the circuit to the other end

    # --- the plan -----------------------------------------------------------------------------------------------------

    def happened(self, verb: Callable[[Plan, float], object]) -> None:
        if self.finished is not None:
            return
        verb(self.plan, self.world.now)
        for action in self.plan.actions():
            if self.finished is None:
                self._do(action)
        if self.finished is None and (due := self.plan.get_timer()) is not None and due != float("inf"):
            self.told += 1
            self.world.at(due, lambda told=self.told: self._timer(told))  # type: ignore[misc]

    def _timer(self, told: int) -> None:
        if told == self.told:
            self.happened(lambda plan, now: plan.handle_timer(now))

    def _do(self, action: Action) -> None:
        world = self.world
        if isinstance(action, Tell):
            assert len(action.body) <= limits.SIGNAL_MAX
            late = 0.25 if world.random.random() < world.loss else 0.0
            skew = world.skew if self is world.ends[0] else 0.0
            self.clear_at = max(self.clear_at, world.now + world.signal_delay + skew + late)
            world.at(self.clear_at, lambda: self.other.happened(lambda p, now: p.receive_signal(action.body, now)))
        elif isinstance(action, Connect):
            self._connect(action)
        elif isinstance(action, Close):
            self._close(action.name)
        elif isinstance(action, Sample):
            self._sample(action.socket)
        elif isinstance(action, Win):
            assert self.names[action.name].state == "ESTABLISHED"
            self.wins.append((action.name, world.now))
        elif isinstance(action, Note):
            self.notes.append(action)
        elif isinstance(action, Finish):
            self.finished = action.reason
            won = {name for name, _ in self.wins}
            for name in list(self.names):
                if name not in won:
                    self._close(name)
        else:
            raise AssertionError(f"TCP plans do not ask for {action}")

    def _sample(self, source: str) -> None:
        world, server = self.world, next(self.servers)
        self.router.inside.pop((self.home, server), None)  # the connection before was reset
        seen = self.router.out(Packet("SYN", self.home, server), world.now).source
        pause = 4 * world.server_delay
        pause += 1.0 * sum(world.random.random() < world.loss for _ in range(4))
        answer = seen if pause < limits.SAMPLE_SECONDS else None
        self.asked += 1
        asked = self.asked

        def answered() -> None:
            if asked == self.asked:  # a question that was asked anew has no answer
                self.happened(lambda plan, now: plan.sampled(source, answer, now))

        world.at(world.now + min(pause, limits.SAMPLE_SECONDS), answered)

    # --- the kernel ---------------------------------------------------------------------------------------------------

    def _failed(self, name: str, number: int) -> None:
        self.world.at(self.world.now, lambda: self.happened(lambda plan, now: plan.failed(name, number, now)))

    def _connect(self, action: Connect) -> None:
        local = self.home if action.source else (self.home[0], next(self.ports))
        if not self.allowance.syn(action.to[0]):
            self._failed(action.name, errno.EPERM)
        elif (local, action.to) in self.socks:
            self._failed(action.name, errno.EADDRNOTAVAIL)
        elif len(self.names) >= limits.PUNCH_SOCKETS_MAX:
            self._failed(action.name, errno.EMFILE)
        else:
            sock = Sock(action.name, local, action.to, self.world.fresh())
            self.socks[local, action.to] = self.names[action.name] = sock
            self.most = max(self.most, len(self.names))
            self._send_syn(sock, 0)

    def _send_syn(self, sock: Sock, times: int) -> None:
        if times and (sock.state != "SYN_SENT" or self.socks.get((sock.local, sock.remote)) is not sock):
            return
        if times and not self.allowance.syn(sock.remote[0]):
            self._drop(sock)
            self._failed(sock.name, errno.EPERM)
            return
        self.syns[sock.remote] = self.syns.get(sock.remote, 0) + 1
        self._send("SYN", sock)
        if times < len(SYN_TIMES):
            pause = SYN_TIMES[times] - (SYN_TIMES[times - 1] if times else 0.0)
            self.world.at(self.world.now + pause, lambda: self._send_syn(sock, times + 1))

    def _send(self, kind: str, sock: Sock) -> None:
        self.world.send(self, Packet(kind, sock.local, sock.remote, sock.number, sock.peer))

    def _close(self, name: str) -> None:
        sock = self.names.get(name)
        if sock is not None:
            if sock.state != "SYN_SENT":
                self._send("RST", sock)
            self._drop(sock)

    def _drop(self, sock: Sock) -> None:
        self.names.pop(sock.name, None)
        if self.socks.get((sock.local, sock.remote)) is sock:
            del self.socks[sock.local, sock.remote]

    def receive(self, packet: Packet) -> None:
        """A segment has come through the router."""
        sock = self.socks.get((packet.to, packet.source))
        if sock is None:
            if packet.kind == "SYN" and packet.to == self.home:
                sock = Sock("", packet.to, packet.source, self.world.fresh(), "SYN_RECV", packet.number)
                self.socks[packet.to, packet.source] = sock
                self._repeat(sock, 0)
            elif packet.kind in ("SYN", "SYNACK"):
                self.world.send(self, Packet("RST", packet.to, packet.source, ack=packet.number))
            return
        fits = packet.ack == sock.number
        if packet.kind == "RST":
            if fits or sock.state != "SYN_SENT":
                self._drop(sock)
                if sock.name and sock.state != "ESTABLISHED":
                    self._failed(sock.name, errno.ECONNREFUSED)
        elif packet.kind == "SYN":
            if sock.state == "SYN_SENT":
                sock.state, sock.peer = "SYN_RECV", packet.number
                self._repeat(sock, 0)
            elif sock.state == "SYN_RECV" and packet.number == sock.peer:
                self._send("SYNACK", sock)
        elif fits and sock.state != "ESTABLISHED":
            sock.state, sock.peer = "ESTABLISHED", packet.number
            self.standing.add(frozenset((sock.number, sock.peer)))
            self._send("ACK", sock)
            if sock.name:
                self.world.at(
                    self.world.now, lambda: self.happened(lambda plan, now: plan.connected(sock.name, now))
                )
        elif packet.kind == "SYNACK":
            self._send("ACK", sock)

    def _repeat(self, sock: Sock, times: int) -> None:
        """A SYN is answered, again and again."""
        if sock.state == "SYN_RECV" and self.socks.get((sock.local, sock.remote)) is sock:
            self._send("SYNACK", sock)
            if times < len(SYN_TIMES):
                self.world.at(self.world.now + 2.0**times, lambda: self._repeat(sock, times + 1))


class World:
    """
    Both ends, not started.

    Args:
        routers: Of the two.
        make: Makes a plan of a context.
        delay: Seconds one way between the two.
        skew: Seconds that signals of the first end come later than those of the second one.
        loss: Of packets; a signal that is lost comes late.
        known: Whether the ends know their own routers' kinds.
        more: More targets, of the second end, for the first one.
    """

    def __init__(
        self,
        routers: tuple[Router, Router],
        make: Callable[[Context], Plan | None],
        *,
        seed: int,
        delay: float = 0.02,
        skew: float = 0.0,
        loss: float = 0.0,
        known: bool = True,
        leads: int = 0,
        timeout: float = 15.0,
        more: tuple[Place, ...] = (),
    ) -> None:
        self.random = random.Random(seed)
        self.delay, self.skew, self.loss = delay, skew, loss
        self.server_delay = self.signal_delay = delay
        self.now = 1000.0
        self.queue: list[tuple[float, int, Callable[[], object]]] = []
        self.counter = itertools.count(1)
        self.ends = (End(self, routers[0], "192.168.1.2"), End(self, routers[1], "192.168.2.2"))
        for router in routers:
            router.random = random.Random(self.random.random())
        terrains = [self._terrain(end, known) for end in self.ends]
        for number, end in enumerate(self.ends):
            end.other = self.ends[1 - number]
            end.allowance.begin([end.other.router.host])
            context = Context(
                leads=number == leads,
                rtt=2 * delay,
                ours=terrains[number],
                theirs=terrains[1 - number],
                targets=(*terrains[1 - number].places, *(more if number == 0 else ())),
                seen=frozenset((end.other.router.host,)),
                key_out=KEY,
                key_in=KEY,
                timeout=timeout,
                uniform=self.random.random,
                random=self.random.randbytes,
            )
            plan = make(context)
            assert plan is not None
            end.plan = plan

    def _terrain(self, end: End, known: bool) -> Terrain:
        """What a node knows after a while: its port was seen by a server, and its router's kind."""
        router = end.router
        seen = router.out(Packet("SYN", end.home, ("20.0.9.1", 3478)), self.now).source
        mapping = (2 if router.dependent else 1) if known else 0
        low, high = router.block if router.dependent and not router.step and router.block != (1024, 65_535) else (0, 0)
        standing = Standing(TransportCode.TCP, 4, mapping, router.step if known else 0, low, high, router.resets)
        return Terrain((standing,), (Place(PlaceKind.REFLEXIVE, TransportCode.TCP, False, seen),))

    def fresh(self) -> int:
        """A number that nobody has."""
        return next(self.counter)

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Do that then."""
        heapq.heappush(self.queue, (when, next(self.counter), what))

    def send(self, end: End, packet: Packet) -> None:
        """A segment leaves a host."""
        packet = end.router.out(packet, self.now)
        self._travel(packet)

    def _travel(self, packet: Packet) -> None:
        if self.random.random() < self.loss:
            return
        self.at(self.now + self.delay, lambda: self._arrive(packet))

    def _arrive(self, packet: Packet) -> None:
        for end in self.ends:
            if end.router.host == packet.to[0]:
                inward, answer = end.router.into(packet)
                if inward is not None:
                    end.receive(inward)
                if answer is not None:
                    self._travel(answer)

    def run(self, seconds: float = 16.0, until: Callable[[], bool] | None = None) -> float | None:
        """Turn the clock; seconds until a connection stood at both ends, or None."""
        began = self.now
        for end in self.ends:
            end.happened(lambda plan, now: plan.start(now))
        done: float | None = None
        while self.queue and self.queue[0][0] <= began + seconds:
            self.now, _, what = heapq.heappop(self.queue)
            what()
            if done is None and self.ends[0].standing & self.ends[1].standing and any(e.wins for e in self.ends):
                done = self.now - began
                if until is None:
                    return done
            if until is not None and until():
                break
        return done


def share(runs: int, limit: float, world: Callable[[int], World]) -> float:
    """In how many of so many worlds, by seed, a connection stood in time."""
    times = [world(seed).run(limit) for seed in range(runs)]
    return sum(each is not None and each <= limit for each in times) / runs
