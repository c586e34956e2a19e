"""
What waits to be sent, by priority: the lists of messages and their numbers that :mod:`crust.peers.outbox` works on.

Sans-IO and not thread-safe. Interrupts: see there.
"""

from __future__ import annotations

__all__ = ["Lane", "Move", "Run", "Signed"]

TIDY_AT = 2048  # messages sent that a list may still hold

Run = tuple[int, int]
"""Consecutive message numbers: the first, and how many."""


class Signed(bytes):
    """A signed message as it goes out, among others of its priority: see :mod:`crust.wire.proofs`."""

    __slots__ = ()


class Lane:
    """
    Messages of one priority and kind, in order of arrival; ``head`` is the first that has not been sent.

    Their numbers are kept as runs, since they are consecutive while nothing is sent in another lane.
    """

    __slots__ = ("head", "key", "kind", "messages", "offset", "priority", "runs", "slot", "times")

    def __init__(self, key: int) -> None:
        self.key = key
        self.priority = key >> 1
        self.kind = key & 1
        self.messages: list[bytes] = []
        self.runs: list[Run] = []
        """Numbers of the messages from ``head`` on, but those of the outbox's open run."""
        self.times: list[float] | None = None
        self.head = 0
        self.offset = 0
        """Bytes of the head message already sent as pieces."""
        self.slot = -1
        """Slot of the head message while it is under way in pieces, else -1."""

    def tidy(self) -> None:
        """Let go of what has been sent, now and then."""
        head = self.head
        if head and (head >= TIDY_AT or head == len(self.messages)):
            messages, times = self.messages, self.times
            if times is None:
                self.head = 0
                del messages[:head]
            else:
                self.head = 0
                del messages[:head]
                del times[:head]

    def align(self) -> None:
        """Forget the time of a message that was interrupted on its way in."""
        if self.times is not None:
            del self.times[len(self.messages) :]

    def first_numbers(self, count: int) -> tuple[list[Run], int]:
        """The first ``count`` numbers of the runs, and the one after them (no run of theirs is open)."""
        taken: list[Run] = []
        end = 0
        for first, length in self.runs:
            if count <= length:
                if count:
                    end = first + count
                    taken.append((first, count))
                break
            taken.append((first, length))
            end = first + length
            count -= length
        return taken, end

    def move(self, head: int, offset: int, slot: int, end: int) -> None:
        """Stand at ``head``; the messages numbered below ``end`` have been sent. Repeating it changes nothing more."""
        self.head, self.offset, self.slot = head, offset, slot
        runs = self.runs
        while runs and runs[0][0] < end:
            first, length = runs[0]
            if first + length <= end:
                del runs[0]
            else:
                runs[0] = (end, first + length - end)


Move = tuple[Lane, int, int, int, int]
"""A lane, and the arguments of its :meth:`Lane.move`."""
