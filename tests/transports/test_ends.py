"""The end of a transport: whatever goes on, all of it ends, and nothing needs the I/O loop for that any more."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.runtime.clock import Clock
from crust.runtime.threads import Deadline
from crust.testing.cables import Cables, Line
from crust.testing.transport import MemoryTransport
from crust.transports.contract import Connection, Transport
from crust.transports.tcp import TcpTransport
from crust.transports.utp.states import State
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport
from tests.support.pairs import Pair, RecordingSink
from tests.support.sockets import silent_listener
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

HOST = "127.0.0.1"


class Two:
    """Two transports, each with threads and a loop of its own, as two nodes have them."""

    def __init__(self, make: Callable[[Crew, Cables], Transport]) -> None:
        self.crews = (Crew(), Crew())
        cables = Cables(Clock())
        self.near, self.far = (make(crew, cables) for crew in self.crews)

    def connect(self) -> Pair:
        listener = self.far.listen(Endpoint(self.far.name, HOST, 0))
        accepted: list[Connection] = []
        self.crews[1].spawn("crust-listener", listener.run, accepted.append)
        near = self.near.dialling(listener.endpoint, 5.0).run()
        wait_until(lambda: accepted, what="accepting")
        pair = Pair(self.crews[0], near, accepted[0])
        pair.near.start(pair.near_sink, self.crews[0].spawn)
        pair.far.start(pair.far_sink, self.crews[1].spawn)
        return pair

    def end_near(self) -> None:
        """As a node ends: nothing is left, although the loop stops in the same moment."""
        self.near.close()
        self.crews[0].io.stop()
        assert self.crews[0].threads.join(Deadline(5.0)) == []


def _tcp(crew: Crew, cables: Cables) -> Transport:
    return TcpTransport(crew.io, crew.crashed)


def _utp(crew: Crew, cables: Cables) -> Transport:
    return UtpTransport(crew.io, crew.spawn, crew.crashed)


def _memory(crew: Crew, cables: Cables) -> Transport:
    return MemoryTransport(cables, cables.add_host(), crew.io, crew.crashed)


@contextlib.contextmanager
def silence(transport: Transport) -> Iterator[Endpoint]:
    """Where nobody answers."""
    if isinstance(transport, TcpTransport):
        sockets, port = silent_listener()
        yield Endpoint("tcp", HOST, port)
        for each in sockets:
            each.close()
    elif isinstance(transport, UtpTransport):
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.bind((HOST, 0))
            yield Endpoint("utp", HOST, sock.getsockname()[1])
    else:
        assert isinstance(transport, MemoryTransport)
        other = transport.cables.add_host()
        transport.cables.set_lines([frozenset((transport.host, other))], Line.SILENT)
        yield Endpoint("tcp", str(other.addresses[0]), 9)


@pytest.fixture(params=[_tcp, _utp, _memory], ids=["tcp", "utp", "memory"])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    two = Two(request.param)
    with two.crews[0], two.crews[1]:
        yield two
        two.near.close()
        two.far.close()


def test_connections_are_cut_and_told(two: Two) -> None:
    """Both sinks hear it once, ours as a call of our own."""
    pair = two.connect()
    two.end_near()
    assert pair.near_sink.lost == [None]
    wait_until(lambda: pair.far_sink.lost, what="the end at the other side")
    with pytest.raises(OSError):
        pair.near.send(b"x")


def test_what_lingers_is_cut(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that we have closed, and whose other side does not read."""
    monkeypatch.setattr(limits, "CLOSE_LINGER", 600.0)
    pair = two.connect()
    pair.far.pause()
    pair.near.send(bytes(100_000))
    pair.near.close()
    two.end_near()
    assert pair.near_sink.lost == [None]
    pair.far.resume()


def test_what_lingers_after_its_last_word_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """µTP: the other side has ended, the sink knows, and nothing acknowledges our own end."""
    monkeypatch.setattr(limits, "CLOSE_LINGER", 600.0)
    two = Two(_utp)
    with two.crews[0], two.crews[1]:
        pair = two.connect()
        assert isinstance(pair.near, UtpStream)
        monkeypatch.setattr(pair.near._hub, "transmit", lambda *arguments: True)
        pair.far.close()
        wait_until(lambda: pair.near_sink.lost, what="the end")
        assert pair.near.core.state is State.LAST_ACK
        two.end_near()
        assert pair.near_sink.lost == [None]
        two.far.close()


def test_a_connection_never_started_ends(two: Two) -> None:
    """Its late sink still hears of it."""
    listener = two.far.listen(Endpoint(two.far.name, HOST, 0))
    accepted: list[Connection] = []
    two.crews[1].spawn("crust-listener", listener.run, accepted.append)
    near = two.near.dialling(listener.endpoint, 5.0).run()
    two.near.close()
    sink = RecordingSink()
    near.start(sink, two.crews[0].spawn)
    wait_until(lambda: sink.lost, what="the end")
    assert sink.lost == [None]


def test_a_sink_that_is_busy_hears_the_end_afterwards(two: Two) -> None:
    """Never two calls at once."""
    pair = two.connect()
    pair.near_sink.gate = threading.Event()
    pair.far.send(b"x")
    wait_until(lambda: pair.near_sink.received, what="the first byte")
    two.near.close()
    assert pair.near_sink.lost == []
    pair.near_sink.gate.set()
    two.end_near()
    assert pair.near_sink.lost == [None]
    assert pair.near_sink.broken_rules == []


def test_listeners_end(two: Two) -> None:
    """Running or not; nobody is accepted any more."""
    listener, idle = (two.near.listen(Endpoint(two.near.name, HOST, 0)) for _ in range(2))
    job = Background(listener.run, lambda connection: None)
    two.near.close()
    job.result()
    for each in (listener, idle):
        with pytest.raises(OSError):
            two.far.dialling(each.endpoint, 0.2).run()
    two.end_near()


def test_dials_end(two: Two) -> None:
    """One that waits for an answer, and one that has not begun."""
    with silence(two.near) as endpoint:
        waiting, later = (two.near.dialling(endpoint, 30.0) for _ in range(2))
        job = Background(waiting.run)
        two.near.close()
        for call in (job.result, later.run):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.ECANCELED
    two.end_near()


def test_nothing_begins_afterwards(two: Two) -> None:
    """Dials are cancelled, listeners do not run, and a second end is harmless."""
    listener = two.far.listen(Endpoint(two.far.name, HOST, 0))
    two.near.close()
    two.near.close()
    with pytest.raises(OSError) as caught:
        two.near.dialling(listener.endpoint, 5.0).run()
    assert caught.value.errno == errno.ECANCELED
    with contextlib.suppress(OSError):  # it may not even be made
        Background(two.near.listen(Endpoint(two.near.name, HOST, 0)).run, lambda connection: None).result()
    listener.close()
    two.end_near()
