"""``crust recv`` on a fake node."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli import receive as receive_module
from crust.cli.terminal import Terminal
from tests.cli.fakes import ALICE, BOB, FakePeer, FakeService, make_terminal, printed, run_command, shown

CONTACT = f"{ALICE}@tcp://127.0.0.1:4"
RECEIVED = crust.FileReceived(FakePeer(), "/in/photo.jpg", "photo.jpg", 1000, "cd" * 32)
FAILED = crust.FileFailed(FakePeer(), "photo.jpg", "no space left")


def offer(who: crust.PeerId = BOB, name: str = "photo.jpg") -> crust.FileOffer:
    return crust.FileOffer(FakePeer(who), name, 1000)


def receive(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    act: Callable[[FakeService, Callable[[crust.FileOffer], Any]], object],
    *words: str,
    terminal: Terminal | None = None,
) -> tuple[int, Terminal]:
    """Run ``crust recv``; once it accepts files, ``act`` runs on a thread of its own, as the node's would."""
    threads: list[threading.Thread] = []

    def accept_files(node: FakeService, directory: Any, *, decide: Any, **options: Any) -> None:
        node.calls.append(("accept_files", (directory,), options))
        threads.append(threading.Thread(target=act, args=(node, decide), daemon=True))
        threads[0].start()

    monkeypatch.setattr(FakeService, "accept_files", accept_files, raising=False)
    result = run_command(home, "recv", "--dir", str(home), *words, terminal=terminal)
    for thread in threads:
        thread.join(5.0)
        assert not thread.is_alive()
    return result


def test_a_file_is_reported_with_its_checksum(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, terminal = receive(monkeypatch, tmp_path, lambda node, _: node.happen(RECEIVED), "--yes", "--once")
    assert code == 0
    assert printed(terminal) == f"{CONTACT}\n{'cd' * 32}  /in/photo.jpg\n"
    assert "received /in/photo.jpg" in shown(terminal)
    assert fake_service.made[0].closed


def test_json_begins_with_the_contact(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, terminal = receive(
        monkeypatch, tmp_path, lambda node, _: node.happen(RECEIVED), "--yes", "--once", "--json"
    )
    told = [json.loads(line) for line in printed(terminal).splitlines()]
    assert told[0] == {"event": "started", "peer": str(ALICE), "contact": CONTACT}
    assert told[1]["event"] == "file_received"
    assert (told[1]["peer"], told[1]["digest"], told[1]["path"]) == (str(BOB), "cd" * 32, "/in/photo.jpg")


def test_a_failed_file_is_told_and_ends_once_with_1(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, terminal = receive(monkeypatch, tmp_path, lambda node, _: node.happen(FAILED), "--yes", "--once")
    assert code == 1
    assert "photo.jpg of aibaeaqc… did not arrive: no space left" in shown(terminal)


def test_a_proof_is_kept_beside_its_file(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    event = crust.FileReceived(FakePeer(), str(tmp_path / "photo.jpg"), "photo.jpg", 1000, "cd" * 32, b"proof")
    code, terminal = receive(monkeypatch, tmp_path, lambda node, _: node.happen(event), "--yes", "--once", "--signed")
    assert code == 0
    assert (tmp_path / "photo.jpg.crust-proof").read_bytes() == b"proof"
    assert f"is {tmp_path}/photo.jpg.crust-proof" in shown(terminal)
    assert fake_service.made[0].config.signing.require_signed
    told = receive(monkeypatch, tmp_path, lambda node, _: node.happen(event), "--yes", "--once", "--json")[1]
    assert json.loads(printed(told).splitlines()[1])["proof_file"] == str(tmp_path / "photo.jpg (1).crust-proof")


def test_a_proof_that_cannot_be_kept_is_told(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    event = crust.FileReceived(FakePeer(), "/missing/photo.jpg", "photo.jpg", 1000, "cd" * 32, b"proof")
    code, terminal = receive(monkeypatch, tmp_path, lambda node, _: node.happen(event), "--yes", "--once")
    assert code == 1
    assert "its proof cannot be kept: No such file or directory" in shown(terminal)


def test_without_once_it_goes_on(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def act(node: FakeService, _: Any) -> None:
        for event in (FAILED, RECEIVED, RECEIVED):
            node.happen(event)
        node.closed = True  # so that the test ends

    monkeypatch.setattr(receive_module, "_LOOK_INTERVAL", 0.05)
    code, terminal = receive(monkeypatch, tmp_path, act, "--yes")
    assert code == 1  # the node has stopped by itself
    assert printed(terminal).count("/in/photo.jpg") == 2


def test_yes_takes_from_anyone(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers: list[Any] = []

    def act(node: FakeService, decide: Any) -> None:
        answers.append(decide(offer()))
        node.happen(RECEIVED)

    receive(monkeypatch, tmp_path, act, "--yes", "--once")
    assert answers == [True]
    assert fake_service.made[0].calls[0][1] == (tmp_path,)


@pytest.mark.parametrize("words", [("--yes",), ("--from", str(BOB)), ()])
def test_nothing_above_the_limit_is_taken(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Nobody is even asked about it."""
    answers: list[Any] = []

    def act(node: FakeService, decide: Any) -> None:
        answers.append(decide(offer()))
        node.happen(RECEIVED)

    terminal = make_terminal(tty=True, answers="y\n")
    receive(monkeypatch, tmp_path, act, *words, "--once", "--max-size", "999", terminal=terminal)
    assert answers == ["it has 1000 bytes, and the limit is 999"]
    assert "refused photo.jpg" in shown(terminal) and "[y/N]" not in shown(terminal)


def test_from_takes_from_these_and_nobody_else(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers: list[Any] = []

    def act(node: FakeService, decide: Any) -> None:
        answers.extend((decide(offer(BOB)), decide(offer(ALICE, "\x1bevil"))))
        node.happen(RECEIVED)

    run_command(tmp_path, "contacts", "add", "bob", str(BOB))
    _, terminal = receive(
        monkeypatch, tmp_path, act, "--from", "bob", "--once", terminal=make_terminal(tty=True)
    )
    assert answers == [True, "the receiver does not take files from this peer"]
    assert "refused \\x1bevil" in shown(terminal)
    assert "bob" in shown(terminal)  # people are called by the names of the book


@pytest.mark.parametrize("words", [("--from", str(ALICE)), ()])
def test_once_is_not_ended_by_a_file_that_nobody_wanted(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Whoever knows the id can offer one that the disk has no room for, or leave; the node decides nothing then."""

    def act(node: FakeService, decide: Any) -> None:
        node.happen(FAILED)  # Bob's
        assert decide(offer(ALICE)) is True
        node.happen(crust.FileReceived(FakePeer(ALICE), "/in/a", "a", 1, "cd" * 32))

    terminal = make_terminal(tty=True, answers="y\n")
    code, _ = receive(monkeypatch, tmp_path, act, *words, "--once", terminal=terminal)
    assert code == 0
    assert "/in/a" in printed(terminal) and "did not arrive" in shown(terminal)


@pytest.mark.parametrize("words", [("--from", str(BOB)), ()])
def test_once_is_ended_by_a_wanted_file_that_fails(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    def act(node: FakeService, decide: Any) -> None:
        assert decide(offer()) is True
        node.happen(FAILED)

    terminal = make_terminal(tty=True, answers="y\n")
    assert receive(monkeypatch, tmp_path, act, *words, "--once", terminal=terminal)[0] == 1


@pytest.mark.parametrize(
    ("answer", "decision"), [("y\n", True), ("n\n", "the receiver said no"), ("", "the receiver said no")]
)
def test_a_person_is_asked(
    fake_service: type[FakeService],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: str,
    decision: Any,
) -> None:
    answers: list[Any] = []

    def act(node: FakeService, decide: Any) -> None:
        answers.append(decide(offer(name="a\x1b[2Jb")))
        node.happen(RECEIVED)

    terminal = make_terminal(tty=True, answers=answer)
    receive(monkeypatch, tmp_path, act, "--once", terminal=terminal)
    assert answers == [decision]
    assert f"{BOB} offers a\\x1b[2Jb (1.00 kB). Take it? [y/N] " in shown(terminal)


def test_open_questions_are_answered_with_no_at_the_end(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C while a question is open: the node's thread is let go."""
    answers: list[Any] = []
    terminal = make_terminal(tty=True)

    def interrupted(question: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "ask", interrupted)

    def act(node: FakeService, decide: Any) -> None:
        answers.append(decide(offer()))
        answers.append(decide(offer()))

    code, _ = receive(monkeypatch, tmp_path, act, terminal=terminal)
    assert code == 130
    assert answers == ["the receiver said no"] * 2


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ((), 2, "--from ID, or --yes"),
        (("--yes", "--from", str(BOB)), 2, "give one of them"),
        (("--yes", "--dir", "missing"), 1, "not a directory"),
        (("--from", "nobody"), 1, "nobody"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(
    fake_service: type[FakeService],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, terminal = run_command(tmp_path, "recv", *words)
    assert (found, shown(terminal).count("\n")) == (code, 1)
    assert hint in shown(terminal)
    assert fake_service.made == []


def test_a_node_that_nobody_can_reach_is_told(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def act(node: FakeService, _: Any) -> None:
        node.happen(RECEIVED)

    original = FakeService.start

    def start(self: FakeService) -> FakeService:
        self.contact = crust.Contact(ALICE)
        return original(self)

    monkeypatch.setattr(FakeService, "start", start)
    _, terminal = receive(monkeypatch, tmp_path, act, "--yes", "--once")
    assert "nobody can reach it" in shown(terminal)


def test_the_bar_follows_the_bytes(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [0.0]
    terminal = make_terminal(tty=True, clock=lambda: now[0])

    def act(node: FakeService, _: Any) -> None:
        progress = node.calls[0][2]["progress"]
        for step in range(3):
            now[0] += 1
            progress(crust.FileProgress(FakePeer(), "photo.jpg", 300 * step, 1000))
        node.happen(RECEIVED)

    receive(monkeypatch, tmp_path, act, "--yes", "--once", terminal=terminal)
    assert " 60%  600 B of 1.00 kB  300 B/s" in shown(terminal)
