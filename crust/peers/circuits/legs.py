"""
The circuits that begin, pass or end on one link, by number.

Each end of the link numbers those that it opens there: odd if it has the greater id of the two, else even. So the two
never use one number twice. A number means nothing on another link; all circuits end with their link.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...exceptions import RemoteProtocolError
from ...wire.frames import CircuitAccept, CircuitClose, CircuitCredit, CircuitData
from .freight import Freight

if TYPE_CHECKING:
    from ...runtime.flusher import IoLoop
    from ..conversation import Conversation
    from ..link import Link

__all__ = ["End", "Legs", "Word"]

Word = CircuitAccept | CircuitData | CircuitCredit | CircuitClose
"""A frame about a circuit that is there."""


class End(Protocol):
    """What a number stands for. Nothing here blocks."""

    def receive(self, frame: Word) -> None:
        """A frame with that number came (the link's reader thread, which holds no lock)."""

    def link_ended(self) -> None:
        """The link carries nothing any more (any thread, which may hold locks of sessions)."""


class Legs:
    """
    Those of one link. Thread-safe.

    Args:
        io: The node's I/O loop.
        conversation: Whose link it is.
        link: The link.
        odd: We have the greater id of the two.
    """

    def __init__(self, io: IoLoop, conversation: Conversation, link: Link, odd: bool) -> None:
        self.conversation = conversation
        self.link = link
        self.freight = Freight(io, conversation, link)
        """What goes out."""
        self._lock = threading.Lock()  # guards the fields below
        self._odd = odd
        self._next = 1 if odd else 2
        self._ends: dict[int, End] = {}
        self._ended = False

    def open(self, end: End) -> int:
        """
        Take a number for a circuit of ours.

        Returns:
            The number; 0 if the link has ended, or has too many circuits.
        """
        with self._lock:
            if self._ended or len(self._ends) >= limits.CIRCUITS_PER_LINK:
                return 0
            while self._next in self._ends:
                self._advance()
            number = self._next
            self._advance()
            self._ends[number] = end
            return number

    def _advance(self) -> None:
        self._next = self._next + 2 if self._next + 2 < 1 << 32 else 2 - self._odd

    def check(self, number: int) -> None:
        """
        The other side opens a circuit of that number.

        Raises:
            RemoteProtocolError: It may not use that number, or does so already.
        """
        with self._lock:
            if not number or bool(number % 2) == self._odd:
                raise RemoteProtocolError(f"circuit {number} is not for the other side to open")
            if number in self._ends:
                raise RemoteProtocolError(f"circuit {number} is open already")

    def accept(self, number: int, end: End) -> bool:
        """
        Give a number of the other side a meaning, after :meth:`check`.

        Returns:
            False if the link has ended, or has too many circuits.
        """
        with self._lock:
            if self._ended or len(self._ends) >= limits.CIRCUITS_PER_LINK:
                return False
            self._ends[number] = end
            return True

    def get(self, number: int) -> End | None:
        """What the number stands for. What comes late for a circuit that is over has no meaning."""
        with self._lock:
            return self._ends.get(number)

    def forget(self, number: int, end: End) -> None:
        """That circuit is over. Idempotent."""
        with self._lock:
            if self._ends.get(number) is end:
                del self._ends[number]

    def link_ended(self) -> None:
        """The link has ended, or carries its session no more. Idempotent."""
        with self._lock:
            self._ended = True
            ends, self._ends = list(self._ends.values()), {}
        self.freight.close()
        for end in ends:
            end.link_ended()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._ended = True
        self._ends = {}
        self.freight.abandon()
