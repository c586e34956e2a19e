"""What the core of groups wants done."""

from __future__ import annotations

from ...addresses import PeerId
from ...values import dataclass

__all__ = ["Action", "Cut", "Dial", "Fullness", "GiveUp", "Offer"]


@dataclass(frozen=True, slots=True)
class Dial:
    """Reach that peer, and say how it ended: ``connected`` or ``failed``."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody wants that peer any more: end the dial."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Offer:
    """Ask the application whether the group keeps that session, and say what it ``decided``."""

    group: str
    session: object


@dataclass(frozen=True, slots=True)
class Cut:
    """End that session."""

    session: object
    text: str
    """For the other side."""
    is_dropped: bool
    """By the application: it is not to be dialled for a while. Else there only was no place for it."""


@dataclass(frozen=True, slots=True)
class Fullness:
    """The group has as many peers as it wants now, or no longer."""

    group: str
    is_full: bool


Action = Dial | GiveUp | Offer | Cut | Fullness
