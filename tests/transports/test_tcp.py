"""TCP: the contract, and what is TCP's own."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.exceptions import ListenError
from crust.transports.contract import Connection
from crust.transports.errors import LeftUnread
from crust.transports.tcp import TcpTransport, waiting
from tests.support.modes import run_python
from tests.support.pairs import Pair, RecordingSink
from tests.support.sockets import has_ipv6, silent_listener, unused_port
from tests.support.threads import Background, Crew
from tests.support.waiting import busy, wait_until
from tests.transports.conformance import TransportConformance

ANY = Endpoint("tcp", "127.0.0.1", 0)


class TestTcp(TransportConformance):
    """TCP keeps the contract."""

    scheme = "tcp"

    def make_transport(self, crew: Crew) -> TcpTransport:
        return TcpTransport(crew.io, crew.crashed)


@pytest.fixture
def tcp(crew: Crew) -> TcpTransport:
    return TcpTransport(crew.io, crew.crashed)


@pytest.fixture
def pair(crew: Crew, tcp: TcpTransport) -> Iterator[Pair]:
    near, far = connected(tcp)
    pair = Pair(crew, near, far).start()
    yield pair
    pair.end()


def connected(tcp: TcpTransport) -> tuple[Connection, Connection]:
    listener = tcp.listen(ANY)
    accepted: list[Connection] = []
    job = Background(listener.run, accepted.append)
    near = tcp.dial(listener.endpoint, 5.0)
    wait_until(lambda: accepted, what="accepting")
    listener.close()
    job.result()
    return near, accepted[0]


# --- dialling ---------------------------------------------------------------------------------------------------------


def test_a_refused_dial_names_the_endpoint_and_keeps_the_errno(tcp: TcpTransport) -> None:
    """ConnectionRefusedError with the endpoint in its text."""
    endpoint = Endpoint("tcp", "127.0.0.1", unused_port())
    with pytest.raises(ConnectionRefusedError) as caught:
        tcp.dial(endpoint, 5.0)
    assert caught.value.errno == errno.ECONNREFUSED
    assert str(endpoint) in str(caught.value)


def test_a_dial_without_an_answer_ends_at_its_deadline(tcp: TcpTransport) -> None:
    """TimeoutError, and not much later than asked."""
    sockets, port = silent_listener()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0.2 s"):
        tcp.dial(Endpoint("tcp", "127.0.0.1", port), 0.2)
    assert 0.15 < time.monotonic() - began < 10.0 * busy()
    for sock in sockets:
        sock.close()


def test_cancel_ends_a_dial_on_another_thread(tcp: TcpTransport) -> None:
    """Within moments, with ECANCELED."""
    sockets, port = silent_listener()
    dialling = tcp.dialling(Endpoint("tcp", "127.0.0.1", port), 30.0)
    job = Background(dialling.run)
    wait_until(lambda: dialling._waker is not None, what="dialling")
    began = time.monotonic()
    dialling.cancel()
    with pytest.raises(OSError) as caught:
        job.result()
    assert caught.value.errno == errno.ECANCELED
    assert time.monotonic() - began < 10.0 * busy()
    for sock in sockets:
        sock.close()


def test_cancel_ends_the_look_up_of_a_name(tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is left behind; the dial is over."""
    go_on = threading.Event()

    def slow(*args: object) -> list[object]:
        go_on.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    dialling = tcp.dialling(Endpoint("tcp", "name.example", 1), 30.0)
    job = Background(dialling.run)
    wait_until(lambda: dialling._lookup._names is not None, what="the look-up")
    dialling.cancel()
    with pytest.raises(OSError) as caught:
        job.result(2.0)
    assert caught.value.errno == errno.ECANCELED
    with pytest.raises(TimeoutError, match="could not be looked up within 0.05 s"):
        tcp.dial(Endpoint("tcp", "name.example", 1), 0.05)
    go_on.set()


def test_every_address_of_a_name_is_tried(
    crew: Crew, tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address is silent, the second refuses, the third answers."""
    sockets, silent = silent_listener()
    listener = tcp.listen(ANY)
    answers = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        for port in (silent, unused_port(), listener.endpoint.port)
    ]
    monkeypatch.setattr(tcp.resolver, "_ask", lambda endpoint: answers)
    connection = tcp.dial(Endpoint("tcp", "name.example", 1), 1.5)
    assert connection.remote == listener.endpoint
    connection.abort()
    listener.close()
    for sock in sockets:
        sock.close()


def test_dials_may_come_from_the_listening_port(crew: Crew, tcp: TcpTransport) -> None:
    """A NAT maps both alike; a second dial to the same place takes another port instead of failing."""
    own = tcp.listen(ANY)
    other = tcp.listen(ANY)
    first = tcp.dial(other.endpoint, 5.0, local_port=own.endpoint.port)
    second = tcp.dial(other.endpoint, 5.0, local_port=own.endpoint.port)
    assert first.local == own.endpoint
    assert second.local.port != own.endpoint.port
    with pytest.raises(ListenError):  # the port is still occupied for other listeners
        tcp.listen(own.endpoint)
    for each in (first, second):
        each.abort()
    own.close()
    other.close()


def test_a_port_is_free_again_after_its_connections(crew: Crew, tcp: TcpTransport) -> None:
    """A node restarted on its configured port need not wait for TIME_WAIT."""
    listener = tcp.listen(ANY)
    accepted: list[Connection] = []
    job = Background(listener.run, accepted.append)
    near = tcp.dial(listener.endpoint, 5.0)
    wait_until(lambda: accepted, what="accepting")
    listener.close()
    job.result()
    pair = Pair(crew, near, accepted[0]).start()
    pair.far.close()  # the accepting side closes first, so TIME_WAIT is on the listening port
    wait_until(lambda: pair.near_sink.lost, what="the end")
    pair.near.close()
    wait_until(lambda: pair.far_sink.lost, what="the end")
    tcp.listen(listener.endpoint).close()


def test_a_socket_never_meets_itself(tcp: TcpTransport) -> None:
    """Dialling an unused port from that very port would connect the socket to itself."""
    port = unused_port()
    with pytest.raises(ConnectionRefusedError):
        tcp.dial(Endpoint("tcp", "127.0.0.1", port), 1.0, local_port=port)


# --- listening --------------------------------------------------------------------------------------------------------


def test_errors_of_listening_say_what_to_do(tcp: TcpTransport) -> None:
    """An address that is not ours."""
    with pytest.raises(ListenError, match=r"tcp://192\.0\.2\.7:0.*does not have that address"):
        tcp.listen(Endpoint("tcp", "192.0.2.7", 0))


def test_ipv6_listeners_leave_ipv4_alone(tcp: TcpTransport) -> None:
    """The same port can be had on both families."""
    if not has_ipv6():
        return
    first = tcp.listen(Endpoint("tcp", "::", 0))
    second = tcp.listen(Endpoint("tcp", "0.0.0.0", first.endpoint.port))
    first.close()
    second.close()


def test_out_of_descriptors_the_listener_pauses_and_goes_on(
    tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One report for each pause instead of a spinning processor; then the connection is accepted."""
    monkeypatch.setattr(limits, "ACCEPT_PAUSE", 0.2)
    listener = tcp.listen(ANY)
    accepted: list[Connection] = []
    troubles: list[OSError] = []
    job = Background(listener.run, accepted.append, troubles.append)
    first = tcp.dial(listener.endpoint, 5.0)
    wait_until(lambda: accepted, what="accepting")
    caller = socket.socket()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))  # the lowest free number is over the limit
        caller.connect(("127.0.0.1", listener.endpoint.port))
        wait_until(lambda: len(troubles) == 2, what="the second report")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {error.errno for error in troubles} == {errno.EMFILE}
    wait_until(lambda: len(accepted) == 2, what="accepting again")
    assert len(troubles) <= 4
    for connection in (first, *accepted):
        connection.abort()
    caller.close()
    listener.close()
    job.result()


def accept_all(tcp: TcpTransport, count: int, rest: Callable[[int], float]) -> list[float]:
    """
    When each of so many was accepted who had called before a listener ran.

    Args:
        rest: How long it is told to rest after the one with that number.
    """
    listener = tcp.listen(ANY)
    accepted: list[float] = []

    def accept(connection: Connection) -> float:
        connection.abort()
        accepted.append(time.monotonic())
        return rest(len(accepted))

    callers = [socket.create_connection(("127.0.0.1", listener.endpoint.port)) for _ in range(count)]
    job = Background(listener.run, accept)
    wait_until(lambda: len(accepted) == count, what="accepting them all")
    for caller in callers:
        caller.close()
    listener.close()
    job.result()
    return accepted


def test_a_listener_rests_when_it_is_told_to(tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls meanwhile waits in the kernel's queue, and is accepted afterwards; short rests add up."""
    monkeypatch.setattr(limits, "REFUSAL_REST_MIN", 0.5)
    monkeypatch.setattr(limits, "REFUSAL_REST_ALONE", 1.0)
    monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)
    monkeypatch.setattr(limits, "REFUSAL_REST_SAVED", 0.0)
    accepted = accept_all(tcp, 5, lambda _: 0.25)
    assert accepted[4] - accepted[0] >= 4 * 0.25 - 0.5  # what is left of the last one or two is too short by itself


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many wait")
@pytest.mark.parametrize("few", [1, 2])
def test_a_listener_rests_longer_while_hardly_anybody_waits(
    few: int, tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is hardly anybody's loss, and has one that calls again and again cost that much less."""
    monkeypatch.setattr(limits, "REFUSAL_REST_MIN", 0.01)
    monkeypatch.setattr(limits, "REFUSAL_REST_SAVED", 0.0)
    monkeypatch.setattr(limits, "REFUSAL_REST_ALONE", 10.0 if few == 2 else 36_000.0)
    monkeypatch.setattr(limits, "REFUSAL_REST_FEW", few)
    monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)
    accepted = accept_all(tcp, 3, lambda _: 0.05)
    if few == 2:  # who have waited during the first rest
        assert accepted[2] - accepted[1] >= 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many wait")
def test_a_listener_does_not_rest_while_many_wait(tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel's queue were full, nobody else would get into it for as long as those call who are refused."""
    monkeypatch.setattr(limits, "ACCEPT_BACKLOG", 12)
    monkeypatch.setattr(limits, "REFUSAL_REST_QUEUE", 0.25)
    listener = tcp.listen(ANY)
    accepted = 0

    def accept(connection: Connection) -> float:
        nonlocal accepted
        connection.abort()
        accepted += 1
        return 3600.0

    with contextlib.ExitStack() as stack:

        def call() -> None:
            stack.enter_context(socket.create_connection(("127.0.0.1", listener.endpoint.port)))

        monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)
        for _ in range(6):
            call()
        job = Background(listener.run, accept)
        wait_until(lambda: accepted == 3, what="so many that few are left")
        call()  # during the rest
        wait_until(lambda: accepted == 4, what="the end of the rest")
        assert waiting(listener._sock) == (3, 12)
        listener.close()
    job.result()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many wait")
def test_a_rest_that_was_cut_short_is_not_made_up_for(tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """When many have waited, and few are left."""
    monkeypatch.setattr(limits, "ACCEPT_BACKLOG", 12)
    monkeypatch.setattr(limits, "REFUSAL_REST_QUEUE", 0.25)
    monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)
    accept_all(tcp, 6, lambda number: 3600.0 if number == 1 else 0.0)


def test_closing_ends_a_resting_listener(tcp: TcpTransport) -> None:
    """Nor does a rest hold up close(), however long."""
    listener = tcp.listen(ANY)
    accepted: list[Connection] = []

    def accept(connection: Connection) -> float:
        accepted.append(connection)
        return 3600.0

    job = Background(listener.run, accept)
    with socket.create_connection(("127.0.0.1", listener.endpoint.port)):
        wait_until(lambda: accepted, what="the first caller")
        with socket.create_connection(("127.0.0.1", listener.endpoint.port)):
            listener.close()
            job.result(2.0)
    assert len(accepted) == 1
    accepted[0].abort()


def test_closing_ends_a_pausing_listener(tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause does not hold up close()."""
    monkeypatch.setattr(limits, "ACCEPT_PAUSE", 30.0)
    listener = tcp.listen(ANY)
    troubles: list[OSError] = []

    def broken(take: object) -> None:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(listener, "_accept_one", broken)
    job = Background(listener.run, lambda connection: None, troubles.append)
    with socket.create_connection(("127.0.0.1", listener.endpoint.port)):
        wait_until(lambda: troubles, what="the report")
        listener.close()
        job.result(2.0)


def test_errors_of_single_callers_do_not_end_or_pause_a_listener(
    tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that was gone before accept() is its own affair."""
    listener = tcp.listen(ANY)
    real = listener._accept_one
    errors = [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH]

    def sometimes(take: Callable[[Connection], float | None]) -> float:
        if errors:
            raise OSError(errors.pop(), "passing")
        return real(take)

    monkeypatch.setattr(listener, "_accept_one", sometimes)
    accepted: list[Connection] = []
    troubles: list[OSError] = []
    job = Background(listener.run, accepted.append, troubles.append)
    near = tcp.dial(listener.endpoint, 5.0)
    wait_until(lambda: accepted, what="accepting")
    assert troubles == []
    near.abort()
    accepted[0].abort()
    listener.close()
    job.result()


# --- connections ------------------------------------------------------------------------------------------------------


def test_abort_resets(pair: Pair) -> None:
    """The other side sees ECONNRESET, named by its endpoint."""
    pair.near.abort()
    wait_until(lambda: pair.far_sink.lost, what="the end")
    lost = pair.far_sink.lost[0]
    assert lost is not None and lost.errno == errno.ECONNRESET
    assert str(pair.far.remote) in str(lost)


def test_last_words_are_read_although_writing_fails(pair: Pair) -> None:
    """Who was busy while the other end said goodbye, and went, may write to it before it reads."""
    works = pair.far_sink.gate = threading.Event()
    pair.near.send(b"x")
    wait_until(lambda: pair.far_sink.calls, what="work")
    pair.near.send(b"last words")
    pair.near.abort()
    wait_until(lambda: pair.near_sink.lost, what="the reset")
    for _ in range(3):
        with pytest.raises(LeftUnread):
            pair.far.send(b"are you there?")
    assert not pair.far_sink.lost
    works.set()
    wait_until(lambda: pair.far_sink.lost, what="the end")
    assert pair.far_sink.received == b"xlast words"
    with pytest.raises(OSError, match="closed"):
        pair.far.send(b"?")


@pytest.mark.parametrize("started", [False, True])
def test_who_does_not_read_hears_of_the_reset_at_once(crew: Crew, tcp: TcpTransport, started: bool) -> None:
    """Before a connection is started, and while it is paused, nobody else would tell."""
    near, far = connected(tcp)
    if started:
        far.pause()
        far.start(RecordingSink(), crew.spawn)
    near.abort()

    def is_broken() -> bool:
        try:
            far.send(b"?")
        except OSError as error:
            return error.errno in (errno.EPIPE, errno.ECONNRESET) and str(far.remote) in str(error)
        return False

    wait_until(is_broken, what="the reset")
    far.abort()


def test_many_reads_share_few_large_buffers(
    crew: Crew, tcp: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy reader borrows a large buffer and gives it back when there is no more to read."""
    pool = tcp._pool
    near, far = connected(tcp)
    pair = Pair(crew, near, far).start()
    biggest = 0
    receive = pair.far_sink.data_received

    def watch(data: memoryview) -> None:
        nonlocal biggest
        biggest = max(biggest, len(data))
        receive(data)

    pair.far_sink.data_received = watch  # type: ignore[method-assign]
    pair.far.pause()
    pair.near.send(b"x")
    wait_until(lambda: TransportConformance.fill(pair.near) >= 0, what="a full connection")
    pair.far.resume()
    wait_until(lambda: biggest > 8 * limits.READ_SIZE, what="a large read")
    wait_until(lambda: pool._left == limits.BURST_POOL, what="the buffer's return")
    assert len(pool._free) == 1
    pair.end()


def test_without_a_large_buffer_small_ones_do(crew: Crew, tcp: TcpTransport) -> None:
    """When all are out, reading goes on."""
    out = [tcp._pool.borrow() for _ in range(limits.BURST_POOL)]
    assert tcp._pool.borrow() is None
    near, far = connected(tcp)
    pair = Pair(crew, near, far).start()
    pair.near.send(bytes(100_000))
    wait_until(lambda: len(pair.far_sink.received) == 100_000, what="arrival")
    pair.end()
    for buffer in out:
        assert buffer is not None
        tcp._pool.give_back(buffer)


FLOOD = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    end = time.monotonic() + 4
    try:
        while time.monotonic() < end:
            sock.sendall(bytes(262144))
    except OSError:
        pass
"""


def test_a_flooding_peer_lets_others_run(crew: Crew, tcp: TcpTransport) -> None:
    """Its reader never has to wait for bytes, and still everybody else gets turns, on greenlets too."""
    listener = tcp.listen(ANY)
    sink = RecordingSink()

    def take(connection: Connection) -> None:
        accepted.append(connection)
        connection.start(sink, crew.spawn)

    def work(data: memoryview) -> None:  # slower than the sender
        if not sink.calls:
            began.append(time.process_time())
        sink.calls += 1
        sum(range(100_000))

    began: list[float] = []
    accepted: list[Connection] = []
    sink.data_received = work  # type: ignore[method-assign]
    job = Background(listener.run, take)
    flood = Background(run_python, FLOOD, str(listener.endpoint.port))
    wait_until(lambda: sink.calls > 20, 10.0, what="the flood")
    turns = []
    for _ in range(40):
        before = sink.calls
        threading.Event().wait(0.001)
        turns.append(sink.calls - before)
    took = time.process_time() - began[0]  # what others do on this machine meanwhile does not count
    calls = sink.calls
    accepted[0].abort()
    flood.result()
    listener.close()
    job.result()
    assert took < 3.0 and calls > 20
    assert sorted(turns)[10] < 25  # a wait ends after a few turns of the reader, if the system lets it


def test_adopting_a_dead_socket_closes_it(tcp: TcpTransport) -> None:
    """An unconnected socket is refused, and not leaked."""
    sock = socket.socket()
    with pytest.raises(OSError):
        tcp.adopt(sock)
    assert sock.fileno() == -1


def test_little_waits_unsent_in_the_kernel(pair: Pair) -> None:
    """So that an urgent message has little to queue behind."""
    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        return
    sock = pair.near._sock  # type: ignore[attr-defined]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == limits.NOTSENT_LOWAT
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
