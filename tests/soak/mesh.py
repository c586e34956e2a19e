"""The nodes of a soak and what they tell: started, listened to, hurt, and ended."""

from __future__ import annotations

import collections
import itertools
import json
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.soak.ledger import Ledger, Process
from tests.soak.member import Member
from tests.support.waiting import eventually

ANSWER = 20.0  # seconds that a node may take to answer; the machine may be busy
CLOSING = 30.0  # seconds to close


class Mesh:
    """
    All nodes; a context manager, which ends what still runs. One thread listens to all; others see what it has heard
    under `lock`.
    """

    def __init__(self, members: list[Member], fault: str = "") -> None:
        self.members = members
        self.lock = threading.Lock()  # guards the ledger, and what is below
        self.ledger = Ledger()
        self.events: collections.Counter[str] = collections.Counter()
        self.ends: list[str] = []
        """Processes that ended in a way that they should not have, in words."""

        self.closed: dict[Process, tuple[bool, list[str], list[str]]] = {}
        self._fault = fault
        self._numbers = {member.peer: member.number for member in members}
        self._figures: dict[int, dict[str, Any]] = {}
        self._questions = itertools.count(1)
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._rests: dict[Process, bytes] = {}
        self._listening: set[Process] = set()
        self._over = False
        self._reader = threading.Thread(target=self._read, name="test-soak-reader", daemon=True)

    def __enter__(self) -> Mesh:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.process is not None:
                member.process.kill()
                member.process.wait()
        self._over = True
        self._wake.send(b"x")
        self._reader.join()
        self._selector.close()
        for each in (self._wake, self._woken, *(member.line for member in self.members if member.line)):
            each.close()

    # --- processes ----------------------------------------------------------------------------------------------------

    def begin(self, member: Member, *, sending: bool) -> None:
        """Start one."""
        line = member.begin(self._fault)
        with self.lock:
            self.ledger.started(member.key, member.began)
            self._listening.add(member.key)
            self._rests[member.key] = b""
        self._selector.register(line, selectors.EVENT_READ, (member, member.key))
        self._wake.send(b"x")
        if sending:
            member.tell("send", True)

    def bury(self, member: Member) -> bool:
        """Whether a node has no process; one that has ended is looked at."""
        process = member.process
        if process is None:
            return True
        code = process.poll()
        if code is None or member.key in self._listening:
            return False
        killed = code < 0
        assert member.line is not None
        member.line.close()
        with self.lock:
            self.ledger.ended(member.key, time.monotonic(), killed=killed)
            if not member.expected or (killed and code != -signal.SIGKILL) or code > 0:
                self.ends.append(f"{member.name} ended by itself: exit code {code}")
        member.process = member.line = None
        return True

    def ready(self) -> bool:
        """Whether all listen."""
        return all(member.started for member in self.members)

    # --- questions ----------------------------------------------------------------------------------------------------

    def figures(self) -> dict[int, dict[str, Any]]:
        """What each node says of itself; those that do not answer are missing."""
        asked = {next(self._questions): member for member in self.members if member.process is not None}
        for question, member in asked.items():
            member.tell("figures", question)
        eventually(lambda: asked.keys() <= self._figures.keys(), ANSWER)
        with self.lock:
            found = {asked[number].number: self._figures[number] for number in asked if number in self._figures}
            self._figures.clear()
        return found

    def order(self, order: str, *fields: Any) -> None:
        """For everybody."""
        for member in self.members:
            member.tell(order, *fields)

    def unsettled(self) -> list[Any]:
        """Sessions of which there must be more to hear."""
        with self.lock:
            return list(self.ledger.unsettled())

    def close(self) -> None:
        """End all in order."""
        for member in self.members:
            member.expected = True
        self.order("close")
        if not eventually(lambda: all([self.bury(member) for member in self.members]), CLOSING):
            for member in self.members:
                if member.process is not None:
                    self.ends.append(f"{member.name} did not close within {CLOSING:g} s")
                    member.send_signal(signal.SIGABRT)  # its log shows what its threads were doing
            eventually(lambda: all([self.bury(member) for member in self.members]), CLOSING)

    # --- what they tell -----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._woken.recv(1024)
                    continue
                member, process = key.data
                try:
                    data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                except ConnectionResetError:  # it was killed before it had read all that it was told
                    data = b""
                *lines, rest = (self._rests[process] + data).split(b"\n")
                self._rests[process] = rest
                with self.lock:
                    for line in lines:
                        self._take(member, process, json.loads(line))
                if not data:
                    self._selector.unregister(key.fileobj)
                    del self._rests[process]
                    self._listening.discard(process)

    def _take(self, member: Member, process: Process, line: list[Any]) -> None:
        kind, at, *fields = line
        ledger = self.ledger
        takes: dict[str, Callable[..., None]] = {
            "begun": lambda number, peer: ledger.begun((process, number), self._numbers[peer], at),
            "want": lambda number, *what: ledger.wanted((process, number), *what),
            "refused": lambda number, *what: ledger.refused((process, number), *what),
            "took": lambda number, *what: ledger.taken((process, number), *what, at),
            "dropped": lambda number, numbers: ledger.dropped((process, number), numbers),
            "lost": lambda number, reason, numbers: ledger.lost((process, number), reason, numbers),
            "got": lambda there, node, which, number, priority, sequence, size: ledger.arrived(
                ((node, which), number), (process, there), priority, sequence, at, size
            ),
            "wrong": ledger.wrong,
            "event": lambda name: self.events.update((name,)),
            "started": lambda contact: setattr(member, "started", True),
            "figures": self._figures.__setitem__,
            "closed": lambda *what: self.closed.__setitem__(process, what),
        }
        takes[kind](*fields)
