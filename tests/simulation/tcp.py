"""
A model of TCP, to compete with: whole packets, selective acknowledgements, delayed acknowledgements, no pacing.

With another congestion control it is also the plainest sender that can drive one: see :class:`Flow`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from tests.simulation.network import Link, World

__all__ = ["Cubic", "Flow", "Reno"]


class Reno:
    """RFC 5681 in bytes; no delay is looked at."""

    def __init__(self, packet_size: int) -> None:
        self.packet_size = packet_size
        self.window = 10.0 * packet_size
        self.threshold = math.inf

    def acked(self, size: int, in_flight: int, limited: bool, rtt: float | None, delay: int | None, now: float) -> None:
        if not limited:
            return
        if self.window < self.threshold:
            self.window += size
        else:
            self.avoid(size, rtt, now)

    def avoid(self, size: int, rtt: float | None, now: float) -> None:
        self.window += self.packet_size * size / self.window

    def received(self, delay: int, now: float) -> None:
        pass

    def lost(self, now: float) -> None:
        self.window = self.threshold = max(self.window / 2, 2.0 * self.packet_size)

    def timed_out(self, now: float) -> None:
        self.threshold = max(self.window / 2, 2.0 * self.packet_size)
        self.window = 1.0 * self.packet_size

    def idle(self, now: float, seconds: float) -> None:
        pass

    def pacing_rate(self, srtt: float) -> float | None:
        return None


class Cubic(Reno):
    """RFC 8312 as kernels have it, written apart from ours; plain slow start, so it overshoots."""

    def __init__(self, packet_size: int) -> None:
        super().__init__(packet_size)
        self.top = 0.0  # in packets, as is the rest
        self.began: float | None = None
        self.k = 0.0
        self.friendly = 0.0

    def avoid(self, size: int, rtt: float | None, now: float) -> None:
        window = self.window / self.packet_size
        packets = size / self.packet_size
        if self.began is None:
            self.began = now
            self.friendly = window
            self.top = max(self.top, window)
            self.k = ((self.top - window) / 0.4) ** (1 / 3)
        goal = self.top + 0.4 * (now + (rtt or 0.0) - self.began - self.k) ** 3
        self.friendly += 0.53 * packets / window
        window += min(max(goal - window, 0.01), window / 2) * packets / window
        self.window = max(window, self.friendly) * self.packet_size

    def lost(self, now: float) -> None:
        window = self.window / self.packet_size
        self.top = window * 0.85 if window < self.top else window
        self.began = None
        self.window = self.threshold = max(self.window * 0.7, 2.0 * self.packet_size)

    def timed_out(self, now: float) -> None:
        super().timed_out(now)
        self.began, self.top = None, 0.0


class Flow:
    """
    An endless stream of packets over ``there``, its acknowledgements over ``back``.

    Args:
        congestion: What decides; one of the above, or one of crust's.
        offset: Microseconds between the two clocks.
    """

    def __init__(
        self, world: World, there: Link, back: Link, congestion: Any, *, start: float = 0.0, offset: int = 0
    ) -> None:
        self.world, self.there, self.back = world, there, back
        self.congestion = congestion
        self.delivered = 0
        """Bytes that arrived in order."""
        self.timeouts = 0
        self.losses = 0
        self._offset = offset
        self._next = 0  # of the sender
        self._una = 0
        self._sent: dict[int, tuple[float, bool, int]] = {}  # in flight: when, whether for the first time, how manieth
        self._count = 0  # packets sent
        self._newest = 0  # the last sent of those that arrived
        self._arrived: set[int] = set()  # of the packets from _una on
        self._again: deque[int] = deque()
        self._recovery = -1
        self._srtt = self._variation = 0.0
        self._rto = 1.0
        self._due = math.inf
        self._watched = math.inf
        self._pace = 0.0
        self._waiting = False  # for the pacing's time
        self._limited = False
        self._expected = 0  # of the receiver
        self._early: set[int] = set()
        self._unacked: list[tuple[int, int]] = []
        self._size = congestion.packet_size
        world.at(world.now + start, self._send)

    # --- the receiver -----------------------------------------------------------------------------------------

    def _take(self, packet: tuple[int, float]) -> None:
        number, sent = packet
        delay = (int((self.world.now - sent) * 1e6) + self._offset) & 0xFFFFFFFF
        at_once = number != self._expected or bool(self._early)
        if number >= self._expected:
            self._early.add(number)
        while self._expected in self._early:
            self._early.remove(self._expected)
            self._expected += 1
            self.delivered += self._size
        self._unacked.append((number, delay))
        if at_once or len(self._unacked) >= 2:
            self._acknowledge()
        else:
            self.world.at(self.world.now + 0.025, self._acknowledge_late, number)

    def _acknowledge_late(self, number: int) -> None:
        if self._unacked and self._unacked[0][0] == number:
            self._acknowledge()

    def _acknowledge(self) -> None:
        numbers, self._unacked = self._unacked, []
        self.back.send((self._expected, numbers), 20, self._acknowledged)

    # --- the sender -------------------------------------------------------------------------------------------

    def _acknowledged(self, ack: tuple[int, list[tuple[int, int]]]) -> None:
        expected, numbers = ack
        now = self.world.now
        in_flight = len(self._sent) * self._size
        newly, rtt = 0, None
        for number, _ in numbers:
            sent = self._sent.pop(number, None)
            if sent is not None:
                newly += 1
                self._newest = max(self._newest, sent[2])
                if sent[1]:
                    rtt = now - sent[0]
            if number >= self._una:
                self._arrived.add(number)
        advanced = expected > self._una
        while self._una < expected:
            sent = self._sent.pop(self._una, None)
            if sent is not None:
                newly += 1
                self._newest = max(self._newest, sent[2])
            self._arrived.discard(self._una)
            self._una += 1
        if rtt is not None:
            self._measure(rtt)
        if newly:
            self._rto = min(self._srtt + max(4 * self._variation, 0.2), 8.0) if self._srtt else 1.0  # as Linux
            self.congestion.acked(newly * self._size, in_flight, self._limited, rtt, numbers[-1][1], now)
        if advanced:
            self._watch(now + self._rto if self._sent else math.inf)
        self._detect(now)
        self._send()

    def _measure(self, rtt: float) -> None:
        if not self._srtt:
            self._srtt, self._variation = rtt, rtt / 2
        else:
            self._variation += (abs(self._srtt - rtt) - self._variation) / 4
            self._srtt += (rtt - self._srtt) / 8

    def _detect(self, now: float) -> None:
        """What three packets sent later have overtaken is lost (RFC 8985)."""
        lost = []
        for number, (_, _, count) in self._sent.items():
            if count > self._newest - 3:
                break
            lost.append(number)
        for number in lost:
            del self._sent[number]
            self._again.append(number)
            if number > self._recovery:
                self._recovery = self._next - 1
                self.losses += 1
                self.congestion.lost(now)

    def _send(self) -> None:
        if self._waiting:
            return
        world, congestion, size = self.world, self.congestion, self._size
        now = world.now
        rate = congestion.pacing_rate(self._srtt)
        burst = 2 * size if rate is None else max(2 * size, rate * 0.001)
        budget = math.inf if rate is None else burst
        if rate is not None and self._pace > now:
            self._wait()
            return
        while (len(self._sent) + 1) * size <= max(congestion.window, size):
            if budget < size:
                self._pace = max(self._pace, now - 0.001) + burst / (rate or 1.0)
                if self._pace > now:
                    self._limited = self._limited or len(self._sent) * size * 2 > congestion.window
                    self._wait()
                    return
                budget = burst
            number, first = self._choose()
            self._count += 1
            self._sent[number] = (now, first, self._count)
            if number == self._una and not first:
                self._watch(now + self._rto)
            budget -= size
            self.there.send((number, now), size, self._take)
        self._limited = True
        if self._due == math.inf:
            self._watch(now + self._rto)

    def _choose(self) -> tuple[int, bool]:
        while self._again:
            number = self._again.popleft()
            if number >= self._una and number not in self._arrived and number not in self._sent:
                return number, False
        self._next += 1
        return self._next - 1, True

    def _wait(self) -> None:
        self._waiting = True
        self.world.at(self._pace, self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        self._send()

    def _watch(self, due: float) -> None:
        self._due = due
        if due < self._watched:
            self._watched = due
            self.world.at(due, self._timer)

    def _timer(self) -> None:
        now = self.world.now
        self._watched = math.inf
        if self._due > now:
            if self._due < math.inf:
                self._watch(self._due)
            return
        self.timeouts += 1
        self._again = deque(number for number in range(self._una, self._next) if number not in self._arrived)
        self._sent.clear()
        self._recovery = self._next - 1
        self._rto = min(self._rto * 2, 8.0)
        self.congestion.timed_out(now)
        self._due = math.inf
        self._watch(now + self._rto)
        self._send()
