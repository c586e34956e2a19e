"""Where others can reach a node."""

from __future__ import annotations

from typing import ClassVar

from ... import limits
from ...addresses import Endpoint
from ...values import dataclass
from ..kinds import ListOf, Number, OrNull, Text, read_dialable_endpoint, read_listen_endpoint
from ..sections import Section, key, section
from .shapes import PATTERNS

__all__ = ["InterfacesConfig", "ListenConfig"]


@dataclass(frozen=True, slots=True)
class InterfacesConfig(Section):
    """Which network interfaces count when this node tells others its addresses."""

    KEY: ClassVar[str] = "listen.interfaces"

    include: tuple[str, ...] | None = key(
        None,
        OrNull(PATTERNS, "all"),
        'Patterns of interface names, such as ["eth*", "wlan0"]. null: all.',
    )
    exclude: tuple[str, ...] = key(
        ("docker*", "veth*", "br-*"),
        PATTERNS,
        "Patterns of interface names that are left out even if they are included above.",
    )


@dataclass(frozen=True, slots=True)
class ListenConfig(Section):
    """Where others can reach this node."""

    KEY: ClassVar[str] = "listen"

    addresses: tuple[str, ...] = key(
        ("tcp://0.0.0.0:0", "tcp://[::]:0", "utp://0.0.0.0:0", "utp://[::]:0"),
        ListOf(
            Text('an address in quotes such as "tcp://0.0.0.0:5483"', read_listen_endpoint, (Endpoint,)),
            'addresses such as "tcp://0.0.0.0:5483"',
        ),
        "Addresses to listen on, for TCP and for µTP; port 0 is a random one, the same for both if it is free."
        " []: only dial others.",
    )
    advertise: tuple[str, ...] = key(
        (),
        ListOf(
            Text('an address in quotes such as "tcp://192.0.2.7:5483"', read_dialable_endpoint, (Endpoint,)),
            'addresses such as "tcp://192.0.2.7:5483"',
        ),
        "Addresses that lead here without our knowing, such as a port that you forwarded by hand.",
        live=True,
    )
    rotate_interval: float | None = key(
        None,
        OrNull(Number("seconds", limits.ROTATE_MIN, 31_536_000, whole=False), "never"),
        "Seconds, +/- 25 %, after which all random ports are changed for others, while running; sessions move. null:"
        " never. It makes a node harder to follow, and its addresses go stale for those who were told them on paper.",
    )
    interfaces: InterfacesConfig = section(InterfacesConfig, "Whose addresses are told to others.")
