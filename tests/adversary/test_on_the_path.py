"""
Promise: whoever sits on the path can end a link, and do nothing else to it.

The attacker reads, holds back, changes, repeats, reorders and leaves out whatever passes, puts in what he recorded on
other links, and plays whole connections again. He knows where records begin and end, as nodes write few at a time.
Each time the link ends without a word, the session goes on over another one with every message once and in order, and
nobody is blamed: that the peer has done it is not proven.
"""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable

import pytest

import crust
from crust import Identity, limits
from tests.support.nodes import Nodes, Pair, config, through
from tests.support.overheard import Recording
from tests.support.proxy import DOWN, UP
from tests.support.puppet import Callee, read_until_end
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 20.0
LEAST = 40
"""Bytes of a piece that has a message in it."""


class Meddler:
    """Stands in one direction of a proxy, and in the way of one piece; ``others`` are what he has recorded."""

    def __init__(self, how: Callable[[Meddler, bytes], bytes], others: list[bytes]) -> None:
        self._how = how
        self._lock = threading.Lock()
        self.others = others
        self.kept = b""
        self.passed: list[bytes] = []
        """What went by before."""
        self.struck = 0
        """The number of the connection that was struck."""

    def __call__(self, number: int, data: bytes) -> bytes:
        with self._lock:
            if self.kept and number == self.struck:
                data, self.kept = data + self.kept, b""  # the second one first
            elif not self.struck and len(data) >= LEAST and len(self.passed) > 2:
                self.struck = number
                data = self._how(self, data)
            else:
                self.passed.append(data)
            return data


def changed(at: int, meddler: Meddler, data: bytes) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 or len(data) :]


def swapped(meddler: Meddler, data: bytes) -> bytes:
    meddler.kept = data
    return b""


def spliced(meddler: Meddler, data: bytes) -> bytes:
    return max(meddler.others, key=len)


def repeated(meddler: Meddler, data: bytes) -> bytes:
    return data + meddler.passed[-1]


WAYS: dict[str, Callable[[Meddler, bytes], bytes]] = {
    "a bit of the length": functools.partial(changed, 0),
    "a bit of the ciphertext": functools.partial(changed, 10),
    "a bit of the tag": functools.partial(changed, -1),
    "doubled": lambda meddler, data: data + data,
    "repeated later": repeated,
    "left out": lambda meddler, data: b"",
    "cut short": lambda meddler, data: data[: len(data) // 2],
    "swapped": swapped,
    "something added": lambda meddler, data: data + bytes(LEAST),
    "from another link": spliced,
    "from the other direction": spliced,
    "from somebody else's link": spliced,
}


QUICK = config(session__heartbeat_interval=0.1, gossip__enabled=False)
"""Knows no address but the one that was given, and notices sooner that it is told nothing."""


def recorded(nodes: Nodes, pair: Pair, way: str, direction: str) -> list[bytes]:
    """Pieces of another stream, sealed by honest nodes with data in them."""
    recording = Recording()
    other = pair if way != "from somebody else's link" else nodes.proxied(QUICK, QUICK)
    source = direction if way != "from the other direction" else UP if direction == DOWN else DOWN
    other.wire.change(source, recording.recorder(source))
    sender, receiver = (other.to_far, other.to_near) if source == UP else (other.to_near, other.to_far)
    sender.send(bytes(500))
    receiver.recv(PATIENCE)
    other.wire.change(source, None)
    if way == "from another link":
        pair.cut()
    return [piece for pieces in recording.pieces(source) for piece in pieces]


def message(number: int) -> bytes:
    return b"%d:" % number + bytes(1000)


class Attack:
    """One session, and what is done to one of its directions while messages stream there."""

    def __init__(self, nodes: Nodes, way: str, direction: str) -> None:
        self.way = way
        self.pair = nodes.proxied(QUICK, QUICK)
        self.pair.near.stop_listening()  # so that all goes his way
        meddler = Meddler(WAYS[way], recorded(nodes, self.pair, way, direction) if WAYS[way] is spliced else [])
        self.pair.wire.change(direction, meddler)
        near, far = self.pair.to_far, self.pair.to_near
        sender, self._receiver = (near, far) if direction == UP else (far, near)
        self._meddler = meddler
        self._enough = threading.Event()
        self._sending = Background(self._send, sender)
        self._receiving = Background(self._receive)

    def _send(self, peer: crust.Peer) -> int:
        number = 0
        while not self._enough.is_set():
            peer.send(message(number), timeout=PATIENCE)
            number += 1
            if number % 20 == 0:
                peer.flush(PATIENCE)  # not more than is needed
        peer.flush(PATIENCE)
        return number

    def _receive(self) -> int:
        got = 0
        sent: object = None
        while got != sent:
            assert self._receiver.recv(PATIENCE) == message(got), f"{self.way}: not message {got}"
            got += 1
            if self._meddler.struck and sent is None and got >= 10:
                self._enough.set()
                sent = self._sending.result(PATIENCE)
        return got

    def close(self) -> None:
        """All messages have arrived once and in order, at last over another link, and nobody was blamed or lost."""
        self._receiving.result(PATIENCE)
        wait_until(lambda: self.pair.wire.connections > 1, PATIENCE, f"{self.way}: another link")
        for heard in (self.pair.near_heard, self.pair.far_heard):
            assert heard.of(crust.LostPeer, crust.PeerMisbehaved) == [], self.way


@pytest.mark.parametrize("talks", [True, False])
def test_one_direction_is_taken_away(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, talks: bool) -> None:
    """
    Of a link's stream from the caller nothing arrives any more, though all of it is acknowledged, and what the other
    one says is let through: the session goes on over another link, also if the caller only acknowledges.
    """
    monkeypatch.setattr(limits, "UNHEARD_MIN", 0.5)
    pair = nodes.proxied(QUICK, QUICK)
    pair.near.stop_listening()
    enough = threading.Event()

    def stream() -> int:
        number = 0
        while not enough.is_set():
            pair.to_near.send(message(number), timeout=PATIENCE)
            number += 1
            enough.wait(0.02)  # seldom, so that no buffer is full before it is noticed
        pair.to_near.flush(PATIENCE)
        return number

    streaming = Background(stream)
    receiving: list[bytes] = []
    pair.near.on(crust.NewMessage, lambda event: receiving.append(event.data))
    wait_until(lambda: len(receiving) > 10, PATIENCE, "the stream")
    present = pair.wire.connections
    pair.wire.change(UP, lambda number, data: b"" if number <= present else data)
    if talks:
        pair.to_far.send(b"hear me")
        assert pair.to_near.recv(PATIENCE) == b"hear me"
    wait_until(lambda: pair.wire.connections > present, PATIENCE, "another link")
    pair.near_heard.wait(crust.PathChanged, timeout=PATIENCE)
    enough.set()
    count = streaming.result(PATIENCE)
    wait_until(lambda: len(receiving) >= count, PATIENCE, "the last message")
    assert receiving == [message(number) for number in range(count)]
    for heard in (pair.near_heard, pair.far_heard):
        assert heard.of(crust.LostPeer, crust.PeerMisbehaved) == []


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_records(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, direction: str) -> None:
    """Whatever is done to them (``WAYS``, a session for each), all messages arrive once and in order."""
    monkeypatch.setattr(limits, "SUSPICION_MIN", 0.05)  # what is left out is missed sooner
    for attack in [Attack(nodes, way, direction) for way in WAYS]:
        attack.close()


HASTY = config(session__handshake_timeout=2.0, gossip__enabled=False)


class Recorded:
    """One whole session of two nodes, as it was on the wire."""

    def __init__(self, nodes: Nodes) -> None:
        self.identity = Identity.generate()
        far = nodes.start(HASTY, identity=self.identity)
        self.pair = Pair(nodes, nodes.start(HASTY), far, nodes.proxy(far))
        recording = Recording()
        for direction in (UP, DOWN):
            self.pair.wire.change(direction, recording.recorder(direction))
        self.pair.cut()  # so that there is a connection with nothing missing
        self.pair.to_far.send(b"transfer 100 pieces of gold")
        assert self.pair.to_near.recv(PATIENCE)
        self.pair.near.disconnect(self.pair.far.id)
        self.pair.far_heard.wait(crust.LostPeer)
        (self.up,), (self.down,) = recording.streams(UP), recording.streams(DOWN)
        self.pieces = recording.pieces(UP)[0]


def play(address: tuple[str, int], pieces: list[bytes]) -> bytes:
    """Send all of it as it was sent then; what comes back."""
    answer = b""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        try:
            for number, piece in enumerate(pieces):
                sock.sendall(piece)
                if not number:
                    answer += sock.recv(65536)
        except ConnectionError:
            return answer
        return answer + read_until_end(sock)


def test_a_connection_played_again(nodes: Nodes) -> None:
    """Not a byte comes back, as the node remembers what it has answered; and nobody hears of it."""
    recorded = Recorded(nodes)
    far = recorded.pair.far
    before = recorded.pair.far_heard.names()
    for pieces in ([recorded.up], recorded.pieces):
        assert play((far.addresses[0].host, far.addresses[0].port), pieces) == b""
    wait_until(lambda: far.stats().gate.current == 0, what="the slot to be free")
    assert recorded.pair.far_heard.names() == before


def test_a_connection_played_again_after_a_restart(nodes: Nodes) -> None:
    """
    The limit of that promise: a node that was restarted has forgotten, and answers one message 2. It shows that the
    same identity is there. There is no more: no session, no event, and no record.
    """
    recorded = Recorded(nodes)
    recorded.pair.far.close()
    again = nodes.start(HASTY, identity=recorded.identity)
    before = nodes.heard(again).names()
    answer = play((again.addresses[0].host, again.addresses[0].port), recorded.pieces)
    assert 0 < len(answer) < 400 and answer[:34] != recorded.down[:34]
    wait_until(lambda: again.stats().gate.current == 0, what="the slot to be free")
    assert nodes.heard(again).names() == before


def test_answers_played_again(nodes: Nodes) -> None:
    """To a caller of the same key: it is not taken in by what its peer has said to somebody else."""
    recorded = Recorded(nodes)
    near = nodes.start(HASTY)
    with Callee(Identity.generate()) as liar:
        contact = crust.Contact(recorded.pair.far.id, liar.contact.endpoints)
        dialling = Background(near.connect, contact)
        wire = liar.accept()
        wire.sock.sendall(recorded.down)
        with pytest.raises(crust.ConnectError):
            dialling.result()
    assert nodes.heard(near).of(crust.ConnectSuccess) == []


def test_a_way_of_his_own(nodes: Nodes) -> None:
    """Who leads a call to another node, though an honest one, has connected nobody."""
    near, far, other = nodes.start(), nodes.start(), nodes.start()
    with pytest.raises(crust.ConnectError):
        near.connect(through(nodes.proxy(other), far), timeout=PATIENCE)
    assert near.peers == other.peers == []
