"""The two worlds that the suite runs in, and fresh interpreters for what must be seen from the first import on."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.source import ROOT
from tests.support.waiting import Patience


def on_greenlets() -> bool:
    """True if this run is monkey-patched by gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def run_python(
    code: str, *arguments: str, gevent: bool = False, forks: bool = False, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """
    Run ``code`` in a new interpreter that finds crust.

    Args:
        gevent: Patch everything before the first line.
        forks: It forks while threads run, of which Python from 3.12 on warns.
        timeout: Seconds of patience; a process that hangs is killed and fails the test.
    """
    if gevent:
        code = "from gevent import monkey; monkey.patch_all()\n" + code
    options = ["-W", "ignore:This process:DeprecationWarning"] if forks else []
    patience = Patience(timeout)
    with subprocess.Popen(
        [sys.executable, *options, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while True:
            try:
                output, errors = process.communicate(timeout=0.5)
                return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
            except subprocess.TimeoutExpired:
                if patience.left <= 0:
                    process.kill()
                    raise
            except BaseException:  # Ctrl-C
                process.kill()
                raise
