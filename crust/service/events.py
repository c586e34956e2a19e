"""
What the application hears.

Every event is frozen; ``peer`` fields are :class:`crust.Peer`. Callbacks and streams get them in the order in which
they happened. The base class :class:`Event` stands for all of them in ``on`` and ``events``.
"""

from __future__ import annotations

import enum

from ..addresses import ConnectionInfo, Contact, Endpoint, PeerId
from ..exceptions import ConfigError, CrustError
from ..paths import Attempt, Path
from ..peers.messages import NewMessage
from ..peers.peer import Peer
from ..values import dataclass

__all__ = [
    "AddressesChanged",
    "BootstrapAccept",
    "BootstrapConnect",
    "BootstrapFailed",
    "ConfigReloaded",
    "ConnectFailure",
    "ConnectSuccess",
    "ConnectionInfoPrepared",
    "Event",
    "EventsLost",
    "FileFailed",
    "FileReceived",
    "GroupReady",
    "GroupShort",
    "IdentityShared",
    "ListenerFailed",
    "ListenerStarted",
    "LostPeer",
    "LostReason",
    "MessageRefused",
    "MessagesDropped",
    "NewMessage",
    "PathAttempted",
    "PathChanged",
    "PeerDiscovered",
    "PeerMisbehaved",
    "PeerResumed",
    "PeerSuspended",
    "PortMapFailed",
    "PortMapped",
    "SendReady",
]


class LostReason(str, enum.Enum):
    """Why a session ended; compares equal to its word."""

    CLOSED = "closed"
    """The other side's node was closed in order."""
    DISCONNECTED = "disconnected"
    """One of the two applications ended it."""
    BANNED = "banned"
    """One side banned the other."""
    ROLE = "role"
    """The called side's lists of those who may connect were changed, and the caller is not on them any more."""
    UNNEEDED = "unneeded"
    """The node that began it wanted to ask something, or to be introduced to somebody, and that is over."""
    TIMEOUT = "timeout"
    """Nothing was heard for ``session.resume_timeout``."""
    GONE = "gone"
    """The other side no longer knew the session when we came back."""
    RESTARTED = "restarted"
    """The other side's program started anew."""
    REPLACED = "replaced"
    """The other side began a new session in its place."""
    PROTOCOL = "protocol"
    """One side broke the protocol."""
    OVERLOADED = "overloaded"
    """
    Too much was kept for peers without a link, and the longest gone were given up; or messages that this one had begun
    and did not finish kept others waiting.
    """
    SERVICE_CLOSED = "service_closed"
    """This node was closed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Event:
    """Base of all events but ``NewMessage``, which is a tuple."""


@dataclass(frozen=True)
class ListenerStarted(Event):
    """The node accepts connections at an address."""

    endpoint: Endpoint
    """Where, with the port that the system chose if it was 0."""


@dataclass(frozen=True)
class ListenerFailed(Event):
    """A listening address is not, or no longer, served."""

    endpoint: Endpoint
    """The address as configured."""
    error: str
    """Why."""


@dataclass(frozen=True)
class BootstrapConnect(Event):
    """``bootstrap`` reached a node: a new session that we began."""

    peer: Peer
    path: Path


@dataclass(frozen=True)
class BootstrapAccept(Event):
    """A node bootstraps off us: a new session that it began. Drop it with ``peer.disconnect()``."""

    peer: Peer
    path: Path


@dataclass(frozen=True)
class BootstrapFailed(Event):
    """
    ``bootstrap`` reached nobody, or a node that stays in the network by itself has lost it: once, until it is back.
    """

    attempts: tuple[Attempt, ...]
    """What was tried."""

    reasons: tuple[str, ...] = ()
    """Why it came to nothing, a sentence for each node that was tried; contacts first."""


@dataclass(frozen=True)
class ConnectionInfoPrepared(Event):
    """``prepare_connection_info`` has its result."""

    info: ConnectionInfo


@dataclass(frozen=True)
class ConnectSuccess(Event):
    """A new session. Keep it by doing nothing, drop it with ``peer.disconnect()``."""

    peer: Peer
    inbound: bool
    """True if the other side began it."""
    path: Path


@dataclass(frozen=True)
class ConnectFailure(Event):
    """``connect`` or ``dial`` did not reach a peer."""

    peer_id: PeerId
    attempts: tuple[Attempt, ...]
    error: CrustError
    """The exception that ``connect`` raised."""


@dataclass(frozen=True)
class PathAttempted(Event):
    """
    An attempt to reach a peer, or to reach it by a better path, has ended, well or not. There may be no session with it
    yet, or never.
    """

    peer_id: PeerId
    attempt: Attempt


@dataclass(frozen=True)
class PathChanged(Event):
    """A session moved to another way without a break."""

    peer: Peer
    old: Path | None
    new: Path


@dataclass(frozen=True)
class PeerSuspended(Event):
    """A session has no link. It resumes, or ends with ``LostPeer`` after ``session.resume_timeout``."""

    peer: Peer
    reason: str
    """What happened to the link."""


@dataclass(frozen=True)
class PeerResumed(Event):
    """A suspended session goes on; nothing was lost."""

    peer: Peer
    path: Path


@dataclass(frozen=True)
class LostPeer(Event):
    """A session is over, for ever. Its inbox can still be read."""

    peer: Peer
    reason: LostReason
    unacknowledged: tuple[int, ...]
    """Numbers (from ``send``) of messages that may not have arrived."""
    text: str = ""
    """
    What whoever ended it said about that, if anything: our own words, or the other side's (control characters replaced,
    and no truer than the peer is).
    """


@dataclass(frozen=True)
class SendReady(Event):
    """At least half of the send buffer is free again, after a ``send`` that raised ``WouldBlock``."""

    peer: Peer


@dataclass(frozen=True)
class MessagesDropped(Event):
    """Messages of low priority waited for longer than ``session.drop.max_age`` and were not sent."""

    peer: Peer
    numbers: tuple[int, ...]
    priority: int


@dataclass(frozen=True)
class MessageRefused(Event):
    """
    A peer sent messages, or offered files, that are not signed, and this node takes no others
    (``signing.require_signed``): nobody gets them. At most one every 10 seconds for each peer.
    """

    peer: Peer
    count: int
    """How many, since the last such event."""


@dataclass(frozen=True)
class PeerMisbehaved(Event):
    """
    A peer, or somebody at an address, does what no honest one does. docs/misbehaviour.md has the kinds, from when on
    each is told, and what crust does about it unless ``Service(on_misbehaviour=…)`` says something else.

    At most one every 10 seconds for each kind and IPv4 address or IPv6 /64; what happens in between is counted by the
    next one. Where there are many addresses, one event tells of all of them.
    """

    peer: Peer | None
    """Who did so last; None: nobody has proven a key, or there are many; or, of ``session-flood``, it has no session
    now, and ``detail`` names it."""
    address: str
    """With a peer, where it did so from, as an endpoint; ``relay://…`` is an innocent peer in between: ban ``peer.id``.
    Without one, the IPv4 address or IPv6 network, as ``ban`` takes it; empty: many, or it came through another peer."""
    kind: str
    """A name of the table, such as ``protocol`` or ``start-rate``."""
    detail: str
    """What it did."""
    count: int
    """How often it happened since the last such event, this time included."""
    attributable: bool
    """True if nobody but that peer, who has its key, or, without a peer, somebody at that address, can have done it: a
    reason for a ban. False: whoever sent it may have said any address."""


@dataclass(frozen=True)
class PeerDiscovered(Event):
    """
    A node answers on a link of this machine: once for each address of it, and again when its ports are others, or when
    it is back after it was silent for ten minutes. Nobody has a session with it for that.
    """

    contact: Contact
    """Who it is, and where on that link."""
    interface: str
    """By which of our interfaces it was heard: ``eth0``."""
    role: str
    """``node`` or ``client``."""


@dataclass(frozen=True)
class IdentityShared(Event):
    """
    Another program runs with the key of this node, and tells the network that it is elsewhere; told once. Peers reach
    now the one and now the other: give each program an identity of its own, or end one of the two.
    """

    endpoints: tuple[Endpoint, ...]
    """Where the other one says that it is, if it does."""


@dataclass(frozen=True)
class AddressesChanged(Event):
    """The node's own addresses are others than before."""

    addresses: tuple[Endpoint, ...]


@dataclass(frozen=True)
class PortMapped(Event):
    """The router leads one of its ports to a listener of this node. Renewals raise no event, changes do."""

    listener: Endpoint
    """The listener, as bound."""
    endpoint: Endpoint
    """Where others reach it."""
    protocol: str
    """What the router understood: ``pcp``, ``natpmp`` or ``igd`` (UPnP)."""
    lease: int
    """Seconds that it was granted for, renewed in time; 0: until it is closed."""
    reason: str
    """
    Empty; or, in a sentence, why the Internet does not reach it there all the same: another NAT beyond the router, of
    the provider or at home.
    """


@dataclass(frozen=True)
class PortMapFailed(Event):
    """The router opens no port for some listener, or there is none; once for each change of the reason."""

    reason: str
    """What each protocol came to, in a sentence."""


@dataclass(frozen=True)
class FileReceived(Event):
    """A file has arrived whole, was checked, and stands under its final name."""

    peer: Peer
    path: str
    """Where it is."""
    name: str
    """What the sender called it."""
    size: int
    """In bytes."""
    digest: str
    """BLAKE2b-256 of its content, as hex."""
    proof: bytes | None = None
    """What shows to others that the peer sent it, if it was signed: for :func:`crust.verify_proof`. Else None."""


@dataclass(frozen=True)
class FileFailed(Event):
    """
    A file that a peer wanted to send did not make it, was too large or found no room; nothing is left of it. One that
    ``decide`` refused raises no event.
    """

    peer: Peer
    name: str
    reason: str


@dataclass(frozen=True)
class ConfigReloaded(Event):
    """
    The configuration was read again, because its file says something else or somebody asked for it. In
    ``Service.config`` is what counts now.
    """

    applied: tuple[str, ...]
    """The keys that were changed, and count from now on."""
    needs_restart: tuple[str, ...]
    """Keys that differ from what counts, and will until the program is started anew."""
    error: ConfigError | None = None
    """Why nothing was changed at all; None if all is well."""


@dataclass(frozen=True)
class GroupReady(Event):
    """A group has as many peers as it wants: for the first time, or again after ``GroupShort``."""

    name: str
    """The group's."""
    want: int
    """How many it wants."""
    peers: tuple[Peer, ...]
    """Those in it that a link leads to now, the longest there first."""


@dataclass(frozen=True)
class GroupShort(Event):
    """
    A group that had as many peers as it wants has fewer now, and looks for others. Who has no link counts for a second
    as if it had one.
    """

    name: str
    """The group's."""
    want: int
    """How many it wants."""
    peers: tuple[Peer, ...]
    """Those in it that a link leads to now, the longest there first."""


@dataclass(frozen=True)
class EventsLost(Event):
    """A stream was not read in time: this many of its oldest events were dropped."""

    count: int
