"""A node of a soak as its mesh sees it: the process of the moment, what it is to do, and what it tells."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from tests.cli.processes import environment
from tests.natlab.disks import Disk
from tests.natlab.hosts import Machine
from tests.natlab.routers.sites import Site
from tests.soak.worker import Orders
from tests.support.source import ROOT

WORKER = ROOT / "tests" / "soak" / "worker.py"
DESCRIPTORS = 512  # at most, always
MEMORY = 1 << 30  # bytes of the process's data, its threads' stacks included: at most, always
BEGINNING = 10.0  # seconds of a process's life
LITTLE = 6 << 20  # bytes more than it has: less than the stack of a thread


@dataclasses.dataclass
class Member:
    """A node, through all its processes."""

    number: int
    name: str
    peer: str
    """Its id."""

    machine: Machine
    site: Site | None
    """None: a public server."""

    greenlets: bool
    config: dict[str, Any]
    peers: list[str]
    by_group: bool
    steady: bool
    """Whether its process is never ended before the soak is."""

    disk: Disk
    """Of its state."""

    home: pathlib.Path
    log: pathlib.Path
    rate: float
    seed: int
    process: subprocess.Popen[bytes] | None = None
    count: int = 0
    """How many processes it has had."""

    line: socket.socket | None = None
    started: bool = False
    """Whether the present process has said that it listens."""

    began: float = 0.0
    expected: bool = False
    """Whether its process is to end."""

    @property
    def key(self) -> tuple[int, int]:
        """Of the present process."""
        return self.number, self.count - 1

    def begin(self, fault: str = "") -> socket.socket:
        """Start a process; what it tells comes from this socket."""
        assert self.process is None
        orders = Orders(
            self.number, self.count, self.seed, self.config, self.peers, self.by_group, self.rate, fault
        )
        ours, theirs = socket.socketpair()
        patched = ["-m", "gevent.monkey"] if self.greenlets else []
        words = [*self.machine.prefix, sys.executable, *patched, str(WORKER), json.dumps(dataclasses.asdict(orders))]
        environ = environment(self.home, XDG_STATE_HOME=str(self.disk.path), PYTHONFAULTHANDLER="1")
        with theirs, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=theirs, stdout=log, stderr=log, cwd=self.home, env=environ, start_new_session=True
            )
        self.limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
        self.limit(resource.RLIMIT_DATA, MEMORY)
        self.count += 1
        self.line, self.started, self.expected, self.began = ours, False, False, time.monotonic()
        return ours

    def tell(self, order: str, *fields: Any) -> None:
        """Have it do something; nothing if it has ended meanwhile."""
        if self.line is not None:
            with contextlib.suppress(OSError):
                self.line.sendall(json.dumps([order, *fields]).encode() + b"\n")

    def send_signal(self, number: int) -> None:
        """To its process, if there is one."""
        if self.process is not None:
            if number in (signal.SIGKILL, signal.SIGTERM):
                self.expected = True
            self.process.send_signal(number)

    def limit(self, what: int, soft: int) -> None:
        """What its process may have from now on; it has no right to change that."""
        if self.process is not None and self.process.poll() is None:
            hard = resource.prlimit(self.process.pid, what)[1]
            resource.prlimit(self.process.pid, what, (soft if hard < 0 else min(soft, hard), hard))

    def starve(self, what: str) -> None:
        """No descriptor more, or hardly any memory; nothing if it has only just begun: nothing can begin so."""
        if self.process is None or not self.started or time.monotonic() - self.began < BEGINNING:
            return
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if what == "descriptors":
                numbers = [int(name) for name in os.listdir(f"/proc/{self.process.pid}/fd")]
                self.limit(resource.RLIMIT_NOFILE, max(numbers) + 1)
            else:
                pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[0])
                self.limit(resource.RLIMIT_AS, pages * resource.getpagesize() + LITTLE)

    def feed(self, what: str) -> None:
        """The end of `starve`."""
        if what == "descriptors":
            self.limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
        else:
            self.limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
