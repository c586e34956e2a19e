"""
Whoever has made up what he says sees the same of every node: that it takes so many bytes, says nothing, and closes the
connection after so long. On a clock that the test turns; the core's part is in tests/crypto/test_handshake_shown.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crust
import crust.testing
from crust import Endpoint, Identity, PeerId, Service, limits
from crust.crypto.handshake import Initiator
from crust.runtime.threads import Spawn
from crust.testing import Network
from crust.transports.contract import Sink
from tests.support.puppet import handshake_config

SALT = bytes(range(16, 32))
LONGEST = limits.SALT_SIZE + 2 + limits.HANDSHAKE_MESSAGE_MAX
STEP = 0.05  # of the clock


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as network:
        yield network


class Probe:
    """A connection from outside, at the node's end."""

    transport = "tcp"
    local, remote = Endpoint("tcp", "192.0.2.1", 1), Endpoint("tcp", "198.51.100.7", 2)

    def __init__(self, net: Network, node: Service) -> None:
        self._net = net
        self._began = net.now
        self.lasted: float | None = None
        self.answered = b""
        node._running().acceptor.accepted(self)

    def start(self, sink: Sink, spawn: Spawn) -> None:
        self._sink = sink

    def say(self, data: bytes) -> None:
        if self.lasted is None:
            self._sink.data_received(memoryview(data))

    def send(self, data: bytes | bytearray | memoryview) -> int:
        self.answered += data
        return len(data)

    def abort(self) -> None:
        if self.lasted is None:
            self.lasted = self._net.now - self._began
            self._sink.connection_lost(None)

    close = abort

    def run(self, sink: Sink) -> None:
        """Not of who is called."""

    def when_writable(self, callback: Callable[[], object]) -> None:
        """There is always room."""

    def pause(self) -> None:
        """It says no more anyhow."""

    resume = pause


def fitting(peer_id: PeerId, length: int) -> bytes:
    """18 bytes that could begin a first message of that length to an open node of that id."""
    mask = hashlib.shake_128(b"crust/1 mask" + SALT + peer_id.public_key + bytes(32)).digest(2)
    return SALT + bytes(a ^ b for a, b in zip(length.to_bytes(2, "big"), mask, strict=True))


PROBES: dict[str, Callable[[PeerId], bytes]] = {
    "misfit": lambda peer_id: fitting(peer_id, 9),
    "fits, and waits": lambda peer_id: fitting(peer_id, 400),
    "fits, and is wrong": lambda peer_id: fitting(peer_id, 400) + bytes(400),
    "fits, and is too long": lambda peer_id: fitting(peer_id, 400) + bytes(401),
    "is short": lambda peer_id: SALT[:3],
    "for another": lambda peer_id: Initiator(
        handshake_config(Identity.generate()), Identity.generate().peer_id
    ).start(),
}


@pytest.mark.parametrize("after", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("probe", PROBES)
def test_all_is_waited_for_alike(net: Network, probe: str, after: float) -> None:
    """So long after its first byte, whatever that is; but not longer than for who says nothing."""
    node = net.service()
    one = Probe(net, node)
    net.advance(after)
    data = PROBES[probe](node.id)
    one.say(data[:18])
    net.advance(0.5)
    one.say(data[18:])
    over = min(after + limits.FIRST_MESSAGE_REST, limits.FIRST_MESSAGE_TIMEOUT)
    net.advance(over - after - 0.5 - STEP)
    assert one.lasted is None
    net.advance(2 * STEP)
    assert one.lasted == pytest.approx(over) and one.answered == b""
    assert node.stats().gate.current == 0


@pytest.mark.parametrize("probe", PROBES)
def test_as_many_bytes_are_taken(net: Network, probe: str) -> None:
    """As a first message can have; one more is too many."""
    node = net.service()
    one = Probe(net, node)
    data = PROBES[probe](node.id)
    one.say(data)
    one.say(bytes(LONGEST - len(data)))
    assert one.lasted is None
    one.say(b"x")
    assert one.lasted is not None and one.answered == b""


def test_they_count_alike_and_at_once(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else when a node begins to slow an address down would show what the closing does not."""
    node = net.service()
    noted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(node._running().misbehaviour, "by_address", lambda *what: noted.append(what))
    for number, make in enumerate(PROBES.values(), 1):
        one = Probe(net, node)
        one.say(make(node.id))
        assert noted == [("198.51.100.7", "invalid-handshake")] * number
    net.advance(limits.FIRST_MESSAGE_TIMEOUT)
    assert len(noted) == len(PROBES)


def test_who_has_said_something_else_makes_room_first(net: Network) -> None:
    """It is not waited for at the cost of who has said nothing yet."""
    node = net.service(crust.Config(limits=crust.LimitsConfig(half_open=4)))
    probes = []
    for number in range(3):  # the fourth place is for addresses of peers
        probes.append(Probe(net, node))
        if number == 1:
            probes[1].say(PROBES["for another"](node.id))
    Probe(net, node)
    assert [each.lasted is None for each in probes] == [True, False, True]


def test_a_first_message_is_answered_once(net: Network) -> None:
    """So that the silence above says something; played again, it is waited for as anything else."""
    node = net.service()
    hello = Initiator(handshake_config(Identity.generate()), node.id).start()
    one, again = Probe(net, node), Probe(net, node)
    one.say(hello[:30])
    net.advance(1.0)
    one.say(hello[30:])
    again.say(hello)
    assert len(one.answered) > 50 and again.answered == b"" and again.lasted is None
    net.advance(limits.FIRST_MESSAGE_REST + STEP)
    assert again.lasted == pytest.approx(1.0 + limits.FIRST_MESSAGE_REST) and one.lasted is None
    assert again.answered == b""
