"""Slow code of the application: what it holds up is what the documents say, and nothing is lost by it."""

from __future__ import annotations

import logging
import threading

import crust
from tests.support.nodes import Nodes, Pair, config
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


class Gate:
    """A callback that waits to be let through, and keeps what it got."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.got: list[object] = []

    def __call__(self, event: object) -> None:
        self.got.append(event)
        self.entered.set()
        assert self.go.wait(60)


def test_a_slow_callback_delays_callbacks_alone(nodes: Nodes) -> None:
    """Streams and ``recv`` go on; the callbacks behind it run in their order when it is done, each event once."""
    pair = nodes.pair()
    gate = Gate()
    late: list[str] = []
    pair.far.on(crust.ConnectionInfoPrepared, gate)
    pair.far.on(crust.ConnectionInfoPrepared, lambda event: late.append("prepared"))
    pair.far.on(crust.AddressesChanged, lambda event: late.append("addresses"))
    with pair.far.events(crust.AddressesChanged) as stream:
        pair.far.prepare_connection_info()
        assert gate.entered.wait(PATIENCE)
        pair.far.stop_listening()
        pair.far.start_listening()
        assert [type(stream.get(PATIENCE)) for _ in range(2)] == [crust.AddressesChanged] * 2
        pair.to_far.send(b"x")
        assert pair.to_near.recv(PATIENCE) == b"x"
        third = nodes.start()
        assert third.connect(pair.far.contact).id == pair.far.id
        assert late == []
        gate.go.set()
        wait_until(lambda: len(late) == 3, what="the callbacks that waited")
        assert late == ["prepared", "addresses", "addresses"]
        assert len(pair.far_heard.of(crust.ConnectSuccess)) == 2


def test_a_stuck_message_callback_stops_senders_of_messages_alone(nodes: Nodes) -> None:
    """Each at the end of its own buffer, with Timeout; later all arrives, once, in order, and they can send again."""
    small = config(
        session__receive_buffer=400_000, session__max_message_size=100_000, session__send_buffer__bytes=300_000
    )
    far = nodes.start(small)
    pairs = [Pair(nodes, nodes.start(small), far) for _ in range(2)]
    ids = [pair.near.id for pair in pairs]
    gate = Gate()
    far.on(crust.NewMessage, gate)
    accepted = []
    for pair in pairs:
        count = 0
        try:
            while True:
                pair.to_far.send(b"%06d" % count + bytes(50_000), timeout=2.0)
                count += 1
        except crust.Timeout:
            accepted.append(count)
    assert min(accepted) >= 8  # 400 kB here, and what fits the sender's own buffer
    assert gate.entered.is_set()
    assert len(gate.got) == 1
    for peer in far.peers:  # the other direction is not held up
        peer.send(b"back")
    assert [pair.to_far.recv(PATIENCE) for pair in pairs] == [b"back"] * 2
    gate.go.set()
    wait_until(lambda: len(gate.got) == sum(accepted), 20.0, what="everything that was accepted")
    for peer_id, count in zip(ids, accepted, strict=True):
        numbers = [int(message.data[:6]) for message in gate.got if message.peer.id == peer_id]  # type: ignore[attr-defined]
        assert numbers == list(range(count))
    pairs[0].to_far.send(b"%06d" % 0)
    pairs[0].to_far.flush(PATIENCE)


def test_a_slow_log_handler_delays_callbacks_and_loses_none(nodes: Nodes) -> None:
    """It runs on the callbacks' thread; messages are received meanwhile, and reach the callbacks after it."""
    gate = Gate()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            gate(record)

    logger = logging.getLogger("crust")
    handler, level = Slow(), logger.level
    near, far = nodes.start(), nodes.start()
    got: list[bytes] = []
    far.on(crust.NewMessage, lambda message: got.append(message.data))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        peer = near.connect(far.contact)
        assert gate.entered.wait(PATIENCE)
        wait_until(lambda: far.stats().callbacks_waiting, what="far's own line for the log")
        for number in range(10):
            peer.send(b"%d" % number)
        peer.flush(PATIENCE)  # acknowledged, so it has arrived
        assert got == []
        gate.go.set()
        wait_until(lambda: len(got) == 10, what="the messages")
        assert got == [b"%d" % number for number in range(10)]
        assert far.stats().log_records_dropped == 0
    finally:
        gate.go.set()
        logger.removeHandler(handler)
        logger.setLevel(level)
