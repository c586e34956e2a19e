"""Nodes behind routers learn where others see them, from coturn or from each other, and whether strangers get in."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.natlab import needs
from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.support.programs import Program

pytestmark = pytest.mark.usefixtures("laboratory")


def node(machine: Machine, servers: Sequence[str] = (), contacts: Sequence[str] = ()) -> tuple[Program, str]:
    """A node, and its contact."""
    arguments = json.dumps({"servers": list(servers), "contacts": list(contacts)})
    program = machine.start("python", "-m", "tests.natlab.reflections", arguments)
    return program, program.wait_for(r"^contact (\S+)$")[1]


@pytest.mark.parametrize(("kind", "word"), [("full", "open"), ("addr", "closed"), ("port", "closed")])
def test_routers_that_keep_ports(lab: Lab, kind: str, word: str) -> None:
    """The address outside has the port that listens, and the word is what the kind is known for."""
    needs.require("turnserver")
    coturn, home = lab.server().coturn(), lab.site("home", kind)
    _, helper = node(lab.host("helper"))
    program, _ = node(home.host, [coturn], [helper])
    for transport in ("tcp", "utp"):
        said = program.wait_for(rf"^{transport} (\d+) {transport}://{home.wan_ipv4}:(\d+) (open|closed)$")
        assert said[1] == said[2]
        assert said[3] == word


def test_a_router_that_changes_ports(lab: Lab) -> None:
    """What a server sees is true for that server alone; strangers do not get in."""
    needs.require("turnserver")
    coturn, home = lab.server().coturn(), lab.site("home", "sym")
    _, helper = node(lab.host("helper"))
    program, _ = node(home.host, [coturn], [helper])
    for transport in ("tcp", "utp"):
        said = program.wait_for(rf"^{transport} (\d+) {transport}://{home.wan_ipv4}:(\d+) (open|closed)$")
        assert said[1] != said[2]
        assert said[3] == "closed"


def test_peers_are_enough(lab: Lab) -> None:
    """Two of them, in different networks, where the router shows both the same."""
    home = lab.site("home", "port")
    contacts = [node(lab.host(name))[1] for name in ("one", "other")]
    program, _ = node(home.host, (), contacts)
    for transport in ("tcp", "utp"):
        said = program.wait_for(rf"^{transport} (\d+) {transport}://{home.wan_ipv4}:(\d+) untried$")
        assert said[1] == said[2]


def test_without_a_router_there_is_nothing_to_try(lab: Lab) -> None:
    """Others see what the machine knows."""
    needs.require("turnserver")
    coturn, host = lab.server().coturn(), lab.host("alone")
    program, _ = node(host, [coturn])
    for transport in ("tcp", "utp"):
        said = program.wait_for(rf"^{transport} (\d+) {transport}://{host.ipv4}:(\d+) untried$")
        assert said[1] == said[2]
