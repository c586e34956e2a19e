"""What the gossip of a node tells its driver, and what it wants done."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from ...wire.gossip import GossipFrame
from .record import Record

__all__ = ["Ask", "Event", "Found", "Misbehaved", "Outcome", "RecordLearned", "Superseded"]


class RecordLearned(NamedTuple):
    """A node's record is new here, or newer than the one before."""

    record: Record
    source: bytes
    """From whom it came, 32 bytes."""


class Found(NamedTuple):
    """A search is over."""

    number: int
    """As :meth:`Gossip.find` gave it."""
    record: Record | None
    """None: nobody who was asked knows that node."""
    asked: int
    """How many nodes were asked."""


class Misbehaved(NamedTuple):
    """A peer did what no honest node does. Its frame was dropped; once a peer and kind in 10 s."""

    peer_id: bytes
    kind: str
    """``forged``, ``unasked`` or ``flood``."""


class Superseded(NamedTuple):
    """
    Others know a record of our own that is newer than what we published: made by an earlier run whose clock was ahead,
    or by somebody who runs with our identity now. To be heard, publish one with a sequence after this one's; if that
    happens again and again, it is the latter.
    """

    record: Record


Event: TypeAlias = RecordLearned | Found | Misbehaved | Superseded


class Ask(NamedTuple):
    """
    An action: bring this frame to a public node that no link leads to.

    The driver dials ``record.endpoints`` by the rules for hearsay, at a budget of its own; says
    ``link_up(record.node, True, now, short=True)`` when a link stands (or ``link_up`` as always if it shall stay), and
    then sends the frame. What comes back goes to ``receive`` as from any peer. If it cannot be brought there it says
    ``failed(record.node, now)``. A short link may be kept for a while, for other questions: those come from
    ``frames_to_send`` as long as it is up.
    """

    record: Record
    frame: GossipFrame


class Outcome:
    """What there is for the driver and has not been taken yet: each list in order. The parts of the core fill it."""

    __slots__ = ("asks", "events", "frames")

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, GossipFrame]] = []
        """By peer; 32 bytes."""
        self.asks: list[Ask] = []
        self.events: list[Event] = []
