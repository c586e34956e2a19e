"""The core of gossip, with peers that send any frames: lies about what they have, forged and foreign records, floods.

No exception comes of them. What is kept stays within its bounds and is rightly signed; what is sent can be built; the
timers move on; who has no link gets nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from crust.discovery.gossip import Gossip, GossipSettings, read_with
from crust.discovery.gossip.record import Record
from crust.exceptions import MalformedMessage
from crust.wire import frames, gossip
from tests.discovery.gossip.mesh import NETWORK, WALL, key_pair, record_of
from tests.fuzz.source import Source, noise

ROUNDS = 60
SIZE_MAX = 600

_MOST = 12
_PEERS = [key_pair(number) for number in range(2, 6)]
_RECORDS = [record_of(key_pair(number), WALL, is_public=bool(number % 2)) for number in range(2, 30)]
_READ: dict[bytes, Record | None] = {}


def _read(data: bytes) -> Record:
    """As nodes do, but once for all runs."""
    if data not in _READ:
        if len(_READ) > 5000:
            _READ.clear()
        try:
            _READ[data] = read_with(NETWORK)(data)
        except MalformedMessage:
            _READ[data] = None
    record = _READ[data]
    if record is None:
        raise MalformedMessage("no record")
    return record


class _Node:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.keys = key_pair(1)
        self.core = Gossip(self.keys.peer_id.public_key, GossipSettings(_MOST), _read, random.Random(1))
        self.now, self.wall = 1000.0, WALL
        self.linked: set[bytes] = set()

    def number(self) -> int:
        """A prefix of somebody, or near one."""
        return self.source.near(self.source.pick(_RECORDS).prefix)

    def item(self) -> gossip.Item:
        record = self.source.pick(_RECORDS)
        return record.prefix, self.source.near(record.version)

    def record(self) -> bytes:
        data = self.source.pick(_RECORDS).data
        return self.source.damaged(data)[:512] or b"x" if self.source.chance() else data

    def frame(self) -> gossip.GossipFrame:
        source = self.source
        kind = source.number(0, 6)
        few = range(source.number(1, 4))
        if kind == 0:
            return gossip.Announce(tuple(self.item() for _ in few))
        if kind == 1:
            return gossip.Records(tuple(self.record() for _ in few))
        if kind == 2:
            return gossip.Request(tuple(self.number() for _ in few))
        if kind == 3:
            hashes = tuple(source.number(0, (1 << 64) - 1) for _ in range(source.pick((0, 1, 2, 4))))
            return gossip.Summary(source.pick((0, 1 << 63, (1 << 64) - 1)), source.chance(), hashes)
        if kind == 4:
            first, last = sorted((self.number(), self.number()))
            return gossip.Contents(first, last, tuple(self.item() for _ in few))
        if kind == 5:
            return gossip.Find(source.number(0, 9), source.pick(_RECORDS).node)
        return gossip.Found(
            source.number(0, 3),
            self.record() if source.chance() else b"",
            tuple(self.record() for _ in range(source.number(0, 3))),
        )

    def act(self) -> None:
        for peer_id, frame in self.core.frames_to_send():
            assert peer_id in self.linked or isinstance(frame, gossip.Found)
            assert frames.parse_record_untrusted(frames.build_record([frame])) == [frame]
        self.core.events()
        for ask in self.core.asks():
            assert ask.record.is_public
            if self.source.chance():
                self.core.failed(ask.record.node, self.now)

    def wait(self) -> None:
        end = self.now + self.source.pick((0.1, 3.0, 60.0, 4000.0))
        for _ in range(3000):
            due = self.core.get_timer()
            if due is None or due > end:
                break
            self.wall += max(0.0, due - self.now)
            self.now = max(self.now, due)
            self.core.handle_timer(self.now, self.wall)
            self.act()
        else:
            raise AssertionError("timers without end")
        self.wall += end - self.now
        self.now = end


def run(data: bytes) -> None:
    source = Source(data)
    node = _Node(source)
    node.core.publish(record_of(node.keys, WALL), node.now)
    for _ in range(60):
        if not source:
            break
        peer = source.pick(_PEERS).peer_id.public_key
        step = source.number(0, 9)
        if step <= 5:
            node.core.receive(peer, node.frame(), node.now, node.wall)
        elif step == 6:
            node.linked.add(peer)
            node.core.link_up(peer, source.chance(), node.now, short=not source.number(0, 3))
        elif step == 7:
            node.wait()
        elif step == 8 and peer in node.linked:
            node.act()
            node.linked.discard(peer)
            node.core.link_down(peer, node.now)
        elif step == 9:
            node.wall += source.pick((-5000.0, 5000.0))
        node.act()
        assert len(node.core.store) <= _MOST + 1
    for prefix, version in node.core.store.items(0, (1 << 64) - 1):
        record = node.core.store.get(prefix)
        assert record is not None and (record.prefix, record.version) == (prefix, version)


def seeds() -> Iterable[bytes]:
    up = bytes((0, 6, 1, 3)) + bytes((1, 6, 0, 3))
    announce = bytes((0, 0, 0, 1)) + bytes((5, 120, 7, 120))
    records = bytes((0, 1, 1, 1)) + bytes((5, 0, 7, 0))
    summary = bytes((1, 2, 3, 3, 2, 1, 1)) + bytes(8)
    yield up + announce + bytes((0, 7, 1)) + records + summary + bytes((0, 7, 3))
    yield from noise(20, 500)
