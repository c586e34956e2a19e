"""The real commands, as processes of their own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.source import ROOT
from tests.support.waiting import LOOK, Patience, busy

LOCAL = "tcp://127.0.0.1:0"
PATIENCE = 20.0  # seconds; the machine may be busy


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the user's, everything in ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRUST_", "XDG_"))}
    ours = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": str(ROOT), "CRUST_LAN": "off"}
    return {**kept, **ours, **more}


class Process:
    """
    ``crust WORDS`` under way; use it in a ``with``. Lines of stdout are taken one by one, stderr is kept whole.

    Args:
        home: The user's directory, and where it runs.
        words: The command and its options.
        prefix: Words before ``crust``: a command that runs it elsewhere.
        imports: Modules that are imported before ``crust`` runs.
        stdin, stderr: Descriptors instead of pipes.
        limit: Called in the child before it runs, to limit it.
    """

    def __init__(
        self,
        home: Path,
        *words: str,
        stdin: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        limit: Callable[[], object] | None = None,
        prefix: Sequence[str] = (),
        imports: Sequence[str] = (),
        **environ: str,
    ) -> None:
        self.words = words
        program = ["-m", "crust"]
        if imports:
            run = "import runpy; runpy.run_module('crust', run_name='__main__', alter_sys=True)"
            program = ["-c", f"import {', '.join(imports)}; {run}"]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *program, *words],
            cwd=home,
            env=environment(home, **environ),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=limit,
            start_new_session=True,
        )
        self.errors = ""
        self._changed = threading.Condition()  # guards errors
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._kept: list[dict[str, Any]] = []
        self._readers = [threading.Thread(target=self._read, name="test-stdout", daemon=True)]
        self._readers.append(threading.Thread(target=self._read_errors, name="test-stderr", daemon=True))
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # unsent bytes of a process that has ended

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line of stdout."""
        patience = Patience(timeout)
        while True:
            try:
                line = self._lines.get(timeout=LOOK)
                break
            except queue.Empty:
                if patience.left <= 0:
                    raise AssertionError(
                        f"crust {self.words}: no line within {timeout} s; stderr: {self.errors}"
                    ) from None
        if line is None:
            self._lines.put(None)
            raise AssertionError(f"crust {self.words} ended: {self.process.wait()}; stderr: {self.errors}")
        return line

    def write(self, **command: Any) -> None:
        """A command for ``crust node --json``."""
        self.type(json.dumps(command))

    def type(self, line: str) -> None:
        """A line for stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def told(self, **wanted: Any) -> dict[str, Any]:
        """The next JSON line with these values; others are kept."""
        for index, found in enumerate(self._kept):
            if wanted.items() <= found.items():
                return self._kept.pop(index)
        while True:
            found = json.loads(self.line())
            if wanted.items() <= found.items():
                return found
            self._kept.append(found)

    def ask(self, cmd: str, **fields: Any) -> dict[str, Any]:
        """Write a command and take its reply."""
        number = f"{cmd} {time.monotonic_ns()}"
        self.write(id=number, cmd=cmd, **fields)
        return self.told(id=number)

    def shows(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until stderr has this text."""
        with self._changed:
            patience = Patience(timeout)
            while not self._changed.wait_for(lambda: text in self.errors, LOOK):
                assert patience.left > 0, f"not shown: {text!r}: {self.errors}"

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C."""
        self.process.send_signal(number)

    def close_stdin(self) -> None:
        """End of input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ends(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; the exit code. Then all of stderr is in ``errors``."""
        code = self.process.wait(timeout * busy())
        for reader in self._readers:
            reader.join()
        return code

    def rest(self) -> list[str]:
        """What else came on stdout, after the end."""
        lines = []
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            lines.append(line)
        self._lines.put(None)
        return lines

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.decode().removesuffix("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        if self.process.stderr is None:
            return
        for line in self.process.stderr:
            with self._changed:
                self.errors += line.decode()
                self._changed.notify_all()


def node(home: Path, *words: str, **options: Any) -> Process:
    """``crust node --json`` on loopback."""
    return Process(home, "node", "--json", "--listen", LOCAL, *words, **options)


def no_traceback(process: Process) -> None:
    """An error is for people: one line, no stack."""
    assert "Traceback" not in process.errors, process.errors
