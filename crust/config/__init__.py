"""
What can be set, and how it is read.

- ``schema``: ``Config``, the whole; ``areas``: its sections, every key as frozen dataclasses.
- ``kinds``: what a value may be. ``sections``: how the dataclasses check themselves.
- ``loader``: the YAML file. ``source``: that file, and what a program has set on top of it.
- ``render``: the example file and the table of what is in force.
- ``servers``: public STUN servers.
"""

from __future__ import annotations

from .areas.finding import BootstrapConfig, CacheConfig, GossipConfig, LanConfig
from .areas.identity import IdentityConfig, NetworkConfig
from .areas.listening import InterfacesConfig, ListenConfig
from .areas.protection import AccessConfig, BanConfig, LimitsConfig
from .areas.sessions import (
    CallbacksConfig,
    DropConfig,
    SendBufferConfig,
    SessionConfig,
    SigningConfig,
    UtpConfig,
)
from .areas.status import StatusConfig
from .areas.traversal import NatConfig, PunchConfig, RelayConfig
from .render import Row, effective_rows, example
from .schema import Config
from .servers import PublicServer, public_servers

__all__ = [
    "AccessConfig",
    "BanConfig",
    "BootstrapConfig",
    "CacheConfig",
    "CallbacksConfig",
    "Config",
    "DropConfig",
    "GossipConfig",
    "IdentityConfig",
    "InterfacesConfig",
    "LanConfig",
    "LimitsConfig",
    "ListenConfig",
    "NatConfig",
    "NetworkConfig",
    "PublicServer",
    "PunchConfig",
    "RelayConfig",
    "Row",
    "SendBufferConfig",
    "SessionConfig",
    "SigningConfig",
    "StatusConfig",
    "UtpConfig",
    "effective_rows",
    "example",
    "public_servers",
]
