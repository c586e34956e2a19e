"""A LAN in memory with many nodes on it, which ask and answer as real ones do, on a clock that the test turns."""

from __future__ import annotations

import collections
import heapq
import itertools
import random
from collections.abc import Callable

from crust.addresses import network_id
from crust.crypto.identity import KeyPair
from crust.discovery.beacon.announcer import Announcer
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import NetworkKey, Offer
from crust.discovery.beacon.seeker import Found, Seeker
from crust.wire.handshake import Role
from tests.support.bitten import Bitten

HEADERS = 28  # bytes of IPv4 and UDP
LATENCY = 0.001
PORT = 40_000
NETWORK = NetworkKey(network_id(None), None)


def a_link(host: str = "10.0.0.1", interface: str = "eth0", index: int = 2) -> Link:
    return Link(interface, index, host, 16)


class LanNode:
    """One node with one interface, wired as the driver does it."""

    def __init__(
        self, world: LanWorld, number: int, *, announces: bool = True, seeks: bool = True, keys: tuple[NetworkKey, ...]
    ) -> None:
        self.world = world
        self.rng = random.Random(number * 7919 + 1)
        self.ours = KeyPair(self.rng.randbytes(32))
        self.link = a_link(f"10.0.{number >> 8}.{number & 255}")
        self.offer: Offer | None = Offer(Role.NODE, 5000 + number, 0)
        self.announces, self.seeks = announces, seeks
        self.bitten = Bitten()
        self.seeker = Seeker(keys, self.rng.randbytes, self.rng.uniform, self.bitten)
        self.announcer = Announcer(
            *(keys, self.ours, lambda link: self.offer, self.seeker.is_ours, self.rng.randbytes, self.rng.uniform),
            bites=self.bitten,
        )
        self.found: list[tuple[float, Found]] = []
        self.sent = 0
        self._wakes_at = 0.0

    def start(self) -> None:
        ports = {self.link: PORT}
        self.announcer.set_links(ports)
        self.seeker.set_links(ports, self.world.now, ask=False)
        if self.seeks:
            self.seeker.go_on(True, self.world.now)
        self.world.nodes.append(self)
        self.world._at[self.link.host] = self
        self.turn()

    def leave(self) -> None:
        self.world.nodes.remove(self)

    def turn(self) -> None:
        """What is due now; and come again when the next is."""
        if self not in self.world.nodes:
            return
        now = self.world.now
        for _, query in self.seeker.handle_timer(now):
            self.world.broadcast(self, query)
        for reply in self.announcer.handle_timer(now, wants=self.seeks):
            if self.seeks:
                self.seeker.expect(reply.link, reply.to, reply.answering, now)
            self.world.send(self, reply.to, reply.data)
        due = [each for each in (self.seeker.get_timer(), self.announcer.get_timer()) if each is not None]
        if due and not now < self._wakes_at <= min(due):
            self._wakes_at = min(due)
            self.world.at(self._wakes_at, self.turn)

    def hear_query(self, source: tuple[str, int], data: bytes) -> None:
        if self.announces and self in self.world.nodes:
            self.announcer.receive(self.link, source, data, self.world.now)
            self.turn()

    def hear_answer(self, source: tuple[str, int], data: bytes) -> None:
        found = self.seeker.receive(self.link, source, data, self.world.now)
        if found is None:
            return
        self.found.append((self.world.now, found))
        if found.wants is not None and found.network is not None and self.announces:
            self.announcer.introduce(self.link, source, found.wants, found.network, self.world.now)
            self.turn()

    def news(self) -> list[Found]:
        """What an application would hear of."""
        return [found for _, found in self.found if found.is_new]


class LanWorld:
    """The link, and its clock."""

    def __init__(self, seed: int = 1, loss: float = 0.0) -> None:
        self.now = 1000.0
        self.nodes: list[LanNode] = []
        self.bytes: list[tuple[float, int]] = []
        self.datagrams: list[bytes] = []
        self._rng = random.Random(seed)
        self._loss = loss
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._made = 0
        self._at: dict[str, LanNode] = {}
        self.per_second: collections.Counter[int] = collections.Counter()
        """Bytes with headers, by the second of the clock."""

    def node(
        self, *, announces: bool = True, seeks: bool = True, keys: tuple[NetworkKey, ...] = (NETWORK,), number: int = 0
    ) -> LanNode:
        self._made += 1
        return LanNode(self, number or self._made, announces=announces, seeks=seeks, keys=keys)

    def at(self, when: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), call))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, call = heapq.heappop(self._due)
            self.now = max(self.now, when)
            call()
        self.now = end

    def _count(self, node: LanNode, data: bytes) -> None:
        node.sent += len(data) + HEADERS
        self.per_second[int(self.now)] += len(data) + HEADERS
        self.bytes.append((self.now, len(data) + HEADERS))

    def broadcast(self, sender: LanNode, data: bytes) -> None:
        self._count(sender, data)
        source = (sender.link.host, PORT)
        for node in list(self.nodes):
            if self._rng.random() >= self._loss:
                self.at(self.now + LATENCY, lambda node=node: node.hear_query(source, data))  # type: ignore[misc]

    def send(self, sender: LanNode, to: tuple[str, int], data: bytes) -> None:
        self._count(sender, data)
        source = (sender.link.host, PORT)
        node = self._at.get(to[0])
        if node in self.nodes and self._rng.random() >= self._loss:
            self.at(self.now + LATENCY, lambda: node.hear_answer(source, data))

    def rate(self, since: float, until: float) -> float:
        """Bytes a second on the link, with headers, in whole seconds."""
        return sum(self.per_second[second] for second in range(int(since), int(until))) / (int(until) - int(since))

    def worst(self, since: float, until: float, window: int) -> float:
        """The same in the busiest of so many seconds."""
        steps = int((until - since) / window)
        return max(self.rate(since + n * window, since + (n + 1) * window) for n in range(steps))
