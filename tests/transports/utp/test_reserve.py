"""What connections keep of streams that nobody takes yet is bounded together, and by address; streams still go on."""

from __future__ import annotations

import collections

from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.transports.utp.packet import Packet
from crust.transports.utp.receiver import Receiver
from crust.transports.utp.reserve import Reserve, Share
from crust.transports.utp.settings import Settings
from tests.transports.utp.cores import Cores

BEGUN = limits.UTP_RECEIVE_WINDOW_BEGUN
SIZE = 1000  # bytes of a packet
WINDOW = 4 * 1024 * 1024


def grown(reserve: Reserve, place: object = "a place") -> Receiver:
    """Whose application has taken enough for the whole window."""
    receiver = Receiver(1, WINDOW, Share(reserve, place))
    while receiver.window_size < WINDOW:
        receiver.receive(receiver.next, 50, SIZE, bytes(50 * SIZE), False, 0.0)
        receiver.chunks.clear()
    return receiver


def leave_gap(receiver: Receiver, packets: int = 2000) -> None:
    for ahead in range(1, packets):
        receiver.receive(receiver.next + ahead, 1, SIZE, bytes(SIZE), False, 0.0)


def test_one_address_has_half_and_the_next_half_of_the_rest() -> None:
    """And whoever comes then still has something."""
    reserve = Reserve(1200)
    taken: collections.Counter[str] = collections.Counter()
    for place in ("first", "second", "third"):
        while reserve.take(place, 10):
            taken[place] += 10
    assert taken["first"] == 600 and taken["second"] == 300 and taken["third"] == 150
    assert reserve.refused() == 3
    reserve.give_back("first", 600)
    while reserve.take("second", 10):
        taken["second"] += 10
    assert taken["second"] == 530  # half of what the third leaves, up to the last piece


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * BEGUN)), max_size=60))
def test_what_is_taken_is_what_is_kept(steps: list[tuple[int, int]]) -> None:
    """Never more than there is; all of it is given back."""
    most = 4 * BEGUN
    reserve = Reserve(most)
    shares = [Share(reserve, number // 2) for number in range(4)]
    kept = [0] * 4
    for number, size in steps:
        if size <= kept[number] or shares[number].fits(size):
            kept[number] = size
            shares[number].keeps(size)
        assert reserve.used == sum(max(0, each - BEGUN) for each in kept) <= most
        assert shares[number].short <= (kept[number] > BEGUN)
    for share in shares:
        share.keeps(0)
    assert reserve.used == 0 and not reserve._by_place


def test_gaps_of_many_cost_no_more_than_the_reserve() -> None:
    """A hundred from one address that leave theirs open; another's is served, and theirs still close."""
    reserve = Reserve()
    many = [grown(reserve) for _ in range(100)]
    for receiver in many:
        leave_gap(receiver)
    kept = sum(receiver._early_bytes for receiver in many)
    assert kept <= limits.UTP_KEPT_MAX / 2 + len(many) * BEGUN and reserve.used > 0.9 * limits.UTP_KEPT_MAX / 2
    assert all(receiver._early_bytes >= BEGUN - SIZE for receiver in many)
    assert reserve.refused() > 0 and many[-1].window == BEGUN

    other = grown(reserve, "another place")
    leave_gap(other)
    assert other._early_bytes == 1999 * SIZE and other.window == WINDOW

    for receiver in (*many, other):
        receiver.receive(receiver.next, 1, SIZE, bytes(SIZE), False, 0.0)
        assert not receiver.has_gaps and receiver.window == WINDOW
    assert reserve.used == 0


def test_who_reads_nothing_is_told_of_a_small_window() -> None:
    """Until it reads again."""
    reserve = Reserve(2 * BEGUN)
    receiver = grown(reserve)
    size = 0
    while receiver.held == size:
        size += SIZE
        receiver.receive(receiver.next, 1, SIZE, bytes(SIZE), True, 0.0)
    assert 2 * BEGUN - SIZE < receiver.held <= 2 * BEGUN and receiver.window == 0
    while receiver.chunks:
        receiver.taken(len(receiver.chunks.popleft()))
    assert receiver.window == WINDOW and reserve.used == 0


def test_a_stream_with_losses_gets_through_without_any_reserve() -> None:
    """Others have used it up: it goes on with what each may keep."""
    reserve = Reserve(0)
    seen: set[int] = set()

    def passes(packet: Packet, size: int) -> bool:
        lose = packet.sequence in (1200, 1800) and packet.sequence not in seen
        seen.add(packet.sequence)
        return not lose

    cores = Cores(passes=passes, callee=Settings(window=WINDOW, share=Share(reserve, "a place")))
    cores.connect().send(bytes(3_000_000))
    assert 1800 in seen and reserve.refused() > 0 and cores.there.receiver.window == WINDOW


def test_tiny_packets_that_are_kept_fill_the_window_sooner() -> None:
    """They cost time, too: a window of four MiB is full of 32,768 of a byte, and then as empty as before."""
    receiver = grown(Reserve())
    count = 0
    while receiver.window:
        receiver.receive(receiver.next, 1, 1, b"x", True, 0.0)
        count += 1
    assert count == receiver.held == WINDOW // 128
    receiver.receive(receiver.next, 1, 1, b"x", True, 0.0)
    assert receiver.held == count
    while receiver.chunks:
        receiver.taken(len(receiver.chunks.popleft()))
    assert receiver.window == WINDOW


def test_packets_of_a_usual_size_do_not() -> None:
    """Whatever the reader's pace: the window goes by their bytes."""
    receiver = grown(Reserve())
    for _ in range(50_000):
        receiver.receive(receiver.next, 1, SIZE, bytes(SIZE), True, 0.0)
        if len(receiver.chunks) > 10:
            receiver.taken(len(receiver.chunks.popleft()))
        assert receiver.window == WINDOW - receiver.held
