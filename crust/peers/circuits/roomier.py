"""
Leaving a circuit that only signals for one that carries messages.

Which introducer is quickest to join two peers decides on which circuit their session begins, or goes on; that one may
have no room for an application's data, or carry none for anybody, while another would. So whoever opened such a circuit
looks again soon: while the session is on it still, with no path of its own, it tries the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ... import limits
from .introducers import Introducers

if TYPE_CHECKING:
    from ...addresses import PeerId
    from ...runtime.flusher import IoLoop
    from ..conversation import Conversation
    from ..dialer import Dialer
    from ..link import Link
    from ..race import Candidate

__all__ = ["Roomier", "RoomierHost"]


class RoomierHost(Protocol):
    """What it needs of its node."""

    io: IoLoop
    dialer: Dialer


class Towards(Protocol):
    """Ways through introducers, and who they are; those that carry messages, as far as we know, first."""

    def __call__(self, target: PeerId) -> list[tuple[Conversation, Candidate]]: ...


class Roomier:
    """
    That of one node. Thread-safe; nothing here blocks.

    Args:
        host: See :class:`RoomierHost`.
        introducers: Who is asked last from now on: those that had no room.
        towards: See :class:`Towards`.
    """

    def __init__(self, host: RoomierHost, introducers: Introducers, towards: Towards) -> None:
        self._host = host
        self._introducers = introducers
        self._towards = towards

    def carried(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link = conversation.link
        circuit = None if link is None else link.circuit
        if link is None or circuit is None or circuit.relays or not circuit.wants_relay:
            return
        self._introducers.is_full(circuit.legs.conversation.peer_id)
        self._host.io.call_later(limits.CIRCUIT_ROOM_LOOK[0], lambda now: self._look(conversation, link))

    def _look(self, conversation: Conversation, link: Link) -> None:
        """The I/O thread."""
        if conversation.link is not link or conversation.ended_reason:
            return
        for introducer, candidate in self._towards(conversation.peer_id):
            if self._introducers.carries(introducer):
                conversation.leaving = link
                self._host.dialer.pursue(conversation, candidate)
                break
        self._host.io.call_later(limits.CIRCUIT_ROOM_LOOK[1], lambda now: self._look(conversation, link))
