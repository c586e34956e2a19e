"""
``background``: what others leave of a bottleneck, and never more than 60 ms of queue for it.

LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus), which is LEDBAT (RFC 6817) cured of two ills: it never grows faster than
TCP, and by regular slowdowns each connection lets the queue run empty, so that the shortest delay is seen by all who
share it and the latest comer has no advantage. The queue is the shorter of what the delay one way and the round trip
say: the first is blind to queues on the way back, the second to clocks that drift.
"""

from __future__ import annotations

import math

from ... import limits
from .delay import OneWayDelays
from .window import Window

__all__ = ["Background"]

_INFINITE = float("inf")
_INTERVAL = 1e-6 * limits.LEDBAT_EXIT
_FIRST_START, _STEADY, _FROZEN, _RAMP = range(4)


class Background(Window):
    """
    See :class:`crust.transports.utp.congestion.Congestion` for the methods.

    Args:
        packet_size: Bytes of payload in a full packet.
    """

    __slots__ = (
        "_base_rtt",
        "_before",
        "_count_until",
        "_counted",
        "_delays",
        "_gain",
        "_phase",
        "_rate",
        "_recent",
        "_rtt",
        "_slowdown_at",
        "_slowdown_began",
        "_threshold",
        "_timed_out",
        "_until",
    )

    def __init__(self, packet_size: int) -> None:
        super().__init__(packet_size, limits.LEDBAT_INITIAL_WINDOW)
        self._threshold = _INFINITE  # ssthresh: where slow start ends
        self._phase = _FIRST_START
        self._timed_out = False  # since the last acknowledgement
        self._delays = OneWayDelays()
        self._recent = [_INFINITE] * limits.LEDBAT_FILTER  # the last queues measured, in microseconds
        self._base_rtt = _INFINITE
        self._rtt = 0.0  # smoothed
        self._before = 0.0  # the window when the slowdown began
        self._rate = 0.0  # bytes per second that got through in the last interval of the first slow start
        self._counted = 0
        self._count_until = 0.0
        self._gain = 1.0 / limits.LEDBAT_GAIN_DIVISOR_MAX  # of TCP's growth
        self._until = 0.0  # frozen: when the window may grow again
        self._slowdown_began = 0.0
        self._slowdown_at = _INFINITE  # when the next one begins

    def acked(
        self, size: int, in_flight: int, limited: bool, rtt: float | None, delay: int | None, now: float
    ) -> None:
        self._timed_out = False
        queue = self._queue(rtt, delay, now)
        phase = self._phase
        window = self.window
        if phase == _STEADY:
            if now >= self._slowdown_at:
                self._slow_down(now)
            elif queue > limits.LEDBAT_TARGET:
                self._shrink(size, queue)
            elif limited:
                self.window = window + self._gain * self._packet * size / window
        elif phase == _FROZEN:
            if now >= self._until:
                self._phase = _RAMP
        else:
            if phase == _FIRST_START and queue < _INFINITE:
                self._measure_rate(size, now)
                if queue > limits.LEDBAT_EXIT:
                    self._leave_first_start(now)
                    return
                # Slower as the queue grows: what is under way has not been measured yet.
                size *= 1 - queue / limits.LEDBAT_EXIT  # type: ignore[assignment]
            if limited:
                self.window = window = min(window + self._gain * size, self._threshold)
            if window >= self._threshold:
                self._end_ramp(now)

    def received(self, delay: int, now: float) -> None:
        self._delays.received(delay, now)

    def lost(self, now: float) -> None:
        least = float(limits.WINDOW_MIN * self._packet)
        if self._phase == _FROZEN:  # it was sent before the slowdown
            self._before /= 2
            self._threshold = max(min(self._threshold, self._before), least)
            return
        self.window = self._threshold = max(self.window / 2, least)
        self._end_ramp(now)

    def timed_out(self, now: float) -> None:
        if not self._timed_out:
            self._timed_out = True
            goal = self._threshold if self._phase in (_FROZEN, _RAMP) else self.window
            self._threshold = max(goal / 2, float(limits.WINDOW_MIN * self._packet))
        if self._phase != _RAMP:
            self._slowdown_began = now
        self._phase = _RAMP
        self.window = float(self._packet)

    def idle(self, now: float, seconds: float) -> None:
        start = float(limits.LEDBAT_INITIAL_WINDOW * self._packet)
        if seconds < max(3 * self._rtt, limits.UTP_RTO_MIN) or self.window <= start:
            return
        if self._phase == _STEADY:  # the pause was a slowdown; slow start leads back
            self._threshold = 0.75 * self.window
            self._slowdown_began = now
            self._phase = _RAMP
        self.window = start

    def pacing_rate(self, srtt: float) -> float | None:
        if srtt <= 0.0:
            return None
        growing = self._phase != _STEADY
        return (limits.PACING_GAIN_SLOW_START if growing else limits.PACING_GAIN) * self.window / srtt

    def _queue(self, rtt: float | None, delay: int | None, now: float) -> float:
        """Microseconds of queue on the way there: the shortest of the last measurements; infinite if there is none."""
        queue = _INFINITE
        if delay is not None:
            measured = self._delays.sent(delay, now)
            if measured is not None:
                queue = measured
        if rtt is not None:
            if rtt < self._base_rtt:
                self._base_rtt = rtt
                # Section 4.1: GAIN = 1 / min(16, ceil(2 × TARGET / base))
                divisor = math.ceil(2e-6 * limits.LEDBAT_TARGET / max(rtt, 1e-6))
                self._gain = 1.0 / min(limits.LEDBAT_GAIN_DIVISOR_MAX, divisor)
            self._rtt += (rtt - self._rtt) * 0.125 if self._rtt else rtt
            there_and_back = (rtt - self._base_rtt) * 1e6
            if there_and_back < queue:
                queue = there_and_back
        recent = self._recent
        if queue < _INFINITE:
            recent.append(queue)
            del recent[0]
        return min(recent)

    def _shrink(self, size: int, queue: float) -> None:
        """Section 4.2: the window loses, in a round trip, as much of itself as the queue exceeds the target."""
        window = self.window
        excess = queue / limits.LEDBAT_TARGET - 1
        change = max(self._gain * self._packet - window * excess, -0.5 * window)
        self.window = max(window + change * size / window, float(limits.WINDOW_MIN * self._packet))

    def _measure_rate(self, size: int, now: float) -> None:
        """What gets through, in intervals so long as the queue that ends the first slow start."""
        self._counted += size
        if now >= self._count_until:
            self._rate = self._counted / (now - self._count_until + _INTERVAL)
            self._counted = 0
            self._count_until = now + _INTERVAL

    def _leave_first_start(self, now: float) -> None:
        """
        The queue is long enough, and will be longer: what is under way has not been measured yet. So the first slowdown
        comes at once, not two round trips later, and leads back to the window that fills the path and 3/4 of the
        target, as far as it is known from the bytes that got through.
        """
        window = self.window
        self._slow_down(now)
        if self._rate:
            least = float(limits.WINDOW_MIN * self._packet)
            self._threshold = max(min(window, self._rate * (self._base_rtt + _INTERVAL)), least)

    def _slow_down(self, now: float) -> None:
        """Section 4.4: let the queue run empty, and see how short the delay is then."""
        self._threshold = self._before = self.window
        self.window = float(limits.LEDBAT_INITIAL_WINDOW * self._packet)
        self._phase = _FROZEN
        self._slowdown_began = now
        self._until = now + limits.LEDBAT_FREEZE * self._rtt
        self._slowdown_at = _INFINITE

    def _end_ramp(self, now: float) -> None:
        """Slow start is over, or never was: the first one soon has its slowdown, others their interval."""
        if self._phase == _FIRST_START:
            self._slowdown_at = now + limits.LEDBAT_FREEZE * self._rtt
        elif self._phase != _STEADY:
            self._slowdown_at = now + limits.LEDBAT_INTERVAL * (now - self._slowdown_began)
        self._phase = _STEADY
