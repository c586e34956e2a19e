"""A node does its work without what other systems lack, or says by name what it cannot do."""

from __future__ import annotations

import errno
import os
import pathlib
import selectors
import signal
import socket
import threading
import types
from collections.abc import Callable

import pytest

import crust
from crust import limits
from crust.addresses import Endpoint
from crust.cli import control_socket
from crust.cli import lines as lines_module
from crust.cli.errors import CommandError
from crust.cli.lines import Lines
from crust.runtime import waiting
from crust.transports import readiness
from crust.transports.contract import Connection
from crust.transports.errors import text_of
from crust.transports.tcp import TcpTransport
from tests.support import absences
from tests.support.modes import on_greenlets, run_python
from tests.support.nodes import Nodes, config
from tests.support.plain_use import use
from tests.support.source import ROOT
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

Absence = Callable[[pytest.MonkeyPatch], None]
ALL = (*absences.ABSENCES, absences.windows)


@pytest.mark.parametrize("absence", ALL, ids=[each.__name__ for each in ALL])
def test_a_node_works_without(
    absence: Absence, monkeypatch: pytest.MonkeyPatch, nodes: Nodes, tmp_path: pathlib.Path
) -> None:
    """Identity, connecting, messages, resuming and files."""
    absence(monkeypatch)
    use(nodes, tmp_path)


@pytest.mark.parametrize("absence", [absences.no_ipv6_in_python, absences.no_ipv6_in_the_system])
def test_without_ipv6(absence: Absence, monkeypatch: pytest.MonkeyPatch, nodes: Nodes) -> None:
    """The addresses that a node listens on by default leave IPv6 out; one that was asked for is an error by name."""
    default = crust.Config().listen
    absence(monkeypatch)
    service = nodes.start(config(listen=default))
    assert service.addresses
    assert [each for each in service.addresses if ":" in each.host] == []
    with pytest.raises(crust.ListenError, match=r"cannot listen on tcp://\[::1\]:0: .*amily") as caught:
        nodes.make(config(listen=crust.ListenConfig(addresses=("tcp://[::1]:0",)))).start()
    assert caught.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(crust.ConnectError, match="amily"):
        service.connect(crust.Contact(crust.Identity.generate().peer_id, (Endpoint.parse("tcp://[::1]:9"),)))


def test_a_shared_port_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``SO_REUSEPORT`` a dial that should come from the listening port comes from another."""
    absences.no_reuseport(monkeypatch)
    with Crew() as crew:
        tcp = TcpTransport(crew.io, crew.crashed)
        own, other = (tcp.listen(Endpoint("tcp", "127.0.0.1", 0)) for _ in range(2))
        dialled = tcp.dial(other.endpoint, 5.0, local_port=own.endpoint.port)
        assert dialled.local.port != own.endpoint.port
        dialled.abort()
        own.close()
        other.close()


def test_a_closed_listener_that_cannot_be_shut_down_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its thread is busy callers are queued by the system; none gets through, and the port is free in the end."""
    absences.no_listener_shutdown(monkeypatch)
    with Crew() as crew:
        tcp = TcpTransport(crew.io, crew.crashed)
        listener = tcp.listen(Endpoint("tcp", "127.0.0.1", 0))
        accepted: list[Connection] = []
        gate = threading.Event()

        def take(connection: Connection) -> None:
            accepted.append(connection)
            gate.wait(10)

        job = Background(listener.run, take)
        connections = [tcp.dial(listener.endpoint, 5.0)]
        wait_until(lambda: accepted, what="accepting")
        listener.close()
        connections.append(tcp.dial(listener.endpoint, 5.0))  # nobody will ever take it
        gate.set()
        job.result()
        with pytest.raises(ConnectionRefusedError):
            tcp.dial(listener.endpoint, 5.0)
        assert len(accepted) == 1
        for connection in (*connections, *accepted):
            connection.abort()


def test_sigpipe_is_kept_away_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an option of the socket, as there is no flag."""
    absences.ignored_dontwait(monkeypatch)
    asked: list[tuple[int, int, int]] = []
    sock = types.SimpleNamespace(setsockopt=lambda *option: asked.append(option))
    assert readiness.without_signal(sock) == 0  # type: ignore[arg-type]
    assert asked == [(socket.SOL_SOCKET, 0x1022, 1)]


def test_more_sockets_than_select_can_watch_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows 512 is the end: the I/O thread does not fall over them, and comes to the others later."""
    absences.select_alone(monkeypatch)
    monkeypatch.setattr(limits, "SELECT_MAX", 2)
    pairs = [socket.socketpair() for _ in range(5)]
    seen: list[int] = []
    with Crew() as crew:
        for number, (left, _) in enumerate(pairs):
            left.setblocking(False)
            while _fills(left):
                pass
            crew.io.wait_writable(left, lambda number=number: seen.append(number))
        wait_until(lambda: len(crew.io._watched) == 2, what="watching")
        for _, right in pairs:
            right.setblocking(False)
            while _drains(right):
                pass
        wait_until(lambda: sorted(seen) == [0, 1, 2, 3, 4], what="everybody's turn")
    for pair in pairs:
        for sock in pair:
            sock.close()


def _fills(sock: socket.socket) -> bool:
    try:
        return sock.send(bytes(65536)) > 0
    except BlockingIOError:
        return False


def _drains(sock: socket.socket) -> bool:
    try:
        return len(sock.recv(65536)) > 0
    except BlockingIOError:
        return False


def test_errors_of_windows_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers mean nothing to ``os.strerror``."""
    monkeypatch.setattr(socket, "errorTab", {10061: "Connection refused."}, raising=False)
    assert text_of(10061) == "Connection refused."
    assert text_of(errno.ECONNREFUSED) == "Connection refused"


def test_a_control_socket_needs_unix_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Without them it is refused by name, with what to do instead."""
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(CommandError, match="no Unix sockets.* --json"):
        with control_socket.ControlSocket(tmp_path / "socket"):
            raise AssertionError


@pytest.mark.parametrize("lacking", ["poll", "a poll for terminals"])
def test_lines_are_read_with_select_alone(
    lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Commands are read from pipes and files where ``poll`` is missing, or no good."""
    if lacking == "poll":
        monkeypatch.delattr(selectors, "PollSelector")
    else:
        monkeypatch.setattr(lines_module, "sys", types.SimpleNamespace(platform="darwin"))
        monkeypatch.setattr(os, "isatty", lambda descriptor: True)
        monkeypatch.setattr(selectors, "PollSelector", None)
    out, into = os.pipe()
    os.write(into, b"one\n")
    with Lines(out, 100) as lines:
        assert lines.read() == b"one"
        lines.stop()
        assert lines.read() is None
    os.close(out)
    os.close(into)


@pytest.mark.skipif(on_greenlets(), reason="greenlets do not wait for locks of the system")
def test_ctrl_c_is_heard_where_locks_do_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a waiting thread looks up now and then; timeouts and wakes work as before."""
    monkeypatch.setattr(waiting, "_NAP", 0.01)
    naps: list[float] = []
    latch = waiting.Latch()
    assert not latch.wait(0.035)
    assert not latch.wait(0)
    job = Background(latch.wait)
    wait_until(lambda: latch._sleepers, what="waiting")
    latch.set()
    assert job.result() is True

    class Lock:
        def acquire(self, block: bool, timeout: float) -> bool:
            naps.append(timeout)
            if len(naps) == 3:
                signal.raise_signal(signal.SIGINT)
            return False

    with pytest.raises(KeyboardInterrupt):
        waiting._acquire(Lock(), None)  # type: ignore[arg-type]
    assert naps == [0.01, 0.01, 0.01]


@pytest.mark.parametrize("gevent", [False, True], ids=["threads", "gevent"])
@pytest.mark.skipif(on_greenlets(), reason="the program chooses its own mode: once is enough")
def test_on_what_is_left_of_python_on_windows(gevent: bool, tmp_path: pathlib.Path) -> None:
    """
    ``sys.platform`` says ``win32``; ``fcntl``, ``termios`` and their like cannot be imported, ``os`` and ``socket``
    lack what they lack there, and ``msvcrt`` locks files. Everything of crust is imported, and does its work.
    """
    program = (ROOT / "tests" / "platforms" / "as_on_windows.py").read_text(encoding="utf-8")
    done = run_python(program, str(tmp_path), gevent=gevent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
