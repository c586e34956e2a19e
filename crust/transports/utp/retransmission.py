"""When to send again what was not acknowledged: RFC 6298's timer, and RFC 8985's probe of the tail before it."""

from __future__ import annotations

from ... import limits
from .rtt import RoundTrip

__all__ = ["Retransmission"]

_NEVER = float("inf")
_BACKOFF_MAX = 64
_BACKOFF_KEPT = 8  # what is left of it by an acknowledgement that measures nothing


class Retransmission:
    """Two timers of one connection: what they mean is the connection's business."""

    __slots__ = ("_quiet_since", "_rtt", "_tail_spent", "backoff", "rto_at", "tail_at")

    def __init__(self, rtt: RoundTrip) -> None:
        self._rtt = rtt
        self.rto_at = _NEVER
        """When everything under way counts as lost."""
        self.tail_at = _NEVER
        """When the last packet is to be sent once more."""
        self._quiet_since = _NEVER
        self.backoff = 1
        """How many times longer than usual the next timeout is: it doubles with each."""
        self._tail_spent = False  # one probe, until something is acknowledged

    def sent(self, packets: int, now: float) -> None:
        """New packets went out; so many are under way now."""
        if self.rto_at == _NEVER:
            self.rto_at = now + self._wait()
        self._arm_tail(packets, now)

    def sent_again(self, now: float) -> None:
        """A packet went out that had been sent before."""
        if self.rto_at == _NEVER:
            self.rto_at = now + self._wait()

    def acked(self, packets: int, measured: bool, now: float) -> None:
        """
        Something was acknowledged; so many packets are still under way.

        Unless it was ``measured`` how long that took, the timeout stays long (RFC 6298 section 5): it may be shorter
        than the round trip, and then nothing would ever be acknowledged before it is sent again.
        """
        self.backoff = 1 if measured else min(self.backoff, _BACKOFF_KEPT)
        self._tail_spent = False
        self._quiet_since = now
        self.tail_at = _NEVER
        if packets:
            self.rto_at = now + self._wait()
            self._arm_tail(packets, now)
        else:
            self.rto_at = _NEVER

    def timed_out(self, now: float) -> None:
        """The timeout has come, and everything is sent again."""
        self.backoff = min(2 * self.backoff, _BACKOFF_MAX)
        self.rto_at = now + self._wait()
        self.tail_at = _NEVER

    def tail_probed(self) -> None:
        """The tail is being sent once more."""
        self.tail_at = _NEVER
        self._tail_spent = True

    def stop(self) -> None:
        """Nothing is waited for."""
        self.rto_at = self.tail_at = _NEVER

    def pause(self, now: float) -> float:
        """
        Sending begins, and nothing is under way: how many seconds it has been so, 0 if that is too short to matter or
        was told before.
        """
        pause = now - self._quiet_since
        if pause < limits.UTP_RTO_MIN:
            return 0.0
        self._quiet_since = now
        return pause

    def _wait(self) -> float:
        """Seconds: the backoff has a limit, but the path may take longer than that by itself."""
        rto = self._rtt.rto
        return min(rto * self.backoff, max(rto, limits.UTP_RTO_MAX))

    def _arm_tail(self, packets: int, now: float) -> None:
        smoothed = self._rtt.smoothed
        if smoothed is None or self._tail_spent or self.backoff > 1:
            return
        wait = max(2 * smoothed, limits.UTP_TAIL_PROBE_MIN)
        if packets <= 2:
            wait += limits.UTP_ACK_DELAY  # the other side may be waiting for one more before it acknowledges
        self.tail_at = now + wait
