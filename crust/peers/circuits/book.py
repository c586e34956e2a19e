"""
What an introducer lends to whom (sans-IO): circuits and bytes a second, in all and for each peer that opens circuits.

A circuit that only signals is free, and small. One that carries an application's data takes one of
``relay.max_circuits`` and has its bytes metered: each peer gets a share of both, so that none can use up all. Keys cost
nothing, so all peers at one address together get no more than one peer, or than their part of the places for peers.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import TypeVar

from ... import limits
from ...addresses import PeerId

__all__ = ["Book", "Meter"]

_K = TypeVar("_K")


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
        part: Of the places for peers, those that one address may take; from 0 to 1.

    The ``place`` that methods take is where the opener is; None: nobody knows.
    """

    def __init__(self, *, serve: bool, max_circuits: int, bytes_per_second: int, part: float) -> None:
        self._meters: dict[PeerId | bytes, Meter] = {}
        self._all = Meter(float(bytes_per_second))
        self.change(serve=serve, max_circuits=max_circuits, bytes_per_second=bytes_per_second, part=part)
        self._data: collections.Counter[PeerId] = collections.Counter()
        self._signals: collections.Counter[PeerId] = collections.Counter()
        self._data_at: collections.Counter[bytes] = collections.Counter()
        self._signals_at: collections.Counter[bytes] = collections.Counter()
        self._offers: collections.Counter[PeerId] = collections.Counter()
        self._offers_by: collections.Counter[tuple[PeerId, PeerId | bytes]] = collections.Counter()
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; must be quick."""

    def change(self, *, serve: bool, max_circuits: int, bytes_per_second: int, part: float) -> None:
        """Other terms from now on. What was lent stays lent; it is carried at the new rate."""
        self._serve = serve
        self._max = max_circuits
        self._share = max(1, max_circuits // limits.RELAY_PEER_SHARE)
        self._share_at = max(self._share, int(max_circuits * part))
        self._signals_max_at = max(limits.CIRCUITS_PER_PEER, int(limits.CIRCUITS_MAX * part))
        self._offers_max = limits.CIRCUIT_OFFERS_PER_PEER // limits.CIRCUIT_OFFERS_SHARE
        self._offers_max_at = max(self._offers_max, int(limits.CIRCUIT_OFFERS_PER_PEER * part))
        self._rate = float(bytes_per_second)
        self._part_rate = max(limits.RELAY_PEER_RATE, part)
        self._all.rate = self._rate
        for key, meter in self._meters.items():
            meter.rate = self._rate_of(key)

    def _rate_of(self, key: PeerId | bytes) -> float:
        return self._rate * (self._part_rate if isinstance(key, bytes) else limits.RELAY_PEER_RATE)

    @property
    def current(self) -> int:
        """Circuits, of both kinds."""
        return self._data.total() + self._signals.total()

    def objection(self, opener: PeerId, target: PeerId, place: bytes | None = None) -> str:
        """Why there is no room for another circuit that only signals; empty if there is."""
        limit, text = "", ""
        if self._signals[opener] >= limits.CIRCUITS_PER_PEER:
            limit, text = "CIRCUITS_PER_PEER", "you have too many open already"
        elif place is not None and self._signals_at[place] >= self._signals_max_at:
            limit, text = "limits.peers_per_address", "those at your address have too many open already"
        elif self._signals.total() >= limits.CIRCUITS_MAX:
            limit, text = "CIRCUITS_MAX", "there are too many of all peers together"
        elif self._offers[target] >= limits.CIRCUIT_OFFERS_PER_PEER:
            limit, text = "CIRCUIT_OFFERS_PER_PEER", "that peer has not answered others yet"
        elif self._offers_by[target, opener] >= self._offers_max:
            limit, text = "CIRCUIT_OFFERS_PER_PEER", "that peer has not answered you yet"
        elif place is not None and self._offers_by[target, place] >= self._offers_max_at:
            limit, text = "limits.peers_per_address", "that peer has not answered others at your address yet"
        if limit:
            self.bites(limit)
        return text

    def open(self, opener: PeerId, target: PeerId, place: bytes | None = None) -> None:
        """A circuit of which the target has not heard yet; it only signals until :meth:`lend`."""
        self._more(self._signals, self._signals_at, opener, place)
        self._offers[target] += 1
        self._offers_by[target, opener] += 1
        if place is not None:
            self._offers_by[target, place] += 1

    def lend(self, opener: PeerId, place: bytes | None = None) -> bool:
        """Let a circuit that only signals carry data, if there is room."""
        if not self._serve:
            return False
        is_full = self._data.total() >= self._max or self._data[opener] >= self._share
        if not is_full and place is not None and self._data_at[place] >= self._share_at:
            self.bites("limits.peers_per_address")
            return False
        if is_full:
            self.bites("relay.max_circuits")
            return False
        self._fewer(self._signals, self._signals_at, opener, place)
        self._more(self._data, self._data_at, opener, place)
        return True

    def take_back(self, opener: PeerId, place: bytes | None = None) -> None:
        """It shall not carry data after all."""
        self._fewer(self._data, self._data_at, opener, place)
        self._more(self._signals, self._signals_at, opener, place)

    def answered(self, opener: PeerId, target: PeerId, place: bytes | None = None) -> None:
        """The target has accepted, or the circuit is over."""
        self._less(self._offers, target)
        self._less(self._offers_by, (target, opener))
        if place is not None:
            self._less(self._offers_by, (target, place))

    def close(self, opener: PeerId, lent: bool, place: bytes | None = None) -> None:
        """A circuit is over."""
        if lent:
            self._fewer(self._data, self._data_at, opener, place)
        else:
            self._fewer(self._signals, self._signals_at, opener, place)

    @staticmethod
    def _more(
        peers: collections.Counter[PeerId], places: collections.Counter[bytes], opener: PeerId, place: bytes | None
    ) -> None:
        peers[opener] += 1
        if place is not None:
            places[place] += 1

    def _fewer(
        self,
        peers: collections.Counter[PeerId],
        places: collections.Counter[bytes],
        opener: PeerId,
        place: bytes | None,
    ) -> None:
        self._less(peers, opener)
        if place is not None:
            self._less(places, place)

    @staticmethod
    def _less(counter: collections.Counter[_K], key: _K) -> None:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]

    def reserve(self, opener: PeerId, size: int, now: float, place: bytes | None = None) -> float:
        """Take so many bytes for a circuit: seconds until they may go on, 0 for at once."""
        wait = max(self._meter(opener, now).reserve(size, now), self._all.reserve(size, now))
        if place is not None:
            wait = max(wait, self._meter(place, now).reserve(size, now))
        if wait:
            self.bites("relay.bytes_per_second")
        return wait

    def _meter(self, key: PeerId | bytes, now: float) -> Meter:
        meter = self._meters.get(key)
        if meter is None:
            self._trim(now)
            meter = self._meters[key] = Meter(self._rate_of(key))
        return meter

    def _trim(self, now: float) -> None:
        """Forget those who owe nothing by now."""
        for opener in [each for each, meter in self._meters.items() if meter.is_idle(now)]:
            del self._meters[opener]
