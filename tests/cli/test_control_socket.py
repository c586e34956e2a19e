"""``crust node --control``: the socket, and several programs on one real node."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli import control_socket as module
from crust.cli.control_socket import ControlSocket
from crust.cli.errors import CommandError
from crust.cli.hub import Hub
from tests.cli.fakes import make_terminal, printed, run_command, shown
from tests.support.nodes import Nodes, config
from tests.support.source import ROOT
from tests.support.threads import Background
from tests.support.waiting import wait_until

LOOPBACK = "tcp://127.0.0.1:0"


class Program:
    """One connection to a control socket, as a program in any language would use it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10.0)
        self._file = self.socket.makefile("rb")
        self._kept: list[dict[str, Any]] = []
        self._number = 0
        try:
            self.socket.connect(os.fspath(path))
            self.started = self.line()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def line(self) -> dict[str, Any]:
        text = self._file.readline()
        if not text.endswith(b"\n"):
            raise EOFError
        found: dict[str, Any] = json.loads(text)
        return found

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for line in self._kept:
            if wanted(line):
                self._kept.remove(line)
                return line
        while not wanted(line := self.line()):
            self._kept.append(line)
        return line

    def ask(self, cmd: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        self.write({"id": number, "cmd": cmd, **fields})
        return self.wait(lambda line: "event" not in line and line["id"] == number)

    def write(self, *requests: dict[str, Any]) -> None:
        self.socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in requests))

    def message(self) -> bytes:
        return base64.b64decode(self.event("new_message")["data"])

    def event(self, name: str) -> dict[str, Any]:
        return self.wait(lambda line: line.get("event") == name)

    def ended(self) -> bool:
        with contextlib.suppress(EOFError):
            while True:
                self.line()
        return True


class Shared:
    """``crust node --control`` on a thread of this process, with its programs."""

    def __init__(self, home: Path, *words: str) -> None:
        self.path = home / "control"
        self.terminal = make_terminal()
        self.code: int | None = None
        self._programs: list[Program] = []
        command = ("node", "--control", str(self.path), "--listen", LOOPBACK, *words)

        def run() -> None:
            self.code = run_command(home, *command, terminal=self.terminal)[0]

        self._thread = threading.Thread(target=run, name="test-node", daemon=True)
        self._thread.start()
        wait_until(lambda: printed(self.terminal) or self.code is not None, what="the start of the node")

    def join(self) -> Program:
        program = Program(self.path)
        self._programs.append(program)
        return program

    def end(self) -> int | None:
        if self._thread.is_alive():
            with contextlib.suppress(OSError, EOFError):
                self.join().ask("stop")
        self._thread.join(20.0)
        for program in self._programs:
            program.close()
        return self.code


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    made = Shared(tmp_path)
    yield made
    assert made.end() == 0, shown(made.terminal)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


# --- several programs -------------------------------------------------------------------------------------------------


def test_programs_share_one_identity(shared: Shared) -> None:
    """Each is greeted with the same id; the contact is on stdout; replies go to who asked."""
    programs = [shared.join() for _ in range(3)]
    assert {program.started["event"] for program in programs} == {"started"}
    assert {program.ask("info")["contact"] for program in programs} == {printed(shared.terminal).strip()}


def test_messages_both_ways(shared: Shared, nodes: Nodes) -> None:
    """One program connects and sends; every subscriber hears the answer, others do not."""
    far = nodes.start()
    first, second, quiet = shared.join(), shared.join(), shared.join()
    for program in (first, second):
        assert program.ask("subscribe", events=["new_message", "connect_success"])["ok"]
    peer = first.ask("connect", peer=str(far.contact), timeout=10)["peer"]
    assert second.event("connect_success")["peer"] == peer == str(far.id)
    first.ask("send", peer=peer, data=base64.b64encode(b"ping").decode())
    to_us = nodes.heard(far).wait(crust.ConnectSuccess).peer
    assert to_us.recv(timeout=5.0) == b"ping"
    to_us.send(b"pong")
    assert first.message() == second.message() == b"pong"
    assert quiet.ask("info")["id"] == 1 and quiet._kept == []


def test_messages_wait_for_the_first_subscriber(shared: Shared, nodes: Nodes) -> None:
    """They stay unread, under the sender's credit, until somebody subscribes; then they come in order."""
    far = nodes.start(config(session__send_timeout=3.0))
    asker = shared.join()
    asker.ask("connect", peer=str(far.contact))
    to_us = nodes.heard(far).wait(crust.ConnectSuccess).peer
    count = 0
    with pytest.raises(crust.Timeout):  # the receive buffer, then the send buffer, and no further
        while True:
            to_us.send(b"%d" % count + bytes(500_000))
            count += 1
    assert 16 < count < 40
    late = shared.join()
    late.ask("subscribe", events=["new_message"], peers=[str(far.id)])
    assert [int(late.message().rstrip(b"\0")) for _ in range(count)] == list(range(count))


def test_a_program_that_does_not_read_holds_up_nobody(shared: Shared, nodes: Nodes) -> None:
    """It is cut off; another one gets everything."""
    far = nodes.start()
    slow, fast = shared.join(), shared.join()
    for program in (slow, fast):
        program.ask("subscribe", events=["new_message"])
    fast.ask("connect", peer=str(far.contact))
    to_us = nodes.heard(far).wait(crust.ConnectSuccess).peer
    heard: list[int] = []
    reader = threading.Thread(
        target=lambda: heard.extend(len(fast.message()) for _ in range(20)), name="test-reader", daemon=True
    )
    reader.start()
    for _ in range(20):
        to_us.send(bytes(700_000))
    reader.join(30.0)
    assert heard == [700_000] * 20
    with contextlib.suppress(ConnectionResetError):
        assert slow.ended()


def test_who_is_slow_with_a_long_line_reads() -> None:
    """Whoever takes long for one message is seen to read meanwhile: he is not cut off as one who does not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10.0)
        subscriber = Hub(()).join({"event": "x" * 3_000_000}, lambda: None)
        writing = Background(module._write, ours, subscriber)
        theirs.recv(1)
        for _ in range(4):
            read_at, some = subscriber.read_at, 0
            while some < 400_000:
                some += len(theirs.recv(65_536))
            wait_until(lambda read_at=read_at: subscriber.read_at > read_at, what="it to be seen")  # type: ignore[misc]
        theirs.close()
        subscriber.finish()
        writing.result()


def test_programs_come_and_go(shared: Shared) -> None:
    """One that vanishes in the middle of a line, or of a command, disturbs nobody and leaves nothing behind."""
    stays = shared.join()
    for _ in range(5):
        goes = shared.join()
        goes.write({"id": 1, "cmd": "subscribe", "events": ["lost_peer"]})
        goes.socket.sendall(b'{"id": 2, "cmd": "in')
        goes.close()
    wait_until(lambda: threads_named("crust-control-client") == 1, what="the end of the programs")
    assert stays.ask("info")["ok"]


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_the_last_commands_of_a_program_are_answered(shared: Shared) -> None:
    """``printf … | socat - UNIX-CONNECT:…``: the end of its commands is not the end of its replies, however slow."""
    program = shared.join()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"{crust.Identity.generate().peer_id}@tcp://127.0.0.1:{silent.getsockname()[1]}"
        program.write(
            {"id": 1, "cmd": "connect", "peer": nowhere, "timeout": 0.3},
            {"id": 2, "cmd": "info"},
            {"id": 3, "cmd": "nonsense"},
        )
        program.socket.shutdown(socket.SHUT_WR)
        replies = {line["id"]: line["ok"] for line in (program.line() for _ in range(3))}
        assert replies == {1: False, 2: True, 3: False}
        assert program.ended()


def test_a_line_beyond_all_measure_is_refused(shared: Shared) -> None:
    program = shared.join()
    program.socket.sendall(b"x" * 5_000_000 + b"\n")
    assert program.line()["error"] == "bad_request"
    assert program.ask("info")["ok"]


def test_stop_ends_the_node_for_all(shared: Shared, nodes: Nodes) -> None:
    """Who said it gets its reply, the others what they subscribed to, and the socket is gone."""
    far = nodes.start()
    first, second = shared.join(), shared.join()
    second.ask("subscribe", events=["lost_peer"])
    first.ask("connect", peer=str(far.contact))
    assert first.ask("stop")["ok"]
    assert second.event("lost_peer")["reason"] == "service_closed"
    assert first.ended() and second.ended()
    assert shared.end() == 0
    assert not shared.path.exists()


def test_too_many_programs_are_turned_away(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENTS_MAX", 1)
    first = shared.join()
    with pytest.raises((EOFError, ConnectionResetError)):
        Program(shared.path)
    assert first.ask("info")["ok"]


@pytest.mark.parametrize("name", ["crust-control-client", "crust-control-writer"])
def test_a_program_for_which_there_is_no_thread(shared: Shared, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is turned away, and the node goes on: it had ended, for all."""
    first, start = shared.join(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises((EOFError, ConnectionResetError)):
            Program(shared.path)
    assert first.ask("info")["ok"] and shared.join().ask("info")["ok"]


# --- the socket -------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


def test_only_the_owner_may_connect(path: Path) -> None:
    with ControlSocket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_what_a_dead_process_left_is_replaced(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(os.fspath(path))
    dead.close()
    assert path.exists()
    with ControlSocket(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
        listener.accept()[0].close()


def test_a_socket_in_use_is_left_alone(path: Path, tmp_path: Path) -> None:
    """The error names who uses it, and the command ends before it has a node."""
    with ControlSocket(path) as listener:
        code, terminal = run_command(tmp_path, "node", "--control", str(path))
        assert (code, printed(terminal)) == (1, "")
        assert f"{path}: in use by process {os.getpid()}" in shown(terminal)
        assert path.exists()
        listener.accept()[0].close()  # the look at it


def test_another_kind_of_file_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(CommandError, match="not a socket"), ControlSocket(path):
        pass
    assert path.read_text() == "precious"


def test_what_took_its_place_is_left_alone(path: Path) -> None:
    with ControlSocket(path):
        path.unlink()
        path.write_text("precious")
    assert path.exists()


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    with pytest.raises(CommandError, match="too long for the path of a Unix socket"), ControlSocket(long):
        pass


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "node", "--control", str(tmp_path / "no" / "control"))
    assert code == 1 and f"{tmp_path / 'no'}: No such file or directory" in shown(terminal)


def test_json_and_control_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(tmp_path, "node", "--json", "--control", "x")
    assert "not allowed with" in capsys.readouterr().err


def test_a_node_that_cannot_start_takes_its_socket_with_it(path: Path, tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "node", "--control", str(path), "--listen", "tcp://192.0.2.1:1")
    assert code == 1 and "192.0.2.1" in shown(terminal)
    assert not path.exists()


@pytest.mark.slow
def test_a_real_process_ends_in_order(path: Path, tmp_path: Path) -> None:
    """SIGTERM: exit code 0 and no socket; SIGKILL: the next one takes its place."""
    command = [sys.executable, "-m", "crust", "node", "--control", str(path), "--listen", LOOPBACK]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and "@tcp://" in process.stdout.readline()
            program = Program(path)
            assert program.ask("info")["ok"]
            process.send_signal(number)
            assert process.wait(10.0) == code
            program.close()
        assert path.exists() == (number == signal.SIGKILL)
