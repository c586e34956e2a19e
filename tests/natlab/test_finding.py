"""Nodes that know their neighbours alone reach any other one by its key, out of one LAN and into another."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from pathlib import Path

import pytest

from tests.natlab import line
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.nodes import Node
from tests.natlab.watched import Line, WatchedNode
from tests.support.waiting import Patience, busy, wait_until

SECONDS = 10.0  # that a connection may take
RECORDS = 15.0  # until all know of all
PUNCH = 3.0  # that the search for a path may take


def node(stack: contextlib.ExitStack, host: Machine, home: Path, *words: str) -> Node:
    (home / host.name).mkdir(parents=True)
    listen = ("tcp://{host.ipv4}:0", "utp://{host.ipv4}:0")
    made = Node(host, home / host.name, *words, listen=listen, CRUST_LAN="on")  # type: ignore[arg-type]
    return stack.enter_context(made)


def link(caller: Node, called: Node) -> None:
    assert caller.process.ask("connect", peer=called.contact, timeout=SECONDS)["ok"]


def await_record(seeker: Node, other: Node) -> None:
    """Until the seeker knows the other's record; it fails the test if that takes too long."""
    patience = Patience(RECORDS)
    while not (reply := seeker.process.ask("find", peer=other.peer, timeout=SECONDS))["ok"]:
        assert patience.left > 0, reply


def await_records(node: Node, count: int) -> None:
    """Until gossip has brought so many to it; it fails the test if that takes too long."""

    def known() -> int:
        return int(node.process.ask("status")["status"]["sections"]["gossip"]["records"])

    wait_until(lambda: known() >= count, RECORDS, "the records")


@pytest.mark.parametrize("kinds", [("port", "port"), ("full", "addr")], ids="-".join)
def test_from_any_node_of_one_lan_to_any_of_another(lab: Lab, tmp_path: Path, kinds: tuple[str, str]) -> None:
    """Three nodes in each, behind a router that lets nobody in; one of each has a link to a server."""
    server = lab.server()
    sites = [lab.site(name, kind, hosts=3, delay=0.01) for name, kind in zip(("left", "right"), kinds, strict=True)]
    with contextlib.ExitStack() as stack:
        outside = node(stack, server, tmp_path)
        lans = []
        for site in sites:
            members = [node(stack, each, tmp_path, "--allow-bootstrap") for each in site.hosts]
            link(members[0], outside)
            for each in members[1:]:  # they know nobody, but hear who is on their LAN
                reply = each.process.ask("bootstrap", timeout=SECONDS)
                assert reply["ok"], reply
            lans.append(members)
        left, right = lans
        await_record(left[1], right[2])
        await_record(right[1], left[2])
        for caller, called in ((left[1], right[2]), (right[1], left[2])):
            began = time.monotonic()
            reply = caller.process.ask("connect", peer=called.peer, timeout=2 * SECONDS)
            took = time.monotonic() - began
            assert reply["ok"], reply
            assert took <= SECONDS, f"{took:.1f} s"
            called.told(event="connect_success", peer=caller.peer)
            caller.send(called, b"from another LAN")
            assert called.messages(1) == [b"from another LAN"]


@pytest.mark.parametrize("kinds", [("port", "port"), ("full", "addr")], ids="-".join)
def test_by_introducers_of_introducers(lab: Lab, tmp_path: Path, kinds: tuple[str, str]) -> None:
    """
    In each of two LANs one has a link to a server, another one to that, and the third to that one. What gossip has
    brought is enough to reach the third of the other LAN: nobody else has been asked, and has a link from then.
    """
    server = lab.server()
    sites = [lab.site(name, kind, hosts=3, delay=0.01) for name, kind in zip(("left", "right"), kinds, strict=True)]
    with contextlib.ExitStack() as stack:
        outside = node(stack, server, tmp_path)
        lans = []
        for site in sites:
            members = [node(stack, each, tmp_path) for each in site.hosts]
            for caller, called in zip(members, [outside, *members], strict=False):
                link(caller, called)
            lans.append(members)
        left, right = lans
        caller, called = left[2], right[2]
        await_records(caller, 7)
        began = time.monotonic()
        reply = caller.process.ask("connect", peer=called.peer, timeout=2 * SECONDS)
        assert reply["ok"], reply
        assert time.monotonic() - began <= SECONDS * busy()
        called.told(event="connect_success", peer=caller.peer)


def test_a_line_of_nodes(lab: Lab, tmp_path: Path) -> None:
    """As ``python -m tests.natlab.line`` does with thirty."""
    assert line.run(lab, tmp_path, 8).connected <= SECONDS


@pytest.mark.parametrize("relays", [True, False], ids=["relayed", "introduced"])
def test_where_no_path_can_be_made(lab: Lab, tmp_path: Path, relays: bool) -> None:
    """
    Two nodes behind symmetric routers, each linked to a server of its own, find each other by key. If the server that
    a record names carries data for others, messages come by it; if it only introduces, they wait, and why there is no
    path is told of every method.
    """
    servers = [lab.server(name) for name in ("srv", "srv_2")]
    sites = [lab.site(name, "sym", delay=0.01) for name in ("left", "right")]
    config = tmp_path / "crust.yaml"
    config.write_text(json.dumps({"nat": {"port_mapping": [], "punch": {"timeout": PUNCH}}}))  # which is YAML as well

    def watched(host: Machine, *words: str) -> WatchedNode:
        (tmp_path / host.name).mkdir()
        listen = [word for place in ("tcp", "utp") for word in ("--listen", f"{place}://{host.ipv4}:0")]
        return stack.enter_context(WatchedNode(host, tmp_path / host.name, "--config", str(config), *listen, *words))

    with contextlib.ExitStack() as stack:
        near, far = (watched(each, *(["--serve-relay"] if relays else [])) for each in servers)
        left, right = (watched(site.host) for site in sites)
        for caller, called in ((near, far), (left, near), (right, far)):
            assert caller.ask("connect", peer=called.contact, timeout=SECONDS)["ok"]
        patience = Patience(RECORDS)
        while not (reply := left.ask("find", peer=right.peer, timeout=SECONDS))["ok"]:
            assert patience.left > 0, reply
        reply = left.ask("connect", peer=right.peer, timeout=SECONDS)
        assert reply["ok"] and reply["path"]["class"] == "relay", reply
        assert f"//{servers[1].ipv4}:" in reply["path"]["remote"], reply
        assert left.ask("send", peer=right.peer, data=base64.b64encode(b"hello").decode())["ok"]
        if relays:
            right.first(lambda line: line.get("event") == "new_message", SECONDS)
        for method in ("punch-tcp", "punch-udp"):
            told = left.first(lambda line, method=method: _has_failed(line, right.peer, method), SECONDS)[1]
            assert told["attempt"]["error"]
        assert relays or all(line.get("event") != "new_message" for _, line in right.seen)


def _has_failed(line: Line, peer_id: str, method: str) -> bool:
    """Whether it tells that a method has come to nothing, of all addresses."""
    attempt = line.get("attempt", {})
    found = (line.get("peer_id"), attempt.get("method"), attempt.get("endpoint"), attempt.get("verdict"))
    return found == (peer_id, method, "", "failed")
