"""
A process that does runs of the matrix, one at a time: ``python -m tests.natlab.matrix.worker [LOGS]``.

It reads runs from its standard input, a line of JSON each, and answers each with its outcome. An interrupt takes down
the laboratory of the run under way.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

from tests.natlab.matrix.outcome import Outcome
from tests.natlab.matrix.run import play
from tests.natlab.matrix.state import Conditions, Run
from tests.support.source import ROOT

PATIENCE = 60.0  # seconds to take down a laboratory


class Worker:
    """
    Its other end; use it in a ``with``. `stop` may be called by another thread.

    Args:
        logs: See `play`.
    """

    def __init__(self, logs: pathlib.Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.natlab.matrix.worker", *([str(logs.absolute())] if logs else [])],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, who end it in good order
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self.stop()
        self._process.wait(PATIENCE)
        self._process.stdin.close()
        self._process.stdout.close()

    def stop(self) -> None:
        """Have it take down what it has, and end."""
        self._process.send_signal(signal.SIGINT)

    def do(self, run: Run) -> Outcome:
        """Do a run. EOFError if the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(dataclasses.asdict(run)).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise EOFError("a worker has ended; its traceback is on standard error")
        return Outcome.from_json(json.loads(line))


def _stop(number: int, frame: types.FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # what is taken down is so once
    raise SystemExit(0)


def main(logs: pathlib.Path | None) -> None:
    """Until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    for line in sys.stdin:
        found = json.loads(line)
        run = Run(found["one"], found["other"], found["number"], Conditions(**found["conditions"]))
        line = json.dumps(play(run, logs).as_json()) + "\n"
        try:
            os.write(sys.stdout.fileno(), line.encode())
        except BrokenPipeError:  # whoever asked was killed meanwhile
            return


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else None)
