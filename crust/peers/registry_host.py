"""What the registry of sessions needs of its node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..addresses import PeerId
from ..paths import Path
from ..wire.handshake import DenialCode, Purpose, Role
from .host import Host

if TYPE_CHECKING:
    from .conversation import Conversation

__all__ = ["RegistryHost"]


class RegistryHost(Host, Protocol):
    """What the registry needs of its node beside what conversations need. Nothing here blocks."""

    def admit(self, peer_id: PeerId, role: Role, address: str | None) -> DenialCode | None:
        """Bans and allow-lists: why this peer is refused, or None."""

    def is_banned(self, peer_id: PeerId, address: str | None) -> bool:
        """Bans alone: those hold whoever called."""

    def began(self, conversation: Conversation, purpose: Purpose, path: Path) -> None:
        """A new session: make its ``peer`` and raise its one event."""

    def connected(self, conversation: Conversation) -> None:
        """A link carries the session, for the first time or again."""

    def alternates(self, peer_id: PeerId, address: str | None) -> tuple[str, ...]:
        """Contacts for a caller that we have no room for."""

    def is_crowded(self, peer_id: PeerId, address: str | None) -> bool:
        """Whether somebody who wants to bootstrap here is to ask others first."""
