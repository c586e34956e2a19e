"""
Leaving a circuit that only signals for one that carries messages.

Which introducer is quickest to join two peers decides on which circuit their session begins, or goes on; that one may
have no room for an application's data, or carry none for anybody, while another would. So whoever opened such a circuit
looks again soon: while the session is on it still, with no path of its own, it tries the next one. It may also be the
other end that wants no messages by circuits, and it cannot be told which: so after ``CIRCUIT_INTRODUCERS`` in vain no
more are tried for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...wire.handshake import Capability
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


class Roomier:
    """
    That of one node. Thread-safe; nothing here blocks.

    Args:
        host: See :class:`RoomierHost`.
        introducers: They remember who had no room for whom.
        ways: The ways to a peer through introducers, and who these are; those that carry messages, as far as we know,
            first.
    """

    def __init__(
        self,
        host: RoomierHost,
        introducers: Introducers,
        ways: Callable[[PeerId], list[tuple[Conversation, Candidate]]],
    ) -> None:
        self._host = host
        self._introducers = introducers
        self._ways = ways

    def carried(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link = conversation.link
        circuit = None if link is None else link.circuit
        if link is None or circuit is None:
            return
        introducer = circuit.legs.conversation.peer_id
        if circuit.relays or not circuit.wants_relay:
            self._introducers.was_tried(introducer, conversation.peer_id)
            return
        self._introducers.had_no_room(introducer, conversation.peer_id)
        self._host.io.call_later(limits.CIRCUIT_ROOM_LOOK[0], lambda now: self._look(conversation, link))

    def _look(self, conversation: Conversation, link: Link) -> None:
        """The I/O thread."""
        if conversation.link is not link or conversation.ended_reason:
            return
        roomless = self._introducers.roomless(conversation.peer_id)
        ways = self._ways(conversation.peer_id) if len(roomless) < limits.CIRCUIT_INTRODUCERS else []
        for introducer, candidate in ways:
            if introducer.capabilities & Capability.RELAY and introducer.peer_id not in roomless:
                conversation.leaving = link
                if not self._host.dialer.pursue(conversation, candidate):
                    conversation.leaving = None
                break
        self._host.io.call_later(limits.CIRCUIT_ROOM_LOOK[1], lambda now: self._look(conversation, link))
