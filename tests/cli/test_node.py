"""``crust node``: the streams around the control channel, and the lines for people."""

from __future__ import annotations

import io
import json
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli.node import Channel, describe
from crust.cli.signals import Terminated
from crust.cli.terminal import Terminal
from tests.cli.fakes import (
    ALICE,
    BOB,
    PATH,
    FakePeer,
    FakeService,
    Input,
    Screen,
    make_context,
    make_terminal,
    printed,
    run_command,
    shown,
)

CONTACT = f"{ALICE}@tcp://127.0.0.1:4"
CAROL = f"{crust.PeerId(bytes([3]) * 32)}@tcp://192.0.2.8:2"


def run_json(
    home: Path, script: bytes, *words: str, stdout: io.StringIO | None = None
) -> tuple[int, Terminal]:
    path = home / "script"
    path.write_bytes(script)
    with open(path, "rb") as file:
        terminal = Terminal(
            stdin=Input(file.fileno()), stdout=stdout or Screen(), stderr=Screen(), environ={}
        )
        return run_command(home, "node", "--json", *words, terminal=terminal)


def lines(terminal: Terminal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed(terminal).splitlines()]


# --- for scripts ------------------------------------------------------------------------------------------------------


def test_started_comes_first_and_the_end_of_stdin_stops(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = FakeService.start

    def start(self: FakeService) -> FakeService:
        self.happen(crust.ListenerStarted(crust.Endpoint.parse("tcp://127.0.0.1:4")))
        return original(self)

    monkeypatch.setattr(FakeService, "start", start)
    code, terminal = run_json(tmp_path, b'{"id": 1, "cmd": "info"}\n')
    told = lines(terminal)
    assert code == 0
    assert told[0] == {"event": "started", "peer": str(ALICE), "contact": CONTACT}
    assert told[1] == {"event": "listener_started", "endpoint": "tcp://127.0.0.1:4"}
    assert (told[2]["id"], told[2]["ok"]) == (1, True)
    assert shown(terminal) == ""
    (node,) = fake_service.made
    assert node.closed and node.config.identity.file is None


def test_stop_ends_it_and_what_follows_is_not_read(fake_service: type[FakeService], tmp_path: Path) -> None:
    code, terminal = run_json(tmp_path, b'{"id": 1, "cmd": "stop"}\n{"id": 2, "cmd": "info"}\n')
    assert code == 0
    assert lines(terminal)[1:] == [{"id": 1, "ok": True}]


def test_a_line_beyond_all_measure_is_refused(fake_service: type[FakeService], tmp_path: Path) -> None:
    script = b'{"cmd": "info", "x": "' + b"y" * 5_000_000 + b'"}\n{"id": 2, "cmd": "stop"}\n'
    code, terminal = run_json(tmp_path, script)
    assert code == 0
    refusal, stopped = lines(terminal)[1:]
    assert (refusal["ok"], refusal["error"]) == (False, "bad_request")
    assert stopped["id"] == 2


def test_a_node_that_cannot_start_says_why(fake_service: type[FakeService], tmp_path: Path) -> None:
    fake_service.start_errors.append(crust.ListenError("port 1 is in use"))
    code, terminal = run_json(tmp_path, b"")
    assert (code, printed(terminal), shown(terminal)) == (1, "", "crust: error: port 1 is in use\n")


def test_a_reader_that_has_gone_stops_the_node(fake_service: type[FakeService], tmp_path: Path) -> None:
    class Gone(Screen):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            raise OSError("not a file")

    monkey: Any = Gone()
    code, _ = run_json(tmp_path, b'{"id": 1, "cmd": "info"}\n', stdout=monkey)
    assert code == 1
    assert fake_service.made[0].closed
    assert fake_service.made[0].calls == []


def test_sigterm_is_a_good_end_of_a_node(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wait(self: FakeService, timeout: Any = None) -> bool:
        raise Terminated

    monkeypatch.setattr(FakeService, "wait", wait)
    code, _ = run_command(tmp_path, "node")
    assert code == 0
    assert fake_service.made[0].closed


def test_a_slow_reader_misses_nothing() -> None:
    """What is put while the node starts comes after the first line, in order."""
    terminal = make_terminal()
    channel = Channel(terminal, lambda: None)
    for number in range(3):
        channel.put({"event": "x", "number": number})
    channel.start({"event": "started"})
    channel.put({"event": "x", "number": 3})
    assert [line.get("number") for line in lines(terminal)] == [None, 0, 1, 2, 3]


def test_the_loss_of_the_reader_is_told_once() -> None:
    class Gone(Screen):
        def flush(self) -> None:
            raise BrokenPipeError

    told: list[int] = []
    channel = Channel(Terminal(stdout=Gone(), stderr=Screen(), environ={}), lambda: told.append(1))
    channel.start({"event": "started"})
    channel.put({"event": "x"})
    assert told == [1] and channel.broken


# --- for people -------------------------------------------------------------------------------------------------------


def test_people_see_the_contact_and_what_happens(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wait(self: FakeService, timeout: Any = None) -> bool:
        self.happen(crust.ConnectSuccess(FakePeer(), True, PATH))
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeService, "wait", wait)
    code, terminal = run_command(tmp_path, "node")
    assert (code, printed(terminal)) == (130, f"{CONTACT}\n")
    assert "connect success aibaeaqc… inbound=True path=direct-tcp tcp://127.0.0.1:2" in shown(terminal)
    (node,) = fake_service.made
    assert node.calls == [("start_bootstrap", (), {})] and node.closed


def test_what_went_wrong_is_said_once(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wait(self: FakeService, timeout: Any = None) -> bool:
        self.happen(crust.ConfigReloaded((), (), crust.ConfigError("it is full of eels")))
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeService, "wait", wait)
    _, terminal = run_command(tmp_path, "node")
    assert "config reloaded error=config_error text=it is full of eels" in shown(terminal)


@pytest.mark.parametrize("verbosity", [0, 1])
def test_attempts_are_for_those_who_want_to_know_more(
    verbosity: int, fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With -v."""

    def wait(self: FakeService, timeout: Any = None) -> bool:
        self.happen(crust.PathAttempted(BOB, crust.Attempt("direct", "tcp://192.0.2.7:1", 0.1, "refused")))
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeService, "wait", wait)
    _, terminal = run_command(tmp_path, "node", terminal=make_terminal(verbosity=verbosity))
    assert ("tcp://192.0.2.7:1 (direct, 0.10 s): refused" in shown(terminal)) == (verbosity > 0)


def test_it_links_to_its_rendezvous(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of the options and of the configuration; who is not there is told, and the node goes on."""
    dialled = threading.Semaphore(0)

    def dial(self: FakeService, to: crust.Contact, **options: Any) -> futures.Future[crust.Peer]:
        future: futures.Future[crust.Peer] = futures.Future()
        future.set_exception(crust.ConnectError("nobody took us"))
        future.add_done_callback(lambda _: dialled.release())
        self.calls.append(("dial", (to,), options))
        return future

    def wait(self: FakeService, timeout: Any = None) -> bool:
        assert dialled.acquire(timeout=5) and dialled.acquire(timeout=5)
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeService, "dial", dial, raising=False)
    monkeypatch.setattr(FakeService, "wait", wait)
    (tmp_path / "crust").mkdir()
    (tmp_path / "crust" / "crust.yaml").write_text(f"bootstrap: {{contacts: ['{CAROL}']}}")
    code, terminal = run_command(tmp_path, "node", "--contact", f"{BOB}@tcp://192.0.2.7:1")
    assert code == 130
    assert "cannot be reached: nobody took us; trying again" in shown(terminal)
    (node,) = fake_service.made
    assert [str(arguments[0]) for name, arguments, _ in node.calls if name == "dial"][:2] == [
        f"{BOB}@tcp://192.0.2.7:1",
        CAROL,
    ]


def test_a_line_for_people_is_harmless(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.book.add("bob", crust.Contact(BOB))
    message = crust.NewMessage(FakePeer(), b"\x1b[2J\xff", 1, None)
    assert describe(message, context) == "new message bob data=\\x1b[2J\\xff priority=1"
    lost = crust.LostPeer(FakePeer(), crust.LostReason.TIMEOUT, (1, 2))
    assert describe(lost, context) == "lost peer bob reason=timeout unacknowledged=1, 2"
