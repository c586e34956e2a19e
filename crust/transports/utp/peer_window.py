"""
What the other side has room for, the trying of a window that is closed (RFC 9293 section 3.8.6.1), and patience with
one that is hardly open (section 3.8.6.2.1): whoever grants a byte at a time would have a stream sent in packets of one.
"""

from __future__ import annotations

from ... import limits

__all__ = ["PeerWindow"]

_NEVER = float("inf")
_LONGEST = 60.0  # seconds between two tries


class PeerWindow:
    """The other side's window of one connection."""

    __slots__ = ("_interval", "_used_at", "probe_at", "size")

    def __init__(self) -> None:
        self.size = limits.UTP_MTU_BASE
        """Bytes beyond what is acknowledged. One packet, until it is told: what a SYN says means nothing."""
        self.probe_at = _NEVER
        """When a closed window is to be tried next, or little room to be used."""
        self._interval = 0.0  # seconds between the last two tries; 0 while the window is open
        self._used_at = -_NEVER  # when little room was used last

    @property
    def closed(self) -> bool:
        """True while it is waited for."""
        return bool(self._interval)

    def heard(self, size: int) -> None:
        """The other side tells its window."""
        self.size = size
        if size or not self._interval:
            self._interval = 0.0
            self.probe_at = _NEVER

    def may_try(self, now: float) -> bool:
        """There is something to send and no room: True if a byte should go all the same, since news may be lost."""
        if self.probe_at == _NEVER:
            self._interval = min(2 * self._interval, _LONGEST) or limits.UTP_ZERO_WINDOW_PROBE
            self.probe_at = now + self._interval
            return False
        if now < self.probe_at:
            return False
        self.probe_at = _NEVER  # until that byte is acknowledged, its own timeouts try again
        return True

    def may_use(self, now: float) -> bool:
        """
        There is more to send than there is room, and that is less than pays for a packet: True if one should go all the
        same, since the other side may have no more.
        """
        least = self._used_at + limits.UTP_LITTLE_ROOM
        if now < least:
            self.probe_at = least
            return False
        self._used_at = now
        self.probe_at = _NEVER
        return True

    def stop(self) -> None:
        """The connection is over."""
        self.probe_at = _NEVER
