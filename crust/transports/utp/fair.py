"""
``fair``: a share of a bottleneck as a TCP connection takes it.

CUBIC (RFC 9438), and in slow start HyStart++ (RFC 9406), which leaves it when the round trip rises rather than when a
full queue drops packets. One deviation: a *lone* loss on an empty queue is taken for noise of the path (radio, mostly),
not for congestion. Standard CUBIC gets a third of 100 Mbit/s × 40 ms if one packet in 10,000 is lost. A loss is lone if

* the round trip shows no queue to speak of, although this path has shown one before,
* and the last loss is two windows and some hundred packets ago. A policer, or a queue too short to be seen, drops again
  in the next round, and is heard then.
"""

from __future__ import annotations

from ... import limits
from .window import Window

__all__ = ["Fair"]

_INFINITE = float("inf")
_WAIT_FOR_ROUND = -2  # instead of a number of samples: growth waits until the round has begun that ends the wait,
_WAIT = -1  # and through that one
_ALPHA = 3 * (1 - limits.CUBIC_BETA) / (1 + limits.CUBIC_BETA)  # RFC 9438 section 4.3


class Fair(Window):
    """
    See :class:`crust.transports.utp.congestion.Congestion` for the methods.

    Args:
        packet_size: Bytes of payload in a full packet.
    """

    __slots__ = (
        "_acked_at",
        "_base",
        "_chance",
        "_conservative",
        "_cube",
        "_delivered",
        "_epoch",
        "_k",
        "_lost_at",
        "_peak",
        "_queue_max",
        "_reno",
        "_reno_goal",
        "_round_end",
        "_round_low",
        "_round_low_before",
        "_round_samples",
        "_rtt",
        "_threshold",
        "_timed_out",
        "_top",
    )

    def __init__(self, packet_size: int) -> None:
        super().__init__(packet_size, limits.INITIAL_WINDOW)
        self._threshold = _INFINITE  # ssthresh
        self._delivered = 0  # bytes acknowledged
        self._acked_at = 0.0
        self._timed_out = False  # since the last acknowledgement

        # The path: shortest round trip, the current one (quick to fall, slow to rise), the longest queue seen.
        self._base = _INFINITE
        self._rtt = 0.0
        self._queue_max = 0.0
        self._lost_at = -_INFINITE  # what was delivered at the last loss
        self._chance = True  # a first loss on an empty queue does not end slow start

        # HyStart++. A round ends when all that was in flight at its beginning has been acknowledged.
        self._round_end = 0
        self._round_low = _INFINITE  # currentRoundMinRTT
        self._round_low_before = _INFINITE  # lastRoundMinRTT; in conservative slow start cssBaselineMinRtt
        self._round_samples = 0
        self._conservative = 0  # rounds of conservative slow start that are left

        # CUBIC. The epoch is the time of the last decrease.
        self._epoch = -1.0  # not begun
        self._top = 0.0  # W_max, bytes
        self._peak = 0.0  # W_max of the decrease before, which a timeout does not forget
        self._k = 0.0  # seconds from the epoch until the window is W_max again
        self._cube = 0.0  # C in bytes
        self._reno = 0.0  # W_est, bytes
        self._reno_goal = 0.0  # cwnd_prior

    def acked(
        self, size: int, in_flight: int, limited: bool, rtt: float | None, delay: int | None, now: float
    ) -> None:
        self._delivered += size
        self._timed_out = False
        if rtt is not None:
            smooth = self._rtt
            self._rtt = smooth = smooth + (rtt - smooth) * 0.25 if 0.0 < smooth < rtt else rtt
            if rtt < self._base:
                self._base = rtt
            elif smooth - self._base > self._queue_max:
                self._queue_max = smooth - self._base
        window = self.window
        if window < self._threshold:
            self._slow_start(size, in_flight, limited, rtt)
            self._acked_at = now
            return
        if not limited:
            # RFC 9438 section 5.8: the cubic's time stands still while the window is not used.
            if self._epoch >= 0.0:
                self._epoch += now - self._acked_at
            self._acked_at = now
            return
        self._acked_at = now
        if self._epoch < 0.0:
            self._begin_epoch(now)
        share = size / window
        reno = self._reno
        if reno < self._reno_goal:
            reno += _ALPHA * self._packet * share
        else:
            reno += self._packet * share
        self._reno = reno
        ahead = now - self._epoch + self._rtt - self._k
        goal = self._top + self._cube * ahead * ahead * ahead
        if goal > window:
            window += (goal if goal < 1.5 * window else 1.5 * window) * share - size
        self.window = reno if reno > window else window

    def received(self, delay: int, now: float) -> None:
        """Round trips are enough here."""

    def lost(self, now: float) -> None:
        lone = self._is_lone()
        starting = self._threshold == _INFINITE
        self._lost_at = self._delivered
        if lone and not starting:
            return
        self._decrease()
        if lone:
            # Too early in the slow start to know the path: go on from the smaller window, after a round without growth.
            self._chance = False
            self._threshold = _INFINITE
            self._round_samples = _WAIT_FOR_ROUND
            self._round_end = 0
        self.window = max(limits.CUBIC_BETA * self.window, float(limits.WINDOW_MIN * self._packet))

    def timed_out(self, now: float) -> None:
        if not self._timed_out:
            self._timed_out = True
            self._decrease()
        # RFC 9438 section 4.8: the next epoch knows no W_max.
        self._top = 0.0
        self._chance = False
        self._lost_at = self._delivered
        self.window = float(self._packet)

    def idle(self, now: float, seconds: float) -> None:
        # RFC 2861: halve for every timeout that passed; slow start leads back to where it was.
        start = float(limits.INITIAL_WINDOW * self._packet)
        timeout = max(3 * self._rtt, limits.UTP_RTO_MIN)
        if seconds < timeout or self.window <= start:
            return
        if self._threshold != _INFINITE:
            self._threshold = max(self._threshold, 0.75 * self.window)
        self.window = max(start, self.window * 0.5 ** min(seconds // timeout, 64.0))
        self._epoch = -1.0
        self._top = 0.0
        self._new_round(0)

    def pacing_rate(self, srtt: float) -> float | None:
        if srtt <= 0.0:
            return None
        if self.window < self._threshold and not self._conservative:
            return limits.PACING_GAIN_SLOW_START * self.window / srtt
        return limits.PACING_GAIN * self.window / srtt

    # --- slow start -----------------------------------------------------------------------------------------------

    def _slow_start(self, size: int, in_flight: int, limited: bool, rtt: float | None) -> None:
        if self._delivered >= self._round_end:
            self._next_round(in_flight - size)
        if self._round_samples < 0:
            return
        if rtt is not None and self._threshold == _INFINITE:
            self._judge(rtt)
        if limited:
            grown = self.window + (size / limits.HYSTART_GROWTH_DIVISOR if self._conservative else size)
            self.window = grown if grown < self._threshold else self._threshold

    def _judge(self, rtt: float) -> None:
        """RFC 9406 section 4.2: has the round trip risen, and did it stay so?"""
        self._round_samples += 1
        if rtt < self._round_low:
            self._round_low = rtt
        before = self._round_low_before
        if self._round_samples < limits.HYSTART_SAMPLES or before == _INFINITE:
            return
        if self._conservative:
            if self._round_low < before:
                self._conservative = 0
            return
        rise = min(max(before / 8, limits.HYSTART_RISE_MIN), limits.HYSTART_RISE_MAX)
        if self._round_low >= before + rise:
            self._conservative = limits.HYSTART_ROUNDS
            self._round_low_before = self._round_low

    def _next_round(self, in_flight: int) -> None:
        if self._conservative:
            self._conservative -= 1
            if not self._conservative:
                self._threshold = self.window
        elif self._round_samples > 0:
            self._round_low_before = self._round_low
        waiting = self._round_samples == _WAIT_FOR_ROUND
        self._new_round(in_flight)
        if waiting:
            self._round_samples = _WAIT

    def _new_round(self, in_flight: int) -> None:
        self._round_end = self._delivered + max(in_flight, 1)
        self._round_low = _INFINITE
        self._round_samples = 0

    # --- congestion avoidance -------------------------------------------------------------------------------------

    def _begin_epoch(self, now: float) -> None:
        window = self.window
        self._epoch = now
        self._cube = limits.CUBIC_C * self._packet
        self._reno = window
        if self._top > window:
            self._k = float(((self._top - window) / self._cube) ** (1 / 3))
        else:  # out of slow start without a loss, or after a timeout
            self._top = window
            self._k = 0.0
            self._reno_goal = window

    def _decrease(self) -> None:
        """A congestion: remember where, and begin anew. The caller sets the window."""
        window = self.window
        self._reno_goal = window
        self._top = window
        if window < self._peak:  # fast convergence: others need room
            self._top = window * (1 + limits.CUBIC_BETA) / 2
        self._peak = self._top
        self._threshold = max(limits.CUBIC_BETA * window, float(limits.WINDOW_MIN * self._packet))
        self._epoch = -1.0
        self._conservative = 0

    def _is_lone(self) -> bool:
        """See the top of this file."""
        if self._rtt - self._base >= limits.LONE_LOSS_QUEUE:
            return False
        if self._threshold == _INFINITE:
            return self._chance and self._delivered > 0
        enough = max(limits.LONE_LOSS_WINDOWS * self.window, limits.LONE_LOSS_PACKETS * self._packet)
        return self._queue_max >= limits.LONE_LOSS_EVIDENCE and self._delivered - self._lost_at >= enough
