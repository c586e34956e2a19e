"""Programs of other people, run as processes: started, listened to, asked over HTTP, and stopped with nothing left."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crust
from tests.support.nodes import config
from tests.support.source import ROOT
from tests.support.waiting import LOOK, Patience, busy, wait_until

EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent


def resolved(command: Sequence[str]) -> list[str]:
    """A command whose first word is ``python``, a script that is installed beside it, or a program of the system."""
    script = BIN / command[0]
    first = sys.executable if command[0] == "python" else str(script) if script.exists() else command[0]
    return [first, *command[1:]]


class Program:
    """
    One process, and those that it starts; its output is kept and shown when something fails.

    Args:
        command: As for `resolved`.
        cwd: Where it runs.
        prefix: Words before that: a command that runs a command.
        environment: What it finds in its environment beside ours.
    """

    def __init__(
        self, *command: str, cwd: Path = EXAMPLES, prefix: Sequence[str] = (), **environment: str
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, *resolved(command)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what it starts can be found and ended with it
        )
        self.output: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="test-output", daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10.0)
        self._reader.join(10.0)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if kind is not None:
            sys.stdout.write("".join(self.output))  # pytest shows it with the failure

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """The next line that has the pattern; fails the test if the output ends, or the patience."""
        patience = Patience(timeout)
        while True:
            try:
                line = self._lines.get(timeout=LOOK)
            except queue.Empty:
                if patience.left > 0:
                    continue
                line = None
            if line is None:
                raise AssertionError(f"{pattern!r} did not come from {self.process.args!r}:\n{''.join(self.output)}")
            if found := re.search(pattern, line):
                return found

    def stop(self, number: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """End it as its manager would; its exit code. No process of it may stay behind."""
        self.process.send_signal(number)
        code = self.process.wait(timeout * busy())
        wait_until(lambda: not _exists(self.pid), what="the end of all its processes")
        return code

    def end(self, timeout: float = 30.0) -> str:
        """Wait for its own end, which must be a success; what it wrote."""
        code = self.process.wait(timeout * busy())
        self._reader.join(5.0)
        assert code == 0, "".join(self.output)
        return "".join(self.output)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Answers:
    """
    The second node of every recipe: answers in capitals.

    The word ``silence`` is not answered. Of the word ``together`` as many as `together` says are collected, and then
    answered all at once: that many questions must be under way at the same time.
    """

    def __init__(self) -> None:
        self.together = 1
        self.sessions: list[crust.PeerId] = []
        self._held: list[crust.NewMessage] = []
        self.ended = 0
        self._node = crust.Service(config())
        self._node.on(crust.NewMessage, self._answer)
        self._node.on(crust.ConnectSuccess, lambda event: self.sessions.append(event.peer.id))
        self._node.on(crust.LostPeer, self._lost)

    def __enter__(self) -> Answers:
        self._node.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye to everybody."""
        assert self._node.close()

    @property
    def contact(self) -> str:
        return str(self._node.contact)

    def _answer(self, message: crust.NewMessage) -> None:
        if message.data.endswith(b"silence"):
            return
        if message.data.endswith(b"together"):
            self._held.append(message)
            if len(self._held) < self.together:
                return
            ready, self._held = self._held, []
        else:
            ready = [message]
        for each in ready:
            each.peer.send(each.data.upper())

    def _lost(self, event: crust.LostPeer) -> None:
        self.ended += event.reason in (crust.LostReason.CLOSED, crust.LostReason.DISCONNECTED)


def get(address: str, timeout: float = 30.0) -> dict[str, Any]:
    """The JSON object at an address."""
    with urllib.request.urlopen(address, timeout=timeout) as response:
        found: dict[str, Any] = json.loads(response.read())
    return found


def get_together(address: str, count: int) -> list[dict[str, Any]]:
    """The same from so many threads at once."""
    with concurrent.futures.ThreadPoolExecutor(count, "test-get") as threads:
        return list(threads.map(get, [address] * count))
