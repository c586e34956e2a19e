"""One soak, from an empty laboratory to what is left of it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.natlab import names
from tests.natlab.lab import Lab
from tests.natlab.test_mapping import table
from tests.soak import resources
from tests.soak.chaos import Chaos, victims
from tests.soak.ledger import Process
from tests.soak.member import Member
from tests.soak.mesh import Mesh
from tests.soak.places import LEASE, RESUME, members
from tests.soak.report import Outcome, line
from tests.soak.schedule import schedule
from tests.support.source import ROOT
from tests.support.waiting import eventually

LOGS = ROOT / "build" / "soak"
STEP = 0.05  # seconds
STARTING = 60.0  # seconds until all nodes listen
JOINING = 30.0  # seconds until each has a peer
SETTLING = 3 * RESUME  # seconds for what is under way at the end
RESTING = 180.0  # seconds until searches for better paths have ended as well: each node may search for each other
WIDTH = 90  # characters of a warning that are told
SILENT = 1.0  # seconds from one look to the next


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a soak is to be."""

    seed: int
    seconds: float = 120.0
    nodes: int = 10
    rate: float = 200.0
    """Messages a second, of all nodes together."""

    interval: float = 2.0
    """Seconds from one blow to the next, on average."""

    without: tuple[str, ...] = ()
    """Kinds of blows that do not happen."""

    fault: str = ""
    """What the nodes do wrong."""


class Soak:
    """
    See the module.

    Args:
        show: Called with how it goes, from time to time.
        pause: How often, in seconds.
        stopped: Asked again and again whether to end early.
    """

    def __init__(
        self, wanted: Wanted, show: Callable[[str], object], pause: float, stopped: Callable[[], bool]
    ) -> None:
        self._wanted = wanted
        self._show, self._pause, self._stopped = show, pause, stopped
        self._history = resources.History()
        self._faults: list[str] = []
        self._stages: list[dict[int, resources.Sample]] = [{}, {}, {}]  # at first, warm, at rest
        self._last: dict[int, dict[str, Any]] = {}
        self._interrupted = False
        self._seconds = 0.0
        self._wait = threading.Event().wait

    def run(self) -> Outcome:
        """All of it."""
        wanted = self._wanted
        LOGS.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{wanted.seed}-", dir=LOGS))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), Lab() as lab:
            made = members(lab, wanted.nodes, folder, wanted.seed, wanted.rate)
            victim = victims(made, wanted.without)
            blows = schedule(wanted.seed, victim, wanted.interval, wanted.seconds, max(1, wanted.nodes // 3))
            with Mesh(made, wanted.fault) as mesh:
                chaos = Chaos(mesh, blows)
                self._live(mesh, chaos)
            self._look_at_routers(made)
        self._look_around(mesh)
        warnings = sum((self._read(member) for member in made), collections.Counter())
        outcome = Outcome(
            seed=wanted.seed,
            nodes=wanted.nodes,
            seconds=self._seconds,
            interrupted=self._interrupted,
            ledger=mesh.ledger,
            chaos=chaos.counts,
            events=mesh.events,
            warnings=warnings,
            growth=self._history.growth(),
            names=[each.name for each in made],
            first=self._stages[0],
            warm=self._stages[1],
            last=self._stages[2],
            nodes_say={made[number].name: each for number, each in sorted(self._last.items())},
            faults=self._faults,
            logs=str(folder),
        )
        if outcome.good:
            shutil.rmtree(folder)
        else:
            (folder / "chaos.log").write_text("\n".join(chaos.log) + "\n")
            (folder / "outcome.json").write_text(json.dumps(outcome.as_dict(), indent=2) + "\n")
            (folder / "laboratory.log").write_text(said.getvalue())
        return outcome

    # --- its parts ----------------------------------------------------------------------------------------------------

    def _live(self, mesh: Mesh, chaos: Chaos) -> None:
        for member in mesh.members:
            mesh.begin(member, sending=False)
        if not eventually(mesh.ready, STARTING):
            self._faults.append("not started: " + ", ".join(each.name for each in mesh.members if not each.started))
            return
        self._stages[0] = _samples(mesh)
        eventually(lambda: len(mesh.ledger.sessions) >= 2 * len(mesh.members), JOINING)
        mesh.order("send", True)
        began = time.monotonic()
        self._suffer(mesh, chaos, began)
        self._seconds = time.monotonic() - began
        self._recover(mesh, chaos)

    def _suffer(self, mesh: Mesh, chaos: Chaos, began: float) -> None:
        shown = sampled = -self._pause
        told = 0  # faults, in words
        every = max(1.0, self._wanted.seconds / 1000)
        while (now := time.monotonic() - began) < self._wanted.seconds:
            if self._stopped():
                self._interrupted = True
                return
            chaos.step(now)
            for member in mesh.members:
                if not member.expected and member.process is not None and mesh.bury(member):
                    mesh.begin(member, sending=True)  # told as a fault; the others need it
            if now - sampled >= every:
                sampled = now
                samples = _samples(mesh)
                for number, taken in samples.items():
                    self._history.add(mesh.members[number].key, taken)
                if not self._stages[1] and now >= resources.WARM:
                    self._stages[1] = samples
            if now - shown >= self._pause:
                shown = now
                with mesh.lock:
                    living = sum(each.process is not None for each in mesh.members)
                    blows = sum(chaos.counts.values())
                    self._show(line(now, self._wanted.seconds, mesh.ledger, blows, living, samples.values()))
                    faults = mesh.ledger.examples[told:]
                told += len(faults)
                for fault in faults:  # at once: the end may be hours away
                    self._show(f"FAULT       {fault}")
            self._wait(STEP)

    def _recover(self, mesh: Mesh, chaos: Chaos) -> None:
        """All is as it was; what is under way arrives, or is reported; then everybody ends."""
        chaos.stop()
        while not chaos.over:
            chaos.step(float("inf"))
            self._wait(STEP)
        mesh.order("send", False)
        self._show("at rest")
        if not eventually(lambda: mesh.ready() and not mesh.unsettled(), SETTLING):
            self._faults.append(f"not settled after {SETTLING:g} s: {mesh.unsettled()[:5]}")
        eventually(lambda: not self._busy(mesh), RESTING)
        self._faults += self._busy(mesh)
        self._stages[2] = _samples(mesh)
        figures = self._last = mesh.figures()
        for member in mesh.members:
            self._judge(member, figures.get(member.number))
        self._show("closing")
        mesh.close()
        with mesh.lock:
            mesh.ledger.settle(closed=True)
            self._faults += mesh.ends

    def _busy(self, mesh: Mesh) -> list[str]:
        """Who holds more threads or descriptors than it did early: searches for a path do, while they go on."""
        early = self._history.growth()
        found = []
        for number, taken in _samples(mesh).items():
            process = mesh.members[number].key
            if process in early and (text := early[process].busy(taken, len(mesh.members) - 1)):
                found.append(f"{_name(mesh, process)}: {text}")
        self._wait(SILENT)
        return found

    def _judge(self, member: Member, found: dict[str, Any] | None) -> None:
        if found is None:
            self._faults.append(f"{member.name} does not answer")
            return
        if found["crashes"] or found["errors"]:
            self._faults.append(f"{member.name}: {found['crashes']} crashes, {found['errors']} errors of callbacks")
        if found["buffered"]:
            self._faults.append(f"{member.name} holds {found['buffered']} bytes of messages at rest")
        if many := resources.kept(found["objects"], self._wanted.nodes - 1):
            self._faults.append(f"{member.name} holds {many} at rest")

    def _look_at_routers(self, made: list[Member]) -> None:
        """What nodes have opened there is closed, or was asked for by one that was killed, and ends with its lease."""
        for member in made:
            site = member.site
            if site is not None and site.router is not None and site.router.gateway is not None:
                if not eventually(lambda site=site: not table(site), LEASE + 10.0):  # type: ignore[misc]
                    self._faults.append(f"{member.name}: its router still leads {sorted(table(site))} in")

    def _look_around(self, mesh: Mesh) -> None:
        """What is left of the laboratory, and what processes have held or left."""
        if left := names.own():
            self._faults.append(f"namespaces are left: {left}")
        if left := [each for each in names.folders() if f"-{os.getpid()}-" in each]:
            self._faults.append(f"folders are left: {left}")
        for process, (clean, threads, descriptors) in sorted(mesh.closed.items()):
            if not clean or threads or descriptors:
                text = f"closed {'' if clean else 'not '}in order, with threads {threads} and descriptors {descriptors}"
                self._faults.append(f"{_name(mesh, process)} {text}")
        for process, growth in sorted(self._history.growth().items()):
            if leak := growth.leak():
                self._faults.append(f"{_name(mesh, process)}: {leak}")

    def _read(self, member: Member) -> collections.Counter[str]:
        """What a node has logged: what must not happen is a fault; how often it has warned of what, without figures."""
        text = member.log.read_text(errors="replace")
        found = re.findall(r"(?m)^.*(?:unexpected error|Exception in thread|Fatal Python error).*$", text)
        self._faults += [f"{member.name} has logged: {each}" for each in found[:5]]
        warnings = re.findall(r"(?m)^\S+ \S+ WARNING \S+ (.*)$", text)
        return collections.Counter(re.sub(r"\b[a-z2-7]{56}\b|/\S+|\d+", "…", each)[:WIDTH] for each in warnings)


def _samples(mesh: Mesh) -> dict[int, resources.Sample]:
    now = time.monotonic()
    taken = {
        member.number: resources.sample(member.process.pid, now)
        for member in mesh.members
        if member.process is not None
    }
    return {number: each for number, each in taken.items() if each is not None}


def _name(mesh: Mesh, process: Process) -> str:
    return f"{mesh.members[process[0]].name}.{process[1]}"
