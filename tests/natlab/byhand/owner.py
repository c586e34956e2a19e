"""
The process that has the laboratory of ``tools/natlab``: ``python -m tests.natlab.byhand.owner DESCRIPTOR WORD …``.

It makes what the words say, writes what that is to the laboratory's folder, closes the descriptor, and waits for
SIGTERM; then everything goes. If it is killed, the next laboratory takes away what is left.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import sys
import types

from tests.natlab import names
from tests.natlab.byhand.words import CARRIER, MADE, SERVER, Part, Word, make
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.routers.sites import Carrier
from tests.natlab.server import Server

STATE = "lab.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A machine of a laboratory that is up."""

    name: str
    namespace: str
    says: str
    """What it is."""

    addresses: list[str]


@dataclasses.dataclass(frozen=True)
class State:
    """A laboratory that is up."""

    owner: int
    machines: list[Entry]

    def machine(self, name: str) -> Entry | None:
        return next((each for each in self.machines if each.name == name), None)


def running() -> State | None:
    """The one that is up now, made by hand; None if there is none."""
    for folder in names.folders():
        path = pathlib.Path(folder, STATE)
        if folder not in names.orphaned_folders() and path.exists():
            found = json.loads(path.read_text())
            return State(found["owner"], [Entry(**each) for each in found["machines"]])
    return None


def _entries(name: str, part: Part) -> list[Entry]:
    def entry(machine: Machine, says: str) -> Entry:
        found = [getattr(machine, each, "") for each in ("ipv4", "lan_ipv4", "ipv6", "lan_ipv6")]
        return Entry(machine.name, machine.namespace, says, [each for each in found if each])

    if isinstance(part, Server):
        return [entry(part, MADE[SERVER])]
    if isinstance(part, Carrier):
        return [entry(part.router, MADE[CARRIER])]
    entries = [entry(each, part.kind.says) for each in part.hosts]
    if part.router:
        entries += [entry(part.router, f"router of {name}, seen as {part.public_ipv4}")]
    return entries


def main(ready: int, words: list[Word]) -> None:
    """Until SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Lab() as lab:
        machines = [entry for name, part in make(lab, words).items() for entry in _entries(name, part)]
        text = json.dumps(dataclasses.asdict(State(os.getpid(), machines)))
        part = lab.folder / f"{STATE}.part"
        part.write_text(text)
        part.rename(lab.folder / STATE)
        os.write(ready, b"up")
        os.close(ready)
        while True:
            signal.pause()


def _stop(number: int, frame: types.FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # it is taken down once
    raise SystemExit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), [Word.parse(each) for each in sys.argv[2:]])
