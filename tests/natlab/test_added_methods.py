"""Methods of other packages between two nodes behind NATs: one that works, and ones with faults beside it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

import pytest

from crust import limits
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.matrix.run import Call, idle, link, rendezvous
from tests.natlab.recorder import Recorder
from tests.natlab.watched import WatchedNode
from tests.support.example_method import install
from tests.support.source import ROOT
from tests.support.waiting import wait_until

OFF = {"nat": {"port_mapping": [], "punch": {"tcp": False, "udp": False, "predict": False, "birthday": False}}}
ON = {"nat": {"port_mapping": []}}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the example in it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    install(target)
    assert (target / "crust_knock.py").exists()
    return target


@contextlib.contextmanager
def called(
    lab: Lab, home: pathlib.Path, installed: pathlib.Path, imports: Sequence[str], config: object
) -> Iterator[tuple[Call, Machine]]:
    """Two nodes behind routers of kind ``port`` whose programs import something call each other; and a bystander."""
    (home / "crust.yaml").write_text(json.dumps(config))  # which is YAML as well
    server, victim = lab.server("srv"), lab.host("victim")
    sites = [lab.site(name, "port") for name in ("one", "other")]
    words = ("-v", "--config", str(home / "crust.yaml"))
    path = os.pathsep.join((str(ROOT), str(installed)))
    with contextlib.ExitStack() as stack:
        middle = stack.enter_context(rendezvous(server, home))
        nodes = [
            stack.enter_context(
                WatchedNode(site.host, home, *words, imports=imports, PYTHONPATH=path, VICTIM=victim.ipv4)
            )
            for site in sites
        ]
        recorders = [stack.enter_context(Recorder(site.host)) for site in sites]
        link(nodes, middle)
        idle(recorders)
        call = Call(nodes[0], nodes[1], addresses=False)
        assert call.connected()[0] is not None
        yield call, victim
        assert call.arrives(b"first", 5.0) is not None


def ends_on(node: WatchedNode, path_class: str, timeout: float = limits.PUNCH_TIMEOUT) -> None:
    """AssertionError if a session does not move to a path of that class."""
    node.first(lambda line: line.get("event") == "path_changed" and line["new"]["class"] == path_class, timeout)


def methods_of(node: WatchedNode, verdict: str) -> set[str]:
    """Those whose attempts ended so."""
    attempts = [line["attempt"] for _, line in node.events("path_attempted")]
    return {each["method"] for each in attempts if each["verdict"] == verdict}


def test_the_example_is_how_two_nodes_meet(lab: Lab, tmp_path: pathlib.Path, installed: pathlib.Path) -> None:
    """With all punching of crust itself switched off: it was attempted, and it is the path of both ends."""
    with called(lab, tmp_path, installed, ["crust_knock"], OFF) as (call, _):
        for node in (call.caller, call.callee):
            ends_on(node, "punched-utp", 5.0)
            assert "knock" in methods_of(node, "connected")


def test_without_it_they_do_not_meet(lab: Lab, tmp_path: pathlib.Path, installed: pathlib.Path) -> None:
    """It is not something else that helps: a relay is all there is."""
    with called(lab, tmp_path, installed, [], OFF) as (call, _):
        with pytest.raises(AssertionError, match="not within"):
            ends_on(call.caller, "punched-utp", 3.0)
        assert {step.path_class for step in call.outcome().caller} == {"relay"}


def test_methods_with_faults_harm_nobody(lab: Lab, tmp_path: pathlib.Path, installed: pathlib.Path) -> None:
    """
    The others succeed beside them, each fault is told of, and a bystander whom one of them attacks gets no more from
    each node than an address that nobody has seen.
    """
    imports = ["tests.natlab.faulty_methods", "crust_knock"]
    with called(lab, tmp_path, installed, imports, OFF) as (call, victim), Recorder(victim) as recorder:
        nodes = (call.caller, call.callee)
        for node in nodes:
            ends_on(node, "punched-utp", 8.0)
            assert "knock" in methods_of(node, "connected")
            faults = ("plan", "start", "signal", "action", "flood")
            for name in faults:
                assert f"the method fault-{name}" in node.errors, node.errors

        def came() -> tuple[int, int]:
            """Datagrams and SYNs to the bystander so far."""
            there = [packet for packet in recorder.packets() if packet.is_to(victim.ipv4)]
            return sum(packet.protocol == "udp" for packet in there), sum(packet.syn for packet in there)

        wait_until(lambda: all(came()), what="some of each")
        datagrams, syns = came()
        assert datagrams <= len(nodes) * limits.UNSEEN_PROBES and syns <= len(nodes) * limits.UNSEEN_SYNS


def test_methods_of_crust_itself_succeed_beside_ones_with_faults(
    lab: Lab, tmp_path: pathlib.Path, installed: pathlib.Path
) -> None:
    """The best path is found."""
    with called(lab, tmp_path, installed, ["tests.natlab.faulty_methods"], ON) as (call, _):
        for node in (call.caller, call.callee):
            ends_on(node, "punched-tcp")
