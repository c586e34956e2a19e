"""The threads a test runs: the node's own kind, watched for crashes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from tests.support.waiting import LOOK, Patience, busy


class Crew:
    """
    Threads and an I/O loop for one test; a context manager that fails the test if one crashed or does not end.

    ``crashes`` collects names and exceptions; a test that expects some clears the list.
    """

    def __init__(self, *, io: bool = True) -> None:
        self.crashes: list[tuple[str, BaseException]] = []
        self.threads = Threads(self.crashed)
        self.spawn = self.threads.spawn
        self.io = IoLoop(self.crashed)
        self.at_end: list[Callable[[], object]] = []
        """Called first, the last one first: what a test that failed has left open would be in the way of others."""
        self._io = io

    def crashed(self, name: str, error: BaseException) -> None:
        self.crashes.append((name, error))

    def __enter__(self) -> Crew:
        if self._io:
            self.io.start(self.spawn)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        while self.at_end:
            self.at_end.pop()()
        self.io.stop()
        left = self.threads.join(Deadline(5.0 * busy()))
        if kind is None:
            assert left == []
            assert self.crashes == []


class Background:
    """One call on its own thread; :meth:`result` waits for what it returned or raised."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self._outcome: tuple[bool, object] | None = None
        self._call = (call, args)
        self.thread = threading.Thread(target=self._run, name="test-background", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        call, args = self._call
        try:
            self._outcome = (True, call(*args))
        except BaseException as error:
            self._outcome = (False, error)

    @property
    def done(self) -> bool:
        return self._outcome is not None

    def result(self, timeout: float = 10.0) -> object:
        """What the call returned; raises what it raised; fails the test after ``timeout`` seconds of patience."""
        patience = Patience(timeout)
        while self.thread.is_alive() and patience.left > 0:
            self.thread.join(LOOK)
        assert self._outcome is not None, "the call in the background did not end"
        succeeded, value = self._outcome
        if not succeeded:
            assert isinstance(value, BaseException)
            raise value
        return value
