"""``crust chat`` on a fake node."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli.terminal import Terminal
from tests.cli.fakes import (
    ALICE,
    BOB,
    PATH,
    FakePeer,
    FakeService,
    Input,
    Screen,
    printed,
    run_command,
    shown,
)


def chat(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    typed: bytes,
    *words: str,
    connected: Callable[[FakeService], object] | None = None,
) -> tuple[int, Terminal, FakePeer]:
    """Run ``crust chat`` with bob at the other end; ``connected`` is called when he has been reached."""
    peer = FakePeer()

    def connect(self: FakeService, to: Any, **options: Any) -> crust.Peer:
        self.calls.append(("connect", (to,), options))
        self.peers.append(peer)
        self.happen(crust.ConnectSuccess(peer, False, PATH))
        if connected is not None:
            connected(self)
        return peer

    monkeypatch.setattr(FakeService, "connect", connect, raising=False)
    path = home / "typed"
    path.write_bytes(typed)
    with open(path, "rb") as file:
        terminal = Terminal(stdin=Input(file.fileno()), stdout=Screen(), stderr=Screen(), environ={})
        code, _ = run_command(home, "chat", *words, terminal=terminal)
    return code, terminal, peer


def test_lines_go_out_and_come_in(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connected(node: FakeService) -> None:
        node.happen(crust.NewMessage(FakePeer(), "grüß \x1b[31mdich".encode(), 1, None))

    run_command(tmp_path, "contacts", "add", "bob", f"{BOB}@tcp://192.0.2.7:1")
    code, terminal, peer = chat(
        monkeypatch, tmp_path, "hello\nwörld".encode(), "bob", "--timeout", "3", connected=connected
    )
    assert code == 0
    assert peer.outgoing == [b"hello", "wörld".encode()]
    assert printed(terminal) == "bob: grüß \\x1b[31mdich\n"
    assert "bob is here (direct-tcp, AEGIS-256)" in shown(terminal)
    (node,) = fake_service.made
    assert node.calls == [("connect", (crust.Contact.parse(f"{BOB}@tcp://192.0.2.7:1"),), {"timeout": 3.0})]
    assert node.closed


@pytest.mark.parametrize(("reason", "code"), [(crust.LostReason.CLOSED, 0), (crust.LostReason.TIMEOUT, 1)])
def test_the_end_of_the_called_one_ends_it(
    fake_service: type[FakeService],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    reason: crust.LostReason,
    code: int,
) -> None:
    """Even while stdin stays open: nobody has to press a key."""

    def connected(node: FakeService) -> None:
        node.happen(crust.LostPeer(node.peers.pop(), reason, ()))

    out, into = os.pipe()
    with open(into, "wb"), open(out, "rb") as silent:
        monkeypatch.setattr(Input, "fileno", lambda self: silent.fileno())
        found, terminal, _ = chat(monkeypatch, tmp_path, b"", str(BOB), connected=connected)
    assert found == code
    assert f"has left: {reason}" in shown(terminal)


def test_without_a_contact_it_waits_for_calls(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, terminal, _ = chat(monkeypatch, tmp_path, b"hello?\n")
    assert code == 0
    assert printed(terminal) == f"{ALICE}@tcp://127.0.0.1:4\n"
    assert "nobody is here yet" in shown(terminal)


def test_what_could_not_be_sent_is_told(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connected(node: FakeService) -> None:
        monkeypatch.setattr(FakePeer, "send", _no_room)

    code, terminal, _ = chat(monkeypatch, tmp_path, b"hello\n", str(BOB), connected=connected)
    assert code == 0
    assert "not sent to aibaeaqc…: no room" in shown(terminal)


def _no_room(self: FakePeer, data: Any, **_: Any) -> int:
    raise crust.Timeout("no room")
