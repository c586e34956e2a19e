"""Routers that open ports when asked, by a real miniupnpd."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.natlab import needs
from tests.natlab.hosts import Host
from tests.natlab.lab import Lab
from tests.natlab.routers.gateway import PROTOCOLS
from tests.natlab.routers.sites import Site


@pytest.fixture
def _miniupnpd(laboratory: None) -> None:
    needs.require("miniupnpd")


pytestmark = pytest.mark.usefixtures("_miniupnpd")


def asked(site: Site, *questions: tuple[str, int]) -> list[dict[str, Any]]:
    """What becomes of mapping ports to themselves, each by a client of some protocol, all at once."""
    host, router = site.host, site.router
    assert router is not None
    programs = []
    for protocol, port in questions:
        arguments = json.dumps({"address": host.ipv4, "gateway": router.lan_ipv4, "port": port})
        programs.append(host.start("python", "-m", "tests.natlab.portmap", protocol, arguments))
    return [json.loads(program.wait_for(r"^\{.*\}$")[0]) for program in programs]


def reaches(stranger: Host, address: str, tcp: int, udp: int) -> tuple[bool, bool]:
    """Whether a stranger gets in, by TCP and by UDP."""
    call = stranger.launch("call", address=address, port=tcp)
    ping = stranger.launch("ping", address=address, port=udp, count=1)
    return "connected" in call.wait_for("verdict").string, "null" not in ping.wait_for("trips").string


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_protocol_alone(lab: Lab, protocol: str) -> None:
    """It opens ports to the world, of a symmetric NAT too; the others are silent."""
    stranger, home = lab.host("stranger"), lab.site("home", "sym", upnp=[protocol])
    host = home.host
    tcp, udp = host.serve("answer", address=host.ipv4).port, host.serve("echo", address=host.ipv4).port
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (False, False)
    others = [(each, 5001) for each in PROTOCOLS if each != protocol]
    found = asked(home, (protocol, tcp), (protocol, udp), *others)
    assert [(each.get("address"), each.get("port")) for each in found[:2]] == [
        (home.wan_ipv4, port) for port in (tcp, udp)
    ]
    assert found[2:] == [{"silent": True}] * 2
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (True, True)


def test_all_at_once_and_a_reboot(lab: Lab) -> None:
    """What was mapped is gone after a reboot, and miniupnpd's age begins at zero: a client can tell."""
    stranger, home = lab.host("stranger"), lab.site("home", upnp=True)
    host = home.host
    assert home.router is not None
    tcp, udp = host.serve("answer", address=host.ipv4).port, host.serve("echo", address=host.ipv4).port
    questions = [(protocol, port) for protocol in PROTOCOLS for port in (tcp, udp)]
    assert [each["port"] for each in asked(home, *questions)] == [tcp, udp] * 3
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (True, True)
    rebooted = time.monotonic()
    home.router.reboot()
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (False, False)
    (found,) = asked(home, ("pcp", tcp))
    assert found["age"] <= time.monotonic() - rebooted + 1.0  # it counts whole seconds
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (True, False)


def test_ports_stay_open_when_the_address_changes(lab: Lab) -> None:
    """The rules of miniupnpd are about the line, whatever its address."""
    stranger, home = lab.host("stranger"), lab.site("home", upnp=True)
    host = home.host
    tcp, udp = host.serve("answer", address=host.ipv4).port, host.serve("echo", address=host.ipv4).port
    asked(home, ("natpmp", tcp), ("natpmp", udp))
    home.renumber()
    assert reaches(stranger, home.wan_ipv4, tcp, udp) == (True, True)
    (found,) = asked(home, ("natpmp", tcp))
    assert found["address"] == home.wan_ipv4


def test_behind_a_carrier_it_refuses(lab: Lab) -> None:
    """It knows that its own address is not public."""
    home = lab.site("home", "cgnat", upnp=["pcp"])
    (found,) = asked(home, ("pcp", 5001))
    assert "error" in found
