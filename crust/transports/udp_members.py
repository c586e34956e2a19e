"""What a hub (:mod:`crust.transports.udp`) hands datagrams to."""

from __future__ import annotations

from typing import Protocol

from .udp_offload import Address
from .udp_receive import Source
from .utp.noise import Noise
from .utp.packet import Packet

__all__ = ["Acceptor", "Member"]


class Member(Protocol):
    """A µTP connection, as its hub sees it. Called on the hub's thread, unless said otherwise."""

    noise: Noise
    """Hears of what :meth:`arrived` gets."""

    @property
    def proven(self) -> bool:
        """The other side has shown to be where its packets come from, or has been called there."""

    def arrived(self, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float) -> bool:
        """
        Packets came, at once: runs of consecutive numbers that are equal otherwise. True if an acknowledgement is owed:
        :meth:`settle` is called soon.

        Args:
            runs: For each its first packet, whose payload is that of all of it; how many packets; bytes of payload in
                each but the last.
            payload: That of all runs, in one piece; valid during the call.
        """

    def settle(self, now: float) -> None:
        """Send the acknowledgement that is owed."""

    def refused(self, number: int, mtu: int, now: float) -> None:
        """ICMP says that a datagram did not get through; ``mtu``: as it was larger than that, unless 0."""

    def sendable(self) -> None:
        """The socket has room again (I/O thread)."""


class Acceptor(Protocol):
    """Who answers callers."""

    def called(self, syn: Packet, address: Address, source: Source | None, now: float) -> None:
        """A SYN of an unknown connection came (the hub's thread)."""
