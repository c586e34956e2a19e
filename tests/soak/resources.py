"""What processes hold, and whether it grows: samples are taken from /proc, and judged without it."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import statistics
from collections.abc import Mapping

Process = tuple[int, int]

WARM = 20.0  # seconds of a process's life that do not count: it imports, and finds the others
LEAST = 12  # samples of a process of which something can be said
WINDOW = 0.25  # of the samples: the first and the last quarter are compared

MEMORY = 6 << 20  # bytes that a process may have gained
MEMORY_PART = 0.1  # and this part of what it had
THREADS = 8  # links to have come, each with a thread and a descriptor or two
DESCRIPTORS = 14
USUAL_THREADS = (12, 2)  # of a node, and of each node that it may be linked to:
USUAL_DESCRIPTORS = (16, 4)  # who was alone at first has fewer, and holds no more than these with all links
USUAL_OBJECTS = (10, 5)  # of each class that comes and goes with links
PASSING = (
    "crust.peers.circuits.connection.CircuitConnection",
    "crust.peers.circuits.relayed.RelayedCircuit",
    "crust.peers.conversation.Conversation",
    "crust.peers.link.Link",
    "crust.transports.tcp_connection.TcpConnection",
    "crust.transports.utp.stream.UtpStream",
)
"""Classes of that kind: a few kilobytes of each do not show in the memory of a process."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A process at some time."""

    at: float
    memory: int
    """Bytes that are resident."""

    threads: int
    descriptors: int


def sample(pid: int, at: float) -> Sample | None:
    """None: it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        return Sample(at, pages * os.sysconf("SC_PAGESIZE"), int(fields[17]), len(os.listdir(f"/proc/{pid}/fd")))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


@dataclasses.dataclass(frozen=True)
class Growth:
    """What a process held early and late in its life: medians."""

    early: Sample
    late: Sample

    def leak(self) -> str:
        """Whether memory has grown too much, in words; empty: it has not."""
        early, late = self.early.memory, self.late.memory
        grown = late - early > MEMORY + MEMORY_PART * early
        return f"memory has grown from {early / 2**20:.1f} to {late / 2**20:.1f} MiB" if grown else ""

    def busy(self, now: Sample, others: int) -> str:
        """Whether a process at rest, one beside so many, holds more threads or descriptors than it should, in words."""
        found = []
        threads, descriptors = (own + each * others for own, each in (USUAL_THREADS, USUAL_DESCRIPTORS))
        if now.threads > max(threads, self.early.threads + THREADS):
            found.append(f"threads have grown from {self.early.threads} to {now.threads}")
        if now.descriptors > max(descriptors, self.early.descriptors + DESCRIPTORS):
            found.append(f"descriptors have grown from {self.early.descriptors} to {now.descriptors}")
        return ", ".join(found)


def kept(objects: Mapping[str, int], others: int) -> str:
    """
    Of what a process at rest, one beside so many, holds too many, in words; empty: of nothing.

    Args:
        objects: How many there are, by the class.
    """
    counts = {name: objects.get(name, 0) for name in PASSING}
    own, each = USUAL_OBJECTS
    found = [f"{count} {name}" for name, count in counts.items() if count > own + each * others]
    return ", ".join(found)


class History:
    """The samples of all processes."""

    def __init__(self) -> None:
        self._samples: dict[Process, list[Sample]] = collections.defaultdict(list)
        self._since: dict[Process, float] = {}

    def add(self, process: Process, taken: Sample) -> None:
        """One more."""
        since = self._since.setdefault(process, taken.at)
        if taken.at - since >= WARM:
            self._samples[process].append(taken)

    def growth(self) -> dict[Process, Growth]:
        """Of all that lived long enough."""
        found = {}
        for process, samples in self._samples.items():
            if len(samples) >= LEAST:
                count = max(1, int(len(samples) * WINDOW))
                found[process] = Growth(_median(samples[:count]), _median(samples[-count:]))
        return found


def _median(samples: list[Sample]) -> Sample:
    middle = {
        field.name: statistics.median_low(getattr(each, field.name) for each in samples)
        for field in dataclasses.fields(Sample)
    }
    return Sample(**middle)
