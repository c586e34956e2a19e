"""
A home, its NAT, and a STUN server with two addresses, on a clock that the test turns: what the plans are tried in.

The NAT is RFC 4787's: a mapping, a filter, a way to choose ports. The server is RFC 5780's. Packets are delayed and
lost by a seeded chance.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterable

from crust.findings import Behaviour, PortAllocation
from crust.nat.probe.actions import Action, Close, Dial, Listen, Open, Send, Write
from crust.nat.probe.classes import Address
from crust.nat.probe.lifetime_plan import LifetimePlan
from crust.nat.probe.runner import Plan
from crust.nat.probe.tcp_plan import TcpPlan
from crust.nat.probe.udp_plan import UdpPlan
from crust.nat.stun.message import Class, Message, build_stun, parse_stun_untrusted

HOME = "192.168.7.2"
OUTER = "20.0.1.1"
PRIMARY, OTHER = ("20.0.9.1", 3478), ("20.0.9.2", 3479)
SYN_TIMES = (0.0, 1.0, 3.0, 7.0)  # when Linux sends a SYN


@dataclasses.dataclass
class Nat:
    """One translator; with ``mapping`` None there is none, only the filter."""

    mapping: Behaviour | None = Behaviour.INDEPENDENT
    filtering: Behaviour = Behaviour.ADDRESS_AND_PORT
    ports: PortAllocation = PortAllocation.PRESERVED
    step: int = 1
    hairpin: bool = False
    blocked: Callable[[Address], bool] = lambda address: False
    """What does not get out."""
    resets: bool = False
    """What does not get out by TCP is answered by a reset."""
    lifetime: float = 1e9
    """Seconds that a quiet mapping lives."""
    foreign: int = 0
    """Mappings that other machines make between two of ours."""
    random: random.Random = dataclasses.field(default_factory=lambda: random.Random(7))

    def __post_init__(self) -> None:
        self._outer: dict[object, int] = {}
        self._inner: dict[int, Address] = {}
        self._sent: dict[int, set[Address]] = {}
        self._next = 40_000
        self._heard: dict[int, float] = {}

    def out(self, local: Address, remote: Address, now: float = 0.0) -> Address:
        """A packet leaves: its outer address."""
        outer = local if self.mapping is None else (OUTER, self._port(local, remote))
        self._inner[outer[1]] = local
        self._heard[outer[1]] = now
        self._sent.setdefault(outer[1], set()).add(remote)
        return outer

    def _port(self, local: Address, remote: Address) -> int:
        keys: dict[Behaviour | None, object] = {
            Behaviour.INDEPENDENT: local,
            Behaviour.ADDRESS: (local, remote[0]),
            Behaviour.ADDRESS_AND_PORT: (local, remote),
        }
        key = keys[self.mapping]
        if key not in self._outer:
            self._outer[key] = self._new_port(local)
        return self._outer[key]

    def _new_port(self, local: Address) -> int:
        if self.ports is PortAllocation.PRESERVED and local[1] not in self._outer.values():
            return local[1]
        if self.ports is PortAllocation.SEQUENTIAL:
            self._next += self.step * (1 + self.foreign)
            return self._next
        while (port := self.random.randrange(1024, 65536)) in self._outer.values():
            pass
        return port

    def into(self, remote: Address, outer: Address, now: float = 0.0) -> Address | None:
        """A packet comes: whom it is for, if it gets through."""
        local = self._inner.get(outer[1])
        if now - self._heard.get(outer[1], now) > self.lifetime:
            return None
        if local is None or self.filtering is Behaviour.INDEPENDENT:
            return local
        sent = self._sent[outer[1]]
        if self.filtering is Behaviour.ADDRESS:
            return local if remote[0] in {ip for ip, _ in sent} else None
        return local if remote in sent else None


def answer(request: bytes, at: Address, source: Address, *, full: bool = True) -> tuple[bytes, Address] | None:
    """What the server sends, and where from."""
    message = parse_stun_untrusted(request)
    if message.class_ is not Class.REQUEST:
        return None
    ip, port = at
    if full and message.change_ip:
        ip = OTHER[0] if ip == PRIMARY[0] else PRIMARY[0]
    if full and message.change_port:
        port = OTHER[1] if port == PRIMARY[1] else PRIMARY[1]
    other = (OTHER[0] if at[0] == PRIMARY[0] else PRIMARY[0], OTHER[1] if at[1] == PRIMARY[1] else PRIMARY[1])
    reply = Message(
        Class.SUCCESS, message.transaction, xor_mapped=source, other=other if full else None, padding=message.padding
    )
    return build_stun(reply), (ip, port)


class World:
    """Plans, a NAT, a server, and time."""

    def __init__(
        self,
        plans: Iterable[Plan],
        nat: Nat | None = None,
        *,
        delay: float = 0.01,
        loss: float = 0.0,
        seed: int = 1,
        mtu: int = 1500,
        full: bool = True,
        plain_servers: Iterable[Address] = (),
        http: bytes = b"",
        other_ports: bool = True,
    ) -> None:
        self.plans = tuple(plans)
        self.nat = nat or Nat()
        self.now = 0.0
        self._other_ports = other_ports
        self._delay, self._loss, self._mtu, self._full, self._http = delay, loss, mtu, full, http
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ports = itertools.count(50_000, 7)
        self._sockets: dict[tuple[object, str], Address] = {}
        self._remote: dict[tuple[object, str], Address] = {}
        self._serving = {(ip, port) for ip in (PRIMARY[0], OTHER[0]) for port in (PRIMARY[1], OTHER[1])}
        self._plain = set(plain_servers)
        self.datagrams = 0

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), function))

    def travel(self, function: Callable[[], None]) -> None:
        """A packet crosses the Internet, or does not."""
        if self._chance.random() >= self._loss:
            self.after(self._delay, function)

    def run(self, until: float = 10.0) -> float:
        """Until all plans are done; when that was."""
        for plan in self.plans:
            plan.begin(self.now)
        while not all(plan.done for plan in self.plans):
            self._carry_out()
            timers = [timer for plan in self.plans if (timer := plan.get_timer()) is not None]
            times = [*timers, *(event[0] for event in self._events[:1])]
            assert times, "plans that are not done wait for nothing"
            self.now = max(self.now, min(times))
            assert self.now < until, "plans that never end"
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
                self._carry_out()
            for plan in self.plans:
                plan.handle_timer(self.now)
        return self.now

    # --- this machine -------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for plan in self.plans:
            for action in plan.actions():
                self._do(plan, action)

    def _do(self, plan: Plan, action: Action) -> None:
        key = (plan, action.slot)
        home = (HOME if self.nat.mapping is not None else OUTER, next(self._ports))
        if isinstance(action, Open | Listen):
            self._sockets[key] = home
            plan.opened(action.slot, home, self.now)
        elif isinstance(action, Send):
            assert isinstance(plan, UdpPlan | LifetimePlan)
            self.datagrams += 1
            self._send(plan, self._sockets[key], action)
        elif isinstance(action, Dial):
            self._sockets[key] = self._sockets.get((plan, action.source), home)
            self._remote[key] = action.address
            for seconds in SYN_TIMES:
                self.after(seconds, lambda: self._syn(plan, action))
        elif isinstance(action, Write):
            self._write(plan, action)
        elif isinstance(action, Close):
            self._remote.pop(key, None)

    def _slot_at(self, plan: object, local: Address) -> str:
        return next(slot for (owner, slot), address in self._sockets.items() if owner is plan and address == local)

    def _send(self, plan: UdpPlan | LifetimePlan, local: Address, action: Send) -> None:
        if self.nat.blocked(action.address) or len(action.data) + 28 > self._mtu:
            return
        outer = self.nat.out(local, action.address, self.now)
        if action.address[0] == OUTER and self.nat.mapping is not None:
            inner = self.nat.into(outer, action.address) if self.nat.hairpin else None
            if inner is not None:
                plan.received(self._slot_at(plan, inner), action.data, outer, self.now)
            return
        self.travel(lambda: self._serve(plan, action, outer))

    def _serve(self, plan: UdpPlan | LifetimePlan, action: Send, outer: Address) -> None:
        if action.address not in self._serving | self._plain:
            return
        reply = answer(action.data, action.address, outer, full=self._full and action.address in self._serving)
        if reply is None:
            return

        port = parse_stun_untrusted(action.data).response_port
        back = outer if port is None or not self._other_ports else (outer[0], port)

        def arrive() -> None:
            inner = self.nat.into(reply[1], back, self.now)
            if inner is not None:
                plan.received(self._slot_at(plan, inner), reply[0], reply[1], self.now)

        self.travel(arrive)

    # --- TCP ----------------------------------------------------------------------------------------------------------

    def _syn(self, plan: Plan, action: Dial) -> None:
        assert isinstance(plan, TcpPlan)
        key, address = (plan, action.slot), action.address
        if self._remote.get(key) != address:
            return  # connected, or closed
        if self.nat.blocked(address):
            if self.nat.resets:
                self._refuse(plan, action)
            return
        local = self._sockets[key]
        outer = self.nat.out(local, address)
        if address[0] == OUTER and self.nat.mapping is not None:
            if self.nat.hairpin and self.nat.into(outer, address) is not None:
                plan.accepted(outer, self.now)
            return

        def arrive() -> None:
            if address in self._serving | self._plain:
                self.travel(lambda: self._established(plan, action, local))
            else:
                self.travel(lambda: self._refuse(plan, action))

        self.travel(arrive)

    def _established(self, plan: TcpPlan, action: Dial, local: Address) -> None:
        if self._remote.pop((plan, action.slot), None) is not None:
            self._remote[plan, action.slot] = ("", 0)
            self._peer = action.address
            plan.opened(action.slot, local, self.now)
            self._remote[plan, action.slot + " connected"] = action.address

    def _refuse(self, plan: TcpPlan, action: Dial) -> None:
        if self._remote.pop((plan, action.slot), None) is not None:
            plan.failed(action.slot, "connection refused", self.now, refused=True)

    def _write(self, plan: Plan, action: Write) -> None:
        assert isinstance(plan, TcpPlan)
        slot = action.slot

        def arrive() -> None:
            remote = self._remote[plan, slot + " connected"]
            if self._http:
                plan.received(slot, self._http, self.now)
                return
            outer = self.nat.out(self._sockets[plan, slot], remote)
            full = self._full and remote in self._serving
            reply = answer(action.data, remote, outer, full=full)
            assert reply is not None
            half = len(reply[0]) // 2
            plan.received(slot, reply[0][:half], self.now)
            plan.received(slot, reply[0][half:], self.now)

        lost = 0.2 if self._chance.random() < self._loss else 0.0  # TCP sends it again
        self.after(2 * self._delay + lost, arrive)
