"""The lobby of a TCP listener: callers wait without a thread until they have greeted, and nothing else is different."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.runtime.threads import are_dear
from crust.transports.contract import Connection
from crust.transports.lobby import Lobby
from crust.transports.tcp import TcpTransport
from crust.transports.tcp_connection import TcpConnection
from tests.support.pairs import RecordingSink
from tests.support.puppet import read_until_end
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

ANY = Endpoint("tcp", "127.0.0.1", 0)
HELLO = b"hello"
IN_THE_LOBBY = are_dear()


class Stranger(RecordingSink):
    """Has greeted once it has said hello; notes on which threads it was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.greeted = False
        self.fails = False
        self.heard_on: list[int] = []

    def data_received(self, data: memoryview) -> None:
        super().data_received(data)
        self.heard_on.append(threading.get_ident())
        if self.fails:
            raise ValueError("a sink that fails")
        self.greeted = self.greeted or HELLO in self.received


class Reception:
    """A listener, and what becomes of its callers; ``accept`` may be replaced."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.tcp = TcpTransport(crew.io, crew.crashed)
        self.listener = self.tcp.listen(ANY)
        self.connections: list[Connection] = []
        self.sinks: list[Stranger] = []
        self.spawn = crew.spawn
        self.accept = self.start
        self.troubles: list[OSError] = []
        self.job = Background(
            self.listener.run, lambda connection: self.accept(connection), self.troubles.append
        )
        self.callers: list[socket.socket] = []

    def start(self, connection: Connection) -> None:
        sink = Stranger()
        self.sinks.append(sink)
        connection.start(sink, lambda *job: self.spawn(*job))
        self.connections.append(connection)

    def call(self) -> tuple[socket.socket, Stranger, Connection]:
        """A caller, and what the listener has of it."""
        number = len(self.connections)
        sock = socket.create_connection(("127.0.0.1", self.listener.endpoint.port), 5.0)
        self.callers.append(sock)
        wait_until(lambda: len(self.connections) > number, what="accepting")
        return sock, self.sinks[number], self.connections[number]

    def readers(self) -> int:
        return len([name for name in self.crew.threads.alive() if name.startswith("crust-tcp")])

    def end(self) -> None:
        self.listener.close()
        self.job.result()
        self.tcp.close()
        wait_until(lambda: all(sink.lost for sink in self.sinks), what="the end of all")
        for sock in self.callers:
            sock.close()
        for sink in self.sinks:
            assert len(sink.lost) == 1
            assert sink.broken_rules == []


@pytest.fixture
def reception(crew: Crew) -> Iterator[Reception]:
    reception = Reception(crew)
    yield reception
    reception.end()


def said(sock: socket.socket, sink: Stranger, data: bytes) -> None:
    """Say it, and wait until it was heard."""
    wanted = len(sink.received) + len(data)
    sock.sendall(data)
    wait_until(lambda: len(sink.received) >= wanted, what="what was said")


def test_who_has_not_greeted_has_no_thread(reception: Reception) -> None:
    """Silent ones and noisy ones are heard, and end, without one; on greenlets each has its own."""
    several = [reception.call() for _ in range(20)]
    for sock, sink, _ in several[:10]:
        said(sock, sink, b"noise")
        said(sock, sink, b"and more")
        assert bytes(sink.received) == b"noiseand more"
    assert reception.readers() == (0 if IN_THE_LOBBY else 20)
    for sock, _, _ in several:
        sock.close()
    wait_until(lambda: all(sink.lost for _, sink, _ in several), what="their end")
    assert all(sink.lost == [None] for _, sink, _ in several)


def test_a_greeting_brings_a_reader(reception: Reception) -> None:
    """From then on it is read by a thread of its own; what comes around that moment arrives whole and in order."""
    sock, sink, _ = reception.call()
    said(sock, sink, HELLO[:2])
    assert reception.readers() == (0 if IN_THE_LOBBY else 1)
    rest = os.urandom(3_000_000)
    said(sock, sink, HELLO[2:] + rest)
    assert bytes(sink.received) == HELLO + rest
    assert reception.readers() == 1
    assert len(set(sink.heard_on)) == (2 if IN_THE_LOBBY else 1)
    _, other, _ = reception.call()  # the lobby is still open
    assert not other.lost


def test_waiting_callers_can_be_ended_from_anywhere(reception: Reception) -> None:
    """abort() and close() from other threads: the sink hears it, the caller sees it, nobody else is touched."""
    aborted, closed, stays = reception.call(), reception.call(), reception.call()
    for _ in range(2):
        aborted[2].abort()
        closed[2].close()
    assert read_until_end(aborted[0]) == b""
    assert read_until_end(closed[0]) == b""
    wait_until(lambda: aborted[1].lost == [None], what="the end of the aborted one")
    closed[0].close()
    wait_until(lambda: closed[1].lost == [None], what="the end of the closed one")
    said(stays[0], stays[1], HELLO)
    assert not stays[1].lost


def test_a_closed_one_that_stays_is_cut_off(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still says is thrown away, and its time is short."""
    monkeypatch.setattr(limits, "CLOSE_LINGER", 0.2)
    sock, sink, connection = reception.call()
    connection.close()
    sock.sendall(b"too late")
    wait_until(lambda: sink.lost == [None], what="the end of it")
    assert not sink.received


def test_a_reset_is_told(reception: Reception) -> None:
    """As by a reader: the error of the system, with the endpoint."""
    sock, sink, connection = reception.call()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    wait_until(lambda: sink.lost, what="the end")
    assert isinstance(sink.lost[0], ConnectionResetError)
    assert sink.lost[0].filename == str(connection.remote)


def test_a_sink_that_raises_loses_only_its_own(reception: Reception) -> None:
    """It is reported and ended; those beside it wait on."""
    failing, well = reception.call(), reception.call()
    failing[1].fails = True
    failing[0].sendall(b"x")
    wait_until(lambda: failing[1].lost, what="the end of it")
    assert isinstance(failing[1].lost[0], ConnectionAbortedError)
    wait_until(lambda: reception.crew.crashes, what="the report")
    [(_, error)] = reception.crew.crashes
    assert isinstance(error, ValueError)
    reception.crew.crashes.clear()
    failing[1]._inside = False
    said(well[0], well[1], HELLO)
    reception.call()


def test_who_waits_when_the_listener_closes_is_still_heard(reception: Reception) -> None:
    """run() returns at once, and each gets a reader: ports change while somebody is about to greet."""
    several = [reception.call() for _ in range(5)]
    several[0][2].abort()
    reception.listener.close()
    reception.job.result()
    wait_until(lambda: several[0][1].lost == [None], what="the end of the aborted one")
    wait_until(lambda: reception.readers() == 4, what="a reader for each of the others")
    for sock, sink, _ in several[1:]:
        said(sock, sink, b"late " + HELLO)


@pytest.mark.skipif(not IN_THE_LOBBY, reason="start() raises on greenlets: tests/transports/conformance.py")
def test_no_thread_for_one_that_has_greeted(reception: Reception) -> None:
    """The caller is gone, its sink is told why; the lobby goes on, and has threads again when there are some."""

    def no_threads(*job: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    reception.spawn = no_threads  # type: ignore[assignment]
    unlucky, waits = reception.call(), reception.call()
    unlucky[0].sendall(HELLO)
    assert read_until_end(unlucky[0]) == b""
    wait_until(lambda: unlucky[1].lost, what="the end of it")
    assert isinstance(unlucky[1].lost[0], BlockingIOError)
    assert "no thread" in str(unlucky[1].lost[0])
    with pytest.raises(OSError):
        unlucky[2].send(b"x")
    reception.spawn = reception.crew.spawn
    said(waits[0], waits[1], HELLO)
    assert reception.readers() == 1


@pytest.mark.skipif(not IN_THE_LOBBY, reason="start() raises on greenlets: tests/transports/conformance.py")
def test_a_bug_where_threads_are_made_is_reported(reception: Reception) -> None:
    """It is no lack of threads; it costs that caller alone."""

    def broken(*job: object) -> threading.Thread:
        raise ZeroDivisionError

    reception.spawn = broken  # type: ignore[assignment]
    unlucky, waits = reception.call(), reception.call()
    unlucky[0].sendall(HELLO)
    wait_until(lambda: unlucky[1].lost and reception.crew.crashes, what="the end of it, and the report")
    [(_, error)] = reception.crew.crashes
    assert isinstance(error, ZeroDivisionError)
    reception.crew.crashes.clear()
    reception.spawn = reception.crew.spawn
    said(waits[0], waits[1], HELLO)


def test_after_the_end_nobody_waits_there(reception: Reception) -> None:
    """Though another thread may be known by the same number by then."""
    reception.accept = reception.connections.append
    address = ("127.0.0.1", reception.listener.endpoint.port)
    with selectors.DefaultSelector() as selector, socket.create_connection(address, 5.0):
        wait_until(lambda: reception.connections, what="accepting")
        [connection] = reception.connections
        assert isinstance(connection, TcpConnection)
        lobby = Lobby(selector, reception.tcp)
        lobby.open()
        lobby.empty()
        assert not lobby.take(connection, Stranger(), reception.spawn)
        connection.abort()


def test_a_paused_one_is_not_read(reception: Reception) -> None:
    """Nor does it keep the lobby busy: it gets a thread to wait on."""
    paused, other = reception.call(), reception.call()
    paused[2].pause()
    paused[0].sendall(b"wait")
    said(other[0], other[1], b"well")
    wait_until(lambda: reception.readers() == (1 if IN_THE_LOBBY else 2), what="a thread for it")
    if IN_THE_LOBBY:  # a thread may have been in recv() already
        assert not paused[1].received
    paused[2].resume()
    wait_until(lambda: paused[1].received == b"wait", what="what was said")


def test_while_nobody_can_be_accepted_the_lobby_is_served(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without descriptors the listener pauses; those who wait may still greet, or go, which frees some."""
    monkeypatch.setattr(limits, "ACCEPT_PAUSE", 30.0)
    greets, goes = reception.call(), reception.call()

    def full(take: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(reception.listener, "_accept_one", full)
    with socket.create_connection(("127.0.0.1", reception.listener.endpoint.port)):
        wait_until(lambda: reception.troubles, what="the pause")
        said(greets[0], greets[1], HELLO)
        goes[0].close()
        wait_until(lambda: goes[1].lost == [None], what="its end")
        assert len(reception.troubles) == 1


def test_started_elsewhere_it_has_a_reader_at_once(reception: Reception) -> None:
    """Only the listener's own thread may let somebody into its lobby; and only a sink that can greet gets in."""
    reception.accept = reception.connections.append
    first, second = (
        socket.create_connection(("127.0.0.1", reception.listener.endpoint.port), 5.0) for _ in range(2)
    )
    reception.callers += [first, second]
    wait_until(lambda: len(reception.connections) == 2, what="accepting")
    reception.start(reception.connections[0])
    assert reception.readers() == 1
    plain = RecordingSink()
    reception.accept = lambda connection: connection.start(plain, reception.crew.spawn)
    reception.connections[1].abort()
    third = socket.create_connection(("127.0.0.1", reception.listener.endpoint.port), 5.0)
    reception.callers.append(third)
    wait_until(lambda: reception.readers() == 2, what="a reader for the plain sink")
    third.close()
    wait_until(lambda: plain.lost == [None], what="its end")


def test_whom_the_system_does_not_watch_has_a_reader_at_once(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It watches only so many sockets for one user."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    reception.call()  # the listener itself is watched by now
    with monkeypatch.context() as patch:
        patch.setattr(reception.listener._selector, "register", full)
        sock, sink, _ = reception.call()
    assert reception.readers() == (1 if IN_THE_LOBBY else 2)
    said(sock, sink, b"well")


def test_one_that_is_over_before_it_begins_is_told_so(reception: Reception) -> None:
    """There is nothing left to watch; the next caller is served."""

    def end_and_start(connection: Connection) -> None:
        connection.abort()
        reception.start(connection)

    reception.accept = end_and_start
    with contextlib.suppress(ConnectionError):  # the caller may hear of it while it calls
        reception.call()
    wait_until(lambda: reception.connections and reception.sinks[0].lost, what="its end")
    assert reception.sinks[0].lost == [None]
    reception.accept = reception.start
    sock, sink, _ = reception.call()
    said(sock, sink, b"well")


def test_nothing_is_left(reception: Reception) -> None:
    """No descriptor stays open, and the selector watches nobody, after many have come, greeted or not, and gone."""
    reception.call()[0].close()
    wait_until(lambda: reception.sinks[0].lost, what="the first one's end")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    watched = len(reception.listener._selector.get_map())
    for number in range(60):
        sock, sink, connection = reception.call()
        if number % 3 == 0:
            said(sock, sink, HELLO)
        elif number % 3 == 1:
            connection.abort()
        sock.close()
    wait_until(lambda: all(sink.lost for sink in reception.sinks), what="the end of all")
    assert len(reception.listener._selector.get_map()) == watched
    wait_until(lambda: reception.readers() == 0, what="the end of the readers")
    if before is not None:
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, what="the descriptors' end")
