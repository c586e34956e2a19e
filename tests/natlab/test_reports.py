"""``punch-test report`` where more than the translator matters: routers that open ports, IPv6, dead servers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

from tests.natlab import needs
from tests.natlab.hosts import Host
from tests.natlab.lab import Lab

pytestmark = pytest.mark.usefixtures("laboratory")

AT_ONCE = 2  # reports: more would wait for the processor, not for the network
SITES: dict[str, dict[str, Any]] = {
    "opens": {"upnp": True},
    "carried": {"kind": "cgnat", "upnp": True},
    "strict": {"kind": "sym", "upnp": ("igd",)},
    "ipv6wall": {"ipv6": "firewall"},
    "ipv6open": {"kind": "sym", "ipv6": "open"},
}
DEAD = ("20.0.99.1:3478", "20.0.99.2:3478")  # nobody has these addresses


def report(host: Host, *words: str) -> dict[str, Any]:
    """What the command says there, whatever its exit code; the router is asked, which tests of nodes switch off."""
    script = '"$0" tools/punch-test report --json "$@" || test $? = 1'
    command = ["sh", "-c", script, sys.executable, *words]
    found: dict[str, Any] = json.loads(host.run("env", "-u", "CRUST_PORT_MAPPING", "HOME=/nonexistent", *command))
    return found


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """By name of the site; ``dead`` asks servers that are not there, ``page`` writes one."""
    needs.require("turnserver")
    needs.require("miniupnpd")
    page = tmp_path_factory.mktemp("page") / "report.html"
    with Lab() as lab, futures.ThreadPoolExecutor(AT_ONCE) as pool:
        server = lab.server()
        stun = ("--stun", server.coturn(), "--stun", f"[{server.ipv6}]:3478")
        hosts = {name: lab.site(name, **options).host for name, options in SITES.items()}
        found = {name: pool.submit(report, host, *stun) for name, host in hosts.items()}
        made = {name: future.result() for name, future in found.items()}
        began = time.monotonic()
        made["dead"] = report(hosts["ipv6wall"], *(word for each in DEAD for word in ("--stun", each)))
        made["dead seconds"] = time.monotonic() - began
        report(hosts["opens"], *stun, "--html", str(page))
        made["page"] = page.read_text(encoding="utf-8")
        yield made


def kind_of(found: dict[str, Any]) -> tuple[str, str]:
    return found["assessment"]["kind"], found["assessment"]["grade"]


def hints_of(found: dict[str, Any]) -> list[str]:
    return [hint["name"] for hint in found["assessment"]["hints"]]


def forecast_of(found: dict[str, Any], peer: str) -> dict[str, Any]:
    (forecast,) = [each for each in found["assessment"]["forecasts"] if each["peer"] == peer]
    return dict(forecast)


@pytest.mark.parametrize("name", ["opens", "strict"])
def test_a_router_that_opens_ports_is_the_best_of_homes(reports: dict[str, Any], name: str) -> None:
    """Whatever its translator is like."""
    assert kind_of(reports[name]) == ("mapped", "A")
    assert hints_of(reports[name]) == []
    assert forecast_of(reports[name], "home")["called"]["method"] == "direct"


def test_behind_a_carrier_opened_ports_do_not_help(reports: dict[str, Any]) -> None:
    """Nobody is told to look for settings of the router."""
    assert kind_of(reports["carried"]) == ("carrier", "B")
    assert hints_of(reports["carried"]) == ["ask_provider"]


def test_ipv6_behind_a_firewall_can_be_opened(reports: dict[str, Any]) -> None:
    found = reports["ipv6wall"]
    assert kind_of(found) == ("port_restricted", "B")
    assert hints_of(found)[:2] == ["switch_on_upnp", "forward_port"]
    assert "open_ipv6" in hints_of(found)
    assert forecast_of(found, "ipv6")["called"]["method"] == "punch-udp"


def test_open_ipv6_lets_in_who_has_it(reports: dict[str, Any]) -> None:
    found = reports["ipv6open"]
    assert "open_ipv6" not in hints_of(found)
    assert forecast_of(found, "ipv6")["called"]["method"] == "direct"
    assert forecast_of(found, "home")["called"]["method"] == "birthday-udp"


def test_dead_servers_cost_ten_seconds_at_most(reports: dict[str, Any]) -> None:
    """And are named, as what could not be found out."""
    assert kind_of(reports["dead"]) == ("no_internet", "F")
    assert reports["dead seconds"] < 10
    gaps = " ".join(reports["dead"]["assessment"]["gaps"])
    assert all(server in gaps for server in DEAD)


def test_the_page_shows_the_router(reports: dict[str, Any]) -> None:
    assert "<svg" in reports["page"] and "opens ports" in reports["page"]
