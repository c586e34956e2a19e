"""The kinds of sites: what each does to what passes, in the words of RFC 4787 and RFC 5780."""

from __future__ import annotations

import dataclasses
from typing import Literal

Mapping = Literal["none", "independent", "dependent", "blocked"]
Filtering = Literal["independent", "address", "port", "blocked"]
Ports = Literal["preserved", "random", "sequential", "blocked"]
Stranger = Literal["accepted", "dropped", "reset"]


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What a site does to one protocol, as it can be seen from outside and from a machine in it."""

    mapping: Mapping = "independent"
    """Whether all destinations see the same port: endpoint-independent, or dependent on address and port."""

    filtering: Filtering = "port"
    """Who may answer: anybody, whoever has an address that was sent to, or just the port that was."""

    ports: Ports = "preserved"
    """How the outer port comes about."""


BLOCKED = Behaviour("blocked", "blocked", "blocked")
_HOME = Behaviour()


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of site. What it says here is what an independent probe must find."""

    says: str
    """For people."""

    udp: Behaviour = _HOME
    tcp: Behaviour = _HOME
    stranger: Stranger = "dropped"
    """What becomes of a TCP connect to an open port from an address that nobody here has sent to."""

    tcp_only: tuple[int, ...] = ()
    """The ports to which TCP goes out, where not all are open."""

    carrier: bool = False
    """Whether the router has a carrier's behind it."""


def _both(says: str, mapping: Mapping, filtering: Filtering, ports: Ports, **more: Stranger | bool) -> Kind:
    behaviour = Behaviour(mapping, filtering, ports)
    return Kind(says, behaviour, behaviour, **more)  # type: ignore[arg-type]


KINDS: dict[str, Kind] = {
    "none": _both("a public address, no firewall", "none", "independent", "preserved", stranger="accepted"),
    "full": _both(
        "full cone: what is mapped is open to all", "independent", "independent", "preserved", stranger="accepted"
    ),
    "addr": _both("address-restricted: open to addresses that were sent to", "independent", "address", "preserved"),
    "port": _both("port-restricted, as most homes: open to what was sent to", "independent", "port", "preserved"),
    "sym": _both("symmetric: a random port for each destination", "dependent", "port", "random"),
    "symseq": _both("symmetric: the next port for each destination", "dependent", "port", "sequential"),
    "cgnat": _both("a home behind a carrier's NAT (100.64.0.0/10)", "independent", "port", "random", carrier=True),
    "udpblock": Kind("a home whose firewall drops UDP", udp=BLOCKED),
    "strict": Kind("a firewall that lets out TCP to ports 80 and 443 only", udp=BLOCKED, tcp_only=(80, 443)),
    "rst": Kind("a home whose router answers unasked-for SYNs by RST", stranger="reset"),
    "tcpblock": Kind("a home whose firewall drops TCP", tcp=BLOCKED),
}
"""By name, in the order of the tables of the documents."""
