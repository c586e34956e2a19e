"""How much is handed on at once: a flood of what is dear to deal with comes in small pieces."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.contract import Connection, Transport
from crust.transports.pieces import Pieces
from crust.transports.tcp import TcpTransport
from crust.transports.utp.transport import UtpTransport
from tests.support.pairs import Pair, RecordingSink
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

QUICK, SLOW = limits.PIECE_SECONDS, 1.0
DATA = random.Random(7).randbytes(700_001)


class Costly(RecordingSink):
    """Each call costs time of a core; with ``pauses`` each stops what is read."""

    def __init__(self, core: list[float]) -> None:
        super().__init__()
        self.core = core
        self.sizes: list[int] = []
        self.pauses: Callable[[], object] | None = None
        self.paused = threading.Semaphore(0)

    def data_received(self, data: memoryview) -> None:
        super().data_received(data)
        self.sizes.append(len(data))
        self.core[0] += SLOW
        if self.pauses is not None:
            self.pauses()
            self.paused.release()


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What threads have used of it, in seconds."""
    used = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: used[0])
    return used


@pytest.fixture(params=["tcp", "utp"])
def pair(request: pytest.FixtureRequest, crew: Crew, core: list[float]) -> Iterator[Pair]:
    """The far end's sink is costly; not started."""
    transport: Transport
    if request.param == "tcp":
        transport = TcpTransport(crew.io, crew.crashed)
    else:
        transport = UtpTransport(crew.io, crew.spawn, crew.crashed)
    listener = transport.listen(Endpoint(transport.name, "127.0.0.1", 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    near = transport.dialling(listener.endpoint, 5.0).run()
    wait_until(lambda: accepted, what="accepting")
    listener.close()
    pair = Pair(crew, near, accepted[0])
    pair.far_sink = Costly(core)
    yield pair.start()
    pair.end()


def send(pair: Pair, data: bytes) -> None:
    """All of it, as the connection has room; waits until it has arrived."""
    left = memoryview(data)
    sink = pair.far_sink
    begun = len(sink.received)
    while left:
        sent = pair.near.send(left)
        left = left[sent:]
        if not sent:
            room = threading.Event()
            pair.near.when_writable(room.set)
            room.wait(1.0)
    wait_until(lambda: len(sink.received) == begun + len(data), what="arrival")


def test_pieces_grow_while_they_take_little() -> None:
    pieces = Pieces()
    assert pieces.size == limits.PIECE_BEGUN
    pieces.taken(pieces.size - 1, QUICK)
    assert pieces.size == limits.PIECE_BEGUN, "that says nothing of larger ones"
    sizes = []
    for _ in range(40):
        pieces.taken(pieces.size, QUICK)
        sizes.append(pieces.size)
    assert sizes[0] == limits.PIECE_BEGUN + limits.PIECE_GROWTH
    assert sizes[-1] == limits.BURST_SIZE == max(sizes)


@pytest.mark.parametrize(("seconds", "size"), [(2 * QUICK, 50_000), (10 * QUICK, 10_000), (SLOW, limits.PIECE_MIN)])
def test_pieces_are_what_can_be_dealt_with_in_time(seconds: float, size: int) -> None:
    pieces = Pieces()
    pieces.taken(100_000, seconds)
    assert pieces.size == size


def test_what_is_dear_comes_in_small_pieces(pair: Pair) -> None:
    sink = pair.far_sink
    assert isinstance(sink, Costly)
    send(pair, DATA)
    assert max(sink.sizes) <= limits.PIECE_BEGUN
    large = [size for size in sink.sizes if size > limits.PIECE_MIN]
    assert len(large) <= 1, "the first one"
    assert sink.received == DATA


def test_a_pause_counts_from_one_piece_to_the_next(pair: Pair) -> None:
    """The rest comes in order afterwards."""
    sink = pair.far_sink
    assert isinstance(sink, Costly)
    sink.pauses = pair.far.pause
    sender = Background(send, pair, DATA[:100_000])
    while len(sink.received) < 100_000:
        assert sink.paused.acquire(timeout=20.0)
        calls = len(sink.sizes)
        threading.Event().wait(0.001)
        assert len(sink.sizes) == calls
        pair.far.resume()
    sender.result()
    assert sink.received == DATA[:100_000]
    assert max(sink.sizes) <= limits.PIECE_BEGUN


def test_what_a_sink_leaves_comes_again(pair: Pair) -> None:
    """First, and after a pause: nothing is lost or reordered, at the stream's end neither."""
    sink = pair.far_sink
    assert isinstance(sink, Costly)
    paused, left = threading.Semaphore(0), 0

    def take_a_fifth(data: memoryview) -> int:
        nonlocal left
        RecordingSink.data_received(sink, data[: len(data) // 5])
        left += 1
        if not left % 3:
            pair.far.pause()
            paused.release()
        return len(data) // 5

    sink.data_offered = take_a_fifth  # type: ignore[attr-defined]
    assert pair.near.send(DATA[:60_000]) == 60_000
    pair.near.close()
    while not sink.lost:
        if paused.acquire(timeout=0.01):
            assert not sink.lost
            pair.far.resume()
    assert sink.received == DATA[:60_000] and sink.lost == [None]
    assert left > 3 and not sink.broken_rules
