"""
Two ends behind their NATs, an introducer that answers STUN, and time that a test turns: what UDP plans are tried in.

The NATs are RFC 4787's: a mapping, a filter, a way to choose ports; and some remember what came too early. Datagrams
are delayed and lost by a seeded chance, what the ends tell each other only delayed. Other machines behind a NAT begin
flows of their own.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Protocol

from crust import limits
from crust.findings import Behaviour, PortAllocation
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import (
    Action,
    Address,
    Close,
    Context,
    Finish,
    Note,
    OpenUdp,
    Plan,
    Probe,
    Proven,
    Sample,
    Tell,
    Terrain,
    Win,
)
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode

SERVERS = [("20.0.9.1", 4000), ("20.0.9.1", 5000), ("20.0.9.1", 6000)]
INDEPENDENT, DEPENDENT = Behaviour.INDEPENDENT, Behaviour.ADDRESS_AND_PORT
PRESERVED, SEQUENTIAL, RANDOM = PortAllocation.PRESERVED, PortAllocation.SEQUENTIAL, PortAllocation.RANDOM


@dataclasses.dataclass
class Nat:
    """One translator; with ``mapping`` None there is none, only the filter."""

    mapping: Behaviour | None = INDEPENDENT
    filtering: Behaviour = DEPENDENT
    ports: PortAllocation = PRESERVED
    step: int = 1
    foreign: float = 0.0
    """Flows that others behind it begin, each second."""
    remembers: bool = False
    """What comes before anything was sent there is remembered, against whoever sends there later."""
    block: tuple[int, int] = (1024, 65_536)
    """Where random ports are drawn from."""
    depth: int = 1
    """Routers on the way from the inside to this one."""

    def start(self, outer: str, seed: int) -> None:
        """Begin without any mapping."""
        self.outer = outer
        self._random = random.Random(seed)
        self._ports: dict[object, int] = {}
        self._inner: dict[int, Address] = {}
        self._sent: dict[int, set[Address]] = {}
        self._early: set[tuple[Address, int]] = set()
        self._next = self._random.randrange(20_000, 40_000)

    def take(self) -> None:
        """Somebody else gets a port."""
        self._next += self.step

    def out(self, local: Address, remote: Address) -> Address:
        """A packet leaves: its outer address."""
        port = local[1] if self.mapping is None else self._port(local, remote)
        self._inner[port] = local
        self._sent.setdefault(port, set()).add(remote)
        return self.outer, port

    def _port(self, local: Address, remote: Address) -> int:
        keys: dict[Behaviour | None, object] = {
            Behaviour.INDEPENDENT: local,
            Behaviour.ADDRESS: (local, remote[0]),
            Behaviour.ADDRESS_AND_PORT: (local, remote),
        }
        key = keys[self.mapping]
        port = self._ports.get((local, remote), self._ports.get(key))
        if port is None:
            port = self._ports[key] = self._new_port(local)
        if (remote, port) in self._early and remote not in self._sent.get(port, ()):
            port = self._ports[local, remote] = self._random.randrange(*self.block)
        return port

    def _new_port(self, local: Address) -> int:
        if self.ports is SEQUENTIAL:
            self._next += self.step
            return self._next
        if self.ports is PRESERVED and local[1] not in self._inner:
            return local[1]
        while (port := self._random.randrange(*self.block)) in self._inner:
            pass
        return port

    def into(self, remote: Address, port: int) -> Address | None:
        """A packet comes: whom it is for, if it gets through."""
        local, sent = self._inner.get(port), self._sent.get(port, set())
        passes = local is not None and (
            self.filtering is Behaviour.INDEPENDENT
            or remote in sent
            or self.filtering is Behaviour.ADDRESS
            and remote[0] in {ip for ip, _ in sent}
        )
        if not passes and self.remembers:
            self._early.add((remote, port))
        return local if passes else None

    def standing(self, low: int = 0, high: int = 0, *, known: bool = True) -> Standing:
        """What a node behind it knows of it."""
        dependent = self.mapping not in (None, INDEPENDENT)
        step = self.step if dependent and self.ports is SEQUENTIAL else 0
        return Standing(TransportCode.UTP, 4, (2 if dependent else 1) if known else 0, step, low, high, False)


class Making(Protocol):
    """Makes a plan, as a `crust.nat.methods.Method` does."""

    def __call__(self, context: Context, /) -> Plan | None: ...


class End:
    """One of the two."""

    def __init__(self, number: int, nat: Nat, seed: int) -> None:
        self.nat = nat
        nat.start(f"20.0.{number}.1", seed)
        self.host = f"192.168.{number}.2" if nat.mapping is not None else nat.outer
        self.ports = itertools.count(50_000 + 7 * number)
        self.sockets: dict[str, Address] = {}
        self.names: dict[Address, str] = {}
        self.asked: dict[str, int] = {}
        self.allowance = Allowance()
        self.plan: Plan | None = None
        self.started = False
        self.early: list[bytes] = []  # signals before the plan began
        self.open("udp4")
        self.wins: list[tuple[float, Win]] = []
        self.proven: list[str] = []
        self.notes: list[Note] = []
        self.finished: str | None = None
        self.probes: list[tuple[float, Probe]] = []
        self.samples = 0
        self.most_open = 0

    def open(self, name: str) -> None:
        local = self.host, next(self.ports)
        self.sockets[name] = local
        self.names[local] = name


class World:
    """Two ends, and what is between them."""

    def __init__(
        self,
        one: Nat,
        other: Nat,
        make: Making,
        *,
        rtt: float = 0.04,
        loss: float = 0.0,
        skew: float = 0.0,
        seed: int = 1,
        known: bool = True,
        lan: bool = False,
        timeout: float = 15.0,
        blocks: bool = False,
        lies: tuple[Address, ...] = (),
    ) -> None:
        self.now = 0.0
        self.rtt, self._loss = rtt, loss
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._told: dict[End, float] = {}
        self.ends = End(1, one, seed), End(2, other, seed + 1000)
        self._by_address: dict[str, End] = {end.nat.outer: end for end in self.ends}
        terrains = [self._terrain(end, known, lan, blocks) for end in self.ends]
        keys = self._random.randbytes(32), self._random.randbytes(32)
        for number, end in enumerate(self.ends):
            ours, theirs = terrains[number], terrains[1 - number]
            there = self.ends[1 - number]
            extra = tuple(Place(PlaceKind.REFLEXIVE, TransportCode.UTP, False, each) for each in lies)
            context = Context(
                leads=number == 0,
                rtt=rtt,
                ours=ours,
                theirs=theirs,
                targets=theirs.places + extra,
                seen=frozenset({there.nat.outer}),
                key_out=keys[number],
                key_in=keys[1 - number],
                timeout=timeout,
                uniform=self._random.random,
                random=self._random.randbytes,
            )
            end.allowance.begin(context.seen)
            end.plan = make(context)
            self.at(skew * number, lambda end=end: self._start(end))
            if end.nat.foreign:
                self._foreign(end)

    def _terrain(self, end: End, known: bool, lan: bool, blocks: bool) -> Terrain:
        mapped = end.nat.out(end.sockets["udp4"], SERVERS[0])
        seen = [end.nat.out(end.sockets["udp4"], server)[1] for server in SERVERS]
        places = [Place(PlaceKind.REFLEXIVE, TransportCode.UTP, False, mapped)]
        if lan:
            places.insert(0, Place(PlaceKind.INTERFACE, TransportCode.UTP, False, end.sockets["udp4"]))
        low, high = (min(seen), max(seen)) if blocks else (0, 0)
        return Terrain((end.nat.standing(low, high, known=known),), tuple(places))

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, when: float, function: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._events, (when, next(self._order), function))

    def run(self, until: float = 30.0) -> World:
        """Until both have won, or given up, and nothing is left to be done."""
        while not all(end.finished is not None or end.plan is None for end in self.ends):
            self.step(until)
        return self

    def step(self, until: float = 30.0) -> None:
        """The next that happens."""
        timers = [
            timer
            for end in self.ends
            if end.started and end.finished is None and end.plan and (timer := end.plan.get_timer()) is not None
        ]
        times = [*timers, *(event[0] for event in self._events[:1])]
        assert times, "plans that are not over wait for nothing"
        self.now = max(self.now, min(times))
        assert self.now < until, "plans that never end"
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        for end in self.ends:
            timer = end.plan.get_timer() if end.plan is not None and end.started else None
            if timer is not None and timer <= self.now and end.finished is None:
                self.tell(end, lambda plan: plan.handle_timer(self.now))

    @property
    def met_at(self) -> float | None:
        """When both knew which way to take, if it is the same one; None: they never did."""
        one, other = self.ends
        if not one.wins or not other.wins:
            return None
        (at, win), (later, answer) = one.wins[-1], other.wins[-1]
        here = one.nat.out(one.sockets[win.name], win.remote)
        there = other.nat.out(other.sockets[answer.name], answer.remote)
        near = (one.sockets[win.name], other.sockets[answer.name]) == (answer.remote, win.remote)
        return max(at, later) if near or (here, there) == (answer.remote, win.remote) else None

    def tell(self, end: End, verb: Callable[[Plan], object]) -> None:
        """Something happens to a plan; what it asks for is done."""
        if end.plan is None or end.finished is not None:
            return
        verb(end.plan)
        while end.finished is None and (asked := tuple(end.plan.actions())):
            for action in asked:
                if end.finished is None:
                    self._do(end, action)

    def _start(self, end: End) -> None:
        end.started = True
        self.tell(end, lambda plan: plan.start(self.now))
        for body in end.early:
            self.tell(end, lambda plan, body=body: plan.receive_signal(body, self.now))

    def _foreign(self, end: End) -> None:
        end.nat.take()
        self.at(self.now + self._random.expovariate(end.nat.foreign), lambda: self._foreign(end))

    # --- what plans ask for -------------------------------------------------------------------------------------------

    def _do(self, end: End, action: Action) -> None:
        if isinstance(action, Probe):
            self._probe(end, action)
        elif isinstance(action, OpenUdp):
            end.open(action.name)
            end.most_open = max(end.most_open, len(end.sockets))
        elif isinstance(action, Close):
            end.names.pop(end.sockets.pop(action.name))
        elif isinstance(action, Sample):
            self._sample(end, action.socket)
        elif isinstance(action, Tell):
            self._signal(end, action.body)
        elif isinstance(action, Win):
            assert action.name in end.sockets
            end.wins.append((self.now, action))
        elif isinstance(action, Proven):
            end.proven.append(action.host)
            end.allowance.answered(action.host)
        elif isinstance(action, Note):
            end.notes.append(action)
        else:
            assert isinstance(action, Finish), action
            end.finished = action.reason

    def _lost(self) -> bool:
        return self._random.random() < self._loss

    def _probe(self, end: End, action: Probe) -> None:
        local = end.sockets.get(action.socket)
        if local is None or not end.allowance.probe(action.to[0]):
            return
        end.probes.append((self.now, action))
        there = next((each for each in self.ends if each.host == action.to[0] and each is not end), None)
        if there is not None and there.nat.mapping is not None:  # on the same LAN
            if action.to in there.names:
                self.at(self.now + 0.001, lambda: self._receive(there, action.to, local, action.data))
            return
        if action.ttl is not None and action.ttl < end.nat.depth:
            return
        outer = end.nat.out(local, action.to)
        if action.ttl is None and not self._lost():
            self.at(self.now + self.rtt / 2, lambda: self._arrive(outer, action.to, action.data))

    def _arrive(self, source: Address, to: Address, data: bytes) -> None:
        end = self._by_address.get(to[0])
        inner = end.nat.into(source, to[1]) if end is not None else None
        if end is not None and inner is not None:
            self._receive(end, inner, source, data)

    def _receive(self, end: End, local: Address, source: Address, data: bytes) -> None:
        name = end.names.get(local)
        if name is not None and end.started:
            self.tell(end, lambda plan: plan.receive_datagram(name, source, data, self.now))

    def _signal(self, end: End, body: bytes) -> None:
        other = self.ends[1 - self.ends.index(end)]
        delay = self.rtt / 2 + (0.2 if self._lost() else 0.0)  # TCP sends it again
        when = self._told[end] = max(self._told.get(end, 0.0), self.now + delay)

        def arrive() -> None:
            if other.started:
                self.tell(other, lambda plan: plan.receive_signal(body, self.now))
            else:
                other.early.append(body)

        self.at(when, arrive)

    def _sample(self, end: End, name: str) -> None:
        local, asked = end.sockets[name], end.asked.get(name, 0)
        end.asked[name] = asked + 1
        end.samples += 1
        server = SERVERS[asked % len(SERVERS)]
        done: list[bool] = []

        def answer(address: Address | None) -> None:
            if not done and name in end.sockets:
                done.append(True)
                self.tell(end, lambda plan: plan.sampled(name, address, self.now))

        def ask() -> None:
            if not done and name in end.sockets:
                outer = end.nat.out(local, server)
                if not self._lost() and not self._lost():
                    self.at(self.now + self.rtt, lambda: answer(outer))

        ask()
        for again in limits.SAMPLE_SCHEDULE[1:]:
            self.at(self.now + again, ask)
        self.at(self.now + limits.SAMPLE_TIMEOUT, lambda: answer(None))


def times(make: Making, nats: Callable[[], tuple[Nat, Nat]], count: int, **settings: object) -> list[float]:
    """When two ends met, in so many worlds; those that did not are left out."""
    found = []
    for seed in range(count):
        one, other = nats()
        met = World(one, other, make, seed=seed, **settings).run().met_at  # type: ignore[arg-type]
        if met is not None:
            found.append(met)
    return sorted(found)
