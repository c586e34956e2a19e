"""
Promise: who floods a node with connections, and does not know it, keeps nobody else out.

Two thousand sockets of two hundred addresses connect at once and say nothing, or nonsense, or half of something that
might be a handshake; or as many datagrams ask for connections of µTP. An honest caller whom the node has never heard
of gets in meanwhile, within the 3 seconds that are promised where there is a machine to spare, and here in 9.

Not promised: a flood that fills the line. tests/service/test_bad_input.py has callers who know the node's id (and
secret), and so can show a valid first message, and tests/peers/test_gate.py all rules of who makes room for whom.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import socket
import threading
import time

import pytest

import crust
from crust import Config, ListenConfig, Service, limits
from crust.transports.utp.packet import Packet, PacketType, build_packet
from tests.support.nodes import Nodes, Pair
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

SOCKETS, ADDRESSES = 2000, 200
DEADLINE = 9.0
SAYINGS = (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(17), os.urandom(60), os.urandom(2000))


def as_installed(transport: str) -> Config:
    """All limits as they are by default; nobody is looked for."""
    return Config().replace(
        **{
            "listen": ListenConfig(addresses=(f"{transport}://127.0.0.1:0",)),
            "bootstrap.cache.max_peers": 0,
            "bootstrap.links": 0,
            "lan.seek": "never",
        }
    )


def source(number: int) -> str:
    """An address of loopback, in a /24 of its own as those of different networks are."""
    return f"127.{1 + number % ADDRESSES}.1.1"


def flood(kind: int, target: tuple[str, int], stack: contextlib.ExitStack) -> list[socket.socket]:
    """So many sockets that connect, without waiting for it."""
    made = []
    for number in range(SOCKETS):
        sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
        sock.setblocking(False)
        sock.bind((source(number), 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(target)
        made.append(sock)
    return made


def say(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # closed from there already, or not yet connected
        sock.send(data)


@pytest.fixture(autouse=True)
def many_addresses() -> None:
    """A flood comes from everywhere."""
    try:
        with socket.socket() as sock:
            sock.bind((source(1), 0))
    except OSError:
        pytest.skip("loopback has only one address here")


@pytest.fixture
def target(nodes: Nodes, request: pytest.FixtureRequest) -> tuple[Service, Pair]:
    """A node, and a session of it with somebody who must notice nothing."""
    node = nodes.start(as_installed(request.param))
    return node, Pair(nodes, nodes.start(as_installed(request.param)), node)


def check_honest(nodes: Nodes, transport: str, node: Service, pair: Pair) -> None:
    """Somebody new gets in, and who was there is heard."""
    honest = nodes.start(as_installed(transport))
    began = time.monotonic()
    honest.connect(node.contact, timeout=DEADLINE).send(b"hello")
    assert nodes.heard(node).wait(crust.ConnectSuccess, 2).peer.recv(DEADLINE) == b"hello"
    assert time.monotonic() - began < DEADLINE * busy()
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(DEADLINE) == b"still here"


@pytest.mark.parametrize("target", ["tcp"], indirect=True)
def test_two_thousand_connections(nodes: Nodes, target: tuple[Service, Pair]) -> None:
    """Slots, threads and descriptors stay bounded, and are free when the flood is over."""
    node, pair = target
    endpoint = node.addresses[0]
    with contextlib.ExitStack() as stack:
        flooding = Background(lambda: flood(socket.SOCK_STREAM, (endpoint.host, endpoint.port), stack))
        wait_until(lambda: node.stats().gate.admitted > 50, what="the flood")
        check_honest(nodes, "tcp", node, pair)
        sockets = flooding.result(60.0)
        assert isinstance(sockets, list)
        for sock, saying in zip(sockets, itertools.cycle(SAYINGS)):
            say(sock, saying)
        assert node.stats().gate.current <= limits.HALF_OPEN_MAX - limits.HALF_OPEN_KNOWN_RESERVE
    wait_until(lambda: node.stats().gate.current == 0, 30.0, "the end of the flood")
    assert node.stats().crashes == 0


def flood_on(target: tuple[str, int], enough: threading.Event) -> None:
    """Connect again and again from fifty addresses, 400 at a time."""
    kept: collections.deque[socket.socket] = collections.deque()
    with contextlib.ExitStack() as stack:
        for number in itertools.count():
            sock = socket.socket()
            stack.callback(sock.close)
            sock.setblocking(False)
            sock.bind((source(number % 50), 0))
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock.connect(target)
            kept.append(sock)
            if len(kept) > 400:
                kept.popleft().close()
                time.sleep(1e-6)  # other greenlets have their turn
            if enough.is_set():
                return


def test_a_newcomer_while_it_goes_on_and_on(nodes: Nodes) -> None:
    """
    Many more than may begin in a second (a tenth of the default, for one process cannot flood and be flooded) call all
    the time: most of them are refused, but not who has never called before, from where nobody is known.
    """
    node = nodes.start(as_installed("tcp").replace(**{"limits.starts_per_second": 50}))
    honest = nodes.start(as_installed("tcp"))
    endpoint = node.addresses[0]
    enough = threading.Event()
    flooding = Background(flood_on, (endpoint.host, endpoint.port), enough)
    try:
        wait_until(lambda: node.stats().gate.refused_by_rate > 1000, 60.0, what="the flood")
        honest.connect(node.contact, timeout=DEADLINE).send(b"hello")
        assert nodes.heard(node).wait(crust.ConnectSuccess).peer.recv(DEADLINE) == b"hello"
    finally:
        enough.set()
        flooding.result(60.0)
    wait_until(lambda: node.stats().gate.current == 0, 30.0, "the end of the flood")
    assert node.stats().crashes == 0


@pytest.mark.parametrize("target", ["utp"], indirect=True)
def test_two_thousand_syns(nodes: Nodes, target: tuple[Service, Pair]) -> None:
    """Whoever does not answer costs a place of few for three seconds, and neither a thread nor a handshake."""
    node, pair = target
    endpoint = node.addresses[0]
    chance = random.Random(1)
    with contextlib.ExitStack() as stack:
        sockets = flood(socket.SOCK_DGRAM, (endpoint.host, endpoint.port), stack)
        before = node.stats().gate.admitted
        for sock in sockets:
            say(sock, build_packet(Packet(PacketType.SYN, chance.getrandbits(16), 1, 0, 0, 1, 0)))
        check_honest(nodes, "utp", node, pair)  # whose SYN is read after all of these
        assert node.stats().gate.admitted == before + 1
    assert node.stats().crashes == 0
