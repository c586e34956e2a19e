"""A snapshot of a running node: values, for programs and, by ``as_dict``, for JSON."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from ...addresses import Contact, Endpoint, PeerId
from ...assessment import SiteKind
from ...candidates import Candidate
from ...paths import Path
from ...values import dataclass
from ..stats import Stats

__all__ = ["SCHEMA", "MappedPort", "NatProtocol", "NatVerdict", "PeerStatus", "Status", "Traffic"]

SCHEMA = 1
"""Number of the form that ``Status.as_dict`` gives, which ``conf/status.schema.json`` describes."""


@dataclass(frozen=True)
class Traffic:
    """Counts since the beginning of a session, or of the node for all its sessions. They never fall."""

    bytes_sent: int
    """Bytes on the wire of the links that have carried messages, headers and resends included."""

    bytes_received: int
    messages_sent: int
    """Messages accepted by ``send``, unacknowledged ones included."""

    messages_received: int
    """Messages that arrived whole, file transfers included."""


@dataclass(frozen=True)
class PeerStatus:
    """One peer."""

    id: PeerId
    state: str
    """``connected`` or ``suspended``."""

    role: str
    """``node`` or ``client``, as the other side says."""

    inbound: bool
    """True if the other side began the session."""

    relays: bool
    """True if it carries data between peers of its that have no better path to each other."""

    path: Path | None
    """The way data takes (the last one while suspended), with the round trip as measured last."""

    traffic: Traffic
    unacknowledged_messages: int
    """Queued or under way."""

    unacknowledged_bytes: int
    """Their size with overheads."""

    unread_bytes: int
    """Bytes that wait for the application, with overheads."""


@dataclass(frozen=True)
class MappedPort:
    """A port that the router has opened."""

    listener: Endpoint
    """As bound."""

    endpoint: Endpoint
    """At the router."""

    protocol: str
    """``pcp``, ``natpmp`` or ``igd``."""

    lease: int
    """Seconds for which the router opens it; it is renewed in time."""

    reason: str
    """Why strangers do not get in there all the same; empty: they should."""


@dataclass(frozen=True)
class NatProtocol:
    """What is known of the routers and firewalls on the way, for one transport and family."""

    transport: str
    """``tcp`` or ``utp``."""

    family: int
    """4 or 6."""

    mapping: str
    """``independent``: one outer port for all (or no translator at all); ``dependent``: another one for each
    destination; ``blocked``: nothing gets through; ``unknown``."""

    step: int
    """From one outer port to the next, if they are counted; 0: no order is known."""

    ports: tuple[int, int] | None
    """The block from which outer ports are drawn, if one is known."""

    filtering: str
    """``open``: strangers have got in; ``closed``: one tried and did not; ``unknown``."""

    resets: bool
    """Strangers' calls by TCP are refused instead of ignored."""

    seen: tuple[Endpoint, ...]
    """Where others see the listeners."""


@dataclass(frozen=True)
class NatVerdict:
    """Where the node stands, as far as it has found out while running. ``punch-test report`` finds out more."""

    kind: SiteKind
    """In a word."""

    text: str
    """What that means, in a sentence."""

    public: bool | None
    """Whether strangers can be expected to reach it; None: not known."""

    protocols: tuple[NatProtocol, ...]


@dataclass(frozen=True)
class Status:
    """
    What a node is and holds at one moment.

    Differences of two snapshots give rates: ``(later.traffic.bytes_sent - earlier.traffic.bytes_sent) / (later.uptime -
    earlier.uptime)``.
    """

    version: str
    """Of crust."""

    process: int
    """The process in which the node runs."""

    at: float
    """When, in seconds since the epoch."""

    uptime: float
    """Seconds since the start."""

    id: PeerId
    contact: Contact
    """Its id and addresses."""

    network: str | None
    """The name of its network; None: it has none."""

    closed: bool
    """Only who has the network's secret can talk to it."""

    role: str
    """``node`` or ``client``."""

    accepts_bootstrap: bool
    """Strangers may bootstrap off it."""

    serves_relay: bool
    """It carries messages between peers of its."""

    listeners: tuple[Endpoint, ...]
    """As bound: the address may be the unspecified one."""

    addresses: tuple[Endpoint, ...]
    """Where others may reach it, as strangers are told."""

    candidates: tuple[Candidate, ...]
    """Every address at which it may be reachable."""

    mappings: tuple[MappedPort, ...]
    mapping_failure: str
    """Why the router opens no port; empty: it does, or was not asked."""

    nat: NatVerdict
    peers: tuple[PeerStatus, ...]
    """Oldest session first."""

    via: tuple[Contact, ...]
    """Peers that introduce others to it."""

    traffic: Traffic
    """Of all sessions, those that are over included."""

    stats: Stats
    sections: Mapping[str, Mapping[str, Any]]
    """What parts of the node add, such as ``groups`` or ``cache``: values for JSON by name. A part that is not there,
    or not in use, has none."""

    socket: str | None
    """The status socket, if it is open."""

    metrics: str | None
    """Where Prometheus asks, as ``127.0.0.1:9475``, if that is open."""

    def as_dict(self) -> dict[str, Any]:
        """The same for `json.dumps`; ids, endpoints and contacts are text."""
        return {"schema": SCHEMA, **_as_json(self)}


def _as_json(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return value.as_dict()
    if isinstance(value, (PeerId, Endpoint, Contact)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value)
