"""What both congestion controls have: a window in bytes, never less than two packets of the path's size."""

from __future__ import annotations

from ... import limits

__all__ = ["Window"]


class Window:
    """
    The window of one connection; :class:`crust.transports.utp.congestion.Congestion` has its rules.

    Args:
        packet_size: Bytes of payload in a full packet.
        packets: How many may be under way at first.
    """

    __slots__ = ("_packet", "window")

    def __init__(self, packet_size: int, packets: float) -> None:
        self._packet = packet_size
        self.window = float(packets * packet_size)

    @property
    def packet_size(self) -> int:
        """Bytes of payload in a full packet; setting it keeps room for two."""
        return self._packet

    @packet_size.setter
    def packet_size(self, size: int) -> None:
        self._packet = size
        self.window = max(self.window, float(limits.WINDOW_MIN * size))
