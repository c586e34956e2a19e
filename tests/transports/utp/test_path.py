"""Paths that take no large packets, from the beginning or from some moment on, and tell nobody."""

from __future__ import annotations

import collections

import pytest

from crust import limits
from crust.transports.utp.packet import HEADER_SIZE, Packet, PacketType
from crust.transports.utp.settings import Settings
from tests.transports.utp.cores import Cores

IPV4 = 1472  # what an Ethernet takes
IPV6 = 1452
LONGEST_STALL = 3.0


class Path:
    """
    Drops what is too large for it, but takes what the sender's machine cuts.

    Args:
        cut_beyond: As in the settings: what is larger arrives in pieces.
    """

    def __init__(self, interface: int, *, cut_beyond: int = 0, pieces: bool = True) -> None:
        self.takes = interface
        self.sizes: dict[int, list[int]] = collections.defaultdict(list)
        """Of the datagrams that the caller sent of each number of DATA."""
        self.lost: list[int] = []
        self._cut_beyond = cut_beyond
        self._pieces = pieces
        settings = Settings(mtu_ceiling=interface, cut_beyond=cut_beyond)
        self.cores = Cores(passes=self._passes, caller=settings, callee=settings).connect()

    def _passes(self, packet: Packet, size: int) -> bool:
        if packet.type is PacketType.DATA:
            self.sizes[packet.sequence].append(size)
        if size <= self.takes or (self._pieces and 0 < self._cut_beyond < size):
            return True
        self.lost.append(size)
        return False

    def stall(self, size: int) -> float:
        """Seconds until so much has gone through."""
        begun = self.cores.now
        self.cores.send(bytes(size), LONGEST_STALL)
        return self.cores.now - begun


@pytest.mark.parametrize("takes", [1232, 1252, 1372, 1400, 1452])
def test_a_lost_probe_leaves_nothing_that_is_too_large(takes: int) -> None:
    """It carries what is known to arrive, and padding; sent again, it is no larger than the others."""
    path = Path(IPV4)
    path.takes = takes
    for _ in range(10):
        assert path.stall(300_000) < LONGEST_STALL
    again = [sizes for sizes in path.sizes.values() if len(sizes) > 1]
    assert len(path.lost) == len(again) >= limits.UTP_MTU_PROBES
    assert all(first > takes >= second for first, second in again)
    assert takes - limits.UTP_MTU_STEP <= path.cores.near.mtu.size <= takes


def test_a_probe_at_the_end_is_sent_again_soon_and_counts_as_lost() -> None:
    """Without its padding, before the timeout; and the search goes on with the next packet."""
    path = Path(IPV4)
    path.takes = 1300
    near = path.cores.near
    for index in range(1, limits.UTP_MTU_PROBES + 1):
        assert path.stall(limits.UTP_MTU_BASE - HEADER_SIZE) < 2 * limits.UTP_RTO_MIN
        assert path.lost == [IPV4] * index
    path.stall(limits.UTP_MTU_BASE - HEADER_SIZE)
    assert path.lost[-1] < IPV4 and near.rtt.rto < limits.UTP_RTO_INITIAL


def test_what_is_too_large_by_now_is_cut() -> None:
    """By our own machine, which cuts only what its interface does not take: padding makes it so large."""
    path = Path(IPV6, cut_beyond=IPV6)
    path.stall(500_000)
    assert path.cores.near.mtu.size == IPV6 and not path.lost
    path.takes = 1232
    path.sizes.clear()
    assert path.stall(500_000) < LONGEST_STALL
    assert len(path.cores.got["far"]) == 1_000_000
    cut = [size for sizes in path.sizes.values() for size in sizes if size > IPV6]
    assert cut and max(cut) <= IPV6 + 2
    assert path.cores.near.mtu.size <= 1232


@pytest.mark.parametrize("size", [1400, 1500, 3000])
def test_a_black_hole_is_noticed_between_small_packets(size: int) -> None:
    """A message at a time, whose small packets arrive: soon none has to wait for a timeout."""
    path = Path(IPV6, cut_beyond=IPV6)
    path.stall(500_000)
    path.takes = 1232
    for _ in range(20):
        assert path.stall(size) < LONGEST_STALL
        path.cores.run(0.5)
    assert path.cores.near.mtu.size <= 1232
    before = len(path.lost)
    assert path.stall(size) < limits.UTP_RTO_MIN / 2
    assert len(path.lost) == before


def test_where_no_pieces_pass_the_whole_still_does() -> None:
    """Firewalls drop pieces: a packet that was lost by chance, again and again, goes whole every other time."""
    path = Path(IPV6, cut_beyond=IPV6, pieces=False)
    path.stall(500_000)
    path.takes = 1232
    path.cores.near.send(bytes(5000))
    path.cores.run(2.0)
    assert path.cores.near.mtu.size == limits.UTP_MTU_BASE
    path.takes = IPV6  # it was a bad moment
    path.cores.run(2 * limits.UTP_RTO_MAX)
    assert len(path.cores.got["far"]) == 505_000
    orders = [[size > IPV6 for size in sizes] for sizes in path.sizes.values() if len(sizes) > 3]
    assert orders and all(order[2:5] in ([True, False, True], [True, False]) for order in orders)


def test_padding_does_not_reach_from_an_ethernet_to_the_largest_datagram() -> None:
    """What cannot be cut goes as it is."""
    path = Path(IPV6, cut_beyond=limits.UTP_DATAGRAM_MAX)
    path.stall(500_000)
    path.takes = 1232
    path.cores.near.send(bytes(5000))
    path.cores.run(2.0)
    assert max(size for sizes in path.sizes.values() for size in sizes) == IPV6
