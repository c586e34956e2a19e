"""Signals that come early, late, or while something is not to be interrupted."""

from __future__ import annotations

import argparse
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import crust
from crust.cli import entry, main, signals
from crust.cli.control_socket import ControlSocket
from crust.cli.signals import Terminated, code_of, held, raised
from tests.cli.fakes import FakeService, run_command
from tests.cli.processes import Process
from tests.support.source import ROOT

NUMBERS = [signal.SIGINT, signal.SIGTERM]

MOMENTS = [
    "import crust.cli.main",
    "import crust.cli.chat",  # in the midst of the commands
    "import yaml",  # while the configuration is read
    "import crust.service.finding.finding",  # while the node starts
    "socket.bind",
]


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    """What a test changes is as before at its end."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no signals between processes here")
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_that_is_ended_while_it_starts_leaves_nothing(tmp_path: Path, moment: str, number: int) -> None:
    """No traceback, the documented exit code, no socket, no half a file."""
    (tmp_path / "crust.yaml").write_text("network:\n  name: early\n")
    words = ("node", "--config", "crust.yaml", "--listen", "tcp://127.0.0.1:0", "--control", str(tmp_path / "control"))
    strike = {"STRIKE_AT": moment, "STRIKE": str(int(number)), "XDG_STATE_HOME": str(tmp_path / "state")}
    with Process(tmp_path, *words, imports=["tests.support.early_signal"], **strike) as process:
        assert process.ends() == (130 if number == signal.SIGINT else 0)
        assert process.errors in ("", "interrupted\n")
        assert process.rest() == []
    left = [each for each in tmp_path.rglob("*") if not each.is_dir()]
    assert not [each for each in left if stat.S_ISSOCK(each.stat().st_mode)]
    assert {each.name for each in left} <= {"crust.yaml", "identity", "identity.lock"}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_other_commands_end_with_130(tmp_path: Path, number: int) -> None:
    with Process(
        tmp_path,
        *("-v", "peers"),
        imports=["tests.support.early_signal"],
        STRIKE_AT="import crust.cli.main",
        STRIKE=str(int(number)),
    ) as process:
        assert (process.ends(), process.errors, process.rest()) == (130, "", [])


def test_all_programs_begin_where_signals_are_heard_first() -> None:
    """``crust``, ``punch-test`` and ``python -m crust``."""
    text = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1].split("\n\n")[0]
    assert sorted(text.splitlines()) == [
        'crust = "crust.cli.entry:crust"',
        'punch-test = "crust.cli.entry:punch_test"',
    ]
    assert "entry import crust" in (ROOT / "crust" / "__main__.py").read_text()


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (signal.SIGTERM, ["node"], 0),
        (signal.SIGTERM, ["-v", "node", "--json"], 0),
        (signal.SIGTERM, ["chat", "node"], 130),
        (signal.SIGTERM, [], 130),
        (signal.SIGINT, ["node"], 130),
    ],
)
def test_exit_codes(number: int, words: list[str], code: int) -> None:
    assert code_of(number, words) == code


def test_the_exit_code_is_the_same_before_the_arguments_are_read() -> None:
    """Of SIGTERM to each command."""
    commands = next(each for each in main.build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    assert len(commands.choices) > 5
    for name, parser in commands.choices.items():
        assert code_of(signal.SIGTERM, [name]) == (0 if parser.get_default("until_stopped") else 130), name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_what_strikes_beside_a_command_is_no_traceback(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a second Ctrl-C while the first one is dealt with."""

    def struck() -> int:
        with raised():
            signal.raise_signal(number)
        return 1

    monkeypatch.setattr(main, "main", struck)
    monkeypatch.setattr("sys.argv", ["crust", "node"])
    assert entry.crust() == code


def test_a_signal_is_held_until_the_end() -> None:
    done = []
    with raised():
        with pytest.raises(Terminated):
            with held():
                signal.raise_signal(signal.SIGTERM)
                done.append("went on")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert done == ["went on"]


def test_a_second_signal_is_not_held() -> None:
    """Whatever is waited for takes too long."""
    done = []
    with raised(), pytest.raises(KeyboardInterrupt), held():
        signal.raise_signal(signal.SIGTERM)
        done.append("went on")
        signal.raise_signal(signal.SIGINT)
        done.append("not this far")
    assert done == ["went on"]


def test_what_is_held_inside_of_something_held_waits_for_the_outer_end() -> None:
    done = []
    with raised(), pytest.raises(Terminated), held():
        with held():
            signal.raise_signal(signal.SIGTERM)
        done.append("went on")
    assert done == ["went on"]


def test_handlers_of_others_are_back_afterwards() -> None:
    """And on other threads nothing is touched."""
    before = [signal.getsignal(number) for number in NUMBERS]
    found = []

    def look() -> None:
        with raised(), held():
            found.append([signal.getsignal(number) for number in NUMBERS])

    with raised(), held():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in NUMBERS] == before == found[0]


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell ignores SIGINT for what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.end_at_once()
    with raised(), held():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)


def test_a_node_that_starts_is_closed_when_it_has_started(
    fake_service: type[FakeService], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its start is not interrupted, and nobody else would close it."""
    started = FakeService.start

    def struck(self: FakeService) -> FakeService:
        signal.raise_signal(signal.SIGTERM)
        return started(self)

    monkeypatch.setattr(FakeService, "start", struck)
    with raised():
        assert run_command(tmp_path, "peers")[0] == 130
    (node,) = fake_service.made
    assert (node.started, node.closed) == (True, True)


def test_a_socket_that_nobody_knows_of_yet_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when it has just been made."""
    made = ControlSocket.__mro__[1].__enter__

    def struck(self: ControlSocket) -> object:
        sock = made(self)
        signal.raise_signal(signal.SIGTERM)
        return sock

    monkeypatch.setattr(ControlSocket.__mro__[1], "__enter__", struck)
    with raised(), pytest.raises(Terminated), ControlSocket(tmp_path / "control"):
        raise AssertionError("not entered")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_that_comes_where_there_is_no_socket_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Once, and then the folder's lock is not to be had; or twice, while that is waited for."""

    def struck(self: ControlSocket) -> object:
        for _ in range(times):
            signal.raise_signal(signal.SIGTERM)
        raise crust.ListenError("somebody holds the lock")

    monkeypatch.setattr(ControlSocket.__mro__[1], "__enter__", struck)
    with raised(), pytest.raises(Terminated), ControlSocket(tmp_path / "control"):
        raise AssertionError("not entered")
