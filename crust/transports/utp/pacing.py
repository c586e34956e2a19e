"""When the next packets may go: spread over a round trip, instead of all at once into the queue of some router."""

from __future__ import annotations

from ... import limits
from .congestion import Congestion

__all__ = ["Pacer"]


class Pacer:
    """
    A bucket of credit that fills at the pacing rate, and holds two bursts of :data:`crust.limits.UTP_BURST_SECONDS`:
    enough for timers that are late by so much.
    """

    __slots__ = ("_at", "_credit", "until")

    def __init__(self, now: float) -> None:
        self._credit = 0.0
        self._at = now
        self.until = 0.0
        """When to ask again; 0 if it did not hold anything back."""

    def room(self, congestion: Congestion, srtt: float | None, now: float) -> float:
        """Payload bytes that may go out now; infinity if there is no rate yet; 0: not before :attr:`until`."""
        self.until = 0.0
        rate = None if srtt is None else congestion.pacing_rate(srtt)
        if rate is None:
            return float("inf")
        packet = congestion.packet_size
        burst = max(2.0 * packet, rate * limits.UTP_BURST_SECONDS)
        credit = min(self._credit + (now - self._at) * rate, 2 * burst)
        self._credit, self._at = credit, now
        if credit < packet - 1.0:  # less than a whole byte may get lost in the reckoning
            self.until = now + (burst - credit) / rate
            return 0.0
        return min(burst, max(credit, packet))

    def spend(self, size: int) -> None:
        """So many bytes went out."""
        self._credit -= size

    def restart(self, packet: int, now: float) -> None:
        """After a timeout: one packet of ``packet`` bytes at once, or the next timeout might come before it."""
        self._credit = float(packet)
        self._at = now
