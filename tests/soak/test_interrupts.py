"""Ctrl-C ends a soak early, with a verdict; a second one at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.source import ROOT

PROGRAM = """
import os, signal, sys
from tests.soak.interrupts import Interrupts

number = getattr(signal, sys.argv[1])
interrupts = Interrupts()
assert not interrupts()
os.kill(os.getpid(), number)
assert interrupts()
try:
    os.kill(os.getpid(), number)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_is_an_answer_the_second_an_exception(name: str) -> None:
    """Either signal; nothing is cut short by the first."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr.decode()
