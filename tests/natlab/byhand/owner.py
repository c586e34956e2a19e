"""
The process that has the laboratory of ``tools/natlab``: ``python -m tests.natlab.byhand.owner DESCRIPTOR WORD …``.

It makes what the words say, writes what that is to the laboratory's folder, and closes the descriptor. From then on it
does what it is told over a socket (`tell`), until SIGTERM; then everything goes. If it is killed, the next laboratory
takes away what is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import sys
import types

from tests.natlab import names
from tests.natlab.byhand.words import CARRIER, MADE, SERVER, Part, Word, change, make
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.routers.sites import Carrier
from tests.natlab.server import Server

STATE, SOCKET = "lab.json", "socket"


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
    folder: str
    machines: list[Entry]

    def machine(self, name: str) -> Entry | None:
        return next((each for each in self.machines if each.name == name), None)


def running() -> State | None:
    """The one that is up now, made by hand; None if there is none."""
    for folder in names.folders():
        path = pathlib.Path(folder, STATE)
        if folder not in names.orphaned_folders() and path.exists():
            found = json.loads(path.read_text())
            return State(found["owner"], folder, [Entry(**each) for each in found["machines"]])
    return None


def tell(state: State, name: str, what: str) -> str:
    """Have something happen to a part of it (`change`); why it cannot, or nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{state.folder}/{SOCKET}")
        sock.sendall(json.dumps([name, what]).encode())
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answer:
            return answer.read().decode()


def _obey(listener: socket.socket, lab: Lab, parts: dict[str, Part]) -> None:
    """Do the next thing that is told."""
    with listener.accept()[0] as sock:
        with sock.makefile("rb") as stream:
            name, what = json.loads(stream.read())
        reason = ""
        try:
            change(parts[name], what)
        except KeyError:
            reason = f"there is no site {name}, but {', '.join(parts)}"
        except (ValueError, AssertionError, OSError) as error:
            reason = str(error)
        _write_state(lab, parts)
        with contextlib.suppress(BrokenPipeError):  # who told it did not wait
            sock.sendall(reason.encode())


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
        parts = make(lab, words)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(lab.folder / SOCKET))
            listener.listen()
            _write_state(lab, parts)
            os.write(ready, b"up")
            os.close(ready)
            while True:
                _obey(listener, lab, parts)


def _write_state(lab: Lab, parts: dict[str, Part]) -> None:
    machines = [entry for name, part in parts.items() for entry in _entries(name, part)]
    state = State(os.getpid(), str(lab.folder), machines)
    half = lab.folder / f"{STATE}.half"
    half.write_text(json.dumps(dataclasses.asdict(state)))
    half.rename(lab.folder / STATE)  # whoever reads it meanwhile gets all of the old one


def _stop(number: int, frame: types.FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # it is taken down once
    raise SystemExit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), [Word.parse(each) for each in sys.argv[2:]])
