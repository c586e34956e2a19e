"""Full buffers, urgency and credit, over real sockets."""

from __future__ import annotations

import collections
import threading

import pytest

import crust
from tests.support.nodes import Nodes, config

BIG = 1_900_000  # bytes


def test_an_urgent_message_overtakes_what_waits_for_window(nodes: Nodes) -> None:
    """Big messages wait because nobody reads; a small urgent one is there at once all the same."""
    pair = nodes.pair(near=config(session__send_buffer__bytes=16 * BIG))
    for _ in range(8):
        pair.to_far.send(bytes(BIG), timeout=5)
    pair.to_far.send(b"urgent", priority=0, timeout=5)
    came = [len(pair.to_near.recv(timeout=5)) for _ in range(9)]
    assert len(b"urgent") in came[:8], "the urgent message came behind all others"


def test_what_comes_after_a_wait_for_window_goes_out(nodes: Nodes) -> None:
    """Once the other side has made room and all has gone, the next message waits for nothing."""
    pair = nodes.pair(far=config(session__receive_buffer=200_000, session__max_message_size=50_000))
    for _ in range(20):
        pair.to_far.send(bytes(40_000), timeout=5)
    for _ in range(20):
        assert len(pair.to_near.recv(timeout=5)) == 40_000
    pair.to_far.flush(timeout=5)
    assert not pair.to_far._conversation._starved, "the next message would wait for an acknowledgement"


def test_no_kind_of_interrupt_leaves_a_message_behind(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may raise what it likes when a message has just been queued: somebody writes it all the same."""
    pair = nodes.pair()
    conversation = pair.to_far._conversation
    for error in (ValueError, crust.Timeout, KeyboardInterrupt):
        conversation._heard = False
        conversation._host.last_direct = conversation._now() + 60  # so that the I/O thread is asked to write

        def strike(*_: object, error: type[BaseException] = error) -> None:
            raise error("struck")

        with monkeypatch.context() as patch:
            patch.setattr(conversation._host.io, "flush_soon", strike)
            with pytest.raises(error, match="struck"):
                pair.to_far.send(b"struck")
        pair.to_far.send(b"the next")
        assert [pair.to_near.recv(timeout=5) for _ in range(2)] == [b"struck", b"the next"]


def test_without_room_nothing_is_queued(nodes: Nodes) -> None:
    """timeout=0 raises WouldBlock, a timeout Timeout; the message that did not fit never arrives."""
    pair = nodes.pair(near=config(session__send_buffer__messages=8), far=config(session__receive_buffer=4_300_000))
    sent = 0

    def send(timeout: float) -> None:
        nonlocal sent
        while True:
            pair.to_far.send(b"%d" % sent + bytes(500_000), timeout=timeout)
            sent += 1

    with pytest.raises(crust.WouldBlock):
        send(0)
    with pytest.raises(crust.Timeout):
        send(0.2)
    assert sent >= 8
    for index in range(sent):
        assert pair.to_near.recv(timeout=5).startswith(b"%d" % index)
    pair.near_heard.wait(crust.SendReady)
    with pytest.raises(crust.Timeout):
        pair.to_near.recv(timeout=0.05)


@pytest.mark.parametrize("size", [2_097_153, 10_000_000])
def test_too_large_is_refused_before_anything_is_queued(nodes: Nodes, size: int) -> None:
    """The limit is that of both sides, and send_many checks all before the first."""
    pair = nodes.pair(far=config(session__max_message_size=1_000_000))
    for call in (
        lambda: pair.to_far.send(bytes(size)),
        lambda: pair.to_far.send(bytes(1_000_001)),
        lambda: pair.to_far.send_many([b"fits", bytes(size)]),
    ):
        with pytest.raises(crust.MessageTooLarge, match="1000000"):
            call()
    pair.to_far.send(b"next")
    assert pair.to_near.recv(timeout=5) == b"next"


class Echo:
    """Echoes in a callback, as docs/delivery.md advises: keeps a message on WouldBlock, goes on at SendReady."""

    def __init__(self, service: crust.Service) -> None:
        self.kept: collections.deque[bytes] = collections.deque()
        self.answers = 0
        self.changed = threading.Condition()
        service.on(crust.NewMessage, self.message)
        service.on(crust.SendReady, self.go_on)

    def message(self, event: crust.NewMessage) -> None:
        if event.data.startswith(b"answer"):
            with self.changed:
                self.answers += 1
                self.changed.notify_all()
            return
        self.kept.append(b"answer to " + event.data)
        self.go_on(event)

    def go_on(self, event: crust.NewMessage | crust.SendReady) -> None:
        while self.kept:
            try:
                event.peer.send(self.kept[0])
            except crust.WouldBlock:
                return
            self.kept.popleft()


def test_two_nodes_that_echo_while_both_flood_do_not_deadlock(nodes: Nodes) -> None:
    """Small buffers, floods both ways, every message answered by the other side's callback: all answers arrive."""
    small = config(session__send_buffer__messages=64)
    near, far = nodes.make(small), nodes.make(small)
    echoes = [Echo(near), Echo(far)]
    with near, far:
        to_far = near.connect(far.contact)
        to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
        count = 3000

        def flood(peer: crust.Peer) -> None:
            for _ in range(count):
                peer.send(b"question" * 20, timeout=20)

        threads = [threading.Thread(target=flood, args=(peer,), daemon=True) for peer in (to_far, to_near)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        for echo in echoes:
            with echo.changed:
                assert echo.changed.wait_for(lambda echo=echo: echo.answers == count, timeout=20)


def test_a_stream_drops_its_oldest_events_and_says_so(nodes: Nodes) -> None:
    """A reader that comes late gets the newest events, and first of all how many were lost."""
    near, far = nodes.start(), nodes.start()
    with near.events(crust.ConnectionInfoPrepared, maxsize=2) as stream:
        for _ in range(5):
            near.prepare_connection_info()
        assert stream.get(timeout=5) == crust.EventsLost(3)
        assert isinstance(stream.get(timeout=5), crust.ConnectionInfoPrepared)
        assert isinstance(stream.get(timeout=5), crust.ConnectionInfoPrepared)
        with pytest.raises(crust.Timeout):
            stream.get(timeout=0)
    assert far.peers == []
