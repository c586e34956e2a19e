"""What sites do, as :mod:`tests.natlab.classify` finds it: the laboratory's own judgement, which owes crust nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

from tests.natlab.hosts import Machine
from tests.natlab.routers.kinds import BLOCKED, Behaviour
from tests.natlab.server import Server
from tests.support.programs import Program

PATIENCE = 60.0


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of one site."""

    udp: Behaviour
    tcp: Behaviour
    stranger: str
    """What became of a connect from an address that nobody in the site had sent to: see `Kind`."""

    hairpin: tuple[bool, bool]
    """Over UDP, and over TCP."""

    steps: tuple[int, int]
    """Between one port and the next, where they are sequential, of UDP and TCP; else 0."""


def judged(
    server: Server, hosts: Mapping[str, Machine], ports: Mapping[str, int], over_ipv6: Collection[str] = ()
) -> dict[str, Verdict]:
    """
    What the sites of these hosts do, all found out at once.

    Args:
        server: coturn runs there.
        hosts: One of each site, by a name.
        ports: Where coturn is asked by those that cannot reach its usual port.
        over_ipv6: The names of those that are looked at over IPv6; the others over IPv4.
    """
    sources = {name: server.all_ipv6 if name in over_ipv6 else server.all_ipv4 for name in hosts}
    programs = {}
    for name, host in hosts.items():
        address = getattr(host, "ipv6" if name in over_ipv6 else "ipv4")
        arguments = {"address": address, "server": sources[name][0], "port": ports.get(name, 3478)}
        programs[name] = _start(host, "inside", **arguments)
    found = {name: _result(program) for name, program in programs.items()}
    targets = {name: each["listener"] for name, each in found.items() if each["listener"]}
    calls = _result(_start(server, "strangers", sources=sources, targets=targets))
    return {name: _verdict(each, calls.get(name), sources[name]) for name, each in found.items()}


def _verdict(found: dict[str, Any], calls: dict[str, str] | None, addresses: tuple[str, ...]) -> Verdict:
    known, unknown = addresses
    if calls is None:
        tcp, stranger = BLOCKED, "dropped"
    else:
        heard = [calls[each] == "accepted" for each in (unknown, known)]
        filtering = "independent" if heard[0] else "address" if heard[1] else "port"
        tcp = Behaviour(found["tcp"]["mapping"], filtering, found["tcp"]["ports"])  # type: ignore[arg-type]
        stranger = calls[unknown]
    return Verdict(
        Behaviour(*(found["udp"][each] for each in ("mapping", "filtering", "ports"))),
        tcp,
        stranger,
        (found["udp"].get("hairpin", False), found["tcp"].get("hairpin", False)),
        (found["udp"].get("step", 0), found["tcp"].get("step", 0)),
    )


def met(server: Server, one: Machine, other: Machine) -> bool:
    """Whether two hosts that send each other UDP at the same time, to the addresses that a server saw, both hear."""
    introducer = _start(server, "introduce", address=server.ipv4)
    arguments = {"server": server.ipv4, "port": _result(introducer)["port"]}
    programs = [
        _start(host, "meet", address=host.ipv4, name=host.name, **arguments)  # type: ignore[attr-defined]
        for host in (one, other)
    ]
    heard = [_result(program)["heard"] is not None for program in programs]
    assert heard[0] == heard[1], f"only one of {one.name} and {other.name} heard the other"
    return all(heard)


def _start(host: Machine, program: str, /, **arguments: Any) -> Program:
    return host.start("python", "-m", "tests.natlab.classify", program, json.dumps(arguments))


def _result(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.wait_for(r"^\{.*\}$", PATIENCE)[0])
    return found
