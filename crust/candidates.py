"""Addresses at which a node may be reachable, those included that it does not tell strangers."""

from __future__ import annotations

import enum

from .addresses import Endpoint
from .values import dataclass

__all__ = ["Candidate", "CandidateKind"]


class CandidateKind(str, enum.Enum):
    """How a node came by an address."""

    INTERFACE = "interface"
    """It is one of this machine's."""

    MAPPED = "mapped"
    """The router has opened a port for us."""

    REFLEXIVE = "reflexive"
    """Others see us there: STUN servers, peers, or a single peer that introduces us."""

    CONFIGURED = "configured"
    """The configuration advertises it."""


@dataclass(frozen=True)
class Candidate:
    """One address of a node."""

    kind: CandidateKind

    endpoint: Endpoint
    """Where others would dial."""

    local: Endpoint | None
    """The listener that it leads to, as bound; None: not known."""

    shown: bool
    """It is in ``Service.addresses``: strangers are expected to reach us there. What a single peer says never is."""
