"""
Credit of one direction of a circuit (sans-IO).

Its sender may send ``CIRCUIT_CREDIT`` bytes at once, and as many more as the receiver has taken and said so. The same
rule, kept by both ends and by the introducer in between, bounds what waits anywhere on the way.
"""

from __future__ import annotations

from ... import limits

__all__ = ["Flow", "FlowError"]


class FlowError(Exception):
    """More was sent, or granted, than the rules allow."""


class Flow:
    """One direction, as it is seen by one of the three nodes. Not thread-safe."""

    __slots__ = ("_granted", "_passed", "_taken")

    def __init__(self) -> None:
        self._granted = limits.CIRCUIT_CREDIT
        self._taken = 0  # bytes that the sender has sent
        self._passed = 0  # of those, bytes that are out of our hands

    @property
    def room(self) -> int:
        """Bytes that the sender may send now."""
        return self._granted - self._taken

    @property
    def waiting(self) -> int:
        """Bytes that wait here."""
        return self._taken - self._passed

    def take(self, size: int) -> None:
        """
        The sender has sent so many bytes.

        Raises:
            FlowError: They are more than it may send.
        """
        if size > self.room:
            raise FlowError(f"{size - self.room} bytes more than the credit were sent")
        self._taken += size

    def passed(self, size: int) -> None:
        """So many of those that waited here have gone on."""
        self._passed += size

    def grant(self, size: int) -> None:
        """
        The receiver lets so many more be sent.

        Raises:
            FlowError: It cannot have taken that many: they would wait here.
        """
        if self._granted + size - limits.CIRCUIT_CREDIT > self._passed:
            raise FlowError("credit was given for bytes that have not been received")
        self._granted += size
