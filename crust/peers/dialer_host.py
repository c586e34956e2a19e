"""What dialling needs of its node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from ..addresses import Endpoint, PeerId
from ..crypto.handshake import HandshakeConfig
from ..exceptions import CrustError
from ..paths import Attempt
from ..runtime.clock import Clock
from ..runtime.flusher import IoLoop
from ..transports.contract import Transport
from ..wire.handshake import Purpose
from .access import Access
from .conversation import Conversation
from .effort import LookFor
from .judging import Judging
from .link import Link
from .race import Candidate
from .registry import Registry

__all__ = ["DialerHost"]


class DialerHost(Protocol):
    """What dialling needs of its node."""

    io: IoLoop
    clock: Clock
    registry: Registry
    handshake: HandshakeConfig
    access: Access
    judging: Judging

    @property
    def wall(self) -> Callable[[], float]:
        """What tells the time, in seconds since the epoch."""

    @property
    def look_for(self) -> LookFor:
        """What looks for peers to which no way is known (the dialer's lock is held)."""

    @property
    def is_dropped(self) -> Callable[[PeerId], bool]:
        """Whether one of the two applications has let go of that peer; it must not block."""

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def transport_for(self, endpoint: Endpoint) -> Transport | None:
        """The transport of that endpoint, or None if this node does not use it."""

    @property
    def local_port(self) -> Callable[[Endpoint], int | None]:
        """From which port of ours to dial that; None: from any (the dialer's lock is held)."""

    def opened(self, link: Link) -> None:
        """A link begins; the node sees to its end when it closes."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""

    def dial_failed(self, peer_id: PeerId, purpose: Purpose, error: CrustError) -> None:
        """An effort that somebody asked for came to nothing."""

    def attempted(self, peer_id: PeerId, attempt: Attempt) -> None:
        """An attempt to reach a peer has ended (the dialer's lock is held)."""

    def circuits_to(self, peer_id: PeerId, besides: Collection[Endpoint] = ()) -> Sequence[Candidate]:
        """Through whom, besides those, that peer may be reached now, those that should be tried first in front."""

    def told_places(self, conversation: Conversation) -> Sequence[Endpoint]:
        """Where the peer of a session may be by its own word, as far as that may be tried now."""
