"""
crust connects two programs by key, whatever stands between them, and carries their messages encrypted, in order and
without loss.

The rooms, from the ground up; each imports only from those above it::

    exceptions  limits  values  addresses                   words, numbers,
    paths  candidates  findings  assessment  config         settings
    version                                                 which release this is
    wire                                                    what the bytes mean (construct)
    crypto                                                  identity, handshake, records
    runtime                                                 threads, timers, the dispatcher, files
    transports                                              bytes over TCP and µTP
    nat                                                     addresses and holes: STUN, port mapping, probes
    discovery                                               who else is there: LAN, cache, signed records
    peers                                                   links, sessions, dialling, limits
    service                                                 the node, its events, the public face
    traversal                                               for packages that add ways through NATs
    cli, testing                                            the commands; networks in memory

Importing it starts no thread and opens no socket. ``import crust`` after gevent's monkey patching, if that is used.
"""

from __future__ import annotations

import logging

from .addresses import ConnectionInfo, Contact, Endpoint, PeerId
from .assessment import Assessment, Forecast, Hint, Reach, SiteKind
from .candidates import Candidate, CandidateKind
from .config import (
    AccessConfig,
    BanConfig,
    BootstrapConfig,
    CacheConfig,
    CallbacksConfig,
    Config,
    DropConfig,
    GossipConfig,
    IdentityConfig,
    InterfacesConfig,
    LanConfig,
    LimitsConfig,
    ListenConfig,
    NatConfig,
    NetworkConfig,
    PunchConfig,
    RelayConfig,
    SendBufferConfig,
    SessionConfig,
    SigningConfig,
    StatusConfig,
    UtpConfig,
)
from .crypto.proofs import Proof, verify_proof
from .exceptions import (
    BansNotKept,
    ConfigError,
    ConnectError,
    ContactSyntaxError,
    CrustError,
    Denied,
    EchoRefused,
    FileRefused,
    ForkedError,
    IdentityError,
    IdentityInUse,
    ListenError,
    LocalProtocolError,
    MalformedMessage,
    MessageTooLarge,
    NoRoute,
    PeerLost,
    ProofError,
    RemoteProtocolError,
    ServiceClosed,
    Timeout,
    TransferError,
    WouldBlock,
)
from .findings import (
    Behaviour,
    GatewayFinding,
    InterfaceFinding,
    InterfaceKind,
    MappingOffer,
    NetworkSurvey,
    PortAllocation,
    ProtocolFinding,
    ServerFinding,
    SurveyProgress,
    Unsolicited,
)
from .nat.assess import assess
from .nat.survey import survey
from .paths import Attempt, Path
from .peers.echoes import Echo
from .peers.file_contract import FileOffer, FileProgress, FileSent
from .peers.messages import CONFIG
from .peers.misdeeds import Action
from .peers.peer import Peer, PeerStats
from .peers.views import PeerView
from .runtime.identity_file import Identity
from .service.bans.bans import Ban
from .service.events import (
    AddressesChanged,
    BootstrapAccept,
    BootstrapConnect,
    BootstrapFailed,
    ConfigReloaded,
    ConnectFailure,
    ConnectionInfoPrepared,
    ConnectSuccess,
    Event,
    EventsLost,
    FileFailed,
    FileReceived,
    GroupReady,
    GroupShort,
    IdentityShared,
    ListenerFailed,
    ListenerStarted,
    LostPeer,
    LostReason,
    MessageRefused,
    MessagesDropped,
    NewMessage,
    PathAttempted,
    PathChanged,
    PeerDiscovered,
    PeerMisbehaved,
    PeerResumed,
    PeerSuspended,
    PortMapFailed,
    PortMapped,
    SendReady,
)
from .service.finding.lan_peer import LanPeer
from .service.groups.group import Group
from .service.process_local import ProcessLocal
from .service.service import Service
from .service.stats import Stats
from .service.status.snapshot import MappedPort, NatProtocol, NatVerdict, PeerStatus, Status, Traffic
from .service.stream import EventStream
from .service.subscriptions import Subscription
from .version import VERSION

__version__ = VERSION

logging.getLogger("crust").addHandler(logging.NullHandler())  # what is shown, and where, is the application's choice

__all__ = [
    "CONFIG",
    "AccessConfig",
    "Action",
    "AddressesChanged",
    "Assessment",
    "Attempt",
    "Ban",
    "BanConfig",
    "BansNotKept",
    "Behaviour",
    "BootstrapAccept",
    "BootstrapConfig",
    "BootstrapConnect",
    "BootstrapFailed",
    "CacheConfig",
    "CallbacksConfig",
    "Candidate",
    "CandidateKind",
    "Config",
    "ConfigError",
    "ConfigReloaded",
    "ConnectError",
    "ConnectFailure",
    "ConnectSuccess",
    "ConnectionInfo",
    "ConnectionInfoPrepared",
    "Contact",
    "ContactSyntaxError",
    "CrustError",
    "Denied",
    "DropConfig",
    "Echo",
    "EchoRefused",
    "Endpoint",
    "Event",
    "EventStream",
    "EventsLost",
    "FileFailed",
    "FileOffer",
    "FileProgress",
    "FileReceived",
    "FileRefused",
    "FileSent",
    "Forecast",
    "ForkedError",
    "GatewayFinding",
    "GossipConfig",
    "Group",
    "GroupReady",
    "GroupShort",
    "Hint",
    "Identity",
    "IdentityConfig",
    "IdentityError",
    "IdentityInUse",
    "IdentityShared",
    "InterfaceFinding",
    "InterfaceKind",
    "InterfacesConfig",
    "LanConfig",
    "LanPeer",
    "LimitsConfig",
    "ListenConfig",
    "ListenError",
    "ListenerFailed",
    "ListenerStarted",
    "LocalProtocolError",
    "LostPeer",
    "LostReason",
    "MalformedMessage",
    "MappedPort",
    "MappingOffer",
    "MessageRefused",
    "MessageTooLarge",
    "MessagesDropped",
    "NatConfig",
    "NatProtocol",
    "NatVerdict",
    "NetworkConfig",
    "NetworkSurvey",
    "NewMessage",
    "NoRoute",
    "Path",
    "PathAttempted",
    "PathChanged",
    "Peer",
    "PeerDiscovered",
    "PeerId",
    "PeerLost",
    "PeerMisbehaved",
    "PeerResumed",
    "PeerStats",
    "PeerStatus",
    "PeerSuspended",
    "PeerView",
    "PortAllocation",
    "PortMapFailed",
    "PortMapped",
    "ProcessLocal",
    "Proof",
    "ProofError",
    "ProtocolFinding",
    "PunchConfig",
    "Reach",
    "RelayConfig",
    "RemoteProtocolError",
    "SendBufferConfig",
    "SendReady",
    "ServerFinding",
    "Service",
    "ServiceClosed",
    "SessionConfig",
    "SigningConfig",
    "SiteKind",
    "Stats",
    "Status",
    "StatusConfig",
    "Subscription",
    "SurveyProgress",
    "Timeout",
    "Traffic",
    "TransferError",
    "Unsolicited",
    "UtpConfig",
    "WouldBlock",
    "assess",
    "survey",
    "verify_proof",
]
