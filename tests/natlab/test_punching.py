"""UDP punched, predicted, and met by chance, by crust's hands through the kernel's NATs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.natlab.hosts import PATIENCE, Machine
from tests.natlab.lab import Lab
from tests.natlab.routers.sites import Site

DELAY = 0.01  # seconds on each link: 40 ms from one end to the other and back


def attempt(lab: Lab, one: Site, other: Site, method: str, **second: Any) -> list[dict[str, Any]]:
    """How it went at both ends, the leading one first."""
    server = lab.host("srv", delay=DELAY)
    command = ["python", "-m", "tests.natlab.punching"]
    introducer = server.start(*command, "introduce", json.dumps({"address": server.ipv4}))
    where = json.loads(introducer.wait_for(r"^\{.*\}$", PATIENCE)[0])

    def begin(machine: Machine, leads: bool, **more: Any) -> Any:
        arguments = {"address": machine.ipv4, "server": server.ipv4, "leads": leads, "method": method, **where, **more}
        return machine.start(*command, "end", json.dumps(arguments))

    ends = [begin(one.hosts[0], True), begin(other.hosts[0], False, **second)]
    return [json.loads(each.wait_for(r"^\{.*\}$", PATIENCE)[0]) for each in ends]


def judge(found: list[dict[str, Any]], seconds: float) -> None:
    """Both heard each other in time, and left nothing behind."""
    assert all(each["heard"] and not each["crashes"] and not each["left"] for each in found), found
    assert max(each["seconds"] for each in found) < seconds, found
    times = [(each["seconds"], each["greeted"]) for each in found]
    sys.stdout.write(f"seconds to agree, and to talk: {times}\n")


@pytest.mark.parametrize("skew", [0.0, 0.4])
@pytest.mark.parametrize(
    ("one", "other"), [("port", "port"), ("port", "cgnat"), ("addr", "sym"), ("symseq", "full"), ("none", "sym")]
)
def test_holes_are_punched(lab: Lab, one: str, other: str, skew: float) -> None:
    """Wherever one side keeps its port, and the other as well or the first does not look at its."""
    sites = lab.site("a", one, delay=DELAY), lab.site("b", other, delay=DELAY)
    judge(attempt(lab, *sites, "punch-udp", skew=skew), 1.5 + skew)


@pytest.mark.parametrize(("one", "other"), [("port", "symseq"), ("symseq", "port"), ("symseq", "symseq")])
def test_ports_are_predicted(lab: Lab, one: str, other: str) -> None:
    """Routers that count, against one that keeps its port, and against each other."""
    sites = lab.site("a", one, delay=DELAY), lab.site("b", other, delay=DELAY)
    found = attempt(lab, *sites, "predict-udp")
    judge(found, 4.0)
    assert [each["standing"] for each in found] == [[2, 1] if kind == "symseq" else [1, 0] for kind in (one, other)]


@pytest.mark.parametrize("one", ["port", "symseq"])
def test_ports_are_predicted_among_flows_of_others(lab: Lab, one: str) -> None:
    """Five each second behind each router that counts, from other machines."""
    sites = lab.site("a", one, hosts=2, delay=DELAY), lab.site("b", "symseq", hosts=2, delay=DELAY)
    target = lab.host("elsewhere")
    for site in sites:
        site.hosts[1].start("python", "-m", "tests.natlab.foreign", target.ipv4, "5").wait_for("^flow$", PATIENCE)
    judge(attempt(lab, *sites, "predict-udp"), 10.0)


@pytest.mark.parametrize(("one", "other"), [("port", "sym"), ("sym", "port")])
def test_ports_meet_by_chance(lab: Lab, one: str, other: str) -> None:
    """A router with random ports, against one that keeps its port."""
    sites = lab.site("a", one, delay=DELAY), lab.site("b", other, delay=DELAY)
    judge(attempt(lab, *sites, "birthday-udp"), 13.0)
