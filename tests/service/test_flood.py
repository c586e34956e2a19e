"""Full buffers on all sides at once: nothing deadlocks, nothing is lost, and memory stays bounded."""

from __future__ import annotations

import collections
import functools
import random

import pytest

import crust
from crust import Service
from tests.support.nodes import Nodes, config, through
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 60.0  # seconds: a flood takes a while on a busy machine

SMALL = {
    "session__max_message_size": 20_000,
    "session__send_buffer__messages": 64,
    "session__send_buffer__bytes": 100_000,
    "session__receive_buffer": 90_000,
}


class Echo:
    """The documented way to answer in callbacks: keep what does not fit, and go on at SendReady."""

    def __init__(self, service: Service) -> None:
        self.waiting: dict[crust.PeerId, collections.deque[bytes]] = collections.defaultdict(collections.deque)
        self.echoes: list[bytes] = []
        self.refusals = 0
        service.on(crust.NewMessage, self.received)
        service.on(crust.SendReady, lambda event: self.push(event.peer))

    def received(self, message: crust.NewMessage) -> None:
        if message.data.startswith(b"echo:"):
            self.echoes.append(message.data)
        else:
            self.waiting[message.peer.id].append(b"echo:" + message.data)
            self.push(message.peer)

    def push(self, peer: crust.Peer) -> None:
        queue = self.waiting[peer.id]
        while queue:
            try:
                peer.send(queue[0])
            except crust.WouldBlock:
                self.refusals += 1
                return
            queue.popleft()


    def has(self, count: int) -> bool:
        return len(self.echoes) >= count


def is_empty(service: Service) -> bool:
    return service.stats().buffered_bytes == 0


def flood(peer: crust.Peer, messages: list[bytes]) -> None:
    for data in messages:
        peer.send(data, timeout=PATIENCE)


def made(seed: int, count: int) -> list[bytes]:
    sizes = random.Random(seed)
    return [b"%d:" % number + bytes(sizes.choice((0, 100, 1000, 15_000))) for number in range(count)]


@pytest.mark.parametrize("cuts", [0, 5])
def test_two_nodes_that_echo_in_callbacks_while_both_flood(nodes: Nodes, cuts: int) -> None:
    """Every buffer of both is full all the time, and every message comes back once, in order; with cut links too."""
    pair = nodes.proxied(config(**SMALL), config(**SMALL))
    echoes = [Echo(pair.near), Echo(pair.far)]
    sent = [made(1, 1500), made(2, 1500)]
    floods = [
        Background(flood, peer, messages)
        for peer, messages in zip((pair.to_far, pair.to_near), sent, strict=True)
    ]
    for number in range(cuts):
        wait_until(functools.partial(echoes[0].has, 200 * (number + 1)), PATIENCE, "progress")
        pair.wire.cut()
    for job in floods:
        job.result(PATIENCE)
    for echo, messages in zip(echoes, sent, strict=True):
        wait_until(functools.partial(echo.has, 1500), PATIENCE, "the last echo")
        assert echo.echoes == [b"echo:" + data for data in messages]
    assert sum(echo.refusals for echo in echoes) > 0
    for peer in (pair.to_far, pair.to_near):
        peer.flush(PATIENCE)
    for service in (pair.near, pair.far):
        wait_until(functools.partial(is_empty, service), what="empty buffers")


def test_a_flood_over_the_bounds_of_the_whole_node(nodes: Nodes) -> None:
    """The same when the two nodes' total buffers are the bottleneck: what is read makes room, and acks are read."""
    tight = config(**SMALL, limits__total_buffers=150_000)
    pair = nodes.pair(tight, tight)
    echoes = [Echo(pair.near), Echo(pair.far)]
    sent = [made(3, 600), made(4, 600)]
    floods = [
        Background(flood, peer, messages)
        for peer, messages in zip((pair.to_far, pair.to_near), sent, strict=True)
    ]
    for job in floods:
        job.result(PATIENCE)
    for echo, messages in zip(echoes, sent, strict=True):
        wait_until(functools.partial(echo.has, 600), PATIENCE, "the last echo")
        assert echo.echoes == [b"echo:" + data for data in messages]


def test_what_we_send_never_stops_us_from_reading(nodes: Nodes) -> None:
    """A node whose buffers are full of what it sends reads on: the acknowledgements that make room are among it."""
    hub = nodes.start(config(limits__total_buffers=300_000))
    far = nodes.start()
    proxy = nodes.proxy(far)
    peer = hub.connect(through(proxy, far))
    proxy.stall()
    flooding = Background(flood, peer, [bytes(50_000)] * 40)
    wait_until(lambda: hub.stats().buffered_bytes > 300_000, what="a full node")
    proxy.heal()
    flooding.result(PATIENCE)
    peer.flush(PATIENCE)


def test_a_star_of_flooding_peers(nodes: Nodes) -> None:
    """A node that echoes to eight peers, all flooding, serves every one, though its callbacks run one at a time."""
    hub = nodes.start(config(**SMALL))
    Echo(hub)
    peers = [nodes.start(config(**SMALL), heard=False).connect(hub.contact) for _ in range(8)]
    sent = [made(seed, 200) for seed in range(8)]
    floods = [Background(flood, peer, messages) for peer, messages in zip(peers, sent, strict=True)]
    readers = [Background(lambda peer=peer: [peer.recv(PATIENCE) for _ in range(200)]) for peer in peers]
    for job in floods:
        job.result(PATIENCE)
    for reader, messages in zip(readers, sent, strict=True):
        assert reader.result(PATIENCE) == [b"echo:" + data for data in messages]
