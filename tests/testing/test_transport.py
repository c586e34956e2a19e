"""The transport in memory: the contract, and what its lines do to it."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator

import pytest

from crust.addresses import Endpoint
from crust.exceptions import ListenError
from crust.runtime.clock import Clock
from crust.testing.cables import Cables, Host, Line
from crust.testing.connection import CAPACITY, MemoryConnection
from crust.testing.transport import MemoryTransport
from crust.transports.contract import Connection
from tests.support.pairs import Pair
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until
from tests.transports.conformance import TransportConformance

PORT = 4000


class TestMemory(TransportConformance):
    """It keeps the contract of TCP; here on the system's clock, since this suite waits in real time."""

    scheme = "tcp"

    def make_transport(self, crew: Crew) -> MemoryTransport:
        cables = Cables(Clock())
        return MemoryTransport(cables, cables.add_host(), crew.io, crew.crashed)


class World:
    """Two computers, on the system's clock; the second one listens."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.cables = Cables(Clock())
        self.near, self.far = (
            MemoryTransport(self.cables, self.cables.add_host(), crew.io, crew.crashed) for _ in range(2)
        )
        self.pair: frozenset[Host] = frozenset((self.near.host, self.far.host))
        self.endpoint = Endpoint("tcp", "10.0.0.2", PORT)
        self.accepted: list[Connection] = []
        self.listener = self.far.listen(self.endpoint)
        crew.spawn("crust-listener", self.listener.run, self.accepted.append)

    def connect(self) -> Pair:
        near = self.near.dialling(self.endpoint, 5.0).run()
        wait_until(lambda: self.accepted, what="accepting")
        return Pair(self.crew, near, self.accepted.pop())


@pytest.fixture
def world() -> Iterator[World]:
    with Crew() as crew:
        world = World(crew)
        yield world
        world.listener.close()


def test_a_delay_is_kept_and_nothing_overtakes(world: World) -> None:
    """Also when it shrinks while bytes are under way."""
    pair = world.connect().start()
    world.cables.set_delays([world.pair], 0.1)
    began = time.monotonic()
    pair.near.send(b"slow ")
    world.cables.set_delays([world.pair], 0.0)
    pair.near.send(b"and steady")
    wait_until(lambda: len(pair.far_sink.received) == 15, what="arrival")
    assert time.monotonic() - began >= 0.1
    assert bytes(pair.far_sink.received) == b"slow and steady"
    pair.end()


def test_a_dial_takes_a_round_trip(world: World) -> None:
    """There and back; a refusal too."""
    world.cables.set_delays([world.pair], 0.05)
    began = time.monotonic()
    pair = world.connect()
    assert time.monotonic() - began >= 0.1
    pair.start().end()
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        world.near.dialling(world.endpoint.with_port(1), 5.0).run()
    assert time.monotonic() - began >= 0.1


def test_a_silent_line_holds_everything_back(world: World) -> None:
    """Data, ends and resets; they come when it speaks again, and a dial goes on then."""
    pair, other = world.connect().start(), world.connect().start()
    world.cables.set_lines([world.pair], Line.SILENT)
    pair.near.send(b"held")
    pair.near.close()
    other.far.abort()
    dial = Background(world.near.dialling(world.endpoint, 5.0).run)
    threading.Event().wait(0.03)
    assert (pair.far_sink.received, pair.far_sink.lost, other.near_sink.lost, dial.done) == (b"", [], [], False)
    assert other.near.send(b"nobody knows yet") == 16
    world.cables.heal([world.pair])
    wait_until(lambda: pair.far_sink.lost and other.near_sink.lost, what="the ends")
    assert (bytes(pair.far_sink.received), pair.far_sink.lost) == (b"held", [None])
    assert isinstance(other.near_sink.lost[0], ConnectionResetError)
    connection = dial.result()
    assert isinstance(connection, MemoryConnection)
    connection.abort()
    for each in (pair, other):
        each.end()


def test_a_dial_into_silence_ends_by_time_or_cancel(world: World) -> None:
    """TimeoutError after its timeout, ECANCELED at once."""
    world.cables.set_lines([frozenset((world.far.host,))], Line.SILENT)
    with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
        world.near.dialling(world.endpoint, 0.05).run()
    dialling = world.near.dialling(world.endpoint, 60.0)
    job = Background(dialling.run)
    threading.Event().wait(0.01)
    dialling.cancel()
    with pytest.raises(OSError) as caught:
        job.result(5.0)
    assert caught.value.errno == errno.ECANCELED


def test_a_cut_ends_a_dial_on_its_way(world: World) -> None:
    """Network unreachable; what the other side had accepted already is reset."""
    world.cables.set_delays([world.pair], 0.05)
    dial = Background(world.near.dialling(world.endpoint, 5.0).run)
    wait_until(lambda: world.accepted, what="accepting")
    world.cables.set_lines([world.pair], Line.CUT)
    with pytest.raises(OSError) as caught:
        dial.result()
    assert caught.value.errno == errno.ENETUNREACH
    assert caught.value.filename == str(world.endpoint)


def test_a_severed_end_learns_it_and_the_other_hears_nothing(world: World) -> None:
    """One side at a time; a sender that waits for room is told."""
    pair = world.connect()
    pair.near.start(pair.near_sink, world.crew.spawn)
    assert pair.near.send(bytes(2 * CAPACITY)) == CAPACITY
    assert pair.near.send(b"more") == 0
    told = threading.Event()
    pair.near.when_writable(told.set)
    assert isinstance(pair.near, MemoryConnection) and isinstance(pair.far, MemoryConnection)
    pair.near.sever()
    assert told.wait(5.0)
    wait_until(lambda: pair.near_sink.lost, what="the end")
    assert isinstance(pair.near_sink.lost[0], ConnectionResetError)
    with pytest.raises(OSError):
        pair.near.send(b"x")
    pair.far.start(pair.far_sink, world.crew.spawn)
    wait_until(lambda: len(pair.far_sink.received) == CAPACITY, what="what was under way")
    assert pair.far_sink.lost == []
    pair.far.sever()
    wait_until(lambda: pair.far_sink.lost, what="the end")
    pair.end()


def test_an_unread_reset_fails_a_send(world: World) -> None:
    """A paused end does not read, but its next send meets the reset."""
    pair = world.connect().start()
    pair.near.pause()
    pair.far.abort()
    with pytest.raises(ConnectionResetError):
        pair.near.send(b"x")
    pair.near.resume()
    pair.end()


def test_callers_that_nobody_accepted_are_reset_when_the_listener_closes(world: World) -> None:
    """They wait in the listener until it runs, and do not wait for ever."""
    listener = world.far.listen(world.endpoint.with_port(PORT + 1))
    near = world.near.dialling(listener.endpoint, 5.0).run()
    listener.close()
    listener.run(lambda connection: pytest.fail("a closed listener accepts nothing"))
    with pytest.raises(ConnectionResetError):
        near.send(b"x")
    near.abort()


def test_occupied_ports_are_named(world: World) -> None:
    """As those of a real computer; another computer may have the same port."""
    with pytest.raises(ListenError, match=r"cannot listen on tcp://10\.0\.0\.2:4000") as caught:
        world.far.listen(world.endpoint)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(ListenError) as caught:
        world.near.listen(world.endpoint)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    world.near.listen(Endpoint("tcp", "0.0.0.0", PORT)).close()
    taken = {world.near.listen(Endpoint("tcp", "10.0.0.1", 0)).endpoint.port for _ in range(100)}
    assert len(taken) == 100


def test_the_source_is_the_own_address_and_the_port_that_was_asked_for(world: World) -> None:
    """So that the other side's gate and bans see who calls."""
    near = world.near.dialling(world.endpoint, 5.0, local_port=7000).run()
    assert str(near.local) == "tcp://10.0.0.1:7000"
    wait_until(lambda: world.accepted, what="accepting")
    assert world.accepted[0].remote == near.local
    near.abort()
    world.accepted[0].abort()
