"""What a node at each kind of network knows of it, soon after it has reached a single introducer."""

from __future__ import annotations

import json
from typing import Any

import pytest

import crust
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.routers.kinds import KINDS
from tests.natlab.standings import LISTEN
from tests.support.programs import Program
from tests.support.waiting import busy, wait_until

pytestmark = pytest.mark.usefixtures("laboratory")

DELAY = 0.01  # seconds one way, at each of the two lines: 40 ms there and back
SECONDS = 3.0
MAPPINGS = {"none": 1, "independent": 1, "dependent": 2, "blocked": 3}
UNKNOWN = 0


def node(machine: Machine, *contacts: str, listen: list[str] | None = None) -> tuple[Program, str]:
    """A node, and its contact."""
    listen = listen or [each for each in LISTEN if "::" not in each]
    arguments = json.dumps({"contacts": contacts, "listen": listen})
    program = machine.start("python", "-m", "tests.natlab.standings", arguments)
    return program, program.wait_for(r"^contact (\S+)$")[1]


def said(program: Program) -> list[dict[str, Any]]:
    """All that it has known so far."""
    return [json.loads(line) for line in program.output if line.startswith("{")]


def settled(program: Program, **standings: dict[str, Any]) -> dict[str, Any]:
    """What it knows as soon as it knows these; within the time."""

    def fits(known: dict[str, Any]) -> bool:
        found = known["standings"]
        return all(found.get(key, {}).items() >= wanted.items() for key, wanted in standings.items())

    wait_until(lambda: any(map(fits, said(program))), 20.0, f"{standings}")
    known = next(filter(fits, said(program)))
    assert known["seconds"] < SECONDS * busy()
    return known


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(lab: Lab, kind: str) -> None:
    """One introducer is enough, with its ports: mapping, step and resets of both, and where others see us."""
    listen = ["tcp://0.0.0.0:443", "utp://0.0.0.0:443"] if kind == "strict" else None
    _, contact = node(lab.host("introducer", has_ipv6=False, delay=DELAY), listen=listen)
    home = lab.site("home", kind, delay=DELAY)
    program, _ = node(home.host, contact)
    about = KINDS[kind]
    tcp = UNKNOWN if about.tcp_only else MAPPINGS[about.tcp.mapping]  # the introducer's may be closed as well
    step = {"step": int(about.udp.ports == "sequential"), "low": 0, "high": 0}
    known = settled(
        program,
        utp4={"mapping": MAPPINGS[about.udp.mapping], **step, "resets": False},
        tcp4={"mapping": tcp, **step, "resets": about.stranger == "reset"},
    )
    seen = home.public_ipv4
    for transport, behaviour in (("tcp", about.tcp), ("utp", about.udp)):
        places = [each for each in known["places"] if each[1].startswith(f"{transport}://{seen}:")]
        kinds = {"none": ["interface"], "blocked": []}.get(behaviour.mapping, ["reflexive"])
        assert [each[0] for each in places] == kinds
        assert all(each[2] == (kind == "none") for each in places)
        inside = next(each for each in known["places"] if each[1].startswith(f"{transport}://{home.host.ipv4}:"))
        if behaviour.ports == "preserved" and places:
            assert places[0][1].rpartition(":")[2] == inside[1].rpartition(":")[2]


def test_another_step(lab: Lab) -> None:
    """Some routers count by more than one."""
    _, contact = node(lab.host("introducer", has_ipv6=False, delay=DELAY))
    home = lab.site("home", "symseq", step=3, delay=DELAY)
    program, _ = node(home.host, contact)
    settled(program, utp4={"mapping": 2, "step": 3}, tcp4={"mapping": 2, "step": 3})


def test_the_machine_next_door_does_no_harm(lab: Lab) -> None:
    """It takes a number now and then, twenty a second of each protocol."""
    _, contact = node(lab.host("introducer", has_ipv6=False, delay=DELAY))
    home = lab.site("home", "symseq", hosts=2, delay=DELAY)
    foreign = home.hosts[1].start("python", "-m", "tests.natlab.foreign", lab.host("far").ipv4, "20")
    foreign.wait_for(r"^flow$")
    program, _ = node(home.host, contact)
    settled(program, utp4={"mapping": 2, "step": 1}, tcp4={"mapping": 2, "step": 1})


def test_ipv6_behind_a_firewall(lab: Lab) -> None:
    """Nobody translates; whether strangers get in is not known, so it is not said."""
    _, contact = node(lab.host("introducer", delay=DELAY), listen=["tcp://[::]:0", "utp://[::]:0"])
    home = lab.site("home", "port", ipv6="firewall", delay=DELAY)
    program, _ = node(home.host, contact, listen=LISTEN)
    known = settled(program, tcp6={"mapping": 1}, utp6={"mapping": 1})
    places = [each for each in known["places"] if "[" in each[1]]
    assert [each[0] for each in places] == ["interface", "interface"]
    assert not any(each[2] for each in places)


@pytest.mark.parametrize("kind", ["port", "none"])
def test_the_link_leaves_from_the_port_that_listens(lab: Lab, kind: str) -> None:
    """Behind a router, which keeps its outer port for it; where there is none, any port will do."""
    _, contact = node(lab.host("introducer", has_ipv6=False, delay=DELAY))
    home = lab.site("home", kind, delay=DELAY)
    program, _ = node(home.host, contact)
    known = settled(program, tcp4={"mapping": 1})
    port = next(each[1] for each in known["places"] if each[1].startswith("tcp://")).rpartition(":")[2]
    introducer = next(each.port for each in crust.Contact.parse(contact).endpoints if each.transport == "tcp")

    def links() -> list[bool]:
        """Those to the introducer, and whether they leave from there; questions may be under way as well."""
        lines = home.host.run("ss", "-tnH", "dport", "=", f":{introducer}").splitlines()
        return [line.split()[3].rpartition(":")[2] == port for line in lines]

    wait_until(lambda: links() == [kind == "port"], what="one link")
