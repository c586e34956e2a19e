"""The sending half of a session: numbers, order, big messages, window."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.peers.filler import SMALL_MAX
from crust.wire import frames
from crust.wire.frames import Ack, Batch, Frame, Kind, Piece
from tests.support.outboxes import (
    BIG,
    OVERHEAD,
    PIECE,
    PLENTY,
    RESERVE,
    SLOTS,
    chunks_in,
    make,
    push,
    put_together,
    take,
    take_all,
)

# --- numbers and order ------------------------------------------------------------------------------------------------


def test_chunks_are_numbered_when_first_sent() -> None:
    """A message pushed later but sent earlier has the lower chunk number; message numbers count pushes."""
    outbox = make()
    assert [push(outbox, b"late", 3), push(outbox, b"early", 0)] == [0, 1]
    assert take(outbox) == [Batch(0, 0, 0, [b"early"]), Batch(1, 0, 3, [b"late"])]
    assert push(outbox, b"next") == 2
    assert take(outbox) == [Batch(2, 0, 1, [b"next"])]


def test_nothing_to_send_is_no_record() -> None:
    """Without messages there is no record, prefix or not."""
    assert make().next_record(frames.build_ack(0, 0)) is None


def test_the_prefix_goes_in_front() -> None:
    """What the session has to say precedes the data in the same record."""
    outbox = make()
    push(outbox, b"data")
    record = outbox.next_record(frames.build_ack(7, 8))
    assert record is not None
    assert frames.parse_record_untrusted(record) == [Ack(7, 8), Batch(0, 0, 1, [b"data"])]


def test_order_holds_within_a_priority_over_many_records() -> None:
    """Thousands of messages of two priorities keep their order, pushed and sent in turns."""
    outbox = make()
    sent: list[Frame] = []
    for start in range(0, 9000, 3000):
        for number in range(start, start + 3000):
            push(outbox, b"%d" % number * (number % 40), priority=number % 2)
        sent += take(outbox)
    messages = put_together(sent + take_all(outbox))
    for priority in (0, 1):
        expected = [b"%d" % number * (number % 40) for number in range(priority, 9000, 2)]
        assert [data for of, _, data in messages if of == priority] == expected


def test_the_most_urgent_go_first_in_one_record() -> None:
    """One record holds batches of several priorities, most urgent first."""
    outbox = make()
    for priority in (255, 7, 0, 7, 1):
        push(outbox, b"%d" % priority, priority)
    sent = take(outbox)
    assert [frame.priority for frame in sent if isinstance(frame, Batch)] == [0, 1, 7, 255]
    assert sent[2] == Batch(2, 0, 7, [b"7", b"7"])


def test_kinds_travel_apart() -> None:
    """Messages and file transfer of one priority are separate streams, each marked with its kind."""
    outbox = make()
    push(outbox, b"file", 1, Kind.FILE)
    push(outbox, b"message", 1, Kind.MESSAGE)
    assert take(outbox) == [Batch(0, Kind.MESSAGE, 1, [b"message"]), Batch(1, Kind.FILE, 1, [b"file"])]


def test_many_priorities_leave_no_lanes_behind() -> None:
    """Every priority used once costs no memory for ever, and none of its messages."""
    outbox = make()
    for priority in range(256):
        push(outbox, b"x", 255 - priority)
        if priority % 2:
            assert chunks_in(take(outbox)) == 2
    assert len(outbox._lanes) == len(outbox._order) < 20
    for priority in range(256):
        push(outbox, b"y", 255 - priority)
    sent = take_all(outbox)
    assert [frame.priority for frame in sent if isinstance(frame, Batch)] == list(range(256))


@pytest.mark.parametrize("size", [0, 1, SMALL_MAX])
def test_small_messages_are_one_chunk(size: int) -> None:
    """A message up to the limit, empty ones too, travels in a batch."""
    outbox = make()
    push(outbox, bytes(size))
    assert take(outbox) == [Batch(0, 0, 1, [bytes(size)])]


def test_a_message_over_the_limit_travels_in_pieces() -> None:
    """One byte more than fits a batch is a piece; if one record holds it, it is the first and the last."""
    outbox = make()
    data = bytes(SMALL_MAX + 1)
    push(outbox, data)
    assert take(outbox) == [Piece(0, 0, 1, 0, True, True, len(data), data)]


@settings(deadline=None, max_examples=50)
@given(
    pushes=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 100, 3000, SMALL_MAX - 20, SMALL_MAX, SMALL_MAX + 1, PIECE + 1, BIG]),
            st.integers(0, 3),
            st.integers(0, 1),
        ),
        max_size=12,
    ),
    prefix=st.sampled_from([b"", frames.build_ack(1, 2), frames.build_ack(1, 2) * 10]),
)
def test_records_are_legal_and_hold_everything(pushes: list[tuple[int, int, int]], prefix: bytes) -> None:
    """Whatever is pushed comes out once, in order per priority and kind, in records of legal size."""
    outbox = make()
    for index, (size, priority, kind) in enumerate(pushes):
        push(outbox, (bytes([index]) * size), priority, kind)
    sent: list[Frame] = []
    while (record := outbox.next_record(prefix)) is not None:
        assert len(record) <= limits.RECORD_PLAINTEXT_MAX
        assert record.startswith(prefix)
        sent += frames.parse_record_untrusted(record[len(prefix) :])
    messages = put_together(sent)
    for lane in itertools.product(range(4), range(2)):
        expected = [bytes([index]) * size for index, (size, *of) in enumerate(pushes) if tuple(of) == lane]
        assert [data for *of, data in messages if tuple(of) == lane] == expected
    assert outbox.queued_bytes == 0
    outbox.receive_ack(chunks_in(sent), PLENTY)
    assert (outbox.held_messages, outbox.held_bytes, outbox.unacknowledged) == (0, 0, False)


@pytest.mark.parametrize("size", [0, 1, 5, 12])
@pytest.mark.parametrize("big", [False, True])
def test_a_record_may_be_filled_to_any_byte(big: bool, size: int) -> None:
    """Whatever room is left in a record, by batches or by a last piece, small messages behind it find their place."""
    for room in range(20):
        if big:
            first = [limits.RECORD_PLAINTEXT_MAX - frames.PIECE_OVERHEAD - room]
        else:
            rest = limits.RECORD_PLAINTEXT_MAX - limits.RECORD_TARGET
            first = [SMALL_MAX, rest - frames.BATCH_OVERHEAD - frames.BATCH_PER_MESSAGE - room]
        outbox = make()
        for length in first:
            push(outbox, bytes(length))
        for priority in (1, 2, 2, 2, 2, 2, 2, 2):
            push(outbox, bytes(size), priority)
        assert [len(data) for _, _, data in put_together(take_all(outbox))] == first + 8 * [size]


def test_what_was_sent_is_let_go_while_more_keeps_coming() -> None:
    """A lane that is never empty does not hold on to all messages that ever went through it."""
    outbox = make(window=0, drop=1)
    for index in range(20_000):
        push(outbox, b"x", index % 2)
        if index % 100 == 99:
            outbox.receive_ack(outbox._next_chunk, 98 * (1 + OVERHEAD))
            take(outbox)
    assert outbox.held_messages < 1000
    for lane in outbox._order:
        assert len(lane.messages) < 4000 and len(lane.times or ()) < 4000


# --- big messages -----------------------------------------------------------------------------------------------------


def test_urgent_overtakes_a_big_message() -> None:
    """An urgent message waits for one record of a big message at most; the big one arrives whole."""
    outbox = make()
    big = bytes(range(256)) * 2000
    push(outbox, big, 5)
    sent = take(outbox)
    push(outbox, b"urgent", 0)
    after = take(outbox)
    assert isinstance(after[0], Batch) and after[0].messages == [b"urgent"]
    assert isinstance(after[1], Piece) and not after[1].is_first
    assert put_together(sent + after + take_all(outbox)) == [(0, 0, b"urgent"), (5, 0, big)]


def test_big_messages_interleave_in_four_slots() -> None:
    """More urgent big messages overtake one under way until four are; the fifth waits, small messages do not."""
    outbox = make()
    sent: list[Frame] = []
    for priority in (9, 8, 7, 6):
        push(outbox, bytes([priority]) * BIG, priority)
        sent += take(outbox)
    assert [frame.slot for frame in sent if isinstance(frame, Piece)] == [0, 1, 2, 3]
    push(outbox, b"\5" * BIG, 5)
    push(outbox, b"small", 4)
    push(outbox, b"less urgent", 6, Kind.FILE)
    after = take_all(outbox)
    assert isinstance(after[0], Batch) and after[0].messages == [b"small"]
    begun = [frame.priority for frame in sent + after if isinstance(frame, Piece) and frame.is_first]
    assert begun == [9, 8, 7, 6, 5]
    fifth = next(frame for frame in after if isinstance(frame, Piece) and frame.priority == 5)
    done = next(frame for frame in after if isinstance(frame, Piece) and frame.is_last)
    assert (done.priority, fifth.slot) == (6, 3)
    assert fifth.number > done.number
    overtaken = [data for _, _, data in put_together(sent + after)]
    assert [data[:1] for data in overtaken] == [b"s", b"\6", b"l", b"\5", b"\7", b"\x08", b"\t"]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_last_piece_is_marked(more: int) -> None:
    """The message ends exactly where its bytes do, in a full piece or one of a single byte."""
    outbox = make()
    push(outbox, bytes(2 * PIECE + more))
    lengths = [(len(frame.data), frame.is_last) for frame in take_all(outbox) if isinstance(frame, Piece)]
    if more > 0:
        assert lengths == [(PIECE, False), (PIECE, False), (more, True)]
    else:
        assert lengths == [(PIECE, False), (PIECE + more, True)]


@pytest.mark.parametrize("count", [1, SLOTS + 1])
def test_never_more_partial_messages_than_slots(count: int) -> None:
    """However many big messages are pushed, four at most are under way, each in a slot of its own."""
    outbox = make()
    sent: list[Frame] = []
    for priority in range(count, 0, -1):
        push(outbox, bytes(BIG), priority)
        sent += take(outbox)
    sent += take_all(outbox)
    under_way: set[int] = set()
    most = 0
    for frame in sent:
        assert isinstance(frame, Piece)
        assert frame.is_first == (frame.slot not in under_way)
        under_way.add(frame.slot)
        most = max(most, len(under_way))
        if frame.is_last:
            under_way.remove(frame.slot)
    assert most == min(count, SLOTS) and not under_way


# --- window -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, SMALL_MAX])
def test_a_small_message_begins_only_if_the_window_covers_it(size: int) -> None:
    """Its length and overhead must fit, to the byte."""
    outbox = make(window=size + OVERHEAD - 1)
    push(outbox, bytes(size))
    assert outbox.next_record() is None
    outbox.receive_ack(0, size + OVERHEAD)
    assert take(outbox) == [Batch(0, 0, 1, [bytes(size)])]


def test_a_batch_ends_where_the_window_does() -> None:
    """Of many small messages as many go as the window covers."""
    outbox = make(window=5 * (100 + OVERHEAD) + 163)
    for _ in range(9):
        push(outbox, bytes(100))
    assert chunks_in(take_all(outbox)) == 5
    outbox.receive_ack(5, 2 * (100 + OVERHEAD))
    assert chunks_in(take_all(outbox)) == 2


@pytest.mark.parametrize("size", [SMALL_MAX + 1, BIG])
def test_a_big_message_leaves_the_reserve(size: int) -> None:
    """It begins only if the window covers all of it and 64 KiB more."""
    outbox = make(window=size + OVERHEAD + RESERVE - 1)
    push(outbox, bytes(size))
    assert outbox.next_record() is None
    outbox.receive_ack(0, size + OVERHEAD + RESERVE)
    assert put_together(take_all(outbox)) == [(1, 0, bytes(size))]


def test_small_messages_may_use_the_reserve() -> None:
    """While a big message is under way the reserve takes any message of one record, to its last byte."""
    outbox = make(window=BIG + OVERHEAD + RESERVE)
    push(outbox, bytes(BIG), 5)
    sent = take(outbox)
    push(outbox, bytes(SMALL_MAX), 0)
    push(outbox, bytes(RESERVE - SMALL_MAX - 2 * OVERHEAD), 0)
    push(outbox, b"", 0)
    sent += take_all(outbox)
    assert [len(data) for _, _, data in put_together(sent)] == [
        SMALL_MAX,
        RESERVE - SMALL_MAX - 2 * OVERHEAD,
        BIG,
    ]
    outbox.receive_ack(chunks_in(sent), OVERHEAD)
    assert chunks_in(take_all(outbox)) == 1


def test_the_window_of_a_message_under_way_is_its_own() -> None:
    """Pieces go on with the window that was reserved when it began, whatever else waits."""
    outbox = make(window=BIG + OVERHEAD + RESERVE)
    push(outbox, bytes(BIG), 5)
    sent = take(outbox)
    push(outbox, bytes(BIG), 0)  # waits for window
    sent += take_all(outbox)
    assert put_together(sent) == [(5, 0, bytes(BIG))]


@pytest.mark.parametrize("urgent", [1000, BIG])
def test_urgent_that_waits_for_window_stops_less_urgent(urgent: int) -> None:
    """Less urgent messages do not begin while a more urgent one waits for window, even if they would fit."""
    outbox = make(window=500)
    push(outbox, bytes(urgent), 1)
    push(outbox, b"fits", 2)
    push(outbox, bytes(BIG), 3)
    assert outbox.next_record() is None
    push(outbox, b"more urgent", 0)
    assert take_all(outbox) == [Batch(0, 0, 0, [b"more urgent"])]
    outbox.receive_ack(1, urgent + OVERHEAD + RESERVE)
    assert put_together(take_all(outbox))[0] == (1, 0, bytes(urgent))


def test_what_is_under_way_counts_against_a_new_window() -> None:
    """A window covers what comes after the number it is told with: chunks sent since are charged to it."""
    outbox = make(window=1000)
    for _ in range(4):
        push(outbox, bytes(100))
        outbox.next_record()
    outbox.receive_ack(2, 500)
    push(outbox, bytes(500 - 2 * 164 - OVERHEAD + 1))
    assert outbox.next_record() is None
    outbox.receive_ack(2, 501)
    assert chunks_in(take_all(outbox)) == 1
