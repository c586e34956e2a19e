"""What is told of a node on the LAN."""

from __future__ import annotations

from ...addresses import Contact
from ...values import dataclass

__all__ = ["LanPeer"]


@dataclass(frozen=True)
class LanPeer:
    """A node that answers on a link of this machine."""

    contact: Contact
    """Its id, and where it is on that link."""
    interface: str
    """By which of our interfaces it was heard: ``eth0``."""
    role: str
    """``node`` or ``client``."""
    age: float
    """Seconds since it was heard last. One that is silent is forgotten after ten minutes."""
