"""What a soak says: a line while it goes on, and what it came to. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tests.soak.ledger import Ledger, Process
from tests.soak.resources import Growth, Sample

MIB = 1 << 20
SHOWN = 8  # warnings


@dataclasses.dataclass
class Outcome:
    """All of it."""

    seed: int
    nodes: int
    seconds: float
    """Of chaos."""

    interrupted: bool
    ledger: Ledger
    chaos: Mapping[str, int]
    """What happened, by kind."""

    events: Mapping[str, int]
    """What the nodes have raised, by its name."""

    warnings: Mapping[str, int]
    """What the nodes have logged as warnings: how often."""

    growth: Mapping[Process, Growth]
    names: list[str]
    first: dict[int, Sample]
    """Of each node, when all had begun."""

    warm: dict[int, Sample]
    last: dict[int, Sample]
    """At rest, before they were closed."""

    nodes_say: Mapping[str, Mapping[str, Any]]
    """Threads, paths, objects and more of each node at rest, by its name: for JSON."""

    faults: list[str]
    """What is wrong, in words, but for what the ledger has."""

    logs: str = ""
    """Where to look."""

    @property
    def good(self) -> bool:
        return not self.faults and not self.ledger.faults and self.ledger.totals.arrived > 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        totals = self.ledger.totals
        return {
            "good": self.good,
            "seed": self.seed,
            "nodes": self.nodes,
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "messages": {
                **{name: getattr(totals, name) for name in _MESSAGES},
                "faults": self.ledger.faults,
            },
            "bytes": totals.bytes,
            "chaos": dict(sorted(self.chaos.items())),
            "sessions": {"begun": totals.sessions, "lost": dict(sorted(totals.lost.items()))},
            "events": dict(sorted(self.events.items())),
            "warnings": dict(sorted(self.warnings.items(), key=lambda each: -each[1])),
            "gaps": [
                {"seconds": round(seconds, 2), "from": self.names[here], "to": self.names[there]}
                for seconds, here, there in totals.gaps
            ],
            "resources": {
                name: _sums(samples.values())
                for name, samples in (("start", self.first), ("warm", self.warm), ("end", self.last))
            },
            "grown": {
                f"{self.names[node]}.{number}": [dataclasses.asdict(each.early), dataclasses.asdict(each.late)]
                for (node, number), each in sorted(self.growth.items())
            },
            "rest": dict(self.nodes_say),
            "faults": [*self.ledger.examples, *self.faults],
            "logs": self.logs,
        }

    def text(self) -> str:
        """For people."""
        found = self.as_dict()
        messages = found["messages"]
        lines = [
            f"soak: {self.nodes} nodes, {self.seconds:.0f} s of chaos, seed {self.seed}"
            + (", interrupted" if self.interrupted else ""),
            "messages    " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in messages.items()),
            f"bytes       {found['bytes']:,}",
            f"chaos       {sum(self.chaos.values())}: " + _counts(found["chaos"]),
            f"sessions    begun {found['sessions']['begun']}; lost: {_counts(found['sessions']['lost'])}",
            f"events      {_counts(found['events'])}",
            "silences    "
            + (", ".join(f"{gap['seconds']:g} s {gap['from']} to {gap['to']}" for gap in found["gaps"]) or "none"),
        ]
        lines += [f"warnings    {count} x {text}" for text, count in list(found["warnings"].items())[:SHOWN]]
        for name, sums in found["resources"].items():
            lines.append(f"{name:12}" + ", ".join(f"{what} {count:,}" for what, count in sums.items()))
        grown = [each.late.memory - each.early.memory for each in self.growth.values()]
        if grown:
            lines.append(f"growth      of {len(grown)} processes at most {max(grown) / MIB:.1f} MiB")
        lines += [f"FAULT       {each}" for each in found["faults"]]
        if self.ledger.faults > len(self.ledger.examples):
            lines.append(f"FAULT       and {self.ledger.faults - len(self.ledger.examples)} more like these")
        if not self.good and self.logs:
            lines.append(f"logs        {self.logs}")
        lines.append("verdict     " + ("good: nothing lost or doubled, nothing left" if self.good else "BAD"))
        return "\n".join(lines) + "\n"


_MESSAGES = (
    "sent",
    "arrived",
    "refused",
    "dropped",
    "unacknowledged",
    "senders_killed",
    "receivers_killed",
)


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "none"


def _sums(samples: Iterable[Sample]) -> dict[str, float]:
    samples = list(samples)
    return {
        "processes": len(samples),
        "MiB": round(sum(each.memory for each in samples) / MIB, 1),
        "threads": sum(each.threads for each in samples),
        "descriptors": sum(each.descriptors for each in samples),
    }


def line(seconds: float, end: float, ledger: Ledger, chaos: int, living: int, samples: Iterable[Sample]) -> str:
    """How it goes."""
    totals, sums = ledger.totals, _sums(samples)
    return (
        f"{seconds:5.0f}/{end:.0f} s  {totals.arrived:,} of {totals.sent:,} messages, {ledger.faults} faults,"
        f" {chaos} blows, {living} nodes, {sums['MiB']:.0f} MiB, {sums['threads']} threads,"
        f" {sums['descriptors']} descriptors"
    )
