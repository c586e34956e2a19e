"""The link without a network: packets and times go in, packets and times come out."""

from __future__ import annotations

import pytest

from tests.natlab import packets
from tests.natlab.core import ROUTERS
from tests.natlab.pipes import Pipe, Settings

HERE, THERE = bytes([20, 0, 1, 1]), bytes([20, 0, 2, 1])


def packet(size: int, fill: int = 0) -> bytes:
    """IPv4 and UDP, so many bytes in all; it may be fragmented."""
    return packets.ipv4(packets.UDP, HERE, THERE, bytes([fill]) * (size - 20))


class Made:
    """A pipe with these settings, and what it told the senders."""

    def __init__(self, **settings: object) -> None:
        self.told: list[bytes] = []
        self.pipe = Pipe(self.told.append, ROUTERS)
        self.pipe.set(Settings(**settings), 0.0)  # type: ignore[arg-type]

    def pour(self, count: int, size: int, now: float = 0.0) -> None:
        for number in range(count):
            self.pipe.take(packet(size, number % 256), now)

    def times(self, resolution: float = 0.001, until: float = 10.0) -> list[float]:
        """When the packets leave, looked at in steps."""
        found = []
        for step in range(int(until / resolution)):
            now = step * resolution
            found += [round(now, 6) for _ in self.pipe.due(now)]
        return found


def test_a_plain_pipe_changes_nothing() -> None:
    made = Made()
    made.pour(3, 1500)
    assert [each[20] for each in made.pipe.due(0.0)] == [0, 1, 2]
    assert made.pipe.next is None


def test_delay() -> None:
    """What enters at once leaves at once, later; one may ask when."""
    made = Made(delay=0.04)
    made.pour(2, 100, now=1.0)
    assert made.pipe.next == pytest.approx(1.04)
    assert list(made.pipe.due(1.0399)) == [] and len(list(made.pipe.due(1.0401))) == 2


def test_rate() -> None:
    """A packet leaves when its last bit has; a pause fills no bucket."""
    made = Made(rate=80_000, delay=0.5)  # 10,000 bytes a second
    made.pour(3, 1000)
    assert made.times() == [0.6, 0.7, 0.8]
    made.pour(2, 1000, now=5.0)
    assert made.times() == [5.6, 5.7]


def test_the_queue_holds_so_many_bytes_and_no_more() -> None:
    made = Made(rate=80_000, queue=5_000)
    made.pour(8, 1000)
    assert made.pipe.counts.queue_full == 3
    made.pour(8, 1000, now=0.25)  # two have left, half of the third
    assert made.pipe.counts.queue_full == 3 + 6
    assert len(made.times()) == 7


@pytest.mark.parametrize("now", [0.1, 26318.385, 1e6 / 3])
def test_a_queue_that_is_just_big_enough(now: float) -> None:
    """Whatever the clock says, and however it rounds."""
    made = Made(rate=1e6, queue=20_000)
    made.pour(25, 1000, now=now)
    assert made.pipe.counts.queue_full == 5


def test_the_queue_lasts_a_tenth_of_a_second_if_not_told() -> None:
    assert Settings(rate=8e6).room == 100_000 and Settings(rate=8e3).room == 15_000
    assert Settings(rate=8e6, queue=3_000).room == 3_000


def test_what_is_lost_has_had_its_turn() -> None:
    """Loss is on the way, behind the bottleneck: it frees nothing."""
    made = Made(rate=80_000, loss=1.0, queue=5_000)
    made.pour(8, 1000)
    assert (made.pipe.counts.lost, made.pipe.counts.queue_full, made.times()) == (5, 3, [])


def test_a_change_of_the_settings_keeps_what_waits() -> None:
    """In order, at the times it had; a bottleneck of the same rate is as busy as before."""
    made = Made(rate=80_000, delay=1.0)
    made.pour(3, 1000)
    made.pipe.set(Settings(rate=80_000, mtu=1280), 0.0)
    made.pour(1, 1000)
    assert made.times() == [1.1, 1.2, 1.3, 1.3]
    made.pour(3, 1000, now=20.0)
    made.pipe.set(Settings(), 20.0)
    made.pour(1, 1000, now=20.0)
    assert len(list(made.pipe.due(20.301))) == 4


def test_a_firewall_drops_fragments_too() -> None:
    made = Made(drops=("udp",))
    for each in packets.fragments(packet(3000), 1000):
        made.pipe.take(each, 0.0)
    made.pipe.take(packets.ipv4(packets.TCP, HERE, THERE, bytes(20)), 0.0)
    assert (made.pipe.counts.firewall, len(list(made.pipe.due(0.0)))) == (4, 1)


def test_the_protocol_is_found_behind_extension_headers() -> None:
    """A fragment of IPv6, after hop-by-hop options."""
    header = bytes([0x60, 0, 0, 0, 0, 24, 0, 64, *bytes(32)])
    options, fragment = bytes([44, *bytes(7)]), bytes([packets.UDP, *bytes(7)])
    assert packets.protocol(header + options + fragment + bytes(8)) == packets.UDP
    assert packets.protocol(bytes([0x60, *bytes(5), packets.TCP, *bytes(33)])) == packets.TCP


@pytest.mark.parametrize("mtu", [68, 576, 1280, 1281])
def test_fragments_make_up_the_packet(mtu: int) -> None:
    """Also of fragments; each fits, and has a right checksum."""
    whole = packets.ipv4(packets.UDP, HERE, THERE, bytes(each % 251 for each in range(4000)))
    pieces = [part for piece in packets.fragments(whole, 1500) for part in packets.fragments(piece, mtu)]
    body = bytearray(4000)
    for each in pieces:
        assert len(each) <= mtu and packets.checksum(each[:20]) == 0
        flags = int.from_bytes(each[6:8], "big")
        offset = 8 * (flags & 0x1FFF)
        body[offset : offset + len(each) - 20] = each[20:]
        assert bool(flags & packets.MORE_FRAGMENTS) == (offset + len(each) - 20 < 4000)
    assert bytes(body) == whole[20:]


def test_who_sent_too_much_is_told() -> None:
    """With the size, and the beginning of the packet; or not, if the link does not tell."""
    made = Made(mtu=1280)
    whole = packets.ipv4(packets.UDP, HERE, THERE, bytes(1400), flags=packets.DONT_FRAGMENT)
    made.pipe.take(whole, 0.0)
    (message,) = made.told
    assert (packets.source(message), packets.destination(message)) == (ROUTERS[0], HERE)
    assert message[9] == packets.ICMP and message[20:22] == bytes([3, 4])
    assert message[26:28] == (1280).to_bytes(2, "big") and message[28:] == whole[:28]
    assert packets.checksum(message[:20]) == packets.checksum(message[20:]) == 0

    made.pipe.set(Settings(mtu=1280, tells=False), 0.0)
    made.pipe.take(whole, 0.0)
    assert len(made.told) == 1 and made.pipe.counts.too_big == 2 and made.pipe.next is None


def test_a_link_may_cut_nothing() -> None:
    made = Made(mtu=1280, cuts=False, tells=False)
    made.pour(3, 1281)
    made.pour(1, 1280)
    assert (len(list(made.pipe.due(0.0))), made.pipe.counts.too_big, made.told) == (1, 3, [])


@pytest.mark.parametrize("wrong", [{"loss": 1.1}, {"delay": -1.0}, {"rate": 0.0}, {"mtu": 20}, {"drops": ("sctp",)}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_jitter_delays_unevenly_and_keeps_the_order() -> None:
    """Each packet gets up to so much more, by the seed; what was sent first still arrives first."""
    made, again = (Made(delay=0.1, jitter=0.05, seed=3) for _ in range(2))
    for each in (made, again):
        for number in range(200):
            each.pipe.take(packet(100, number), number * 0.01)
    leaving = made.times()
    assert leaving == again.times()
    late = [when - number * 0.01 - 0.1 for number, when in enumerate(leaving)]
    assert min(late) >= -0.001 and max(late) <= 0.0511
    assert min(late) < 0.015 and max(late) > 0.04
    for number in range(10):
        made.pipe.take(packet(100, number), 20.0)
    assert [each[20] for each in made.pipe.due(30.0)] == list(range(10))


def test_jitter_does_not_change_what_is_lost() -> None:
    """The losses are the same with it as without."""
    steady, uneven = Made(loss=0.5), Made(loss=0.5, jitter=0.02)
    left = []
    for each in (steady, uneven):
        each.pour(100, 100)
        left.append([packet_[20] for packet_ in each.pipe.due(1.0)])
    assert left[0] == left[1] and 20 < len(left[0]) < 80


def test_a_broken_link_carries_nothing() -> None:
    """What comes while it is cut is gone; what was under way arrives."""
    made = Made(delay=0.1)
    made.pour(1, 100)
    made.pipe.set(Settings(delay=0.1, broken=True), 0.05)
    made.pour(3, 100, now=0.06)
    assert len(list(made.pipe.due(1.0))) == 1
    assert made.pipe.counts.broken == 3
    made.pipe.set(Settings(delay=0.1), 1.0)
    made.pour(1, 100, now=1.0)
    assert len(list(made.pipe.due(2.0))) == 1
