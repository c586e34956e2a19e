"""
Child processes as the parent sees them: started with one side each, commanded, and ended whatever happens.

What a node remembers of others is the child's own, and gone with it: who measures keeps no thousands of nodes that were
on loopback for a second, and finds none of them either.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any

from .contract import Options

__all__ = ["Child", "ChildFailed"]

_TOOLS = pathlib.Path(__file__).resolve().parents[1]
_DESCRIPTORS = 256  # that a child gets on top of those for its connections
_END_WITHIN = 2.0


class ChildFailed(Exception):
    """One side could not do what it was told; the text says what and why."""


class Child:
    """
    One process with one side. Use it in a ``with`` statement: it is killed at the end.

    Args:
        side: ``hub`` or ``spokes``.
        mode: ``threads`` or ``gevent``.
        cpus: Processors to run on; empty: any.
        limit: Seconds after which the system ends it.
        descriptors: Descriptors it needs for its connections.
    """

    def __init__(
        self, side: str, role: str, options: Options, *, mode: str, cpus: list[int], limit: float, descriptors: int
    ) -> None:
        self.side = side
        self._buffer = b""
        self._state = tempfile.TemporaryDirectory(prefix="crust-bench-")
        self._control, theirs = socket.socketpair()
        order = {"mode": mode, "cpus": cpus, "fd": theirs.fileno(), "parent": os.getpid(), "limit": int(limit) + 1}
        path = os.pathsep.join([str(_TOOLS.parent), str(_TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", json.dumps(order)],
                env={**os.environ, "PYTHONPATH": path, "XDG_STATE_HOME": self._state.name},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # the figures have the standard output to themselves
                start_new_session=True,  # Ctrl-C is the parent's business, also while the child still starts
            )
        except BaseException:
            self._control.close()
            self._state.cleanup()
            raise
        finally:
            theirs.close()
        descriptors += _DESCRIPTORS
        try:
            self.begin("become", side=side, role=role, options=options._asdict(), descriptors=descriptors)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def call(self, name: str, timeout: float, /, **arguments: Any) -> Any:
        """
        Run a method of the side and return its value.

        Raises:
            ChildFailed: It raised, ended, or took longer than ``timeout`` seconds.
        """
        self.begin(name, **arguments)
        return self.result(name, timeout)

    def begin(self, name: str, /, **arguments: Any) -> None:
        """Have a method run; :meth:`result` has its value."""
        try:
            self._control.sendall(json.dumps({"call": name, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise self._ended(name) from error

    def result(self, name: str, timeout: float) -> Any:
        """The value of the oldest method begun."""
        reply = json.loads(self._line(name, timeout))
        if "error" in reply:
            raise ChildFailed(f"{self.side} {name}: {reply['error']}") from ChildFailed(reply["traceback"])
        return reply["value"]

    def _line(self, name: str, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._control.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._control.recv(65_536)
            except TimeoutError as error:
                raise ChildFailed(f"{self.side} {name}: no answer within {timeout:g} s") from error
            except OSError as error:
                raise self._ended(name) from error
            if not data:
                raise self._ended(name)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self, name: str) -> ChildFailed:
        try:
            code: object = self._process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            code = "none yet"
        return ChildFailed(f"{self.side} {name}: the process has ended (exit status {code})")

    def end(self) -> None:
        """Kill the process and wait for it. Idempotent."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._state.cleanup()
