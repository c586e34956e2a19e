"""
How much of what comes on a µTP connection is of no use, and how much of a connection gets in where most of it is not.

Packets are of use as far as they acknowledge something that had not been acknowledged, or bring part of the stream that
was not there. Lines that lose, delay or double packets make others, too, up to twice as many; and a sender whose clock
ran out sends a whole window again. So what is of use earns a connection credit, and what is not takes from it
(:class:`Noise`), and then from the patience with all those at its address (:mod:`crust.transports.utp.patience`). Who
has neither left is *noisy*: its packets are rationed, and what the socket's sieve knows of connections does not hold
for it (:mod:`crust.transports.udp_sieve`), so that what it loses is lost in the kernel and costs others nothing. It
goes on, slowly. When its address has been quiet for a while, it is as others are.

Headers of µTP can be forged by who sees them, and such a one may end a connection by a RESET anyway. Who sees nothing
of it guesses one of 2^16 ids: it takes more than a hundred million packets a second to make a connection noisy so.

Where there is no sieve, the ration alone holds it back: its packets are read, and thrown away before they cost more.
"""

from __future__ import annotations

import math

from ... import limits
from .connection import UtpConnection
from .patience import Patience

__all__ = ["Din", "Noise"]


class Noise:
    """
    What one connection is good for. For the thread that hears it.

    Args:
        host: The IP address of its other end.
        patience: With those who are there.
    """

    __slots__ = ("_acked", "_arrived", "_earned", "_patience", "_weight", "host", "noisy", "sifted")

    def __init__(self, host: str, patience: Patience) -> None:
        self.host = host
        self.noisy = False
        """It has brought far more that was of no use than of what was."""
        self.sifted = math.inf
        """From when on what comes of it has passed a sieve that takes it for a stranger's."""
        self._patience = patience
        self._earned = limits.UTP_USELESS_BEGUN
        self._weight = 1.0  # how many were sent for each that comes
        self._arrived = -1  # packets of the stream that have been received, and sent and acknowledged; -1: unknown yet
        self._acked = 0

    def heard(self, core: UtpConnection, packets: int, size: int, now: float) -> None:
        """
        The connection has taken packets.

        Args:
            packets: How many.
            size: Bytes of payload in them.
        """
        arrived, acked = core.receiver.packets, core.sender.acknowledged
        if self._arrived < 0:  # both count from somewhere
            self._arrived, self._acked = arrived - (size > 0), acked
        fresh = arrived - self._arrived
        if fresh == packets and acked == self._acked and size >= packets * limits.UTP_USEFUL_BYTES:
            self._arrived = arrived
            if self._earned >= limits.UTP_USELESS_BURST:
                return  # the rule
        # Packets of a byte or two are no progress worth the name.
        gained = min(max(0.0, fresh), size / limits.UTP_USEFUL_BYTES) + max(0, acked - self._acked)
        self._arrived, self._acked = arrived, acked
        self._spend(max(0.0, packets - gained) * self._weight - limits.UTP_USEFUL_EXCUSES * gained, now)

    def _spend(self, packets: float, now: float) -> None:
        left = self._earned - packets
        self._earned = max(0.0, min(limits.UTP_USELESS_BURST, left))
        if left < 0.0 and not self._patience.try_with(-left, now):
            self.noisy = True

    def told(self, now: float) -> None:
        """The sieve learns now whether it is noisy. What waits in the socket has passed the one before."""
        self.sifted = min(self.sifted, now + limits.SIEVE_PERIOD) if self.noisy else math.inf

    def lets_in(self, packets: int, share: float, now: float) -> bool:
        """
        Packets came while it was noisy: whether the connection is to hear of them.

        Args:
            share: Of its packets that come through the socket's sieve.
        """
        self._weight = 1.0 / share
        if self.is_calm(now) or self._patience.admits(packets, now):
            return True
        self._spend(packets * self._weight, now)
        return False

    def is_calm(self, now: float) -> bool:
        """Whether it is noisy no more."""
        if self._patience.left(now) >= 0.0:
            self.noisy = False
            self._weight = 1.0
        return not self.noisy


class Din:
    """The noisy connections of one socket. Not thread-safe."""

    def __init__(self) -> None:
        self._noisy: set[Noise] = set()
        self._met: dict[str, int] = {}  # packets by host since the last look
        self._lost: dict[str, int] = {}  # of those, such as were thrown away here

    def met(self, noise: Noise, packets: int, let_in: bool, sifted: bool = True) -> None:
        """So many came of a noisy one, all there were or what a sieve had left of them (one thread)."""
        self._met[noise.host] = self._met.get(noise.host, 0) + (packets if sifted else 0)
        if not let_in:
            self._lost[noise.host] = self._lost.get(noise.host, 0) + packets

    def changed(self, noise: Noise) -> None:
        """It has become noisy, or calm."""
        if noise.noisy:
            self._noisy.add(noise)
        else:
            self._noisy.discard(noise)

    def forget(self, noise: Noise) -> None:
        """The connection is over."""
        self._noisy.discard(noise)

    def calmed(self, now: float) -> bool:
        """Whether some, of which little may come through the sieve, are noisy no more."""
        calm = [noise for noise in self._noisy if noise.is_calm(now)]
        self._noisy.difference_update(calm)
        return bool(calm)

    def thrown_away(self, held: int, share: float) -> tuple[list[tuple[str, int]], int]:
        """
        By host, about how many have been thrown away since the last time; and how many were strangers'.

        Args:
            held: Datagrams that the sieve has held back meanwhile.
            share: Of those that looked like µTP, that it let through.
        """
        met, self._met = self._met, {}
        lost, self._lost = self._lost, {}
        told = []
        for host, packets in met.items():
            behind = min(held, round(packets / share - packets))
            held -= behind
            if count := behind + lost.get(host, 0):
                told.append((host, count))
        return told, held
