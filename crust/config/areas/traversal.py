"""Ways through translators."""

from __future__ import annotations

from typing import ClassVar

from ... import limits
from ...values import dataclass
from ..kinds import Choice, Flag, ListOf, Number, Text, read_server
from ..sections import Section, key, section
from .shapes import COUNT_MAX, SECONDS

__all__ = ["NatConfig", "PunchConfig", "RelayConfig"]


@dataclass(frozen=True, slots=True)
class PunchConfig(Section):
    """How two nodes behind translators reach each other, once a common peer has introduced them."""

    KEY: ClassVar[str] = "nat.punch"

    tcp: bool = key(
        True, Flag(), "Punch by TCP: both dial each other at the same time, from the ports they listen on."
    )
    udp: bool = key(True, Flag(), "Punch by UDP.")
    predict: bool = key(True, Flag(), "Predict the ports of routers that give out one after the other.")
    birthday: bool = key(
        True,
        Flag(),
        "Search for the port of a router that gives out any: at most 2,048 probes, at most 200 a second.",
    )
    timeout: float = key(
        limits.PUNCH_TIMEOUT, SECONDS, "Seconds that one attempt takes at most, searches included."
    )


@dataclass(frozen=True, slots=True)
class NatConfig(Section):
    """What this node does about translators and filters on the way, and for others."""

    KEY: ClassVar[str] = "nat"

    port_mapping: tuple[str, ...] = key(
        ("pcp", "natpmp", "igd"),
        ListOf(Choice(("pcp", "natpmp", "igd")), "protocols: pcp, natpmp, igd"),
        "How this node asks its router to open a port for each listener: pcp, natpmp, igd (UPnP). []: never touch it.",
    )
    mapping_lease: int = key(
        limits.MAPPING_LEASE,
        Number("seconds", 60, limits.MAPPING_LIFE_MAX),
        "Seconds that the router is asked to keep a port open; renewed at half, and closed at the end.",
    )
    stun_servers: tuple[str, ...] = key(
        (),
        ListOf(
            Text('a server such as "stun.example.org:3478"', read_server),
            'servers such as "stun.example.org:3478"',
        ),
        "STUN servers that tell this node under which address the Internet sees it. Peers do that too.",
        live=True,
    )
    echo_for_others: bool = key(
        True,
        Flag(),
        "Whether peers may have this node send to their own address, to learn whether strangers reach them there.",
        live=True,
    )
    serve_stun: bool = key(
        False,
        Flag(),
        "Whether strangers get an answer to STUN on the ports that this node listens on; peers do.",
        live=True,
    )
    punch: PunchConfig = section(PunchConfig, "Ways through translators.")


@dataclass(frozen=True, slots=True)
class RelayConfig(Section):
    """Circuits: streams between two peers through a third that both are connected to."""

    KEY: ClassVar[str] = "relay"

    use: bool = key(
        True,
        Flag(),
        "Whether messages may go through another peer while there is no other path. It cannot read them. If not, they"
        " wait: peers still introduce this node to others, which is how holes are made in NATs.",
        live=True,
    )
    serve: bool = key(
        False,
        Flag(),
        "Whether this node carries others' messages. Introducing them to each other is free, and always done.",
        live=True,
    )
    max_circuits: int = key(
        limits.RELAY_CIRCUITS,
        Number("circuits", 1, COUNT_MAX),
        f"Circuits with messages at once; one peer may open one in {limits.RELAY_PEER_SHARE} of them.",
        live=True,
    )
    bytes_per_second: int = key(
        limits.RELAY_BYTES_PER_SECOND,
        Number("bytes", 1024, 2**40),
        "Bytes a second on all of them together, and half as many on those of one peer. What is too much waits.",
        live=True,
    )
