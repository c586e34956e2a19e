"""What happens to sites: mappings expire, routers reboot, lines are cut and get other addresses."""

from __future__ import annotations

import dataclasses

import pytest

from tests.natlab.judge import Watch, all_met, judged, open_for, paused
from tests.natlab.lab import Lab
from tests.natlab.routers.kinds import KINDS
from tests.natlab.routers.sites import LanHost


def test_mappings_expire(lab: Lab) -> None:
    """After the seconds that are set, and not before; each flow of a symmetric NAT then gets another port."""
    server = lab.server()
    server.coturn()
    sites = [lab.site(f"home{seconds}", "sym", mapping_timeout=seconds) for seconds in (2, 120)]
    hosts = [site.host for site in sites]
    assert paused(server, [*hosts, hosts[0]], [3.0, 3.0, 0.2]) == [False, True, True]


def test_what_the_rules_remember_expires_as_well(lab: Lab) -> None:
    """A full cone closes to strangers when nothing has gone out for so long."""
    server, home = lab.server(), lab.site("home", "full", mapping_timeout=1)
    server.coturn()
    assert 0.5 < open_for(server, home.host, 4.0) < 3.5


@pytest.mark.parametrize("kind", ["sym", "cgnat"])
def test_a_reboot(lab: Lab, kind: str) -> None:
    """The router is gone for a moment, and has forgotten what it mapped; the address stays."""
    server = lab.server()
    server.coturn()
    home = lab.site("home", "sym", behind=lab.carrier("isp") if kind == "cgnat" else None)
    watch = Watch(server, home.host)
    assert home.router is not None and watch.first is not None
    home.router.reboot()
    while (seen := watch.next()) is None:  # the moment may be short
        pass
    assert seen[0] == watch.first[0] == home.public_ipv4 and seen[1] != watch.first[1]


def test_a_cut(lab: Lab) -> None:
    """Nothing passes; afterwards all is as before."""
    server = lab.server()
    server.coturn()
    home = lab.site("home", "sym")
    watch = Watch(server, home.host)
    assert home.router is not None
    home.router.cut()
    assert watch.next() is None
    assert home.link.up.counts().broken > 0
    home.router.restore()
    assert watch.next() == watch.first


@pytest.mark.parametrize("kind", ["none", "port", "cgnat"])
def test_another_address(lab: Lab, kind: str) -> None:
    """The provider gives it; a carrier's is inside, where the world does not see it."""
    server = lab.server()
    server.coturn()
    home = lab.site("home", "sym", behind=lab.carrier("isp")) if kind == "cgnat" else lab.site("home", kind)
    watch = Watch(server, home.host)
    assert watch.first is not None
    before = home.wan_ipv4
    home.renumber()
    assert home.wan_ipv4 != before
    seen = watch.next()
    while seen is None:
        seen = watch.next()
    assert seen != watch.first and seen[0] == home.public_ipv4
    assert (home.public_ipv4 == home.wan_ipv4) is (kind != "cgnat")


@pytest.mark.parametrize("kind", ["full", "addr", "port", "sym", "symseq", "cgnat"])
def test_other_ports(lab: Lab, kind: str) -> None:
    """The router forgets, and gives a flow that goes on another port at the same address, each time."""
    server, home = lab.server(), lab.site("home", kind)
    server.coturn()
    watch = Watch(server, home.host)
    assert home.router is not None and watch.first is not None
    seen = [watch.first]
    for _ in range(2):
        home.router.rebind()
        while (found := watch.next()) in (None, seen[-1]):  # the answer to what went out before
            pass
        assert found is not None
        seen.append(found)
    assert {each[0] for each in seen} == {home.public_ipv4} and len({each[1] for each in seen}) == 3


def test_after_that_it_is_the_same_kind(lab: Lab) -> None:
    """Other ports are all that is other."""
    server = lab.server()
    server.coturn()
    sites = {kind: lab.site(kind, kind) for kind in ("full", "port", "symseq")}
    for site in sites.values():
        assert site.router is not None
        site.router.rebind()
    for kind, verdict in judged(server, {kind: site.host for kind, site in sites.items()}, {}).items():
        before = KINDS[kind].udp
        ports = "random" if before.ports == "preserved" else before.ports
        assert verdict.udp == verdict.tcp == dataclasses.replace(before, ports=ports)


def test_another_address_inside(lab: Lab) -> None:
    """The router has another flow then; the host is at the same public address, and meets others as before."""
    server, home, other = lab.server(), lab.site("home", "port"), lab.site("other", "port")
    server.coturn()
    watch = Watch(server, home.host)
    assert isinstance(home.host, LanHost) and watch.first is not None
    before = home.host.ipv4
    home.host.renumber()
    assert home.host.ipv4 != before and f"{before}/" not in home.host.run("ip", "address")
    while (seen := watch.next()) is None:
        pass
    assert seen[0] == home.public_ipv4 and seen[1] != watch.first[1]
    assert all_met(server, [(home.host, other.host, "udp"), (home.host, other.host, "tcp")]) == [True, True]
