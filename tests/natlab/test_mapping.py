"""Ports opened on a real router: miniupnpd in the laboratory, by each of its protocols, through all that happens."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.natlab.lab import Lab
from tests.natlab.routers.sites import Site
from tests.support.programs import Program
from tests.support.source import ROOT
from tests.support.waiting import busy, eventually, wait_until

NODE = ROOT / "tests" / "natlab" / "mapping_node.py"
BUSY = 3  # times as long as users are told: the machine may be
QUICK = 2.0 * BUSY  # seconds within which a willing router has opened the ports
STARTED = 1.0 * BUSY  # seconds within which a node has started, whatever becomes of that
PROTOCOLS = ("pcp", "natpmp", "igd")

Table = set[tuple[str, int]]


class MappedNode:
    """A node in a site, which tells what happens to it."""

    def __init__(self, site: Site, home: Path, *, greenlets: bool = False, **options: Any) -> None:
        text = json.dumps({"home": str(home), **options})
        patched = ["-m", "gevent.monkey"] if greenlets else []
        self.program: Program = site.host.start(sys.executable, *patched, str(NODE), text)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """What it has told so far of a kind."""
        lines = [line for line in list(self.program.output) if line.startswith("{")]
        return [each for each in map(json.loads, lines) if each["kind"] == kind]

    def told(self, kind: str, count: int = 1, timeout: float = 15.0) -> list[dict[str, Any]]:
        """Until it has told so much."""
        if not eventually(lambda: len(self.all(kind)) >= count, timeout):
            raise AssertionError(f"no {count} times {kind!r}: {''.join(self.program.output)}")
        return self.all(kind)

    def mapped(self) -> set[str]:
        """Where the router leads to it, TCP and µTP."""
        return {each["endpoint"] for each in self.told("mapped", 2)}

    @property
    def port(self) -> int:
        port: int = self.told("started")[0]["port"]
        return port

    def stop(self) -> dict[str, Any]:
        """In order; what it said last."""
        self.program.stop()
        return self.told("closed")[0]

    def kill(self) -> None:
        self.program.process.kill()
        self.program.process.wait(10)


def table(site: Site) -> Table:
    """What the router has open, by its own rules: protocol and outer port."""
    assert site.router is not None
    rules = site.router.run("nft", "list", "chain", "inet", "filter", "miniupnpd_in")
    # miniupnpd compares the byte of the IP header that has the protocol's number.
    found = re.findall(r"@nh,72,8 0x(6|11) th dport (\d+) dnat", rules)
    return {("tcp" if number == "6" else "udp", int(port)) for number, port in found}


def both(port: int) -> Table:
    return {("tcp", port), ("udp", port)}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where nodes keep their list of open ports: empty at the end."""
    yield tmp_path
    folder = tmp_path / "crust" / "port-mappings"
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("greenlets", [False, True], ids=["threads", "greenlets"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol(lab: Lab, home: Path, protocol: str, greenlets: bool) -> None:
    """Open within two seconds of the start, which waits for none of it; strangers come in; close closes it."""
    site = lab.site("home", "port", upnp=[protocol])
    stranger = lab.host("stranger")
    node = MappedNode(site, home, greenlets=greenlets)
    assert node.mapped() == {f"{name}://{site.wan_ipv4}:{node.port}" for name in ("tcp", "utp")}
    told = node.told("mapped")
    assert {each["protocol"] for each in told} == {protocol}
    assert all(each["seconds"] < QUICK * busy() and each["reason"] == "" for each in told)
    assert node.told("started")[0]["seconds"] < STARTED * busy()
    assert table(site) == both(node.port)
    wait_until(lambda: node.mapped() <= set(node.all("addresses")[-1]["addresses"]), what="the addresses")
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    stranger.run(sys.executable, "-c", connect, site.wan_ipv4, str(node.port))
    assert node.stop() == {"kind": "closed", "clean": True, "seconds": pytest.approx(0, abs=1.5)}
    assert table(site) == set()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_rebooted_router(lab: Lab, home: Path, protocol: str) -> None:
    """Its table is empty afterwards; the node notices, and has the same port again."""
    site = lab.site("home", "port", upnp=[protocol])
    node = MappedNode(site, home, limits={"MAPPING_CHECK": 1.0, "MAPPING_RENEW_MIN": 1.0})
    node.mapped()
    assert site.router is not None
    wait_until(lambda: table(site) == both(node.port), what="the mapping")
    if protocol != "igd":  # which looks for the entry itself
        began = time.monotonic()
        # Old enough for its age to tell: that is allowed to differ by two seconds.
        wait_until(lambda: time.monotonic() > began + 4.0, what="an age of four seconds")
    site.router.reboot()
    assert table(site) == set()
    wait_until(lambda: table(site) == both(node.port), 15.0, "the mapping after the reboot")
    node.stop()
    assert table(site) == set()


_RENEWED = {
    "pcp": r"PCP MAP: .* mapping \S+ {port}->",
    "natpmp": r"NAT-PMP port mapping request : {port}->.*lifetime=3600s",
    "igd": r"AddPortMapping: ext port {port} to .*leaseduration=3600",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_leases_are_renewed(lab: Lab, home: Path, protocol: str) -> None:
    """A lease that is believed for four seconds is renewed every two, on the same port; that is told once."""
    site = lab.site("home", "port", upnp=[protocol])
    node = MappedNode(site, home, limits={"MAPPING_LIFE_MAX": 4, "MAPPING_RENEW_MIN": 1.0})
    node.mapped()
    assert site.router is not None and site.router.gateway is not None
    program = site.router.gateway.program
    assert program is not None
    pattern = _RENEWED[protocol].format(port=node.port)
    wait_until(lambda: len(re.findall(pattern, "".join(program.output))) >= 6, 15.0, "three requests for each")
    # A router may put a rule in the place of another one, and have none in between.
    wait_until(lambda: table(site) == both(node.port), what="the same ports")
    assert len(node.all("mapped")) == 2
    node.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_killed_node_left(lab: Lab, home: Path, protocol: str) -> None:
    """SIGKILL leaves the ports open, and a list on disk; the next node closes them."""
    site = lab.site("home", "port", upnp=[protocol])
    killed = MappedNode(site, home)
    killed.mapped()
    killed.kill()
    left = both(killed.port)
    assert table(site) == left
    node = MappedNode(site, home)
    node.mapped()
    wait_until(lambda: table(site) == both(node.port), what="the removal")
    node.stop()
    assert table(site) == set()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_end_of_the_interpreter(lab: Lab, home: Path, protocol: str) -> None:
    """A program that does not close its node: its ports are closed all the same, though no thread can be made then."""
    site = lab.site("home", "port", upnp=[protocol])
    node = MappedNode(site, home, leaves=True)
    node.mapped()
    assert node.program.stop() == 0
    assert table(site) == set()


def test_all_protocols_at_once(lab: Lab, home: Path) -> None:
    """One mapping a listener, by the best of them."""
    site = lab.site("home", "port", upnp=True)
    node = MappedNode(site, home)
    node.mapped()
    assert {each["protocol"] for each in node.told("mapped")} == {"pcp"}
    assert not eventually(lambda: len(node.all("mapped")) > 2 or table(site) != both(node.port), 1.0)
    node.stop()


def test_a_start_without_a_router_that_answers(lab: Lab, home: Path) -> None:
    """It takes no longer; the failure is told in a sentence, once."""
    site = lab.site("home", "port")
    node = MappedNode(site, home)
    failed = node.told("failed")
    started = node.told("started")[0]["seconds"]
    assert started < STARTED * busy() and failed[0]["seconds"] > started + 1.0
    assert re.fullmatch(
        r"the router [\d.]+ opens no port \(PCP: [^;]+; NAT-PMP: [^;]+; UPnP: [^;]+\)", failed[0]["reason"]
    )
    node.stop()


def test_a_machine_on_the_internet_itself(lab: Lab, home: Path) -> None:
    """There is nothing to be mapped, and nothing is told."""
    site = lab.site("open", "none")
    node = MappedNode(site, home)
    node.told("started")
    assert not eventually(lambda: node.all("failed") or node.all("mapped"), 1.5)
    node.stop()
