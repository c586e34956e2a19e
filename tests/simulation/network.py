"""
A network on a virtual clock: links with a rate, a queue, and all that goes wrong on the way.

Everything random comes from the seeds of the links, so a run repeats exactly. Times are seconds, sizes bytes, rates
bytes per second.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Behaviour", "Link", "World"]

HEADERS = 28  # IPv4 and UDP


class World:
    """The clock, and what is going to happen."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, time: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Call ``callback(*arguments)`` at ``time``; calls of the same time in the order of asking."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, callback, arguments))

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> None:
        """Let time pass to ``until``, or as long as something is going to happen, or until ``stop()`` holds."""
        events = self._events
        pop = heapq.heappop
        while events and events[0][0] <= until:
            self.now, _, callback, arguments = pop(events)
            callback(*arguments)
            if stop is not None and stop():
                return
        self.now = max(self.now, until)

    @property
    def empty(self) -> bool:
        """Nothing is going to happen any more."""
        return not self._events


@dataclass(slots=True)
class Behaviour:
    """What a link does to packets. It may be changed at any time; what is on the way arrives as it would have."""

    delay: float = 0.02
    rate: float = math.inf
    queue: float = math.inf
    """Bytes that wait for the rate; more are dropped."""
    loss: float = 0.0
    """The share that vanishes, as are the next two."""
    duplication: float = 0.0
    reordering: float = 0.0
    """Of packets that take up to ``late`` longer, and are overtaken."""
    late: float = 0.02
    jitter: float = 0.0
    """Up to so much more delay, but in order."""
    mtu: int = 65_535
    """Of IP packets; larger ones are dropped if they may not be fragmented, and else lost twice as easily."""
    fragments: bool = True
    """Routers cut what is larger, if they may, as those of IPv4; else only the sender can."""
    tells_mtu: bool = False
    """The sender hears of a packet that was too large."""


class Link:
    """One direction of a path; any number of flows share it."""

    def __init__(self, world: World, behaviour: Behaviour | None = None, *, seed: int = 0) -> None:
        self.world = world
        self.behaviour = behaviour or Behaviour()
        self.random = random.Random(seed)
        self.users: list[Any] = []
        """Who sends over it."""
        self.delivered = 0
        """Bytes that arrived, headers included."""
        self.packets = 0
        self.dropped = 0
        """Packets for which the queue had no room."""
        self.lost = 0
        """Packets that were lost otherwise."""
        self.longest = 0
        """Bytes of the largest packet that arrived."""
        self._refused: type | None = None
        self._free = 0.0  # when the last byte of the queue is out
        self._last = 0.0  # when the last packet in order arrives

    def send(
        self, payload: Any, size: int, arrive: Callable[[Any], object], whole: bool = False, cut: bool = False
    ) -> int | None:
        """
        Take a packet, and hand it to ``arrive`` when its time has come.

        Args:
            size: Bytes of UDP payload.
            whole: It may not be fragmented.
            cut: The sender has fragmented it, if it is too large.

        Returns:
            The largest UDP payload that passes, if this was larger and the link says so.
        """
        if self._refused is not None and isinstance(payload, self._refused):
            return None
        own, chance = self.behaviour, self.random.random
        size += HEADERS
        pieces = 1
        if size > own.mtu:
            if whole or not (own.fragments or cut):
                self.lost += 1
                return own.mtu - HEADERS if own.tells_mtu else None
            pieces = 2
        world = self.world
        now = world.now
        arrival = now
        if own.rate < math.inf:
            if (self._free - now) * own.rate + size > own.queue:
                self.dropped += 1
                return None
            self._free = arrival = max(self._free, now) + size / own.rate
        if own.loss and any(chance() < own.loss for _ in range(pieces)):
            self.lost += 1
            return None
        self._deliver(payload, size, arrive, arrival + own.delay)
        if own.duplication and chance() < own.duplication:
            self._deliver(payload, size, arrive, arrival + own.delay)
        return None

    def _deliver(self, payload: Any, size: int, arrive: Callable[[Any], object], arrival: float) -> None:
        own, chance = self.behaviour, self.random.random
        if own.reordering and chance() < own.reordering:
            arrival += chance() * own.late
        else:
            if own.jitter:
                arrival += chance() * own.jitter
            if arrival < self._last:
                arrival = self._last
            self._last = arrival
        self.world.at(arrival, self._arrive, payload, size, arrive)

    def _arrive(self, payload: Any, size: int, arrive: Callable[[Any], object]) -> None:
        self.delivered += size
        self.packets += 1
        if size > self.longest:
            self.longest = size
        arrive(payload)

    def refuse(self, kind: type) -> None:
        """Drop packets of this kind from now on: the flow that sends them has gone."""
        self._refused = kind

    @property
    def waiting(self) -> float:
        """Seconds that a packet would wait in the queue now."""
        return max(0.0, self._free - self.world.now)

    def change(self, **values: float) -> None:
        """Change the behaviour; what waits in the queue leaves at the new rate."""
        backlog = self.waiting * self.behaviour.rate if self.waiting else 0.0
        for name, value in values.items():
            setattr(self.behaviour, name, value)
        if backlog:
            self._free = self.world.now + backlog / self.behaviour.rate
        self._last = 0.0
