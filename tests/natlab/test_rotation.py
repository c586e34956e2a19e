"""What somebody on the line sees of a node that changes its ports: other ports each time, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from tests.natlab.lab import Lab
from tests.natlab.recorder import Recorder
from tests.natlab.rotating_node import TURNS
from tests.support.programs import Program
from tests.support.source import ROOT

NODE = str(ROOT / "tests" / "natlab" / "rotating_node.py")
PATIENCE = 30.0


def told(program: Program, kind: str) -> dict[str, Any]:
    """The next line of a kind."""
    found: dict[str, Any] = json.loads(program.wait_for(f'^{{"kind": "{kind}".*', PATIENCE)[0])
    return found


def test_three_changes_under_load(lab: Lab) -> None:
    """
    Two peers send all the time, one by TCP and one by µTP. Between the changes the ports of the node that are seen are
    different ones each time, and each has both; all messages arrive once and in order, without a break.
    """
    here, there = lab.pair(delay=0.01)
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(Recorder(here))
        server = stack.enter_context(here.start(sys.executable, NODE, "serve", "2"))
        peer_id, _, endpoints = told(server, "started")["contact"].partition("@")
        by = {each.partition(":")[0]: f"{peer_id}@{each}" for each in endpoints.split(",")}
        callers = []
        for transport in ("tcp", "utp"):
            callers.append(stack.enter_context(there.start(sys.executable, NODE, "call", by[transport])))
            assert told(callers[-1], "connected")["transport"] == transport
        periods = []
        for _ in range(TURNS + 1):
            began = told(server, "calm")["at"]
            periods.append((began, told(server, "changing")["at"]))
        end = told(server, "end")
        sent = [told(caller, "end")["sent"] for caller in callers]
        seen = recorder.packets()
    assert end["breaks"] == [] and end["whole"] == [True, True]
    assert sum(end["counts"]) > 1000 and all(count > 100 for count in end["counts"])
    assert sum(sent) >= sum(end["counts"])
    used = []
    for first, last in periods:
        packets = [each for each in seen if first <= each.at <= last]
        ports = {each.source[1] if each.outgoing else each.destination[1] for each in packets}
        assert {each.protocol for each in packets} == {"tcp", "udp"}
        used.append(ports)
    assert sum(map(len, used)) == len(set().union(*used)), used
