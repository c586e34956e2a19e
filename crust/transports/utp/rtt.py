"""Round trips and how long to wait for one: RFC 6298, with the floor of libutp's kind."""

from __future__ import annotations

from ... import limits

__all__ = ["RoundTrip", "echoed"]

_ECHO_MAX = 60_000_000  # microseconds; more is no round trip but a peer that counts otherwise


def echoed(stamp: int, timestamp: int, difference: int) -> float | None:
    """
    The round trip that a packet tells by itself, whatever was sent twice meanwhile.

    Its ``timestamp`` less the ``difference`` that the other side measured is our own timestamp of the packet that it
    answers, later by the time that the other side waited.

    Args:
        stamp: What our timestamp would be now.

    Returns:
        Seconds without that wait; None if the other side has measured nothing.
    """
    if difference in limits.UTP_NO_SAMPLE:
        return None
    microseconds = (stamp - timestamp + difference) & 0xFFFFFFFF
    return microseconds / 1e6 if 0 < microseconds < _ECHO_MAX else None


class RoundTrip:
    """
    The smoothed round trip of one connection, in seconds.

    Args:
        known: A first estimate, such as the one of an earlier connection; None if there is none.
    """

    __slots__ = ("minimum", "rto", "smoothed", "variation")

    def __init__(self, known: float | None = None) -> None:
        self.smoothed: float | None = None
        """RFC 6298's SRTT; None until measured."""
        self.variation = 0.0
        """RFC 6298's RTTVAR."""
        self.minimum = float("inf")
        """The shortest ever measured."""
        self.rto = limits.UTP_RTO_INITIAL if known is None else max(3 * known, limits.UTP_RTO_MIN)
        """How long to wait for an acknowledgement, before any doubling."""

    def sample(self, rtt: float) -> None:
        """Take a measurement of a packet that was sent once (Karn's rule)."""
        if rtt < self.minimum:
            self.minimum = rtt
        smoothed = self.smoothed
        if smoothed is None:
            self.smoothed, self.variation = rtt, rtt / 2
        else:
            self.variation += (abs(smoothed - rtt) - self.variation) / 4
            self.smoothed = smoothed + (rtt - smoothed) / 8
        self.rto = max(self.smoothed + 4 * self.variation, limits.UTP_RTO_MIN)
