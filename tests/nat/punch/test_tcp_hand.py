"""TCP for plans: real sockets on loopback, a real I/O thread, and a plan that the test speaks for."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence

import pytest

from crust import limits
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Action, Address, Close, Connect, Context, Finish, Note, Sample, Win
from crust.nat.punch.runner import Hand, Runner
from crust.nat.punch.tcp_hand import TcpHand, WonTcp
from crust.nat.stun.message import Class, Message, build_stun
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from tests.support.sockets import has_ipv6, loopback, silent_listener, unused_port
from tests.support.stun_server import StunServer
from tests.support.waiting import wait_until


class Script:
    """A plan that asks for what the test wants, and remembers what it was told."""

    def __init__(self) -> None:
        self.wanted: list[Action] = []
        self.told: list[tuple[object, ...]] = []

    def start(self, now: float) -> None: ...

    def receive_signal(self, body: bytes, now: float) -> None: ...

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None: ...

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        self.told.append(("sampled", socket, address))

    def connected(self, name: str, now: float) -> None:
        self.told.append(("connected", name))

    def failed(self, name: str, number: int, now: float) -> None:
        self.told.append(("failed", name, errno.errorcode[number]))

    def learned(self, context: Context, now: float) -> None: ...

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None: ...

    def actions(self) -> Iterable[Action]:
        wanted, self.wanted = self.wanted, []
        return wanted


class Bench:
    """A runner with the hand, on an I/O thread of its own; a listening port on loopback."""

    def __init__(self, family: int = 4) -> None:
        self.family = family
        self.threads = Threads()
        self.crashes: list[BaseException] = []
        self.io = IoLoop()
        self.io.start(self.threads.spawn)
        self.allowance = Allowance()
        self.allowance.begin([loopback(4), loopback(6)])
        self.plan = Script()
        self.won: list[WonTcp] = []
        self.servers: list[Address] = []
        self.listener = listening(family)
        self.port: int = self.listener.getsockname()[1]
        self.runner = Runner("test", self.plan, self, self._hands)

    def _hands(self, runner: Runner) -> Sequence[Hand]:
        self.hand = TcpHand(
            runner,
            self.io,
            self.allowance,
            {f"tcp{self.family}": self.listener.getsockname()[:2]},
            lambda family: self.servers,
            lambda _, won: self.won.append(won),
        )
        return [self.hand]

    # what the runner needs

    def tell(self, runner: Runner, body: bytes) -> None: ...

    def note(self, runner: Runner, note: Note) -> None: ...

    def finished(self, runner: Runner, reason: str) -> None: ...

    def crashed(self, name: str, error: BaseException) -> None:
        self.crashes.append(error)

    # what the test does

    def want(self, *actions: Action) -> None:
        self.runner.happened(lambda plan, now: self.plan.wanted.extend(actions))

    def wait(self, *told: object, timeout: float = 5.0) -> None:
        """Until the plan has been told that."""
        wait_until(lambda: told in self.plan.told, timeout, what=f"{told} in {self.plan.told}")

    def close(self) -> None:
        self.runner.end("the test is over")
        self.listener.close()
        for won in self.won:
            won.sock.close()
        self.io.stop()
        self.threads.join(Deadline(5.0))
        assert self.crashes == []


def listening(family: int = 4) -> socket.socket:
    """As a node's listener: the options that let others share the port come after bind()."""
    sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((loopback(family), 0))
    sock.listen(128)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        bench.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("shared", [True, False])
def test_a_connection_and_what_becomes_of_it(family: int, shared: bool) -> None:
    """It comes from the listening port, or from another one; who wins gets a socket that works."""
    if family == 6 and not has_ipv6():
        pytest.skip("this machine has no ::1")
    bench = Bench(family)
    with listening(family) as other:
        try:
            to = other.getsockname()[:2]
            bench.want(Connect("a", to, f"tcp{family}" if shared else ""))
            bench.wait("connected", "a")
            bench.want(Win("a", to))
            wait_until(lambda: bench.won)
            with other.accept()[0] as accepted:
                assert (accepted.getpeername()[1] == bench.port) is shared
                assert bench.won[0].remote == to
                bench.runner.end("over")  # what has won stays
                bench.won[0].sock.setblocking(True)
                bench.won[0].sock.sendall(b"hello")
                assert accepted.recv(5) == b"hello"
        finally:
            bench.close()


def test_a_refusal_is_told_at_once(bench: Bench) -> None:
    """And what has failed may be closed once more, and begun again."""
    address = ("127.0.0.1", unused_port())
    for number in range(3):
        bench.want(Connect("a", address, "tcp4"))
        wait_until(lambda count=number + 1: bench.plan.told == [("failed", "a", "ECONNREFUSED")] * count)
        bench.want(Close("a"))


def test_the_way_is_taken(bench: Bench) -> None:
    """What the listener has accepted from there, or another connection to there, is in the way: the plan is told."""
    with listening() as other:
        to = other.getsockname()
        bench.want(Connect("a", to, "tcp4"), Connect("b", to, "tcp4"))
        bench.wait("failed", "b", "EADDRNOTAVAIL")
        bench.wait("connected", "a")


def test_what_was_just_closed_is_in_nobodys_way(bench: Bench) -> None:
    """The I/O thread closes it a moment later; what comes from the same port to the same place waits for that."""
    with listening() as other:
        to = other.getsockname()
        bench.want(Connect("a", to, "tcp4"))
        for number in range(20):
            wait_until(lambda count=number + 1: bench.plan.told == [("connected", "a")] * count, what="the next one")
            bench.want(Close("a"), Connect("a", to, "tcp4"), Close("a"), Connect("a", to, "tcp4"))


def test_where_the_node_does_not_listen(bench: Bench) -> None:
    """Nothing can come from there; nor from an address of the other family."""
    bench.want(Connect("a", ("::1", bench.port), "tcp6"), Connect("b", ("::1", bench.port), "tcp4"))
    bench.wait("failed", "a", "EADDRNOTAVAIL")
    bench.wait("failed", "b", "EADDRNOTAVAIL")


def test_a_name_is_used_once_at_a_time(bench: Bench) -> None:
    """The connection that has it is not lost."""
    with listening() as other:
        bench.want(Connect("a", other.getsockname()), Connect("a", other.getsockname()))
        bench.wait("failed", "a", "EALREADY")
        bench.wait("connected", "a")


def test_hundreds_under_way_at_once(bench: Bench) -> None:
    """No thread for any; one more than may be is refused; all is closed at the end."""
    sockets, port = silent_listener()
    threads, before = threading.active_count(), unanswered(port)
    try:
        count = limits.PUNCH_SOCKETS_MAX
        bench.want(*(Connect(f"s{number}", ("127.0.0.1", port)) for number in range(count + 1)))
        bench.wait("failed", f"s{count}", "EMFILE")
        assert bench.plan.told == [("failed", f"s{count}", "EMFILE")]
        assert threading.active_count() <= threads
        bench.want(*(Close(f"s{number}") for number in range(100)))
        bench.want(*(Connect(f"t{number}", ("127.0.0.1", port)) for number in range(100)))
        bench.runner.end("enough")
        wait_until(lambda: unanswered(port) == before, what="closing them")
    finally:
        for sock in sockets:
            sock.close()


def unanswered(port: int) -> int:
    """How many sockets of this machine have sent SYNs there that nobody has answered."""
    with open("/proc/net/tcp") as lines:
        return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02" for line in lines)


def test_without_descriptors_the_plan_is_told(bench: Bench) -> None:
    """And the next one that finds one works again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listening() as other, contextlib.ExitStack() as stack:
        free = os.dup(other.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        bench.want(Connect("a", other.getsockname()))
        bench.wait("failed", "a", "EMFILE")
        stack.close()
        bench.want(Connect("a", other.getsockname()))
        bench.wait("connected", "a")


@pytest.mark.parametrize("opening", ["resends", "connects"])
def test_an_address_that_nobody_saw_gets_four_syns(
    bench: Bench, opening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether we begin anew each time, or the kernel repeats: the fifth is not sent."""
    monkeypatch.setattr(limits, "SYN_RESENDS", (0.11, 0.13, 0.15, 0.17, 0.19, 0.21))
    bench.allowance.begin([])
    sockets, port = silent_listener()
    before = unanswered(port)
    try:
        if opening == "resends":
            bench.want(Connect("a", ("127.0.0.1", port)))
        else:
            monkeypatch.setattr(limits, "SYN_RESENDS", (60.0,))
            names = ["b", "c", "d", "e", "a"]
            bench.want(*(Connect(name, ("127.0.0.1", port)) for name in names))
        bench.wait("failed", "a", "EPERM")
        assert bench.plan.told == [("failed", "a", "EPERM")]
        assert not bench.allowance.syn("127.0.0.1")
        wait_until(lambda: unanswered(port) == before + (0 if opening == "resends" else 4))
    finally:
        for sock in sockets:
            sock.close()


def test_a_connection_that_stands_sends_no_syns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is what may be sent."""
    monkeypatch.setattr(limits, "SYN_RESENDS", (0.11, 0.12, 0.13, 0.14, 0.15))
    bench.allowance.begin([])
    with listening() as other:
        bench.want(Connect("a", other.getsockname()))
        bench.wait("connected", "a")
        passed = threading.Event()
        bench.io.call_later(0.2, lambda now: passed.set())
        assert passed.wait(5.0)
        assert bench.plan.told == [("connected", "a")]
        assert bench.allowance.syn("127.0.0.1", 3)  # one of four was used


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_sample_of_the_listening_port(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as asked: the connection is gone afterwards, and the way free. A dead server is passed over."""
    monkeypatch.setattr(limits, "SAMPLE_SECONDS", 30.0)  # the server's threads may have to wait for their turn
    server = StunServer()
    try:
        bench.servers = [("127.0.0.1", unused_port()), ("127.0.0.1", server.port)]
        bench.allowance.begin([])  # nobody names these servers: they do not count
        for number in range(8):
            bench.want(Sample("tcp4"))
            wait_until(lambda count=number + 1: len(bench.plan.told) == count)
        assert bench.plan.told == [("sampled", "tcp4", ("127.0.0.1", bench.port))] * 8
    finally:
        server.close()


def test_nobody_to_ask(bench: Bench) -> None:
    """There is an answer all the same: none."""
    bench.want(Sample("tcp4"))
    bench.wait("sampled", "tcp4", None)
    bench.servers = [("127.0.0.1", unused_port())]
    bench.want(Sample("tcp4"))
    wait_until(lambda: bench.plan.told == [("sampled", "tcp4", None)] * 2)


def answered(bench: Bench, make: object) -> list[tuple[object, ...]]:
    """What the plan is told if a server's answer is made of the request so, by a server of two."""
    assert callable(make)

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as sock:
            request = sock.recv(1000)
            with contextlib.suppress(OSError):
                for piece in make(request):
                    sock.sendall(piece)
                sock.recv(1)

    with listening() as bad:
        bench.servers = [bad.getsockname()]
        thread = threading.Thread(target=serve, args=(bad,), name="test-server", daemon=True)
        thread.start()
        bench.want(Sample("tcp4"))
        wait_until(lambda: bench.plan.told)
        thread.join()
    return bench.plan.told


def good(request: bytes) -> bytes:
    return build_stun(Message(Class.SUCCESS, request[8:20], xor_mapped=("192.0.2.7", 7)))


def test_an_answer_in_pieces(bench: Bench) -> None:
    """It is put together."""
    told = answered(bench, lambda request: [good(request)[:3], good(request)[3:25], good(request)[25:]])
    assert told == [("sampled", "tcp4", ("192.0.2.7", 7))]


@pytest.mark.parametrize(
    "make",
    [
        lambda request: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        lambda request: [good(b"another transaction, no")],
        lambda request: [build_stun(Message(Class.SUCCESS, request[8:20]))],
        lambda request: [good(request)[:10]],
    ],
    ids=["http", "transaction", "empty", "half"],
)
def test_what_is_no_answer_is_none(bench: Bench, make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one is waited for, for a while."""
    monkeypatch.setattr(limits, "SAMPLE_SECONDS", 0.2)
    assert answered(bench, make) == [("sampled", "tcp4", None)]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_nothing_is_told_after_the_end(bench: Bench) -> None:
    """Not even what had been under way."""
    sockets, port = silent_listener()
    bench.servers = [("127.0.0.1", port)]
    try:
        bench.want(Connect("a", ("127.0.0.1", port)), Sample("tcp4"), Finish(""))
        wait_until(lambda: bench.runner.over)
    finally:
        for sock in sockets:
            sock.close()
    assert bench.plan.told == []


def test_a_forked_child_closes_its_copies(bench: Bench) -> None:
    """Without a word to the loop, which is gone there."""
    sockets, port = silent_listener()
    try:
        bench.servers = [("127.0.0.1", port)]
        bench.want(Connect("a", ("127.0.0.1", port)), Sample("tcp4"))
        before = set(os.listdir("/proc/self/fd"))
        bench.io.stop()
        bench.threads.join(Deadline(5.0))
        bench.hand.abandon()
        assert len(before - set(os.listdir("/proc/self/fd"))) >= 2
    finally:
        for sock in sockets:
            sock.close()
