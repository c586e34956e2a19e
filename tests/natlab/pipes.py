"""One direction of a link: delay, loss, a bottleneck with a queue, and the size of what fits. No I/O, no clock."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Callable, Iterator

from tests.natlab import packets

SHORTEST_QUEUE = 10 * 1500  # bytes


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a direction of a link does to packets. Nothing, by default."""

    delay: float = 0.0
    """Seconds on the way."""

    jitter: float = 0.0
    """Up to so many seconds more, each packet its own, and none overtakes another."""

    loss: float = 0.0
    """The part of the packets that gets lost on the way, 0 to 1, each by itself, after its turn in the bottleneck."""

    rate: float | None = None
    """Bits a second of IP packets that leave the queue; None: there is no bottleneck."""

    queue: int | None = None
    """Bytes that wait for the bottleneck; what finds it full is dropped. None: what leaves it in 100 ms."""

    mtu: int | None = None
    """Bytes of the biggest packet; None: all that the host's interface sends."""

    tells: bool = True
    """Whether the sender of a packet that is too big hears of it by ICMP. False: a black hole."""

    cuts: bool = True
    """Whether a packet that is too big and may be fragmented is. False: it goes the way of those that may not be."""

    drops: tuple[str, ...] = ()
    """Protocols that a firewall in this direction drops silently: ``tcp``, ``udp``."""

    broken: bool = False
    """Whether the link is cut: nothing passes, and nobody is told."""

    seed: int = 1
    """Of the losses: the same seed loses the same packets, counted from the last change of the settings."""

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1 or self.delay < 0 or self.jitter < 0:
            raise ValueError(f"loss is a part of 1, and no packet comes before it was sent: {self}")
        if self.rate is not None and self.rate <= 0 or self.mtu is not None and self.mtu < 68:
            raise ValueError(f"a link without rate or room for packets: {self}")
        if unknown := set(self.drops) - set(packets.PROTOCOLS):
            raise ValueError(f"firewalls here know {', '.join(packets.PROTOCOLS)}, not {', '.join(unknown)}")

    @property
    def room(self) -> float:
        """Bytes of the queue."""
        if self.queue is not None:
            return self.queue
        return max(SHORTEST_QUEUE, (self.rate or 0) / 8 * 0.1)


@dataclasses.dataclass
class Counts:
    """What became of the packets of one direction."""

    packets: int = 0
    """That came, before anything happened to them."""

    sent: int = 0
    bytes: int = 0
    """Of those sent on."""

    lost: int = 0
    queue_full: int = 0
    too_big: int = 0
    cut: int = 0
    """How many were fragmented."""

    firewall: int = 0
    broken: int = 0
    """How many found the link cut."""


class Pipe:
    """
    Packets in, and out in the same order when they are due.

    Args:
        tell: Called with an ICMP message for the sender of a packet that was too big.
        routers: The addresses that such messages come from, IPv4 and IPv6.
    """

    def __init__(self, tell: Callable[[bytes], object], routers: tuple[bytes, bytes]) -> None:
        self._tell, self._routers = tell, routers
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self.counts = Counts()
        self._free = 0.0  # when the bottleneck has sent all that waits for it
        self._latest = 0.0  # when the last of those on their way is due
        self.settings = Settings()
        self.set(self.settings, 0.0)

    def set(self, settings: Settings, now: float) -> None:
        """Change what happens to the packets that come from now on; those on their way keep their times."""
        if settings.rate != self.settings.rate:
            self._free = now
        self.settings = settings
        self._random = random.Random(settings.seed).random
        self._uneven = random.Random(-settings.seed - 1).random  # its own: jitter does not change what gets lost
        self._drops = frozenset(packets.PROTOCOLS[name] for name in settings.drops)
        self._room, self._rate = settings.room, (settings.rate or 0) / 8
        self._mtu = settings.mtu or 1 << 16

    def take(self, packet: bytes, now: float) -> None:
        """A packet enters."""
        counts = self.counts
        counts.packets += 1
        if self.settings.broken:
            counts.broken += 1
        elif self._drops and packets.protocol(packet) in self._drops:
            counts.firewall += 1
        elif len(packet) > self._mtu:
            for each in self._oversized(packet):
                self._queue(each, now)
        else:
            self._queue(packet, now)

    def _oversized(self, packet: bytes) -> list[bytes]:
        if self.settings.cuts and packets.may_be_cut(packet):
            self.counts.cut += 1
            return packets.fragments(packet, self._mtu)
        self.counts.too_big += 1
        if self.settings.tells:
            router = self._routers[packet[0] >> 4 == 6]
            self._tell(packets.too_big(packet, self._mtu, router))
        return []

    def _queue(self, packet: bytes, now: float) -> None:
        if self._rate:
            size = len(packet)
            begins = max(now, self._free)
            if (begins - now) * self._rate + size > self._room + 0.5:  # times are rounded
                self.counts.queue_full += 1
                return
            self._free = now = begins + size / self._rate
        if self.settings.loss and self._random() < self.settings.loss:
            self.counts.lost += 1
            return
        due = now + self.settings.delay
        if self.settings.jitter:
            due = self._latest = max(self._latest, due + self.settings.jitter * self._uneven())
        self._waiting.append((due, packet))

    def due(self, now: float) -> Iterator[bytes]:
        """The packets that leave now."""
        waiting, counts = self._waiting, self.counts
        while waiting and waiting[0][0] <= now:
            packet = waiting.popleft()[1]
            counts.sent += 1
            counts.bytes += len(packet)
            yield packet

    @property
    def next(self) -> float | None:
        """When the next packet leaves; None while there is none."""
        return self._waiting[0][0] if self._waiting else None
