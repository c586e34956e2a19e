"""What a connection is made with."""

from __future__ import annotations

from ... import limits
from ...values import dataclass
from .reserve import Share

__all__ = ["Settings", "window_among"]


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes."""

    window: int = limits.UTP_RECEIVE_WINDOW
    """What may wait for an application that does not take it."""
    share: Share | None = None
    """Of what all connections may keep so together; None: nobody counts. One connection's."""
    mtu_ceiling: int = 1472
    """The largest UDP payload that the local interface sends whole."""
    cut_beyond: int = 0
    """
    The same, if our own machine has to cut what is too large for some router on the way, which it does only to what is
    larger than this (IPv6); 0: the routers do (IPv4).
    """
    congestion: str = "fair"
    """``fair`` or ``background``."""
    clock_offset: int = 0
    """Microseconds added to all timestamps, at random, so that they tell nothing of the machine's clock."""
    rtt: float | None = None
    """A first estimate of the round trip in seconds, if there is one."""


def window_among(population: int, buffer: int) -> int:
    """
    The window for one of so many connections over a socket.

    What comes faster than the reader takes it waits in the socket's receive buffer, which all share. A few busy ones
    have it for themselves as a rule; among hundreds each gets less.
    """
    share = buffer // (2 + population // 8)
    return max(limits.UTP_RECEIVE_WINDOW_MIN, min(share, limits.UTP_RECEIVE_WINDOW))
