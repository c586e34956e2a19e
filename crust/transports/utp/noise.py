"""
How much of what comes on a µTP connection is of no use, and how much of a connection gets in where most of it is not.

Packets are of use as far as they acknowledge something that had not been acknowledged, or bring part of the stream that
was not there. Lines that lose, delay or double packets make others, too, about as many; and a sender whose clock ran
out sends a whole window again. So a connection has credit: what is of use adds to it, and so does time; what is not
takes from it (:class:`Noise`). Whose credit is used up is *noisy*: its packets are rationed, and what the socket's
sieve knows of connections does not hold for it (:mod:`crust.transports.udp_sieve`), so that what it loses is lost in
the kernel and costs others nothing. It goes on, slowly. When it has been quiet for a while, it is as others are.

Headers of µTP can be forged by who sees them, and such a one may end a connection by a RESET anyway. Who sees nothing
of it guesses one of 2^16 ids: it takes more than a hundred million packets a second to make a connection noisy so.

Where there is no sieve, the ration alone holds it back: its packets are read, and thrown away before they cost more.
"""

from __future__ import annotations

import math

from ... import limits
from ...runtime.rates import Bucket
from .connection import UtpConnection

__all__ = ["Din", "Noise", "Patience"]


class Patience:
    """What all connections of a socket may bring that is of no use. Not exact where two threads ask at once."""

    def __init__(self) -> None:
        self._left = Bucket(limits.UTP_USELESS_ALL_PER_SECOND, limits.UTP_USELESS_BURST)

    def take(self, packets: float, now: float) -> float:
        """As many of them as are left."""
        taken = max(0.0, min(packets, self._left.tokens(now)))
        self._left.take(taken)
        return taken


class Noise:
    """
    What one connection is good for. For the thread that hears it.

    Args:
        host: The IP address of its other end.
        patience: Of its socket.
    """

    __slots__ = (
        "_acked",
        "_arrived",
        "_at",
        "_credit",
        "_most",
        "_patience",
        "_ration",
        "_ration_at",
        "_weight",
        "host",
        "noisy",
        "sifted",
    )

    def __init__(self, host: str, patience: Patience) -> None:
        self.host = host
        self._patience = patience
        self.noisy = False
        """It has brought far more that was of no use than of what was."""
        self.sifted = math.inf
        """From when on what comes of it has passed a sieve that takes it for a stranger's."""
        self._credit = self._most = limits.UTP_USELESS_BEGUN  # and what it may be: what is of use adds to that, too
        self._at = 0.0  # when the credit was so
        self._weight = 1.0  # how many were sent for each that comes
        self._ration = 0.0
        self._ration_at = 0.0
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
            if self._credit >= limits.UTP_USELESS_BURST:
                return  # the rule
        # Packets of a byte or two are no progress worth the name.
        gained = min(max(0.0, fresh), size / limits.UTP_USEFUL_BYTES) + max(0, acked - self._acked)
        self._arrived, self._acked = arrived, acked
        self._earn(now)
        if self._most < limits.UTP_USELESS_BURST:
            more = min(gained, limits.UTP_USELESS_BURST - self._most)
            self._most += more
            self._credit += more
        self._spend(max(0.0, packets - gained) * self._weight - gained)

    def _earn(self, now: float) -> None:
        earned = (now - self._at) * limits.UTP_USELESS_PER_SECOND
        self._at = now
        if self._credit < 0.0:  # it hears next to nothing: that is not taken from others
            self._credit = min(limits.UTP_USELESS_BEGUN, self._credit + earned)
        elif self._credit < self._most:
            self._credit += self._patience.take(min(earned, self._most - self._credit), now)

    def _spend(self, packets: float) -> None:
        most = limits.UTP_USELESS_PER_SECOND * limits.UTP_NOISY_SECONDS  # however long a flood is
        self._credit = max(-most, min(self._most, self._credit - packets))
        if self._credit < 0.0:
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
        if self.is_calm(now):
            return True
        most = limits.SIEVE_PASS * limits.SIEVE_PERIOD
        self._ration = min(most, self._ration + (now - self._ration_at) * limits.SIEVE_PASS)
        self._ration_at = now
        if self._ration > 0.0:
            self._ration -= packets
            return True
        self._spend(packets * self._weight)
        return False

    def is_calm(self, now: float) -> bool:
        """Whether it is noisy no more."""
        self._earn(now)
        if self._credit >= 0.0:
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
