"""
crust connects two programs by key, whatever stands between them, and carries their messages encrypted, in order and
without loss.

The rooms, from the ground up; each imports only from those above it::

    exceptions  limits  values  addresses                   words, numbers,
    paths  findings  assessment  config                     settings
    wire                                                    what the bytes mean (construct)
    crypto                                                  identity, handshake, records
    runtime                                                 threads, timers, the dispatcher, files
    transports                                              bytes over TCP and µTP
    nat                                                     addresses and holes: STUN, port mapping, probes
    peers                                                   links, sessions, dialling, limits
    service                                                 the node, its events, the public face
    cli                                                     the commands

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
    CallbacksConfig,
    Config,
    DropConfig,
    IdentityConfig,
    InterfacesConfig,
    LimitsConfig,
    ListenConfig,
    NatConfig,
    NetworkConfig,
    SendBufferConfig,
    SessionConfig,
    UtpConfig,
)
from .exceptions import (
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
from .peers.peer import Peer, PeerStats
from .runtime.identity_file import Identity
from .service.events import (
    AddressesChanged,
    BootstrapAccept,
    BootstrapConnect,
    BootstrapFailed,
    ConnectFailure,
    ConnectionInfoPrepared,
    ConnectSuccess,
    Event,
    EventsLost,
    FileFailed,
    FileReceived,
    ListenerFailed,
    ListenerStarted,
    LostPeer,
    LostReason,
    MessagesDropped,
    NewMessage,
    PathChanged,
    PeerMisbehaved,
    PeerResumed,
    PeerSuspended,
    PortMapFailed,
    PortMapped,
    SendReady,
)
from .service.process_local import ProcessLocal
from .service.service import Service
from .service.stats import Stats
from .service.stream import EventStream
from .service.subscriptions import Subscription

__version__ = "0.1.0"

logging.getLogger("crust").addHandler(logging.NullHandler())  # what is shown, and where, is the application's choice

__all__ = [
    "CONFIG",
    "AccessConfig",
    "AddressesChanged",
    "Assessment",
    "Attempt",
    "BanConfig",
    "Behaviour",
    "BootstrapAccept",
    "BootstrapConfig",
    "BootstrapConnect",
    "BootstrapFailed",
    "CallbacksConfig",
    "Candidate",
    "CandidateKind",
    "Config",
    "ConfigError",
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
    "Hint",
    "Identity",
    "IdentityConfig",
    "IdentityError",
    "IdentityInUse",
    "InterfaceFinding",
    "InterfaceKind",
    "InterfacesConfig",
    "LimitsConfig",
    "ListenConfig",
    "ListenError",
    "ListenerFailed",
    "ListenerStarted",
    "LocalProtocolError",
    "LostPeer",
    "LostReason",
    "MalformedMessage",
    "MappingOffer",
    "MessageTooLarge",
    "MessagesDropped",
    "NatConfig",
    "NetworkConfig",
    "NetworkSurvey",
    "NewMessage",
    "NoRoute",
    "Path",
    "PathChanged",
    "Peer",
    "PeerId",
    "PeerLost",
    "PeerMisbehaved",
    "PeerResumed",
    "PeerStats",
    "PeerSuspended",
    "PortAllocation",
    "PortMapFailed",
    "PortMapped",
    "ProcessLocal",
    "ProtocolFinding",
    "Reach",
    "RemoteProtocolError",
    "SendBufferConfig",
    "SendReady",
    "ServerFinding",
    "Service",
    "ServiceClosed",
    "SessionConfig",
    "SiteKind",
    "Stats",
    "Subscription",
    "SurveyProgress",
    "Timeout",
    "TransferError",
    "Unsolicited",
    "UtpConfig",
    "WouldBlock",
    "assess",
    "survey",
]
