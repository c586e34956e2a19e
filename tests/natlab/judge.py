"""What sites do, as :mod:`tests.natlab.classify` finds it: the laboratory's own judgement, which owes crust nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tests.natlab.hosts import Machine
from tests.natlab.routers.kinds import BLOCKED, Behaviour
from tests.natlab.server import Server
from tests.support.programs import Program

PATIENCE = 60.0  # seconds
PORT = 3478


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

    any_port: bool
    """Whether TCP goes out to a port that has nothing special."""


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
        arguments = {"address": address, "server": sources[name][0], "port": ports.get(name, PORT), "usual": PORT}
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
        found["elsewhere"],
    )


def met(server: Server, one: Machine, other: Machine, protocol: str = "udp") -> bool:
    """
    Whether two hosts hear each other that send at the same time to the addresses that a server saw.

    Args:
        protocol: ``udp`` or ``tcp``.
    """
    return all_met(server, [(one, other, protocol)])[0]


def all_met(server: Server, pairs: Sequence[tuple[Machine, Machine, str]]) -> list[bool]:
    """The same of several pairs, at once."""
    under_way = []
    introducers = [_start(server, "introduce", "meeting", address=server.ipv4) for _ in pairs]
    for introducer, (*hosts, protocol) in zip(introducers, pairs, strict=True):
        where = {"server": server.ipv4, "port": _result(introducer)["port"]}
        under_way.append(
            [_start(host, protocol, "meeting", address=host.ipv4, name=host.name, **where) for host in hosts]
        )
    found = []
    for programs, (one, other, protocol) in zip(under_way, pairs, strict=True):
        heard = [_result(program)["heard"] for program in programs]
        assert heard[0] == heard[1], f"only one of {one.name} and {other.name} heard the other over {protocol}"
        found.append(all(heard))
    return found


def _start(host: Machine, program: str, module: str = "classify", /, **arguments: Any) -> Program:
    return host.start("python", "-m", f"tests.natlab.{module}", program, json.dumps(arguments))


def _result(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.wait_for(r"^\{.*\}$", PATIENCE)[0])
    return found


class Watch:
    """Where a socket on a host is seen by a server's coturn, while things happen to the network."""

    def __init__(self, server: Server, host: Machine) -> None:
        self._program = _start(host, "watch", address=host.ipv4, server=server.ipv4, port=PORT)
        self.first: tuple[str, int] | None = self.next()

    def next(self) -> tuple[str, int] | None:
        """Where it is seen next; None: there is no answer any more."""
        found = _result(self._program)["mapped"]
        return found and tuple(found)


def paused(server: Server, hosts: Sequence[Machine], seconds: Sequence[float]) -> list[bool]:
    """Whether the mappings of sockets on these hosts outlive so many seconds of silence, all at once."""
    programs = [
        _start(host, "pause", address=host.ipv4, server=server.ipv4, port=PORT, seconds=each)
        for host, each in zip(hosts, seconds, strict=True)
    ]
    return [found["before"] == found["after"] for found in map(_result, programs)]


def open_for(server: Server, host: Machine, seconds: float) -> float:
    """How long strangers reach a socket on a host that has sent once: seconds, or all of these."""
    program = _start(host, "hole", address=host.ipv4, server=server.ipv4, port=PORT, seconds=seconds)
    _result(_start(server, "knock", target=_result(program)["mapped"], seconds=seconds))
    found: float = _result(program)["latest"]
    return found
