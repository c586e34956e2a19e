"""Values that the inside of a session and the application share: messages, and how long to wait for room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .peer import Peer

__all__ = ["CONFIG", "Configured", "Handed", "NewMessage", "Wait"]


class Configured:
    """The type of :data:`CONFIG`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CONFIG"

    def __reduce__(self) -> str:
        return "CONFIG"


CONFIG = Configured()
"""As a timeout: the configured one."""

Wait = float | Configured | None
"""A timeout in seconds; None: no limit; :data:`CONFIG`: the configured one."""


Handed = list[Any]
"""
A message on its way from the session to the application's hands: itself, and the bytes of the receive buffer that have
not been given back for it yet. (A list, not a class: there may be a million a second.)
"""


class NewMessage(NamedTuple):
    """A message arrived. (A named tuple, not a dataclass: there may be a million a second.)"""

    peer: Peer
    """Who sent it."""

    data: bytes
    """What was sent."""

    priority: int
    """0 (most urgent) to 255, as the sender chose."""

    proof: bytes | None = None
    """What shows to others that the peer said this, if it was signed: for :func:`crust.verify_proof`. Else None."""
