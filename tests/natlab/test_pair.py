"""``punch-test listen`` and ``connect`` from two sites, with a rendezvous on a server: what both ends come to say."""

from __future__ import annotations

import json
import pathlib
import shlex
import sys
from typing import Any

import pytest

from tests.natlab.lab import Lab
from tests.natlab.matrix.places import rendezvous
from tests.support.programs import Program

SECONDS = "5"  # that the caller looks for a better way
PATIENCE = 30.0


def command(home: pathlib.Path, *words: str) -> tuple[str, ...]:
    """punch-test, with a home of its own, from which it may ask its router."""
    home.mkdir()
    return ("env", "-u", "CRUST_PORT_MAPPING", f"HOME={home}", sys.executable, "tools/punch-test", *words)


def lines(program: Program) -> list[dict[str, Any]]:
    """What it told as JSON."""
    return [json.loads(line) for line in program.output if line.startswith("{")]


@pytest.mark.parametrize(
    ("called", "caller", "outcome", "code"),
    [("port", "full", "direct", 0), ("port", "strict", "relayed", 1)],
)
def test_both_ends_say_how_they_met(
    lab: Lab, called: str, caller: str, outcome: str, code: int, tmp_path: pathlib.Path
) -> None:
    """The same outcome, with the attempts of both, and a reason for each better way that did not come about."""
    server = lab.server()
    there, here = lab.site("there", called).host, lab.site("here", caller).host
    (tmp_path / "rendezvous").mkdir()
    with rendezvous(server, tmp_path / "rendezvous") as node:
        words = ("listen", "--once", "--json", "--contact", node.contact)
        listening = there.start(*command(tmp_path / "there", *words))
        listening.wait_for('"event": "ready"', PATIENCE)
        ready = lines(listening)[0]
        assert "reflexive" in {each["kind"] for each in ready["end"]["addresses"]}  # as the rendezvous alone says
        words = tuple(shlex.split(ready["command"])[1:])
        calling = here.start(*command(tmp_path / "here", *words, "--json", "--timeout", SECONDS))
        assert calling.process.wait(PATIENCE) == code
        assert listening.process.wait(PATIENCE) == code
    for program in (calling, listening):
        program.wait_for('"event": "result"', PATIENCE)
        result = lines(program)[-1]
        assert result["outcome"] == outcome, program.output
        assert result["test"]["here"]["rendezvous"] and result["test"]["there"]["rendezvous"]
        assert result["test"]["here"]["attempts"] and result["test"]["there"]["attempts"]
        assert all(reason["text"] for reason in result["reasons"])
        assert bool(result["reasons"]) == (outcome == "relayed")
    first = next(line for line in lines(calling) if line["event"] == "connected")
    assert first["path"]["class"] == "relay"
