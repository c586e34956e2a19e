"""TCP methods between real routers: two programs that know nothing of each other but what a server tells."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.natlab.hosts import Host
from tests.natlab.lab import Lab
from tests.support.programs import Program

DELAY = 0.01  # seconds from a host to the middle: 20 ms one way between two
TURNS = 3
PATIENCE = 25.0  # seconds for a result


def standing(kind: str) -> dict[str, Any]:
    """What a node behind such a router knows of it."""
    mapping = 2 if kind in ("sym", "symseq") else 1
    return {"mapping": mapping, "step": int(kind == "symseq"), "low": 0, "high": 0, "resets": kind == "rst"}


def start(host: Host, program: str, **arguments: Any) -> Program:
    return host.start("python", "-m", "tests.natlab.punchers", program, json.dumps(arguments))


def result(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.wait_for(r"^\{.*\}$", PATIENCE)[0])
    return found


def meet(
    lab: Lab, method: str, kinds: tuple[str, str], turns: int = TURNS, skew: float = 0.0
) -> list[list[dict[str, Any]]]:
    """What both ends say, several times; the second one begins later."""
    server = lab.server()
    hosts = [lab.site(name, kind, delay=DELAY).host for name, kind in zip(("near", "far"), kinds, strict=True)]
    found = []
    introducer = start(server, "introduce", address=server.ipv4)
    where = result(introducer)
    for turn in range(turns):
        ends = []
        for number, host in enumerate(hosts):
            standings = [standing(kind) for kind in (kinds if number == 0 else kinds[::-1])]
            ends.append(
                start(
                    host,
                    "punch",
                    address=host.ipv4,
                    server=server.ipv4,
                    method=method,
                    leads=turn % 2 == number,
                    standings=standings,
                    skew=skew * number,
                    **where,
                )
            )
        found.append([result(end) for end in ends])
    return found


@pytest.mark.parametrize(
    ("method", "kinds", "seconds"),
    [
        ("punch-tcp", ("port", "port"), 1.5),
        ("punch-tcp", ("port", "rst"), 2.0),
        ("punch-tcp", ("rst", "rst"), 4.0),
        ("punch-tcp", ("addr", "sym"), 1.5),
        ("punch-tcp", ("cgnat", "udpblock"), 1.5),
        ("predict-tcp", ("symseq", "udpblock"), 4.0),
        ("predict-tcp", ("rst", "symseq"), 4.0),
        ("predict-tcp", ("symseq", "symseq"), 4.0),
        ("birthday-tcp", ("sym", "port"), 13.0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_two_behind_routers_meet(lab: Lab, method: str, kinds: tuple[str, str], seconds: float) -> None:
    """Both have the connection, in time; whoever leads."""
    for ends in meet(lab, method, kinds, 2 if method == "birthday-tcp" else TURNS):
        sys.stdout.write(f"{method} {kinds}: {ends}\n")
        assert all(end["met"] for end in ends), ends
        assert max(end["seconds"] for end in ends) <= seconds, ends


@pytest.mark.parametrize("kinds", [("port", "port"), ("rst", "rst")], ids="-".join)
def test_one_begins_late(lab: Lab, kinds: tuple[str, str]) -> None:
    """Whether the first SYNs are dropped on the way or refused."""
    for ends in meet(lab, "punch-tcp", kinds, skew=0.4):
        assert all(end["met"] for end in ends), ends
        assert max(end["seconds"] for end in ends) <= 4.0 + 0.4, ends
