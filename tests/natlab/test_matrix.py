"""
Two nodes behind some pairs of networks, that share a rendezvous, come to the path of the table as quickly as it says.

``make matrix`` has all pairs, and more often.
"""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest

from tests.natlab import names, needs
from tests.natlab.matrix.__main__ import Crew
from tests.natlab.matrix.outcome import Outcome, judge
from tests.natlab.matrix.state import Run
from tests.natlab.matrix.table import expected
from tests.support.source import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("laboratory")

AT_ONCE = 4  # laboratories
CELLS = [
    *("sym:sym", "sym:port", "symseq:port", "rst:rst", "tcpblock:port", "port:port"),
    *("strict:none", "none:port", "tcpblock:none", "full:sym", "lan:lan"),
]
"""Of each way that there is, one pair: who calls, and who is called. Those that take longest come first."""


@pytest.fixture(scope="module")
def outcomes() -> dict[Run, Outcome]:
    """Of all cells, some at once: most of the time they wait until a network is known."""
    needs.require()
    with Crew([run_of(cell) for cell in CELLS], AT_ONCE, None) as crew:
        return dict(crew.results())


def run_of(cell: str) -> Run:
    one, other = cell.split(":")
    return Run(one, other, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell(outcomes: dict[Run, Outcome], cell: str) -> None:
    """The path is as good as the table says, in time, and a message is there at once."""
    run = run_of(cell)
    expectation = expected(run.one, run.other)
    assert expectation is not None
    verdict = judge(outcomes[run], expectation)
    assert verdict.word == "good" and verdict.prompt and outcomes[run].settled, outcomes[run]


def test_an_interrupt_leaves_nothing() -> None:
    """In the middle of two runs: their laboratories are taken down before it ends, with the code of an interrupt."""
    words = [sys.executable, "-m", "tests.natlab.matrix", "--cells", "port:port,sym:sym", "--jobs", "2"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(owned_by(process.pid)) >= 8, 30.0, "both laboratories")
        made = owned_by(process.pid)
        process.send_signal(signal.SIGINT)
        said = "".join(process.communicate(timeout=30.0))
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130 and "Traceback" not in said, said
    assert not made & set(names.spaces())


def owned_by(parent: int) -> set[str]:
    """The namespaces of laboratories whose processes are children of this one."""
    return {name for name in names.spaces() if parent_of(int(name.split("-")[2])) == parent}


def parent_of(process: int) -> int:
    try:
        return int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
