"""The runs of the matrix in a file: a line of JSON each, written at once, so that what was killed can be resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from tests.natlab.matrix.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What is the same for all runs of a cell."""

    delay: float = 0.01
    """Seconds on the way of each site's line, in one direction: the default makes 40 ms of round trip by the server."""

    loss: float = 0.0
    """Part of the packets of each site's line, in one direction."""

    skew: float = 0.0
    """Seconds more on the way for what the callee's site sends: the sides do not begin at the same time."""

    only: str = ""
    """The one transport that both nodes use: ``tcp``, ``utp``, or empty."""

    foreign: float = 0.0
    """Flows a second that another machine behind each NAT opens."""

    addresses: bool = False
    """Whether the caller is given the callee's addresses, not its id alone."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One of a cell."""

    one: str
    """The kind of the caller's site."""

    other: str
    number: int
    """From 1."""

    conditions: Conditions = Conditions()


class State:
    """
    The outcomes of runs, in memory and, if there is one, in a file, which several processes may write. Not thread-safe.

    Args:
        path: None: memory only.

    Raises:
        ValueError: The file has lines that are not of this kind; with their number.
    """

    def __init__(self, path: pathlib.Path | None = None) -> None:
        self._path = path
        self._torn = False  # whether the last line of the file was cut short
        self.outcomes: dict[Run, Outcome] = {}
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: pathlib.Path) -> None:
        lines = path.read_bytes().split(b"\n")
        self._torn = bool(lines[-1])
        for number, line in enumerate(lines, 1):
            try:
                if line:
                    found: dict[str, Any] = json.loads(line)
                    run = Run(found["one"], found["other"], found["number"], Conditions(**found["conditions"]))
                    self.outcomes[run] = Outcome.from_json(found["outcome"])
            except (ValueError, KeyError, TypeError) as error:
                if isinstance(error, json.JSONDecodeError) and _is_torn(line):
                    continue  # its writer was killed: that run is done again
                raise ValueError(f"{path}, line {number}: not a run of the matrix: {error!r}") from error

    def add(self, run: Run, outcome: Outcome) -> None:
        """Remember a run; in the file it is there whole, or not at all."""
        self.outcomes[run] = outcome
        if self._path is None:
            return
        line = json.dumps({**dataclasses.asdict(run), "outcome": outcome.as_json()}).encode() + b"\n"
        if self._torn:
            line, self._torn = b"\n" + line, False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            written = os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} bytes were written")

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """Those of which nothing is known."""
        return [run for run in runs if run not in self.outcomes]


def _is_torn(line: bytes) -> bool:
    """Whether what is no JSON is the beginning of a line of ours, not something else."""
    return line.startswith(b'{"one"')
