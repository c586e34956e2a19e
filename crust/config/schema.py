"""
The configuration: every key with its default, what it may be and what it means.

``Config()`` is the default configuration; ``conf/crust.yaml`` spells the same out. Durations are in seconds, sizes in
bytes. Objects are frozen, hashable and picklable, and every object that exists is valid: whatever makes one raises
``ConfigError`` otherwise. Lists are tuples. Addresses, contacts and ids are kept as text in their one canonical form.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .. import limits
from ..addresses import Contact, Endpoint, PeerId
from ..exceptions import ConfigError
from ..values import dataclass
from . import loader
from .kinds import (
    Choice,
    Flag,
    Invalid,
    ListOf,
    Number,
    OrNull,
    Text,
    read_ban_entry,
    read_contact,
    read_dialable_endpoint,
    read_listen_endpoint,
    read_name,
    read_network,
    read_path,
    read_pattern,
    read_peer_id,
    read_server,
)
from .sections import Section, check_names, key, optional_section, section

__all__ = [
    "AccessConfig",
    "BanConfig",
    "BootstrapConfig",
    "CallbacksConfig",
    "Config",
    "DropConfig",
    "IdentityConfig",
    "InterfacesConfig",
    "LimitsConfig",
    "ListenConfig",
    "NatConfig",
    "NetworkConfig",
    "SendBufferConfig",
    "SessionConfig",
]

_YEAR = 366 * 86400.0
_SECONDS = Number("seconds", 0, _YEAR, whole=False, above_least=True)
_SECONDS_OR_ZERO = Number("seconds", 0, _YEAR, whole=False)
_BYTES_MAX = 2**32 - 1  # the session's window is a 32-bit number on the wire
_COUNT_MAX = 1_000_000

_PATH = Text("the name of a file", read_path, (os.PathLike,))
_PEERS = ListOf(Text("a peer id", read_peer_id, (PeerId,)), "peer ids")
_NETWORKS = ListOf(Text("an address or a network such as 192.0.2.0/24", read_network), "networks")
_PATTERNS = ListOf(Text("a pattern such as eth*", read_pattern), "patterns such as eth*")


@dataclass(frozen=True, slots=True)
class IdentityConfig(Section):
    """Who this node is."""

    KEY: ClassVar[str] = "identity"

    file: str | None = key(
        None,
        OrNull(_PATH, "a fresh identity at each start"),
        "File of the Ed25519 key: made if there is none, readable by its owner only, locked while the node runs."
        " null: a fresh identity at each start.",
    )


@dataclass(frozen=True, slots=True)
class NetworkConfig(Section):
    """Which network this node belongs to, and as what."""

    KEY: ClassVar[str] = "network"

    name: str | None = key(
        None,
        OrNull(Text("text", read_name), "the network without a name"),
        "Nodes of different networks deny each other. null: the network without a name.",
    )
    secret_file: str | None = key(
        None,
        OrNull(_PATH, "an open network"),
        "File of the secret that all nodes of a closed network share (crust keygen --network makes one)."
        " null: an open network.",
    )
    role: str = key(
        "node",
        Choice(("node", "client")),
        "node, or client: what others may hold against access.node_networks and access.client_networks.",
    )


@dataclass(frozen=True, slots=True)
class InterfacesConfig(Section):
    """Which network interfaces count when this node tells others its addresses."""

    KEY: ClassVar[str] = "listen.interfaces"

    include: tuple[str, ...] | None = key(
        None,
        OrNull(_PATTERNS, "all"),
        'Patterns of interface names, such as ["eth*", "wlan0"]. null: all.',
    )
    exclude: tuple[str, ...] = key(
        ("docker*", "veth*", "br-*"),
        _PATTERNS,
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
    )
    interfaces: InterfacesConfig = section(InterfacesConfig, "Whose addresses are told to others.")


@dataclass(frozen=True, slots=True)
class BootstrapConfig(Section):
    """How this node finds its first peer."""

    KEY: ClassVar[str] = "bootstrap"

    contacts: tuple[str, ...] = key(
        (),
        ListOf(
            Text('a contact such as "<peer id>@tcp://192.0.2.7:5483"', read_contact, (Contact,)),
            'contacts such as "<peer id>@tcp://192.0.2.7:5483"',
        ),
        'Contacts that bootstrap() dials: "<peer id>@tcp://192.0.2.7:5483".',
    )
    accept: bool = key(False, Flag(), "Whether strangers may bootstrap off this node.")
    blacklist: tuple[str, ...] = key(
        (),
        ListOf(
            Text("a peer id, an address or a network", read_ban_entry, (PeerId,)),
            "peer ids, addresses or networks",
        ),
        "Peer ids, addresses and networks that bootstrap() never dials.",
    )
    timeout: float = key(limits.BOOTSTRAP_TIMEOUT, _SECONDS, "Seconds that bootstrap() tries.")


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
            Text('a server such as "stun.example.org:3478"', read_server), 'servers such as "stun.example.org:3478"'
        ),
        "STUN servers that tell this node under which address the Internet sees it. Peers do that too.",
    )
    echo_for_others: bool = key(
        True,
        Flag(),
        "Whether peers may have this node send to their own address, to learn whether strangers reach them there.",
    )
    serve_stun: bool = key(
        False, Flag(), "Whether strangers get an answer to STUN on the ports that this node listens on; peers do."
    )


@dataclass(frozen=True, slots=True)
class SendBufferConfig(Section):
    """What waits to be sent or acknowledged, for each peer."""

    KEY: ClassVar[str] = "session.send_buffer"

    messages: int = key(
        limits.SEND_BUFFER_MESSAGES, Number("messages", 1, _COUNT_MAX), "Messages; with more, send() waits."
    )
    bytes: int = key(
        limits.SEND_BUFFER_BYTES,
        Number("bytes", 1, _BYTES_MAX),
        "Bytes, each message counting 64 more than it has; with more, send() waits. At least max_message_size + 64.",
    )


@dataclass(frozen=True, slots=True)
class DropConfig(Section):
    """Which messages are given up if they cannot be sent in time."""

    KEY: ClassVar[str] = "session.drop"

    min_priority: int = key(
        limits.DROP_MIN_PRIORITY,
        Number("", 0, limits.PRIORITY_MAX),
        "Only messages of this priority, or less urgent ones (greater numbers).",
    )
    max_age: float = key(limits.DROP_MAX_AGE, _SECONDS, "Seconds that they may wait unsent.")


@dataclass(frozen=True, slots=True)
class SessionConfig(Section):
    """Conversations with peers."""

    KEY: ClassVar[str] = "session"

    connect_timeout: float = key(limits.CONNECT_TIMEOUT, _SECONDS, "Seconds that connect() tries.")
    handshake_timeout: float = key(
        limits.HANDSHAKE_TIMEOUT, _SECONDS, "Seconds that a new connection has to prove who it is."
    )
    heartbeat_interval: float = key(
        limits.HEARTBEAT_INTERVAL, _SECONDS, "Seconds of silence after which a heartbeat is sent, +/- 25 %."
    )
    resume_timeout: float = key(
        limits.RESUME_TIMEOUT,
        _SECONDS,
        "Seconds without a sign of life, the time without a link included, until a peer is lost."
        " At least twice heartbeat_interval.",
    )
    send_timeout: float | None = key(
        limits.SEND_TIMEOUT,
        OrNull(_SECONDS_OR_ZERO, "for ever"),
        "Seconds that send() waits for room; 0: it raises WouldBlock at once. null: for ever.",
    )
    max_message_size: int = key(
        limits.MAX_MESSAGE_SIZE, Number("bytes", 1, 2**30), "Bytes of the largest message, sent or received."
    )
    send_buffer: SendBufferConfig = section(
        SendBufferConfig, "What waits to be sent or acknowledged, for each peer."
    )
    receive_buffer: int = key(
        limits.RECEIVE_BUFFER,
        Number("bytes", 1, _BYTES_MAX),
        "Bytes received and not yet taken by the application, for each peer: the credit that the other side gets."
        " At least twice max_message_size, and 65,600 more than max_message_size.",
    )
    drop: DropConfig | None = optional_section(
        DropConfig, "never", "Messages given up (and reported) if they cannot be sent in time. null: never."
    )

    def problems(self) -> Iterable[Invalid]:
        size = self.max_message_size
        related = ("session.max_message_size",)
        room = max(2 * size, size + limits.SMALL_RESERVE + limits.MESSAGE_OVERHEAD)
        if self.receive_buffer < room:
            text = f"expected at least {room} (max_message_size is {size}), found {self.receive_buffer}"
            yield Invalid("session.receive_buffer", text, related)
        room = size + limits.MESSAGE_OVERHEAD
        if self.send_buffer.bytes < room:
            text = f"expected at least {room} (max_message_size is {size}), found {self.send_buffer.bytes}"
            yield Invalid("session.send_buffer.bytes", text, related)
        if self.resume_timeout < 2 * self.heartbeat_interval:
            text = (
                f"expected at least {2 * self.heartbeat_interval:g} (heartbeat_interval is"
                f" {self.heartbeat_interval:g}), found {self.resume_timeout:g}: silent peers would be lost"
            )
            yield Invalid("session.resume_timeout", text, ("session.heartbeat_interval",))


@dataclass(frozen=True, slots=True)
class UtpConfig(Section):
    """µTP, the reliable transport over UDP."""

    KEY: ClassVar[str] = "utp"

    congestion: str = key(
        "fair",
        Choice(("fair", "background")),
        "How it shares a line: fair, as TCP does; background gives way to all other traffic.",
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig(Section):
    """What strangers and peers can cost this node at most."""

    KEY: ClassVar[str] = "limits"

    max_peers: int = key(
        limits.PEERS_MAX, Number("peers", 1, _COUNT_MAX), "Peers connected at once; others hear that we are busy."
    )
    total_buffers: int = key(
        limits.TOTAL_BUFFERS, Number("bytes", 1, 2**50), "Bytes of messages buffered for all peers together."
    )
    half_open: int = key(
        limits.HALF_OPEN_MAX,
        Number("connections", 1, _COUNT_MAX),
        "Connections that have not yet proven who they are.",
    )
    half_open_per_address: int = key(
        limits.HALF_OPEN_PER_ADDRESS,
        Number("connections", 1, _COUNT_MAX),
        "Of those, from one IPv4 address or one IPv6 /64.",
    )
    starts_per_address_per_second: int = key(
        limits.STARTS_PER_ADDRESS_PER_SECOND,
        Number("connections", 1, _COUNT_MAX),
        "New connections a second from one IPv4 address or one IPv6 /64.",
    )
    starts_per_second: int = key(
        limits.STARTS_PER_SECOND, Number("connections", 1, _COUNT_MAX), "New connections a second in all."
    )


@dataclass(frozen=True, slots=True)
class BanConfig(Section):
    """Who is refused whatever else holds."""

    KEY: ClassVar[str] = "access.ban"

    peers: tuple[str, ...] = key((), _PEERS, "Peer ids.")
    networks: tuple[str, ...] = key((), _NETWORKS, 'Addresses and networks, such as "192.0.2.0/24".')


@dataclass(frozen=True, slots=True)
class AccessConfig(Section):
    """Who may connect to this node."""

    KEY: ClassVar[str] = "access"

    node_networks: tuple[str, ...] | None = key(
        None,
        OrNull(_NETWORKS, "all"),
        "Networks that peers with the role node may come from. null: all. []: none.",
    )
    client_networks: tuple[str, ...] | None = key(
        None,
        OrNull(_NETWORKS, "all"),
        "Networks that peers with the role client may come from. null: all. []: none.",
    )
    allow_peers: tuple[str, ...] | None = key(
        None, OrNull(_PEERS, "all"), "Peer ids that may connect. null: all. []: none."
    )
    ban: BanConfig = section(BanConfig, "Who is refused whatever else holds.")


@dataclass(frozen=True, slots=True)
class CallbacksConfig(Section):
    """The application's callbacks."""

    KEY: ClassVar[str] = "callbacks"

    warn_after: float = key(
        limits.CALLBACK_WARN_AFTER, _SECONDS, "Seconds after which a callback is logged as slow, by its name."
    )


@dataclass(frozen=True, slots=True)
class Config(Section):
    """
    Everything that can be set.

    Make one with ``Config()``, ``Config(session=SessionConfig(connect_timeout=5))``, ``Config.load(path)`` or
    ``Config.from_dict(…)``; change one with ``replace``.

    Raises:
        ConfigError: names the key, what is allowed there and what was found.
    """

    KEY: ClassVar[str] = ""

    version: int = key(1, Number("", 1, 1), "Version of this format.")
    identity: IdentityConfig = section(IdentityConfig, "Who this node is.")
    network: NetworkConfig = section(NetworkConfig, "Which network this node belongs to, and as what.")
    listen: ListenConfig = section(ListenConfig, "Where others can reach this node.")
    bootstrap: BootstrapConfig = section(BootstrapConfig, "How this node finds its first peer.")
    nat: NatConfig = section(NatConfig, "Translators and filters on the way (NATs and firewalls).")
    session: SessionConfig = section(SessionConfig, "Conversations with peers.")
    utp: UtpConfig = section(UtpConfig, "µTP, the reliable transport over UDP.")
    limits: LimitsConfig = section(LimitsConfig, "What strangers and peers can cost this node at most.")
    access: AccessConfig = section(AccessConfig, "Who may connect to this node.")
    callbacks: CallbacksConfig = section(CallbacksConfig, "The application's callbacks.")
    write_contact_to: str | None = key(
        None, OrNull(_PATH, "none"), "File that receives this node's contact at each start. null: none."
    )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """
        Read a YAML file; keys that it leaves out have their defaults.

        Raises:
            ConfigError: ``file:line: key: expected …, found …``; also if the file cannot be read.
        """
        return cls.load_with_origins(path)[0]

    @classmethod
    def load_with_origins(cls, path: str | os.PathLike[str]) -> tuple[Config, dict[str, str]]:
        """The same, and for each key in the file where it stands: ``{"session.connect_timeout": "crust.yaml:12"}``."""
        data, document = loader.read(path)
        try:
            config = cls.from_dict(data)
        except ConfigError as error:
            cause = error.__cause__
            if not isinstance(cause, Invalid):
                raise
            place = document.locate(cause.key, *cause.related)
            raise ConfigError(f"{place}: {error}") from cause
        return config, document.origins()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """
        Make one from nested dicts, in the shape of the YAML file.

        Raises:
            ConfigError: an unknown key (with the nearest one) or a value that is not allowed.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"expected a mapping of keys to values, found {type(data).__name__}")
        try:
            check_names(cls, data)
        except Invalid as error:
            raise ConfigError(str(error)) from error
        return cls(**data)

    def as_dict(self) -> dict[str, Any]:
        """The same as nested dicts, for ``from_dict``."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Config:
        """
        A changed copy: ``config.replace(**{"session.connect_timeout": 5})`` or ``config.replace(session=…)``.

        A section can be given as an object, or as a dict of what changes in it. All changes are made before
        anything is checked.

        Raises:
            ConfigError: as ``from_dict``.
        """
        data = self.as_dict()
        for name, value in changes.items():
            place = data
            *parents, last = name.split(".")
            for depth, parent in enumerate(parents, 1):
                inner = place.get(parent)
                if inner is None:
                    inner = place[parent] = {}  # an unknown section, told below, or one that is null
                if not isinstance(inner, dict):
                    raise ConfigError(f"{name}: {'.'.join(parents[:depth])} has no keys below it")
                place = inner
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = dataclasses.asdict(value)
            elif isinstance(value, Mapping) and isinstance(place.get(last), dict):
                value = {**place[last], **value}
            place[last] = value
        return type(self).from_dict(data)
