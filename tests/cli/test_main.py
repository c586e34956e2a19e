"""Arguments, exit codes, and one clear line for every error."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import pytest

import crust
from crust.cli import main
from crust.cli.context import Context
from crust.cli.errors import CommandError, UsageError
from tests.cli.fakes import make_terminal, shown


def run(error: BaseException, verbosity: int = 0) -> tuple[int, str]:
    def command(arguments: argparse.Namespace, context: Context) -> int:
        raise error

    terminal = make_terminal(verbosity=verbosity)
    return main.run(command, argparse.Namespace(), terminal, {}), shown(terminal)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("no such thing"), 1, "crust: error: no such thing\n"),
        (UsageError("one or the other"), 2, "crust: error: one or the other\n"),
        (crust.ContactSyntaxError("mistyped"), 2, "crust: error: mistyped\n"),
        (crust.NoRoute("no address"), 1, "crust: error: no address\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.jpg"),
            1,
            "crust: error: x.jpg: No such file or directory\n",
        ),
        (crust.Denied("they said \x1b[2Jno\nway"), 1, "crust: error: they said \\x1b[2Jno\\x0away\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (main.Terminated(), 130, "interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_line_and_a_code(error: BaseException, code: int, line: str) -> None:
    assert run(error) == (code, line)


def test_verbose_adds_the_traceback() -> None:
    assert "Traceback" in run(CommandError("x"), verbosity=1)[1]
    assert "Traceback" not in run(CommandError("x"))[1]


def test_a_fault_of_crust_is_named_as_one() -> None:
    code, words = run(ZeroDivisionError("division by zero"))
    assert code == 1
    assert "internal error: ZeroDivisionError: division by zero" in words
    assert "Traceback" in run(ZeroDivisionError(), verbosity=1)[1]


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["send"],
        ["send", "x"],
        ["recv", "--max-size", "big"],
        ["node", "--jso"],
        ["chat", "--timeout", "0"],
    ],
)
def test_wrong_arguments_are_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(words)
    assert caught.value.code == 2
    assert "crust" in capsys.readouterr().err


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2
    captured = capsys.readouterr()
    assert (captured.out, "crust demo" in captured.err) == ("", True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"crust {crust.__version__}\n"


@pytest.mark.parametrize(
    ("words", "verbosity"),
    [([], 0), (["-v"], 1), (["-vv"], 2), (["-q"], -1)],
)
@pytest.mark.parametrize("after", [False, True])
def test_verbosity_stands_before_or_after_the_command(
    words: list[str], verbosity: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    handlers = list(logging.getLogger("crust").handlers)

    def run(command: Any, arguments: Any, terminal: Any, environ: Any) -> int:
        found.append(terminal.verbosity)
        return 0

    monkeypatch.setattr(main, "run", run)
    assert main.main(["config", *words] if after else [*words, "config"]) == 0
    assert logging.getLogger("crust").handlers == handlers
    assert found == [verbosity]


def test_log_records_become_harmless_lines() -> None:
    terminal = make_terminal(verbosity=1)
    handler = main._TerminalHandler(terminal)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        handler.handle(logging.LogRecord("crust", level, "", 0, "peer \x1b[2J", None, None))
    assert shown(terminal) == ("peer \\x1b[2J\nwarning: peer \\x1b[2J\ncrust: error: peer \\x1b[2J\n")


def test_every_command_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo", "send", "recv", "chat", "node", "contacts", "keygen", "config"):
        with pytest.raises(SystemExit) as caught:
            main.main([name, "--help"])
        assert caught.value.code == 0
        assert f"usage: crust {name}" in capsys.readouterr().out


def test_commands_import_nothing_private() -> None:
    """Every command does with ``import crust`` alone what it does, but for who may use a Unix socket."""
    for path in Path(main.__file__).parent.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            is_inside = line.strip().startswith(("from crust.", "from .."))
            assert not is_inside or "runtime.local_socket import" in line, f"{path.name}: {line}"
