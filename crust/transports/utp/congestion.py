"""
How much of a connection may be under way: the interface between a connection and what decides that.

Two algorithms: ``fair`` takes its share beside TCP, ``background`` takes what others leave.
"""

from __future__ import annotations

from typing import Protocol

from .background import Background
from .fair import Fair

__all__ = ["Congestion", "make_congestion"]


class Congestion(Protocol):
    """
    One connection's congestion control, a core without I/O: time is an argument, seconds on any clock that never goes
    back. Sizes are bytes of payload. Not thread-safe.
    """

    window: float
    """Bytes that may be in flight."""

    packet_size: int
    """Bytes of a full packet. The connection sets it when the path's MTU changes."""

    def acked(
        self, size: int, in_flight: int, limited: bool, rtt: float | None, delay: int | None, now: float
    ) -> None:
        """
        Bytes were acknowledged.

        Args:
            size: How many for the first time, cumulatively or selectively.
            in_flight: How many were in flight before this acknowledgement.
            limited: The window was what kept us from sending more.
            rtt: Seconds that the newest of these packets took there and back; None if it was sent twice.
            delay: The other side's ``timestamp_difference``, u32 microseconds with the clocks' offset; None, or one of
                :data:`crust.limits.UTP_NO_SAMPLE`, if it has measured nothing.
        """

    def received(self, delay: int, now: float) -> None:
        """
        A packet came.

        Args:
            delay: The difference of our clock and its timestamp, u32 microseconds: what we tell the other side.
        """

    def lost(self, now: float) -> None:
        """Packets were lost. Called once for all losses of one window of data."""

    def timed_out(self, now: float) -> None:
        """Nothing was acknowledged for the retransmission timeout."""

    def idle(self, now: float, seconds: float) -> None:
        """Sending begins again after ``seconds`` with nothing in flight: what the window says is old."""

    def pacing_rate(self, srtt: float) -> float | None:
        """Bytes per second to spread packets with, given the smoothed round trip in seconds; None: no need."""


def make_congestion(name: str, packet_size: int) -> Congestion:
    """
    The congestion control of a new connection.

    Args:
        name: ``fair`` or ``background``.
        packet_size: Bytes of payload in a full packet.

    Raises:
        ValueError: There is none of that name.
    """
    if name == "fair":
        return Fair(packet_size)
    if name == "background":
        return Background(packet_size)
    raise ValueError(f"no congestion control named {name!r}: fair or background")
