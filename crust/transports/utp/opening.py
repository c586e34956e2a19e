"""When a caller sends its SYN, and sends it again."""

from __future__ import annotations

from ... import limits

__all__ = ["Opening"]

_NEVER = float("inf")


class Opening:
    """
    The SYN of one connection.

    Args:
        rtt: A first estimate of the round trip in seconds, if there is one.
        first_at: When to send it first.
    """

    __slots__ = ("_interval", "_sent_at", "_times", "due_at")

    def __init__(self, rtt: float | None, first_at: float) -> None:
        self.due_at = first_at
        """When to send it next."""
        self._interval = limits.UTP_SYN_TIMEOUT if rtt is None else max(3 * rtt, limits.UTP_SYN_TIMEOUT / 5)
        self._sent_at = first_at
        self._times = 0

    def sent(self, now: float) -> None:
        """The SYN goes out."""
        self._sent_at = now
        self.due_at = now + self._interval * 2**self._times
        self._times += 1

    def answered(self, now: float) -> float | None:
        """It is answered: the round trip in seconds, if it was sent once (Karn's rule)."""
        self.stop()
        return max(1e-6, now - self._sent_at) if self._times == 1 else None

    def stop(self) -> None:
        """Send it no more."""
        self.due_at = _NEVER
