"""Every kind of site does what the table says it does, as a judge finds that has nothing in common with crust."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from tests.natlab import needs
from tests.natlab.judge import Verdict, all_met, judged
from tests.natlab.lab import Lab
from tests.natlab.routers.kinds import KINDS, Behaviour
from tests.support.waiting import busy

pytestmark = pytest.mark.usefixtures("laboratory")

HAIRPINS_TRIED = ("full", "addr", "port", "rst")  # the others' are made of the same rules
FOUR_SITES = 3.0  # seconds that they may take to make


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """Of all kinds, and of what options make of some; ``…6`` over IPv6."""
    needs.require("turnserver")
    with Lab() as lab:
        server = lab.server()
        server.coturn()
        server.coturn(80, 443)
        sites = {kind: lab.site(f"{kind}_site", kind) for kind in KINDS}
        sites |= {f"hairpin_{kind}": lab.site(f"h_{kind}", kind, hairpin=True) for kind in HAIRPINS_TRIED}
        sites |= {f"step_{step}": lab.site(f"s{step}", "symseq", step=step) for step in (2, 256)}
        sites["resetting"] = lab.site("resetting", "symseq", rst=True)
        for ipv6 in ("firewall", "open"):
            sites[f"{ipv6}6"] = lab.site(ipv6, "sym", ipv6=ipv6)
        sites["carried6"] = lab.site("carried", "cgnat", ipv6="firewall")
        hosts = {name: site.host for name, site in sites.items()}
        ports = {name: 80 for name, site in sites.items() if site.kind.tcp_only}
        return judged(server, hosts, ports, over_ipv6=("firewall6", "open6", "carried6"))


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_what_it_says(verdicts: dict[str, Verdict], name: str) -> None:
    """Mapping, filtering and ports of UDP and of TCP, and what a stranger's SYN comes to; no hairpin unless told."""
    kind = KINDS[name]
    steps = (1, 1) if name == "symseq" else (0, 0)
    hairpin = (True, True) if name == "none" else (False, False)
    any_port = kind.tcp.mapping != "blocked" and not kind.tcp_only
    assert verdicts[name] == Verdict(kind.udp, kind.tcp, kind.stranger, hairpin, steps, any_port)


def test_the_judge_tells_kinds_apart(verdicts: dict[str, Verdict]) -> None:
    """So a kind that is another one by mistake is found."""
    assert len({verdicts[name] for name in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", HAIRPINS_TRIED)
def test_hairpins(verdicts: dict[str, Verdict], kind: str) -> None:
    """The option leads back what is sent to an outer address from inside, and changes nothing else."""
    found, plain = verdicts[f"hairpin_{kind}"], verdicts[kind]
    assert found == dataclasses.replace(plain, hairpin=(True, True))


@pytest.mark.parametrize("step", [2, 256])
def test_the_step_of_a_sequential_nat(verdicts: dict[str, Verdict], step: int) -> None:
    assert verdicts[f"step_{step}"].steps == (step, step)


def test_any_kind_may_reset(verdicts: dict[str, Verdict]) -> None:
    """Strangers are told, and all else is as in that kind."""
    plain = verdicts["symseq"]
    assert verdicts["resetting"] == dataclasses.replace(plain, stranger="reset")


@pytest.mark.parametrize("name", ["firewall6", "open6", "carried6"])
def test_ipv6_is_routed(verdicts: dict[str, Verdict], name: str) -> None:
    """The hosts have global addresses, also behind a carrier; the firewall lets in what was asked for."""
    is_open = name == "open6"
    behaviour = Behaviour("none", "independent" if is_open else "port", "preserved")
    stranger = "accepted" if is_open else "dropped"
    assert verdicts[name] == Verdict(behaviour, behaviour, stranger, (True, True), (0, 0), True)


# --- how fast, and how many -------------------------------------------------------------------------------------------


def test_a_router_asks_where_its_machines_are(lab: Lab) -> None:
    """By IPv6, too, whenever it has forgotten, as after minutes without traffic: what comes for them gets there."""
    server, home = lab.server(), lab.site("home", ipv6="firewall")
    assert home.router is not None
    echo = server.serve("echo", address=server.ipv6)
    question: dict[str, Any] = {"address": server.ipv6, "port": echo.port, "count": 5}
    assert None not in home.host.probe("ping", **question)["trips"]
    home.router.run("ip", "-6", "neigh", "flush", "dev", "lan")
    assert set(home.host.probe("ping", **question)["trips"]) != {None}


def test_four_sites_are_quick(lab: Lab) -> None:
    """They take a fraction of a second when the machine is free."""
    began = time.monotonic()
    for kind in ("port", "sym", "full", "rst"):
        lab.site(kind, kind)
    assert time.monotonic() - began < 3 * FOUR_SITES * busy()


def test_names_and_addresses(lab: Lab) -> None:
    """Several hosts have one router, each host its own private address; a server has two addresses of each family."""
    home = lab.site("home", hosts=3, lan="192.168.1.0/24", ipv6="firewall")
    assert [each.name for each in home.hosts] == ["home", "home_2", "home_3"]
    assert [each.ipv4 for each in home.hosts] == ["192.168.1.10", "192.168.1.11", "192.168.1.12"]
    shown = home.hosts[2].run("ip", "-brief", "address")
    assert home.hosts[2].ipv4 in shown and home.hosts[2].ipv6 in shown and home.wan_ipv4 not in shown
    server = lab.server()
    shown = server.run("ip", "-brief", "address")
    assert all(each in shown for each in (*server.all_ipv4, *server.all_ipv6))
    assert len(server.all_ipv4) == len(server.all_ipv6) == 2
    # Neighbours reach each other without the router.
    echo = home.hosts[1].serve("echo", address=home.hosts[1].ipv4)
    assert home.host.probe("ping", address=home.hosts[1].ipv4, port=echo.port, count=1)["trips"] != [None]


def test_a_plain_public_host(lab: Lab) -> None:
    """It has no router, and is as any host of the laboratory."""
    site = lab.site("here", "none")
    assert site.router is None and site.wan_ipv4 == site.public_ipv4 == site.host.ipv4


@pytest.mark.parametrize(
    "options",
    [{"kind": "cone"}, {"kind": "sym", "hairpin": True}, {"kind": "none", "upnp": True}, {"ipv6": "nat"}],
    ids=str,
)
def test_what_cannot_be_is_refused(lab: Lab, options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        lab.site("home", **options)  # type: ignore[arg-type]


# --- pairs ------------------------------------------------------------------------------------------------------------


PAIRS = {
    ("udp", "port", "port"): True,
    ("udp", "addr", "sym"): True,
    ("udp", "port", "cgnat"): True,
    ("udp", "port", "sym"): False,
    ("tcp", "port", "cgnat"): True,
    ("tcp", "rst", "rst"): True,
    ("tcp", "full", "sym"): True,
    ("tcp", "port", "sym"): False,
}


def test_who_can_meet(lab: Lab) -> None:
    """What is sent at the same time gets through where the theory says so, and only there."""
    server = lab.server()
    pairs = []
    for number, (protocol, one, other) in enumerate(PAIRS):
        here, there = lab.site(f"here{number}", one, delay=0.02), lab.site(f"there{number}", other)
        pairs.append((here.host, there.host, protocol))
    assert dict(zip(PAIRS, all_met(server, pairs), strict=True)) == PAIRS


def test_two_sites_behind_one_carrier(lab: Lab) -> None:
    """They meet at the public address that they share if the carrier leads back, and not otherwise."""
    server = lab.server()
    pairs = []
    for hairpin in (True, False):
        isp = lab.carrier(f"isp_{hairpin}", hairpin=hairpin)
        here, there = lab.site(f"here_{hairpin}", behind=isp), lab.site(f"there_{hairpin}", behind=isp)
        assert here.public_ipv4 == there.public_ipv4 == isp.router.ipv4
        assert here.wan_ipv4 != there.wan_ipv4 and here.wan_ipv4.startswith("100.64.")
        pairs += [(here.host, there.host, protocol) for protocol in ("udp", "tcp")]
    assert all_met(server, pairs) == [True, True, False, False]


@pytest.mark.parametrize("isolates", [True, False])
def test_a_carrier_may_keep_its_subscribers_apart(lab: Lab, isolates: bool) -> None:
    """A home that answers by RST is heard by its neighbour at its inner address, or not."""
    isp = lab.carrier("isp", isolates=isolates)
    here, there = lab.site("here", behind=isp), lab.site("there", "rst", behind=isp)
    verdict = here.host.probe("call", address=there.wan_ipv4, port=4000)["verdict"]
    assert verdict == ("silence" if isolates else "ECONNREFUSED")
