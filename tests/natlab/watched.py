"""``crust node --json`` on hosts of the laboratory, every line of which is kept with the time at which it came."""

from __future__ import annotations

import base64
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.processes import Process
from tests.natlab.hosts import Machine
from tests.support.waiting import LOOK, Patience

PATIENCE = 30.0  # seconds; the machine may be busy

Line = dict[str, Any]


class WatchedNode(Process):
    """
    A node; use it in a ``with``. Safe for several threads.

    Args:
        machine: Where it runs.
        home: Its user's directory.
        words: Options of the command.
        more: See `Process`.
    """

    def __init__(self, machine: Machine, home: Path, *words: str, **more: Any) -> None:
        self.name = machine.name
        self.seen: list[tuple[float, Line]] = []
        """All lines so far, with the time (`time.monotonic`)."""
        self._ended = False
        self._came = threading.Condition()  # guards the two above
        self._writing = threading.Lock()  # its own: who waits for room must not stop the reading
        self._numbers = itertools.count(1)
        self.peer = self.contact = ""
        state = str(home / machine.name / "state")  # of its machine: what one has met, others have not
        more = {"PYTHONFAULTHANDLER": "1", "XDG_STATE_HOME": state, **more}
        super().__init__(home, "node", "--json", *words, prefix=machine.prefix, **more)

    def __enter__(self) -> WatchedNode:
        try:
            started = self.first(lambda line: line.get("event") == "started")[1]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.peer, self.contact = started["peer"], started["contact"]
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            now = time.monotonic()
            line = json.loads(text)
            with self._came:
                self.seen.append((now, line))
                self._came.notify_all()
        with self._came:
            self._ended = True
            self._came.notify_all()

    def begin(self, cmd: str, **fields: Any) -> int:
        """Give a command; the id of its reply."""
        with self._writing:
            number = next(self._numbers)
            self.write(id=number, cmd=cmd, **fields)
        return number

    def reply(self, number: int, timeout: float = PATIENCE) -> tuple[float, Line]:
        """The reply to a command, and when it came."""
        return self.first(lambda line: line.get("id") == number, timeout)

    def ask(self, cmd: str, **fields: Any) -> Line:
        """Give a command, and wait for its reply."""
        return self.reply(self.begin(cmd, **fields))[1]

    def send(self, peer: str, data: bytes) -> int:
        """Give a message to a session, whenever there is room; the id of the reply."""
        return self.begin("send", peer=peer, data=base64.b64encode(data).decode(), timeout=None)

    def first(self, wanted: Callable[[Line], object], timeout: float = PATIENCE, skip: int = 0) -> tuple[float, Line]:
        """
        The first line like that, now or later, and when it came.

        Args:
            skip: How many lines not to look at: ``len(node.seen)`` for those that are still to come.

        Raises:
            AssertionError: None comes within `timeout` seconds of patience, or the node has ended; with what it said
                last.
        """
        patience = Patience(timeout)
        with self._came:
            while True:
                for at, line in itertools.islice(self.seen, skip, None):
                    if wanted(line):
                        return at, line
                skip = max(skip, len(self.seen))
                left = patience.left
                if self._ended or left <= 0:
                    last = "\n".join(json.dumps(line) for _, line in self.seen[-8:])
                    why = "it has ended" if self._ended else f"not within {timeout:g} s"
                    raise AssertionError(f"{self.name}: {why}; its last lines:\n{last}\n{self.errors}")
                self._came.wait(min(LOOK, left))

    def abort(self) -> None:
        """End it at once; what its threads were doing is in `errors` then."""
        self.process.send_signal(signal.SIGABRT)
        self.ends()

    def events(self, *names: str) -> list[tuple[float, Line]]:
        """Those with one of these names, with their times."""
        with self._came:
            return [(at, line) for at, line in self.seen if line.get("event") in names]


def data(line: Line) -> bytes:
    """Of ``new_message``."""
    return base64.b64decode(line["data"])
