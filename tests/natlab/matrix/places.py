"""Where the two nodes of a run are, and the rendezvous: machines of a laboratory, and the commands that run there."""

from __future__ import annotations

import dataclasses
import pathlib

from tests.natlab.hosts import Machine
from tests.natlab.lab import Lab
from tests.natlab.matrix.state import Run
from tests.natlab.matrix.table import SPECIAL
from tests.natlab.routers.sites import Site
from tests.natlab.server import Server
from tests.natlab.watched import WatchedNode

PATIENCE = 30.0  # seconds


@dataclasses.dataclass(frozen=True)
class Place:
    """One end of a run."""

    machine: Machine
    site: Site

    def disturb(self, server: Server, rate: float) -> None:
        """From now on another machine at this site opens so many flows a second (`places` has made it)."""
        if self.site.router:
            words = ("python", "-m", "tests.natlab.foreign", server.all_ipv4[1], str(rate))
            self.site.hosts[-1].start(*words).wait_for("^flow$", PATIENCE)


def places(lab: Lab, run: Run) -> tuple[Place, Place]:
    """Make the sites of the caller and of the callee; with foreign flows each has one machine more than nodes."""
    conditions = run.conditions
    line = {"delay": conditions.delay, "loss": conditions.loss}
    hosts = 2 if conditions.foreign else 1
    if run.one == "lan":
        site = lab.site("one", "port", hosts=hosts + 1, **line)
        return Place(site.hosts[0], site), Place(site.hosts[1], site)
    more: list[dict[str, object]] = [{}, {}]
    kinds = [run.one, run.other]
    if run.one in SPECIAL:
        kinds = ["port", "port"]
    if run.one == "shared":
        carrier = lab.carrier("isp", hairpin=True)
        more = [{"behind": carrier}, {"behind": carrier}]
    elif run.one == "mapped":
        more = [{}, {"upnp": True}]
    elif run.one == "ipv6":
        more = [{"ipv6": "firewall"}, {"ipv6": "firewall"}]
    sites = []
    for name, kind, each in zip(("one", "other"), kinds, more, strict=True):
        sites.append(lab.site(name, kind, hosts=1 if kind == "none" else hosts, **line, **each))  # type: ignore[arg-type]
    sites[1].link.up.set(delay=conditions.delay + conditions.skew)
    return Place(sites[0].host, sites[0]), Place(sites[1].host, sites[1])


def rendezvous(server: Server, home: pathlib.Path, *, ipv6: bool = False) -> WatchedNode:
    """
    A node that everybody can link to: on port 443 as well, for those who get no further.

    Args:
        ipv6: Whether it listens on IPv6 as well.
    """
    places = [f"{place}://{server.ipv4}:{port}" for place, port in (("tcp", 0), ("tcp", 443), ("utp", 0))]
    places += [f"{place}://[{server.ipv6}]:0" for place in ("tcp", "utp")] if ipv6 else []
    words = [word for place in places for word in ("--listen", place)]
    return WatchedNode(server, home, "--allow-bootstrap", "--serve-relay", "-v", *words)


def node(
    machine: Machine, home: pathlib.Path, only: str = "", *, web: bool = False, mapping: bool = False
) -> WatchedNode:
    """
    A node with the default listeners.

    Args:
        only: The one transport that it uses.
        web: Whether it listens on port 443 as well.
        mapping: Whether it asks the router for ports: where none opens any, nobody need wait for that.
    """
    words = [] if mapping else ["--no-portmap"]
    words += ["--only", only] if only else []
    if web:
        addresses = ("tcp://0.0.0.0:0", "utp://0.0.0.0:0", "tcp://0.0.0.0:443")
        words += [word for each in addresses if each.startswith(only) for word in ("--listen", each)]
    return WatchedNode(machine, home, "-v", *words)
