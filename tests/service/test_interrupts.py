"""
Whatever an application's thread is doing in crust, an exception from outside may end it: nothing is lost, doubled, held
or hung, and the same call works when it is made again.

Here each place where CPython lets a signal handler run is struck in turn, on real nodes. Signals themselves, and
timeouts of greenlets, are in ``test_interrupts_torture.py``.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable

import pytest

import crust
from tests.support.modes import on_greenlets
from tests.support.nodes import Nodes, Pair, config
from tests.support.strikes import Places, strike
from tests.support.threads import Background
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(on_greenlets(), reason="signals strike threads; greenlets are struck at switches only")


def message(number: int) -> bytes:
    return b"message %d" % number


def everywhere(once: Callable[[int], str | None]) -> int:
    """Call ``once`` with 1, 2, 3… until it has not been struck; the number of places."""
    for number in itertools.count(1):
        if once(number) is None:
            return number - 1
    raise AssertionError


def _owed(peer: crust.Peer) -> tuple[int, int]:
    """Bytes that wait for the other side, and for the application."""
    stats = peer.stats()
    return stats.unacknowledged_bytes, stats.unread_bytes


def at_peace(pair: Pair) -> None:
    """Locks are free, accounts are even, and messages go both ways at once."""
    for peer, other in ((pair.to_far, pair.to_near), (pair.to_near, pair.to_far)):
        peer.send(b"peace")
        assert other.recv(5) == b"peace"
    for service in (pair.near, pair.far):
        for peer in service.peers:
            peer.flush(5)
            assert not peer._conversation.lock.locked()
            assert not peer._conversation._sleepers
            # What carries files is taken by a thread of its own, which may be at the last of it.
            wait_until(lambda peer=peer: _owed(peer) == (0, 0), what="even accounts")  # type: ignore[misc]
        assert service.stats().buffered_bytes == 0
        assert not service._node.budget.lock.locked()  # type: ignore[union-attr]


@pytest.fixture
def pair(nodes: Nodes) -> Pair:
    """Two nodes; the near one called, so it is the one that redials."""
    return nodes.pair()


def test_send_can_be_struck_anywhere(pair: Pair) -> None:
    """The message is queued and counted, or not; then it arrives once, after those before it."""

    def once(number: int) -> str | None:
        count = pair.to_far.accepted
        struck = strike(number, lambda: pair.to_far.send(message(count)))
        assert pair.to_far.accepted in (count, count + 1)
        if pair.to_far.accepted == count:
            assert struck
            assert pair.to_far.send(message(count)) == count
        assert pair.to_far.last_number == count
        assert pair.to_near.recv(5) == message(count), struck
        return struck

    assert everywhere(once) > 15
    at_peace(pair)


def test_send_many_can_be_struck_anywhere(pair: Pair) -> None:
    """The first ones are queued, the rest not; ``accepted`` says where to go on."""

    def once(number: int) -> str | None:
        count = pair.to_far.accepted
        messages = [message(index) + bytes(20_000) for index in range(count, count + 5)]
        struck = strike(number, lambda: pair.to_far.send_many(messages))
        pair.to_far.send_many(messages[pair.to_far.accepted - count :])
        assert pair.to_far.accepted == count + 5
        assert [pair.to_near.recv(5) for _ in messages] == messages, struck
        return struck

    assert everywhere(once) > 50
    at_peace(pair)


def test_a_send_that_waits_for_room_can_be_struck_anywhere(nodes: Nodes) -> None:
    """Then nothing is queued, or one message, and whoever waits next is woken."""
    small = config(session__send_buffer=crust.SendBufferConfig(messages=4, bytes=4_194_304))
    pair = nodes.pair(small, config(session__receive_buffer=4_400_000))
    big = bytes(2_000_000)

    reader = Background(lambda: [pair.to_near.recv(30) for _ in range(400)])
    numbers = itertools.count(1)
    while pair.to_far.accepted < 400:
        count = pair.to_far.accepted
        strike(next(numbers) % 150 + 1, lambda count=count: pair.to_far.send(message(count) + big[:100_000]))  # type: ignore[misc]
    got = reader.result(60)
    assert isinstance(got, list)
    assert [data[:20].rstrip(b"\0") for data in got] == [message(index) for index in range(400)]
    at_peace(pair)


def test_recv_can_be_struck_anywhere(pair: Pair) -> None:
    """The message is there for the next call, its credit is given back once, and none comes twice."""
    taken = [0]

    def once(number: int) -> str | None:
        index = taken[0]
        taken[0] += 1
        pair.to_near.send(message(index) + bytes(100_000))
        got: list[bytes] = []
        struck = strike(number, lambda: got.append(pair.to_far.recv(5)))
        if not got:
            got.append(pair.to_far.recv(5))
        assert got == [message(index) + bytes(100_000)], struck
        return struck

    assert everywhere(once) > 5
    with pytest.raises(crust.Timeout):
        pair.to_far.recv(0)
    at_peace(pair)


def test_a_stream_can_be_struck_anywhere(pair: Pair) -> None:
    """``EventStream.get``: like ``recv``, for messages and for state events; ``select`` tells of what is left."""
    taken = [0]
    with pair.near.events(crust.NewMessage, crust.ConnectionInfoPrepared) as stream:
        stream.fileno()

        def once(number: int) -> str | None:
            index = taken[0]
            taken[0] += 1
            pair.to_near.send(message(index))
            wait_until(lambda: stream._events)
            pair.near.prepare_connection_info()
            got: list[object] = []
            struck = strike(number, lambda: got.append(stream.get(5)))
            while len(got) < 2:
                got.append(stream.get(5))
            assert [type(event) for event in got] == [crust.NewMessage, crust.ConnectionInfoPrepared], struck
            assert got[0].data == message(index)  # type: ignore[attr-defined]
            return struck

        assert everywhere(once) > 5
    at_peace(pair)


def test_flush_can_be_struck_anywhere(pair: Pair) -> None:
    """It changes nothing that a second one would miss."""

    def once(number: int) -> str | None:
        data = bytes(300_000)
        pair.to_far.send(data)
        struck = strike(number, lambda: pair.to_far.flush(10))
        pair.to_far.flush(10)
        assert pair.to_near.recv(0) == data, struck
        return struck

    assert everywhere(once) > 20
    at_peace(pair)


def test_connect_can_be_struck_anywhere(nodes: Nodes) -> None:
    """The peer is connected or it is not; no attempt is left behind that nobody wants, and the next call works."""
    near, far = nodes.start(), nodes.start()
    node = near._node
    assert node is not None

    def once(number: int) -> str | None:
        struck = strike(number, lambda: near.connect(far.contact, timeout=10))
        near.connect(far.contact, timeout=10).send(b"there")
        wait_until(lambda: far.peers and not node.dialer._efforts, what=f"order after a strike at {struck}")
        assert far.peers[0].recv(5) == b"there"
        assert near.disconnect(far.id)
        wait_until(lambda: not far.peers)
        return struck

    assert everywhere(once) > 20


def test_bootstrap_can_be_struck_anywhere(nodes: Nodes) -> None:
    """Like ``connect``."""
    near, far = nodes.start(), nodes.start(config(bootstrap__accept=True))
    node, places = near._node, Places(times=1)
    assert node is not None

    def once(_: int) -> str | None:
        struck = places.strike(lambda: near.bootstrap(contacts=[far.contact], timeout=10))
        assert near.bootstrap(contacts=[far.contact], timeout=10).id == far.id
        wait_until(lambda: far.peers and not node.dialer._efforts, what=f"order after a strike at {struck}")
        assert near.disconnect(far.id)
        wait_until(lambda: not far.peers)
        return struck

    assert everywhere(once) > 30


def test_disconnect_can_be_struck_anywhere(nodes: Nodes) -> None:
    """Both sides hear LostPeer, once, now or after the second call."""
    near, far = nodes.start(), nodes.start()

    def once(number: int) -> str | None:
        peer = near.connect(far.contact, timeout=10)
        wait_until(lambda: far.peers)
        struck = strike(number, peer.disconnect)
        peer.disconnect()
        assert peer.state == "lost"
        wait_until(lambda: not far.peers and not near.peers, what=f"the end after a strike at {struck}")
        nodes.heard(near).wait(crust.LostPeer, number)
        assert len(nodes.heard(near).of(crust.LostPeer)) == number
        return struck

    assert everywhere(once) > 2


def test_close_can_be_struck_anywhere(nodes: Nodes) -> None:
    """A second ``close`` ends it all the same, and peers hear goodbye."""

    def once(number: int) -> str | None:
        near, far = nodes.start(), nodes.start()
        near.connect(far.contact, timeout=10)
        struck = strike(number, near.close)
        assert near.close(), struck
        assert nodes.heard(far).wait(crust.LostPeer).reason == "closed", struck
        assert far.close()
        return struck

    assert everywhere(once) > 5


@pytest.mark.parametrize("called", [False, True])
def test_whoever_is_struck_may_close_at_once(nodes: Nodes, called: bool) -> None:
    """Ctrl-C while something is sent, and the end of the ``with``: what was accepted arrives, and the peer is told."""

    def once(number: int) -> str | None:
        pair = nodes.pair()
        struck_node, other = (pair.far, pair.near) if called else (pair.near, pair.far)
        to, back = (pair.to_near, pair.to_far) if called else (pair.to_far, pair.to_near)
        to.send(message(0))
        struck = strike(number, lambda: to.send(message(1)))
        assert struck_node.close()
        for index in range(to.accepted):
            assert back.recv(5) == message(index), struck
        assert nodes.heard(other).wait(crust.LostPeer).reason == "closed", struck
        assert other.close()
        return struck

    assert everywhere(once) > 15


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # it closes itself, and that is the point
def test_a_file_can_be_struck_anywhere(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """``send_file``: the file is there or not, never half; its temporary is gone, and the next one gets through."""
    pair = nodes.pair()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    pair.far.accept_files(inbox)
    source = tmp_path / "source"
    source.write_bytes(bytes(200_000))

    def once(number: int) -> str | None:
        struck = strike(number, lambda: pair.to_far.send_file(source, name=f"first-{number}"))
        pair.to_far.send_file(source, name=f"second-{number}", timeout=10)
        wait_until(lambda: not list(inbox.glob(".*")), what=f"the temporary's end after a strike at {struck}")
        found = {path.name: path.stat().st_size for path in inbox.iterdir()}
        assert f"second-{number}" in found
        assert set(found.values()) == {200_000}, struck
        for path in inbox.iterdir():
            path.unlink()
        return struck

    assert everywhere(lambda number: once(7 * number)) > 10
    at_peace(pair)
