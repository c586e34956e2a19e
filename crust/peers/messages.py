"""The one event that is also what ``recv_message`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .peer import Peer

__all__ = ["NewMessage"]


class NewMessage(NamedTuple):
    """A message arrived. (A named tuple, not a dataclass: there may be a million a second.)"""

    peer: Peer
    """Who sent it."""

    data: bytes
    """What was sent."""

    priority: int
    """0 (most urgent) to 255, as the sender chose."""

    proof: bytes | None = None
    """Always None in this version: messages are authenticated, not signed."""
