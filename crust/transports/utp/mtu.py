"""
How large a packet the path takes (RFC 8899, packetisation layer path MTU discovery).

Sizes here are bytes of UDP payload, µTP's header included. The search begins at a size that every path takes, and tries
the largest that the local interface allows first, since most paths take that; then the one of Ethernet, then halves the
rest. A probe is a data packet of that size which routers may not fragment. Its loss says nothing about congestion.

A packet that is lost has to be sent again with the same payload, whatever the path takes. So a probe carries no more
than what is known to arrive, and padding; but for sizes that only loopback has, where padding would be most of it.

What worked once may stop to: routes change. When packets above the base time out again and again (a *black hole*:
whatever should tell us is dropped, too), the size falls back to the base and the search begins anew.
"""

from __future__ import annotations

from ... import limits
from .packet import PADDING_MAX

__all__ = ["PathMtu"]

_PADDING_MIN = 2
_ETHERNET = 1472  # an Ethernet's 1500 bytes without IPv4's header and UDP's


class PathMtu:
    """
    The search of one connection.

    Args:
        ceiling: The largest datagram that the local interface can send whole, and that the other side takes.
        base: The size to begin with.
    """

    __slots__ = ("_base", "_ceiling", "_losses", "_probing", "_raise_at", "_timeouts", "_too_large", "size", "told")

    def __init__(self, ceiling: int, base: int = limits.UTP_MTU_BASE) -> None:
        self._base = min(base, ceiling)
        self.size = self._base
        """Bytes of the largest datagram that is known to arrive."""
        self._ceiling = ceiling
        self._too_large = ceiling + 1  # the smallest size known not to arrive
        self._losses = 0  # of the size that is tried
        self._probing = 0  # the size of the probe under way
        self._timeouts = 0  # in a row
        self._raise_at = float("inf")
        self.told = False
        """The other side has said how large datagrams it takes."""

    @property
    def searching(self) -> bool:
        """True while a larger size may be found."""
        return self._too_large - self.size > 1 and self._raise_at == float("inf")

    def probe_size(self, now: float) -> int:
        """The size of the next probe, or 0: none is due, or one is under way."""
        if self._probing:
            return 0
        if now >= self._raise_at:
            self._raise_at = float("inf")
            self._too_large = self._ceiling + 1
        if self._raise_at != float("inf") or self.size >= self._ceiling:
            return 0
        return self._next()

    def probe(self, most: int, now: float) -> tuple[int, int]:
        """
        The next probe: bytes of the datagram and of the payload in it; 0: none, or no full packet may be sent now.

        Args:
            most: Bytes of payload that may be sent.
        """
        size = self.probe_size(now)
        if size - self.size <= PADDING_MAX:
            payload = min(self.size, size - _PADDING_MIN) - limits.UTP_HEADER_SIZE
        else:
            room = most + limits.UTP_HEADER_SIZE
            if self.size * 5 // 4 <= room < size:
                size = room
            payload = size - limits.UTP_HEADER_SIZE
        return (size, payload) if size and payload <= most else (0, 0)

    def _next(self) -> int:
        if self._too_large > self._ceiling:
            return self._ceiling
        if self.size < _ETHERNET < self._too_large:
            return _ETHERNET
        return (self.size + self._too_large) // 2

    def allow(self, ceiling: int) -> None:
        """
        The other side says what it takes; 0: it does not. It never lowers what is allowed.

        Whoever is told tells it as well: an answer to a caller who does not must not be larger than its SYN.
        """
        self.told = self.told or ceiling > 0
        if ceiling > self._ceiling:
            if self._too_large > self._ceiling:
                self._too_large = ceiling + 1
            self._ceiling = ceiling

    def probe_sent(self, size: int) -> None:
        """A probe of that size is under way; there is one at a time."""
        self._probing = size

    def probe_acked(self, size: int, now: float) -> None:
        """A probe arrived."""
        if size != self._probing:
            return
        self._probing = self._losses = 0
        if size < self._too_large:
            self.size = max(self.size, size)
        self._settle(now)

    def probe_lost(self, size: int, now: float) -> None:
        """A probe did not arrive; once may be bad luck. (0: there was none.)"""
        if not size or size != self._probing:
            return
        self._probing = 0
        self._losses += 1
        if self._losses >= limits.UTP_MTU_PROBES:
            self._refused(size, now)

    def too_large(self, size: int, now: float) -> None:
        """The kernel, or a router by ICMP, refused a datagram of that size. Never below the base: word may be false."""
        if size > self._base:
            self._probing = 0
            self._refused(size, now)

    def _refused(self, size: int, now: float) -> None:
        self._losses = 0
        self._too_large = min(self._too_large, max(size, self._base + 1))
        if self.size >= self._too_large:
            self.size = self._base
        self._settle(now)

    def _settle(self, now: float) -> None:
        if self._too_large <= self._ceiling and self._too_large - self.size <= limits.UTP_MTU_STEP:
            self._raise_at = now + limits.UTP_MTU_RAISE_INTERVAL

    def progress(self) -> None:
        """Packets of that size arrive. Smaller ones may go on to do so in a black hole."""
        self._timeouts = 0

    def timed_out(self, largest: int, now: float) -> None:
        """A retransmission timeout came, with packets of up to ``largest`` bytes under way."""
        if largest <= self._base or self.size == self._base:
            return
        self._timeouts += 1
        if self._timeouts < limits.UTP_BLACK_HOLE_TIMEOUTS:
            return
        self._timeouts = self._losses = self._probing = 0
        self._too_large = min(self._too_large, self.size)
        self.size = self._base
        self._settle(now)
