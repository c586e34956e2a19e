"""Other crust programs, started and driven by this one: what the demonstration is made of."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import CommandError
from .signals import held

__all__ = ["Program", "ProgramError", "clean_environment", "running"]


_PATIENCE = 6.0  # seconds for a program to end in good order; closing a node may take 5


class ProgramError(CommandError):
    """A program did not do what it was started for; the text says what, and its last words."""


def clean_environment(home: Path) -> dict[str, str]:
    """The environment for a program that shall not touch the user's files: all that is in ``home``."""
    package = Path(__file__).resolve().parents[2]
    kept = {name: value for name, value in os.environ.items() if name != "CRUST_CONFIG"}
    search = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH", ""))))
    folders = {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home)}
    return {**kept, **folders, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def running(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Iterator[Program]:
    """A `Program`, with its arguments; however this ends, nothing is left of it then."""
    program = None
    try:
        with held():  # Ctrl-C in the midst of it would leave a process that nobody knows of
            program = Program(name, arguments, environ)
        yield program
    finally:
        if program is not None:
            program.close()


class Program:
    """
    ``python -m crust …`` as a process of its own. Its stdout is read as JSON lines; its stdin takes them.

    It runs in a session of its own, so that Ctrl-C reaches only us and we end it in good order; see `running`.

    Args:
        name: What to call it in errors.
        arguments: The command and its options.
        environ: Its environment; see `clean_environment`.
    """

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crust", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._kept: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._request = 0
        self._readers = [threading.Thread(target=self._read, name=f"crust-demo-{name}", daemon=True)]
        self._readers.append(
            threading.Thread(target=self._read_errors, name=f"crust-demo-{name}-err", daemon=True)
        )
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def write(self, command: Mapping[str, Any]) -> int:
        """Send a command; its id."""
        self._request += 1
        stdin = self._process.stdin
        if stdin is None:
            raise ProgramError(f"{self.name}: has no stdin")
        try:
            stdin.write(json.dumps({"id": self._request, **command}).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise ProgramError(self._obituary()) from error
        return self._request

    def ask(self, timeout: float = 30.0, **command: Any) -> dict[str, Any]:
        """
        Send a command and wait for its reply.

        Raises:
            ProgramError: The reply says no, or none came within the timeout.
        """
        number = self.write(command)
        reply = self.wait(lambda line: line.get("id") == number, timeout)
        if not reply["ok"]:
            raise self.trouble(f"{command['cmd']}: {reply.get('text', reply['error'])}")
        return reply

    def event(self, name: str, timeout: float = 30.0) -> dict[str, Any]:
        """Wait for an event of this name; those seen before count too, once."""
        return self.wait(lambda line: line.get("event") == name, timeout)

    def wait(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = 30.0) -> dict[str, Any]:
        """Wait for a line; the others are kept for later calls."""
        for index, line in enumerate(self._kept):
            if wanted(line):
                return self._kept.pop(index)
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = self._lines.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise self.trouble(f"nothing came within {timeout:.0f} s") from None
            if found is None:
                self._lines.put(None)
                raise ProgramError(self._obituary())
            if wanted(found):
                return found
            self._kept.append(found)

    def seen(self, name: str) -> list[dict[str, Any]]:
        """The events of this name that have come and that nobody waited for; they are forgotten."""
        while True:
            try:
                found = self._lines.get_nowait()
            except queue.Empty:
                break
            if found is None:
                self._lines.put(None)
                break
            self._kept.append(found)
        events = [line for line in self._kept if line.get("event") == name]
        self._kept = [line for line in self._kept if line.get("event") != name]
        return events

    def end(self, timeout: float = 30.0) -> int:
        """Close its stdin and wait until it ends by itself; its exit code."""
        self._close_stdin()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.trouble(f"still running {timeout:.0f} s after it should have ended") from None

    def close(self) -> None:
        """End it, by SIGTERM and if need be by SIGKILL. Nothing is left of it then."""
        self._close_stdin()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _close_stdin(self) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.close()
            except OSError:
                pass  # it has gone already, with something still unread

    def _read(self) -> None:
        """Ends when the process closes its stdout, at the latest when it ends."""
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                try:
                    found = json.loads(line)
                except ValueError:
                    found = {"line": line.decode("utf-8", "replace").rstrip("\n")}
                self._lines.put(found)
        self._lines.put(None)

    def _read_errors(self) -> None:
        stderr = self._process.stderr
        if stderr is not None:
            for line in stderr:
                self._errors.append(line.decode("utf-8", "replace").rstrip("\n"))
                del self._errors[:-20]

    def trouble(self, text: str) -> ProgramError:
        """An error that says what is wrong with this program."""
        return ProgramError(f"{self.name}: {text}{self._last_words()}")

    def _obituary(self) -> str:
        return f"{self.name}: ended with exit code {self._process.wait()}{self._last_words()}"

    def _last_words(self) -> str:
        return f"; it said: {' / '.join(self._errors[-3:])}" if self._errors else ""
