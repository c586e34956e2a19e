"""The beacon on real links: who is found by which interface, what passes the cables, and what attackers get."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import time
from pathlib import Path

from crust import limits
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.links import plug, tapped, unplug
from tests.natlab.recorder import Recorder
from tests.natlab.watched import WatchedNode
from tests.support.waiting import busy, wait_until

ON = {"CRUST_LAN": "on"}
QUICK = 2.0  # seconds until all that are on a link know each other


def node(machine: Machine, home: Path, *words: str) -> WatchedNode:
    folder = home / machine.name
    folder.mkdir(exist_ok=True)
    return WatchedNode(machine, folder, *words, **ON)


def heard(of: str, by: WatchedNode, interface: str = "", skip: int = 0) -> float:
    """When a node has told of another."""

    def tells(line: dict[str, object]) -> bool:
        return (
            line.get("event") == "peer_discovered"
            and str(line["contact"]).startswith(of)
            and interface in ("", line["interface"])
        )

    return by.first(tells, 10.0, skip)[0]


def started(by: WatchedNode) -> float:
    return by.first(lambda line: line.get("event") == "started")[0]


def test_five_interfaces_and_two_programs(lab: Lab, tmp_path: Path) -> None:
    """On each link all know each other within two seconds. Nothing goes to a VPN's link."""
    here, others = lab.host("here"), [lab.host(f"other{number}") for number in range(1, 6)]
    for number, other in enumerate(others, 1):
        plug(here, f"eth{number}", other, "eth0", f"10.77.{number}")
    plug(here, "wg0", others[0], "wg0", "10.78.1")
    with contextlib.ExitStack() as stack:
        vpn = stack.enter_context(Recorder(here, "wg0"))
        running = [node(other, tmp_path) for other in others]  # all at once; they end with their hosts at the latest
        there = [stack.enter_context(each) for each in running]
        both = [stack.enter_context(node(here, tmp_path)) for _ in range(2)]
        begin = started(both[1])
        times = [heard(both[0].peer, both[1]), heard(both[1].peer, both[0])]
        for number, its in enumerate(there, 1):
            for mine in both:
                times += [heard(its.peer, mine, f"eth{number}"), heard(mine.peer, its, "eth0")]
        assert max(times) - begin <= QUICK * busy(), [round(each - begin, 2) for each in times]
        assert len({each.peer for each in there}) == 5
        seen = [line["contact"] for by in there for _, line in by.events("peer_discovered")]
        assert not any(each.startswith(its.peer) for each in seen for its in there)  # they share no link
        assert vpn.sent("udp", port=limits.BEACON_PORT) == []


def test_what_passes_the_link(lab: Lab) -> None:
    """No id, no name, no bit that is always the same; one hop; and nothing of it beyond the router."""
    site = lab.site("home", hosts=2)
    one, other = site.hosts
    assert site.router is not None
    with tapped(one, "eth0") as tap, Recorder(site.router) as outside:
        programs = [each.start("python", "-m", "tests.natlab.asking_node", "6", "sunshine") for each in (one, other)]
        told = [program.wait_for(r"^([a-z2-7]{56}) (\d+)$", 30.0) for program in programs]
        seen = tap.take()
        leaked = outside.sent("udp", port=limits.BEACON_PORT)
    assert all(int(found[2]) >= 1 for found in told)
    network = ipaddress.ip_network(f"{one.ipv4}/24", strict=False)
    for each in seen:
        to = ipaddress.ip_address(each.destination)
        assert each.hops == 1
        assert to in network or to.is_link_local or str(to) == limits.BEACON_GROUP
        assert each.is_query == (str(to) in (limits.BEACON_GROUP, str(network.broadcast_address)))
        for found in told:
            assert found[1].encode() not in each.data
        assert b"sunshine" not in each.data and b"crust" not in each.data
    for packets in ([each.data for each in seen if each.is_query == kind] for kind in (True, False)):
        assert len(packets) >= 32, len(packets)
        ones, zeros = 0, 0
        for data in packets:
            value = int.from_bytes(data, "big")
            ones |= value
            zeros |= ~value
        everything = (1 << 8 * len(packets[0])) - 1
        assert ones == everything and zeros & everything == everything, "a bit is always the same"
        assert len(set(packets)) == len({data[:12] for data in packets})
    assert {ipaddress.ip_address(each.source).version for each in seen} == {4, 6}
    assert leaked == []


def test_links_come_and_go(lab: Lab, tmp_path: Path) -> None:
    """A cable that is plugged in while nodes run shows who is at its other end, also when it is plugged in again."""
    one, other = lab.host("one"), lab.host("other")
    with node(one, tmp_path) as first, node(other, tmp_path) as second:
        for network in ("10.77.1", "10.77.1"):
            skip = len(first.seen)
            plug(one, "eth1", other, "eth1", network)
            begin = time.monotonic()
            assert heard(second.peer, first, "eth1", skip) - begin <= QUICK * busy()
            unplug(one, "eth1")


def test_a_cable_that_was_out(lab: Lab, tmp_path: Path) -> None:
    """An interface keeps its address without a cable. When there is one again, the link is asked anew."""
    one, other = lab.host("one"), lab.host("other")
    plug(one, "eth1", other, "eth1", "10.77.1")
    with node(one, tmp_path) as first:
        other.configure("link set eth1 down")
        with node(other, tmp_path) as second:
            begin = time.monotonic()
            other.configure("link set eth1 up")
            for by, of, host in ((first, second, "10.77.1.2"), (second, first, "10.77.1.1")):
                assert heard(f"{of.peer}@tcp://{host}:", by, "eth1") - begin <= QUICK * busy()


def seconds_of(process: int) -> float:
    """Processor time that it has used."""
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_attackers(lab: Lab, tmp_path: Path) -> None:
    """Forged sources, datagrams that are too big, and 10,000 queries: few answers, little work, nobody else suffers."""
    one, other, third = lab.host("one"), lab.host("other"), lab.host("third")
    plug(one, "eth1", other, "eth1", "10.77.1")
    plug(one, "eth2", third, "eth1", "10.77.2")
    other.configure("addr add 203.0.113.9/32 dev eth1")

    def attack(source: str, count: int, size: int = limits.BEACON_QUERY_SIZE) -> int:
        asked = {"source": source, "to": "10.77.1.255", "count": count, "size": size, "name": None}
        return int(other.run("python", "-m", "tests.natlab.beacon_flood", json.dumps(asked)))

    with tapped(one, "eth1") as tap, node(one, tmp_path) as victim:
        wait_until(lambda: len(tap.sent("10.77.1.255")) >= 3, what="the first queries")
        assert attack("203.0.113.9", 100) == 0 and tap.sent("203.0.113.9") == []
        assert attack("10.77.1.2", 100, size=1400) == 0 and tap.sent("10.77.1.2") == []
        assert attack("10.77.1.2", 1) == 1
        before = seconds_of(victim.process.pid)
        answers = attack("10.77.1.2", 10_000)
        spent = seconds_of(victim.process.pid) - before
        assert 1 <= answers <= limits.BEACON_ANSWERS_AT_ONCE + 10, answers
        assert spent <= 2.0, spent
        with node(third, tmp_path) as honest:
            begin = started(honest)
            assert max(heard(honest.peer, victim, "eth2"), heard(victim.peer, honest)) - begin <= QUICK * busy()
