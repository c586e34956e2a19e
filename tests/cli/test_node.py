"""``crust node``: the streams around the control channel, and the lines for people."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli.main import Terminated
from crust.cli.node import Channel, describe
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
    assert node.calls == [] and node.closed


def test_contacts_are_bootstrapped_from(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def bootstrap(self: FakeService) -> None:
        raise crust.ConnectError("nobody took us")

    monkeypatch.setattr(FakeService, "bootstrap", bootstrap, raising=False)
    code, terminal = run_command(tmp_path, "node", "--contact", str(BOB))
    assert code == 130
    assert "no bootstrap: nobody took us" in shown(terminal)


def test_a_line_for_people_is_harmless(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.book.add("bob", crust.Contact(BOB))
    message = crust.NewMessage(FakePeer(), b"\x1b[2J\xff", 1, None)
    assert describe(message, context) == "new message bob data=\\x1b[2J\\xff priority=1"
    lost = crust.LostPeer(FakePeer(), crust.LostReason.TIMEOUT, (1, 2))
    assert describe(lost, context) == "lost peer bob reason=timeout unacknowledged=1, 2"
