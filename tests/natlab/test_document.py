"""What docs/laboratory.md says is so."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.natlab.byhand.words import Word
from tests.natlab.lab import Lab
from tests.natlab.matrix.__main__ import parser
from tests.natlab.matrix.table import LETTERS, SPECIAL, TABLE
from tests.natlab.pipes import Settings
from tests.natlab.routers.kinds import KINDS, Behaviour, Kind
from tests.support.documents import blocks
from tests.support.source import ROOT

PAGE = ROOT / "docs" / "laboratory.md"
EXAMPLES = list(blocks(PAGE, "python"))


def table(heading: str) -> list[tuple[str, str]]:
    """The first two columns of the table with these words in its first row."""
    text = PAGE.read_text().split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.line))
def test_the_examples_run(lab: Lab, tmp_path: Path, example: Any) -> None:
    """The tests that the page shows pass."""
    names: dict[str, Any] = {}
    exec(compile("\n" * (example.line - 1) + example.text, str(PAGE), "exec"), names)
    (test,) = [each for name, each in names.items() if name.startswith("test_")]
    known = {"lab": lab, "tmp_path": tmp_path}
    test(**{name: known[name] for name in inspect.signature(test).parameters})


def test_the_settings_of_a_link_are_in_the_table() -> None:
    """Each with its default."""
    expected = [(each.name, f"`{each.default!r}`") for each in dataclasses.fields(Settings)]
    assert table("setting of a link") == expected


def test_the_arguments_of_a_site_are_in_the_table() -> None:
    """Each with its default."""
    arguments = list(inspect.signature(Lab.site).parameters.values())[2:-1]  # not self, name, and settings
    expected = [(each.name, f"`{each.default!r}`") for each in arguments]
    assert table("argument of `lab.site`") == expected


def row(name: str, kind: Kind) -> str:
    """A kind as it stands in the table."""
    shown = kind.udp if kind.udp.mapping != "blocked" else kind.tcp
    words = [shown.mapping, shown.filtering, shown.ports]
    passes = ["no" if each.mapping == "blocked" else "yes" for each in (kind.udp, kind.tcp)]
    if kind.tcp_only:
        passes[1] = f"to {' and '.join(map(str, kind.tcp_only))}"
    return "| " + " | ".join([f"`{name}`", kind.says, *words, *passes, kind.stranger]) + " |"


def test_the_kinds_are_in_the_table() -> None:
    """With all that the judge holds them to; UDP and TCP are treated alike where both pass."""
    lines = PAGE.read_text().splitlines()
    begin = lines.index(row(*next(iter(KINDS.items()))))
    assert lines[begin : begin + len(KINDS)] == [row(name, kind) for name, kind in KINDS.items()]
    for kind in KINDS.values():
        assert kind.udp == kind.tcp or "blocked" in (kind.udp.mapping, kind.tcp.mapping)
    assert Behaviour() in (KINDS["udpblock"].tcp, KINDS["tcpblock"].udp)


def test_the_commands_by_hand_are_understood() -> None:
    """What is shown of ``tools/natlab up`` can be made."""
    (console,) = [block for block in blocks(PAGE, "console") if "natlab up" in block.text]
    (up,) = [line for line in console.text.splitlines() if "natlab up" in line]
    words = [Word.parse(text) for text in shlex.split(up)[4:]]
    assert [word.name for word in words] == ["isp", "home", "office", "srv"]


def test_the_matrix_is_in_the_table() -> None:
    """Every pair once, and every letter with its path and its seconds."""
    lines = PAGE.read_text().splitlines()
    begin = lines.index("| | " + " | ".join(f"`{kind}`" for kind in TABLE) + " |") + 2
    for number, (kind, row) in enumerate(TABLE.items()):
        shown = [cell.strip() for cell in lines[begin + number].strip("|").split("|")]
        assert shown == [f"`{kind}`", *[""] * number, *row.split()]
    text = "\n".join(lines)
    for each in (*LETTERS.values(), *SPECIAL.values()):
        (line,) = re.findall(rf"^\| {each.letter[0]} \| (.*) \|$", text, re.MULTILINE)
        path, within = line.rsplit(" | ", 1)
        assert f"`{each.path_class}`" in path and (len(each.letter) == 1 or f"{each.letter}:" in line)
        assert f"{each.seconds:g} s" in within or within == "as T"


def test_the_options_of_the_matrix_are_explained() -> None:
    """All of them, and the commands that are shown are understood."""
    text = PAGE.read_text().split("## The matrix", 1)[1].split("\n## ", 1)[0]
    for action in parser()._actions:
        assert action.option_strings[-1] in (*re.findall(r"(--\w+)", text), "--help", "--runs")
    shown = [line for line in text.splitlines() if line.startswith("$ sudo .venv")]
    assert len(shown) == 3 and all(parser().parse_args(shlex.split(line)[5:]) for line in shown)
