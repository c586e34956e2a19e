"""Who a node is, and of which network."""

from __future__ import annotations

from typing import ClassVar

from ...values import dataclass
from ..kinds import Choice, OrNull, Text, read_name
from ..sections import Section, key
from .shapes import PATH

__all__ = ["IdentityConfig", "NetworkConfig"]


@dataclass(frozen=True, slots=True)
class IdentityConfig(Section):
    """Who this node is."""

    KEY: ClassVar[str] = "identity"

    file: str | None = key(
        None,
        OrNull(PATH, "a fresh identity at each start"),
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
        OrNull(PATH, "an open network"),
        "File of the secret that all nodes of a closed network share (crust keygen --network makes one)."
        " null: an open network.",
    )
    role: str = key(
        "node",
        Choice(("node", "client")),
        "node, or client: what others may hold against access.node_networks and access.client_networks.",
    )
