"""Nodes of gossip on a virtual clock: links with a delay, public nodes that can be asked, and every frame as bytes."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence

from crust.addresses import Contact, Endpoint, network_id
from crust.crypto.identity import KeyPair
from crust.discovery.gossip import Event, Found, Gossip, GossipSettings, Record, make_record, read_with
from crust.wire import frames
from crust.wire.gossip import GOSSIP_FRAMES, GossipFrame
from crust.wire.handshake import Role

__all__ = ["NETWORK", "WALL", "Mesh", "Node", "key_pair", "record_of", "ring"]

NETWORK = network_id("gossip")
WALL = 1_800_000_000.0
DELAY = 0.05
DIAL = 0.2


def key_pair(number: int) -> KeyPair:
    """The same for the same number, anywhere in the space of ids."""
    return KeyPair(random.Random(number).randbytes(32))


def record_of(
    keys: KeyPair, wall: float = WALL, last: int = 0, *, is_public: bool = True, network: bytes = NETWORK
) -> Record:
    """What a node like that might publish."""
    host = f"203.0.113.{keys.peer_id.public_key[0]}"
    made = make_record(
        keys,
        network,
        wall=wall,
        last=last,
        endpoints=[Endpoint("tcp", host, 5483)] if is_public else (),
        via=() if is_public else [Contact(key_pair(0).peer_id)],
        role=Role.NODE,
        is_public=is_public,
    )
    assert made is not None
    return made


class Node:
    """A core, and what its driver would do."""

    def __init__(self, mesh: Mesh, number: int, is_public: bool, max_records: int) -> None:
        self.mesh = mesh
        self.keys = key_pair(number)
        self.id = self.keys.peer_id.public_key
        self.is_public = is_public
        self.is_alive = True
        self.core = Gossip(self.id, GossipSettings(max_records), self._read, random.Random(number))
        self.checks = 0
        self.links: dict[bytes, Node] = {}
        self.events: list[Event] = []
        self.sent: list[tuple[bytes, GossipFrame]] = []
        self.bytes = 0
        self.record: Record | None = None
        self.wall_error = 0.0

    def _read(self, data: bytes) -> Record:
        self.checks += 1
        return self.mesh.read(data)

    @property
    def wall(self) -> float:
        return self.mesh.wall + self.wall_error

    def publish(self) -> Record:
        last = 0 if self.record is None else self.record.sequence
        self.record = record_of(self.keys, self.wall, last, is_public=self.is_public)
        self.core.publish(self.record, self.mesh.now)
        self.act()
        return self.record

    def receive(self, sender: bytes, frame: GossipFrame) -> None:
        self.core.receive(sender, frame, self.mesh.now, self.wall)
        self.act()

    def act(self) -> None:
        """Carry out what the core wants."""
        self.events += self.core.events()
        for peer_id, frame in self.core.frames_to_send():
            self._send(peer_id, frame)
        for ask in self.core.asks():
            self.mesh.after(DIAL, self._bring, ask.record.node, ask.frame)
        timer = self.core.get_timer()
        if timer is not None:
            self.mesh.wake(self, timer)

    def _send(self, peer_id: bytes, frame: GossipFrame) -> None:
        self.sent.append((peer_id, frame))
        data = frames.build_record([frame])
        self.bytes += len(data) + 40
        other = self.links.get(peer_id)
        if other is not None:
            self.mesh.after(DELAY, self._deliver, other, data)

    def _deliver(self, other: Node, data: bytes) -> None:
        if self.links.get(other.id) is other and other.is_alive and self.is_alive:
            (frame,) = frames.parse_record_untrusted(data)
            assert isinstance(frame, GOSSIP_FRAMES)
            other.receive(self.id, frame)

    def _bring(self, peer_id: bytes, frame: GossipFrame) -> None:
        other = self.mesh.by_id.get(peer_id)
        if other is None or not (other.is_alive and other.is_public):
            self.core.failed(peer_id, self.mesh.now)
        else:
            if peer_id not in self.links:
                self.mesh.link(self, other, short=True)
            self._send(peer_id, frame)
        self.act()

    def knows(self, other: Node) -> bool:
        """Its newest record."""
        record = self.core.store.of(other.id)
        return record is not None and other.record is not None and record.version == other.record.version

    def found(self) -> list[Found]:
        return [event for event in self.events if isinstance(event, Found)]


class Mesh:
    """All of them, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = WALL - 1000.0
        self.by_id: dict[bytes, Node] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._known: dict[bytes, Record] = {}

    @property
    def wall(self) -> float:
        return self.now + self.wall_offset

    def read(self, data: bytes) -> Record:
        """As nodes do, but once for all of them."""
        record = self._known.get(data)
        if record is None:
            record = self._known[data] = read_with(NETWORK)(data)
        return record

    def add(self, count: int, *, is_public: bool = True, max_records: int = 4096) -> list[Node]:
        made = [Node(self, len(self.by_id) + index + 1, is_public, max_records) for index in range(count)]
        self.by_id.update((node.id, node) for node in made)
        return made

    def link(self, one: Node, other: Node, *, short: bool = False) -> None:
        one.links[other.id], other.links[one.id] = other, one
        one.core.link_up(other.id, other.is_public, self.now, short=short)
        other.core.link_up(one.id, one.is_public, self.now)
        one.act()
        other.act()

    def unlink(self, one: Node, other: Node) -> None:
        for a, b in ((one, other), (other, one)):
            del a.links[b.id]
            a.core.link_down(b.id, self.now)
            a.act()

    def kill(self, node: Node) -> None:
        node.is_alive = False
        for other in list(node.links.values()):
            self.unlink(node, other)

    def after(self, seconds: float, do: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), lambda: do(*arguments)))

    def wake(self, node: Node, when: float) -> None:
        def due() -> None:
            timer = node.core.get_timer()
            if node.is_alive and timer is not None and timer <= self.now:
                node.core.handle_timer(self.now, node.wall)
                node.act()

        self.after(max(when - self.now, 0.0), due)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass; how much it was."""
        began = self.now
        while not until():
            if not self._queue or self._queue[0][0] > began + seconds:
                self.now = began + seconds
                break
            self.now, _, do = heapq.heappop(self._queue)
            do()
        return self.now - began


def ring(mesh: Mesh, nodes: Sequence[Node], also: int = 0) -> None:
    """Each is linked with the next, and with so many others by chance."""
    chance = random.Random(7)
    for index, node in enumerate(nodes):
        mesh.link(node, nodes[(index + 1) % len(nodes)])
    for node in nodes:
        for other in chance.sample(nodes, also):
            if other is not node and other.id not in node.links:
                mesh.link(node, other)
