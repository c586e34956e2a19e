"""Programs that are interrupted a thousand times a second lose nothing, double nothing and do not hang."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.modes import on_greenlets
from tests.support.source import ROOT

PROGRAM = ROOT / "tests" / "service" / "torture.py"


def run(*arguments: str, gevent: bool = False) -> int:
    """Run the program; how often it was struck."""
    command = [sys.executable, *(["-m", "gevent.monkey"] if gevent else []), str(PROGRAM), *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    word, struck, _ = done.stdout.split()
    assert word == "ok"
    return int(struck)


@pytest.mark.skipif(on_greenlets(), reason="the program chooses its own mode: once is enough")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 looks for signals on the way back from a function too")
@pytest.mark.parametrize(
    "seed", ["1", pytest.param("2", marks=pytest.mark.slow), pytest.param("3", marks=pytest.mark.slow)]
)
def test_signal_handlers_that_raise(seed: str) -> None:
    """Like Ctrl-C, and Celery's soft time limit: every 0.2 to 3 ms, in send, send_many, recv, connect and flush."""
    assert run("signals", "5000", seed) > 100


@pytest.mark.skipif(on_greenlets(), reason="the program chooses its own mode: once is enough")
@pytest.mark.parametrize("seed", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_timeouts_of_greenlets(seed: str) -> None:
    """``gevent.Timeout``, just as often, at whatever the greenlet waits for."""
    assert run("timeouts", "5000", seed, gevent=True) > 50
