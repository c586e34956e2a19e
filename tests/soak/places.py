"""Where the nodes of a soak are, which transports and threads they have, and who has sessions with whom."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import crust
from tests.natlab.lab import Lab
from tests.natlab.routers.sites import Site
from tests.soak.member import Member

PORT = 7000
DISK = 1 << 18  # bytes of each node's state
LEASE = 60  # seconds of ports at routers, the least that may be asked for
RESUME = 30.0  # seconds after which a silent session is lost
SERVERS = 2
DELAY = 0.005  # seconds on each line, one way


@dataclasses.dataclass(frozen=True)
class Place:
    """A site, and its node."""

    kind: str
    only: str = ""
    """The one transport of its node, if it has only one."""

    options: tuple[tuple[str, Any], ...] = ()
    """Of `Lab.site`."""


PLACES = (
    Place("port", options=(("upnp", True),)),
    Place("sym"),
    Place("none"),
    Place("port", only="utp", options=(("upnp", ["pcp"]),)),
    Place("cgnat"),
    Place("udpblock"),
    Place("full", options=(("upnp", ["igd"]),)),
    Place("port", options=(("ipv6", "firewall"),)),
    Place("addr"),
    Place("tcpblock"),
    Place("rst", only="tcp"),
    Place("symseq"),
)
"""In this order, as many as there are nodes behind the servers; again from the first if there are more."""


def settings(contacts: list[str], addresses: list[str], home: pathlib.Path, *, server: bool) -> dict[str, Any]:
    """The configuration of a node: everything is as by default but for times, which are shorter."""
    return {
        "identity": {"file": str(home / "identity")},
        "listen": {"addresses": addresses},
        "bootstrap": {"contacts": contacts, "accept": server},
        "relay": {"serve": server},
        "lan": {"seek": "never"},
        "nat": {"mapping_lease": LEASE},
        "session": {"heartbeat_interval": 5.0, "resume_timeout": RESUME, "handshake_timeout": 5.0},
    }


def members(lab: Lab, count: int, folder: pathlib.Path, seed: int, rate: float) -> list[Member]:
    """
    Make the machines, and on each a node that has not begun.

    Args:
        count: How many nodes there are, the servers included.
        folder: For what they say.
        rate: Messages a second of all of them together.
    """
    homes = [lab.folder / f"home-{number}" for number in range(count)]
    for home in homes:
        home.mkdir()
    ids = [str(crust.Identity.load_or_create(home / "identity").peer_id) for home in homes]
    servers = [lab.server(f"srv_{number}") for number in range(SERVERS)]
    contacts = [
        f"{peer}@tcp://{server.ipv4}:{PORT},utp://{server.ipv4}:{PORT}"
        for peer, server in zip(ids, servers, strict=False)
    ]
    made = []
    for number in range(count):
        inner = number - SERVERS
        place = PLACES[inner % len(PLACES)]
        site: Site | None = None
        if inner < 0:
            machine = servers[number]
            addresses = [f"{transport}://{machine.ipv4}:{PORT}" for transport in ("tcp", "utp")]
            known = [contact for other, contact in enumerate(contacts) if other != number]
        else:
            site = lab.site(f"site_{number}", place.kind, delay=DELAY, **dict(place.options))
            machine = site.host  # type: ignore[assignment]
            hosts = ("0.0.0.0", "[::]")
            addresses = [f"{name}://{host}:0" for name in ("tcp", "utp") for host in hosts if place.only in ("", name)]
            known = [contact for contact in contacts] if not place.only else [
                f"{contact.partition('@')[0]}@{place.only}://{server.ipv4}:{PORT}"
                for contact, server in zip(contacts, servers, strict=True)
            ]
        made.append(
            Member(
                number=number,
                name=machine.name,
                peer=ids[number],
                machine=machine,
                site=site,
                greenlets=number % 2 == 1,
                config=settings(known, addresses, homes[number], server=inner < 0),
                peers=_wanted(inner, count - SERVERS, ids),
                by_group=number % 3 == 0,
                steady=number % 4 in (0, 1) and number != 1,
                disk=lab.disk(f"disk-{number}", DISK),
                home=homes[number],
                log=folder / f"{machine.name}.log",
                rate=rate / count,
                seed=seed,
            )
        )
    return made


def _wanted(inner: int, count: int, ids: list[str]) -> list[str]:
    """The ids of those whom a node calls: the next one, and the third, in a ring."""
    if inner < 0:
        return []
    others = {(inner + step) % count for step in (1, 3)} - {inner}
    return [ids[SERVERS + each] for each in sorted(others)]
