"""The laboratory's end of the process that carries packets: it is started, told what to do, and ended."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from typing import Any

from tests.natlab.pipes import Counts, Settings
from tests.support.source import ROOT

ENDING = 60.0  # seconds: the kernel takes its time where many networks end at once


class Internet:
    """The core (:mod:`tests.natlab.core`) as a child process. Not thread-safe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.natlab.core"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which end it when they are ready
        )
        self._numbers = itertools.count(1)

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """A command, and its answer; OSError if it came to nothing."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        try:
            self._process.stdin.write(json.dumps({"do": do, "number": number, **fields}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answer()
            while answer.pop("number") != number:  # an interrupt has left the answer to an earlier one
                answer = self._answer()
        except (BrokenPipeError, EOFError) as error:
            code = self._process.wait()
            raise OSError(f"the core has ended: exit code {code}, see its traceback on standard error") from error
        if not answer.pop("ok"):
            raise OSError(f"{do} {fields}: {answer['error']}")
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("no answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it, and with it the interfaces that it made."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class Direction:
    """One way of a host's link."""

    def __init__(self, internet: Internet, host: str, way: str) -> None:
        self._internet, self._host, self._way = internet, host, way
        self.settings = Settings()

    def set(self, **changes: Any) -> None:
        """Change some of its settings (`Settings`), for the packets that enter it from now on."""
        settings = dataclasses.replace(self.settings, **changes)
        self._internet.ask("set", name=self._host, direction=self._way, settings=dataclasses.asdict(settings))
        self.settings = settings

    def counts(self) -> Counts:
        """What became of its packets so far."""
        return Counts(**self._internet.ask("counts", name=self._host, direction=self._way)["counts"])


class Link:
    """What joins a host to the network; ``up`` is what it sends, ``down`` what it gets."""

    def __init__(self, internet: Internet, host: str) -> None:
        self.up = Direction(internet, host, "up")
        self.down = Direction(internet, host, "down")

    def set(self, **changes: Any) -> None:
        """Change the same settings in both directions; losses of the two have nothing to do with each other."""
        seed = changes.pop("seed", self.up.settings.seed)
        self.up.set(**changes, seed=seed)
        self.down.set(**changes, seed=seed + 1)

    def cut(self) -> None:
        """Nothing enters it from now on; what is under way arrives. The interface stays up, and nobody is told."""
        self.set(broken=True)

    def restore(self) -> None:
        """The end of `cut`."""
        self.set(broken=False)

    def drop(self, *protocols: str) -> None:
        """From now on a firewall on the way drops ``tcp`` or ``udp``, both ways, silently; without a name nothing."""
        self.set(drops=protocols)
