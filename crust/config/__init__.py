"""
What can be set, and how it is read.

- ``schema``: every key as frozen dataclasses; ``Config`` is the whole.
- ``kinds``: what a value may be. ``sections``: how the dataclasses check themselves.
- ``loader``: the YAML file. ``render``: the example file and the table of what is in force.
- ``servers``: public STUN servers.
"""

from __future__ import annotations

from .render import Row, effective_rows, example
from .schema import (
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
from .servers import PublicServer, public_servers

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
    "PublicServer",
    "Row",
    "SendBufferConfig",
    "SessionConfig",
    "UtpConfig",
    "effective_rows",
    "example",
    "public_servers",
]
