"""
What an introducer lends to whom (sans-IO): circuits and bytes a second, in all and for each peer that opens circuits.

A circuit that only signals is free, and small. One that carries an application's data takes one of
``relay.max_circuits`` and has its bytes metered: each peer gets a share of both, so that none can use up all.
"""

from __future__ import annotations

import collections

from ... import limits
from ...addresses import PeerId

__all__ = ["Book", "Meter"]


class Meter:
    """
    Bytes a second. What is too much waits. Not thread-safe.

    Args:
        rate: Bytes a second in the long run.
    """

    __slots__ = ("_debt", "_when", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._debt = 0.0  # bytes that were let through and are not yet made up for
        self._when = 0.0

    def reserve(self, size: int, now: float) -> float:
        """Take so many bytes: seconds until they may go, 0 for at once. Who asks first goes first."""
        self._debt = max(0.0, self._debt - max(0.0, now - self._when) * self.rate)
        self._when = max(self._when, now)
        excess = self._debt - self.rate * limits.RELAY_BURST_SECONDS
        self._debt += size
        return excess / self.rate if excess >= 1.0 else 0.0  # what is less is a matter of rounding

    def is_idle(self, now: float) -> bool:
        """Nothing is to be made up for."""
        return self._debt <= (now - self._when) * self.rate


class Book:
    """
    Who has how much. Not thread-safe.

    Args:
        serve: Whether an application's data is carried at all.
        max_circuits: That many circuits with data at once.
        bytes_per_second: On all of those together.
    """

    def __init__(self, *, serve: bool, max_circuits: int, bytes_per_second: int) -> None:
        self._meters: dict[PeerId, Meter] = {}
        self._all = Meter(float(bytes_per_second))
        self.change(serve=serve, max_circuits=max_circuits, bytes_per_second=bytes_per_second)
        self._data: collections.Counter[PeerId] = collections.Counter()
        self._signals: collections.Counter[PeerId] = collections.Counter()
        self._offers: collections.Counter[PeerId] = collections.Counter()

    def change(self, *, serve: bool, max_circuits: int, bytes_per_second: int) -> None:
        """Other terms from now on. What was lent stays lent; it is carried at the new rate."""
        self._serve = serve
        self._max = max_circuits
        self._share = max(1, max_circuits // limits.RELAY_PEER_SHARE)
        self._rate = float(bytes_per_second)
        self._all.rate = self._rate
        for meter in self._meters.values():
            meter.rate = self._rate * limits.RELAY_PEER_RATE

    @property
    def current(self) -> int:
        """Circuits, of both kinds."""
        return self._data.total() + self._signals.total()

    def objection(self, opener: PeerId, target: PeerId) -> str:
        """Why there is no room for another circuit that only signals; empty if there is."""
        if self._signals[opener] >= limits.CIRCUITS_PER_PEER:
            return "you have too many open already"
        if self._signals.total() >= limits.CIRCUITS_MAX:
            return "there are too many of all peers together"
        if self._offers[target] >= limits.CIRCUIT_OFFERS_PER_PEER:
            return "that peer has not answered others yet"
        return ""

    def open(self, opener: PeerId, target: PeerId) -> None:
        """A circuit of which the target has not heard yet; it only signals until :meth:`lend`."""
        self._signals[opener] += 1
        self._offers[target] += 1

    def lend(self, opener: PeerId) -> bool:
        """Let a circuit that only signals carry data, if there is room."""
        if not self._serve or self._data.total() >= self._max or self._data[opener] >= self._share:
            return False
        self._less(self._signals, opener)
        self._data[opener] += 1
        return True

    def take_back(self, opener: PeerId) -> None:
        """It shall not carry data after all."""
        self._less(self._data, opener)
        self._signals[opener] += 1

    def answered(self, target: PeerId) -> None:
        """The target has accepted, or the circuit is over."""
        self._less(self._offers, target)

    def close(self, opener: PeerId, lent: bool) -> None:
        """A circuit is over."""
        self._less(self._data if lent else self._signals, opener)
        if not self._data[opener]:
            self._data.pop(opener, None)

    @staticmethod
    def _less(counter: collections.Counter[PeerId], peer_id: PeerId) -> None:
        counter[peer_id] -= 1
        if counter[peer_id] <= 0:
            del counter[peer_id]

    def reserve(self, opener: PeerId, size: int, now: float) -> float:
        """Take so many bytes for a circuit: seconds until they may go on, 0 for at once."""
        meter = self._meters.get(opener)
        if meter is None:
            self._trim(now)
            meter = self._meters[opener] = Meter(self._rate * limits.RELAY_PEER_RATE)
        return max(meter.reserve(size, now), self._all.reserve(size, now))

    def _trim(self, now: float) -> None:
        """Forget those who owe nothing by now."""
        for opener in [each for each, meter in self._meters.items() if meter.is_idle(now)]:
            del self._meters[opener]
