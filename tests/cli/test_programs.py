"""Programs that the demonstration starts: however it ends, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crust.cli import programs
from crust.cli.programs import clean_environment, running


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no signals between processes here")
@pytest.mark.parametrize("number", ["SIGINT", "SIGALRM"])
def test_a_signal_while_one_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: str) -> None:
    """The process is there, and the program that shall end it does not know of it yet: Ctrl-C, or time is up."""
    which = signal.Signals[number]
    started: list[subprocess.Popen[bytes]] = []

    def start(_: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "input()"], **options))
        os.kill(os.getpid(), which)
        return started[0]

    monkeypatch.setattr(programs, "subprocess", _Subprocess(start))
    before = signal.getsignal(which)
    try:
        signal.signal(which, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), running("alice", ["node"], clean_environment(tmp_path)):
            raise AssertionError("it was to be interrupted before")
    finally:
        signal.signal(which, before)
    (process,) = started
    assert process.returncode is not None


class _Subprocess:
    """The module, but for one function."""

    def __init__(self, start: Any) -> None:
        self.Popen = start

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)
