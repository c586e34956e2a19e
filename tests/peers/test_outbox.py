"""The sending half of a session: when chunks get numbers, what goes first, what waits for window, what is kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.outbox import SMALL_MAX, Outbox
from crust.wire import frames
from crust.wire.frames import Ack, Batch, Frame, Kind, Piece

PLENTY = 1 << 30
OVERHEAD, RESERVE = limits.MESSAGE_OVERHEAD, limits.SMALL_RESERVE
BIG = 300_000  # bytes: five records
SLOTS = limits.PARTIAL_MESSAGES_MAX


def make(
    *,
    messages: int = 100_000,
    size: int = PLENTY,
    drop: int | None = limits.DROP_MIN_PRIORITY,
    window: int = PLENTY,
) -> Outbox:
    return Outbox(max_messages=messages, max_bytes=size, drop_priority=drop, window=window)


def push(outbox: Outbox, data: bytes, priority: int = 1, kind: int = Kind.MESSAGE, now: float = 0.0) -> int:
    number = outbox.push(data, priority, kind, now)
    assert number >= 0
    return number


def take(outbox: Outbox) -> list[Frame]:
    """The frames of the next record; none if there is no record."""
    record = outbox.next_record()
    return [] if record is None else frames.parse_record_untrusted(record)


def take_all(outbox: Outbox) -> list[Frame]:
    """The frames of all records that may go out now."""
    return list(itertools.chain.from_iterable(iter(lambda: take(outbox), [])))


def records_of(outbox: Outbox) -> list[bytes]:
    return list(iter(outbox.next_record, None))


def chunks_in(sent: Iterable[Frame]) -> int:
    return sum(len(frame.messages) if isinstance(frame, Batch) else 1 for frame in sent)


def put_together(sent: Iterable[Frame]) -> list[tuple[int, int, bytes]]:
    """The messages of these frames as (priority, kind, data), in the order of their ends; numbers must be gapless."""
    messages = []
    partial: dict[int, bytes] = {}
    expected = None
    for frame in sent:
        assert isinstance(frame, (Batch, Piece))
        first = frame.first if isinstance(frame, Batch) else frame.number
        assert expected in (None, first)
        expected = first + chunks_in([frame])
        if isinstance(frame, Batch):
            messages += [(frame.priority, frame.kind, data) for data in frame.messages]
            continue
        assert frame.is_first == (frame.slot not in partial)
        partial[frame.slot] = partial.get(frame.slot, b"") + frame.data
        assert frame.is_last == (len(partial[frame.slot]) == frame.total)
        if frame.is_last:
            messages.append((frame.priority, frame.kind, partial.pop(frame.slot)))
    assert not partial
    return messages


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
            st.sampled_from([0, 1, 100, 3000, SMALL_MAX - 20, SMALL_MAX, SMALL_MAX + 1, 65_300, BIG]),
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


# --- acknowledgements -------------------------------------------------------------------------------------------------


def test_acknowledged_records_free_the_buffer() -> None:
    """Messages count against the buffer until the record with their last chunk is acknowledged."""
    outbox = make()
    push(outbox, bytes(100))
    push(outbox, bytes(BIG), 2)
    first = take(outbox)
    take_all(outbox)
    assert (outbox.held_messages, outbox.held_bytes) == (2, 100 + BIG + 2 * OVERHEAD)
    assert outbox.receive_ack(chunks_in(first), PLENTY)
    assert outbox.held_messages == 1 and BIG // 2 < outbox.held_bytes < BIG
    assert outbox.unacknowledged
    assert outbox.receive_ack(6, PLENTY)
    assert (outbox.held_messages, outbox.held_bytes, outbox.unacknowledged) == (0, 0, False)


def test_a_record_acknowledged_in_part_is_kept() -> None:
    """An acknowledgement that ends inside a record frees nothing of it."""
    outbox = make()
    push(outbox, b"a")
    push(outbox, b"b")
    take(outbox)
    assert not outbox.receive_ack(1, PLENTY)
    assert outbox.held_messages == 2 and outbox.undelivered() == (0, 1)


def test_stale_acknowledgements_change_nothing() -> None:
    """An old number says nothing about the window of now; the same number never shrinks it."""
    outbox = make(window=1000)
    for _ in range(2):
        push(outbox, b"x")
        outbox.next_record()
    assert outbox.receive_ack(2, 300)
    assert not outbox.receive_ack(1, 100_000)
    assert not outbox.receive_ack(2, 0)
    push(outbox, bytes(300 - OVERHEAD + 1), 1)
    assert outbox.next_record() is None
    push(outbox, bytes(300 - OVERHEAD), 0)
    assert chunks_in(take_all(outbox)) == 1


def test_a_new_acknowledgement_replaces_the_window() -> None:
    """The window told with a higher number holds, smaller or not."""
    outbox = make(window=100_000)
    push(outbox, b"x")
    outbox.next_record()
    outbox.receive_ack(1, 64)
    push(outbox, b"x")
    assert outbox.next_record() is None


def test_acknowledging_what_was_never_sent_is_a_violation() -> None:
    """The number after the last one sent is the highest allowed; otherwise nothing has changed."""
    outbox = make(window=200)
    push(outbox, b"sent")
    take(outbox)
    push(outbox, bytes(500))
    with pytest.raises(RemoteProtocolError, match="acknowledged chunk 1, but only 1 have been sent"):
        outbox.receive_ack(2, PLENTY)
    assert outbox.unacknowledged and outbox.next_record() is None
    outbox.receive_ack(1, PLENTY)


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_resume_repeats_the_same_records_and_goes_on() -> None:
    """From the number that the receiver expects, plaintext by plaintext; new messages follow."""
    outbox = make()
    sent = []
    for index in range(4):
        push(outbox, b"%d" % index)
        sent.append(outbox.next_record(frames.build_ack(index, 0)))
    push(outbox, b"urgent, and new", 0)
    outbox.resume(1, PLENTY)
    assert outbox.resending
    assert [outbox.next_record(b"newer prefix") for _ in range(3)] == sent[1:]
    assert not outbox.resending
    assert take(outbox) == [Batch(4, 0, 0, [b"urgent, and new"])]
    assert outbox.undelivered() == (1, 2, 3, 4)


def test_resume_in_the_middle_of_a_big_message() -> None:
    """Pieces that were sent are repeated as they were, the rest follows, and the message is whole."""
    outbox = make()
    data = bytes(range(256)) * 1000
    push(outbox, data)
    records = [outbox.next_record() for _ in range(3)]
    outbox.resume(1, PLENTY)
    again = records_of(outbox)
    assert again[:2] == records[1:]
    parsed = [
        frame for record in [records[0], *again] for frame in frames.parse_record_untrusted(record or b"")
    ]
    assert put_together(parsed) == [(1, 0, data)]


def test_a_resume_cut_short_begins_anew() -> None:
    """If the link is cut while records are repeated, the next one repeats all that is still missing."""
    outbox = make()
    sent = []
    for _ in range(5):
        push(outbox, b"x")
        sent.append(outbox.next_record())
    outbox.resume(0, PLENTY)
    assert [outbox.next_record() for _ in range(2)] == sent[:2]
    outbox.resume(1, PLENTY)
    assert records_of(outbox) == sent[1:]


def test_acknowledgements_shorten_a_resume() -> None:
    """What is acknowledged while records are repeated is not repeated any more."""
    outbox = make()
    sent = []
    for _ in range(5):
        push(outbox, b"x")
        sent.append(outbox.next_record())
    outbox.resume(0, PLENTY)
    assert outbox.next_record() == sent[0]
    outbox.receive_ack(1, PLENTY)
    assert outbox.next_record() == sent[1]
    outbox.receive_ack(4, PLENTY)
    assert records_of(outbox) == sent[4:]
    assert not outbox.resending


def test_resume_takes_the_new_window() -> None:
    """The window told on resume counts from the number told with it."""
    outbox = make(window=0)
    push(outbox, bytes(100))
    assert outbox.next_record() is None
    outbox.resume(0, 164)
    assert chunks_in(take_all(outbox)) == 1


def test_a_stale_resume_repeats_all_that_is_kept() -> None:
    """A number below what was acknowledged meanwhile loses nothing; its window is stale."""
    outbox = make()
    sent = []
    for _ in range(3):
        push(outbox, b"x")
        sent.append(outbox.next_record())
    outbox.receive_ack(2, 100)
    assert outbox.can_resume(1)
    outbox.resume(1, PLENTY)
    push(outbox, bytes(100))
    assert records_of(outbox) == sent[2:]


def test_what_cannot_be_resumed() -> None:
    """A number that was never reached cannot be continued from."""
    outbox = make()
    push(outbox, b"x")
    outbox.next_record()
    assert outbox.can_resume(0) and outbox.can_resume(1) and not outbox.can_resume(2)
    with pytest.raises(RemoteProtocolError, match="acknowledged chunk 1"):
        outbox.resume(2, PLENTY)


# --- expiry -----------------------------------------------------------------------------------------------------------


def test_only_unsent_messages_of_low_priority_expire() -> None:
    """Those of drop_priority and less urgent, queued long enough and not numbered, are dropped; the rest is sent."""
    outbox = make(window=RESERVE + BIG + OVERHEAD)
    push(outbox, bytes(BIG), 3, now=0.0)  # begun: stays
    sent = take(outbox)
    outbox.receive_ack(1, 0)
    kept = {push(outbox, b"urgent", priority, now=0.0) for priority in (0, 1)}
    dropped = [(2, [push(outbox, b"%d" % index, 2, now=index) for index in range(3)])]
    dropped += [(3, [push(outbox, b"behind the big one", 3, now=1.0)])]
    kept |= {0, push(outbox, b"younger", 2, now=2.5), push(outbox, b"younger", 3, now=3.5)}
    held = outbox.held_bytes
    assert outbox.expire(2.0, 0.0) == dropped
    assert outbox.held_messages == len(kept) and outbox.undelivered() == tuple(sorted(kept))
    assert outbox.held_bytes == held - 3 * (1 + OVERHEAD) - (len(b"behind the big one") + OVERHEAD)
    outbox.receive_ack(1, PLENTY)
    arrived = put_together(sent + take_all(outbox))
    assert sorted(arrived) == [
        (0, 0, b"urgent"),
        (1, 0, b"urgent"),
        (2, 0, b"younger"),
        (3, 0, bytes(BIG)),
        (3, 0, b"younger"),
    ]
    assert outbox.queued_bytes == 0


def test_what_is_numbered_never_expires() -> None:
    """A message that was sent and not acknowledged is repeated however old it is."""
    outbox = make()
    push(outbox, b"x", 255, now=0.0)
    record = outbox.next_record()
    outbox.resume(0, 0)
    assert outbox.expire(1e9, 60.0) == []
    assert outbox.next_record() == record


@given(queued=st.floats(0, 1e6), age=st.floats(0.001, 1e4))
def test_a_timer_for_the_oldest_message_finds_it(queued: float, age: float) -> None:
    """It expires when it reaches the age, to the last bit of a float, and not before."""
    outbox = make()
    push(outbox, b"x", 2, now=queued)
    assert outbox.next_expiry() == queued
    assert outbox.expire(math.nextafter(queued + age, 0.0), age) == []
    assert outbox.expire(queued + age, age) == [(2, [0])]
    assert outbox.next_expiry() is None


@pytest.mark.parametrize("drop", [None, 3])
def test_what_the_settings_keep_never_expires(drop: int | None) -> None:
    """No dropping, or only from another priority on."""
    outbox = make(drop=drop)
    push(outbox, b"x", 2)
    if drop is None:
        push(outbox, b"x", 255)
    assert outbox.next_expiry() is None and outbox.expire(1e9, 60.0) == []


def test_file_transfer_never_expires() -> None:
    """A hole in a file would ruin it, so its messages stay whatever priority may be dropped."""
    outbox = make(drop=0)
    push(outbox, b"part of a file", limits.FILE_PRIORITY, Kind.FILE)
    assert outbox.next_expiry() is None and outbox.expire(1e9, 60.0) == []
    assert chunks_in(take_all(outbox)) == 1


def test_the_next_expiry_is_that_of_the_oldest_unsent() -> None:
    """Over all lanes, without what is under way."""
    outbox = make(window=RESERVE + BIG + OVERHEAD)
    push(outbox, bytes(BIG), 4, now=1.0)
    assert outbox.next_expiry() == 1.0
    take(outbox)
    assert outbox.next_expiry() is None
    push(outbox, b"x", 4, now=3.0)
    push(outbox, bytes(2 * BIG), 3, now=2.0)
    assert outbox.next_expiry() == 2.0


def test_expiry_far_behind_the_head_of_a_long_lane() -> None:
    """Times stay with their messages when thousands were sent before."""
    outbox = make(window=3000 * (1 + OVERHEAD))
    for index in range(4000):
        push(outbox, b"x", 2, now=float(index))
    assert chunks_in(take_all(outbox)) == 3000
    assert outbox.next_expiry() == 3000.0
    assert outbox.expire(3559.0, 60.0) == [(2, list(range(3000, 3500)))]
    assert outbox.next_expiry() == 3500.0


# --- the buffer -------------------------------------------------------------------------------------------------------


def test_a_full_buffer_refuses_and_changes_nothing() -> None:
    """Messages and bytes are limited, unacknowledged ones included; sending alone frees nothing."""
    outbox = make(messages=2)
    push(outbox, b"a")
    push(outbox, b"b")
    take_all(outbox)
    before = (outbox.held_messages, outbox.held_bytes, outbox.queued_bytes, outbox.next_message)
    assert outbox.push(b"c", 1, 0, 0.0) == -1
    assert (outbox.held_messages, outbox.held_bytes, outbox.queued_bytes, outbox.next_message) == before
    outbox.receive_ack(2, PLENTY)
    assert push(outbox, b"c") == 2


def test_a_message_always_fits_an_empty_buffer() -> None:
    """No legal message is too big for ever: alone, any is accepted, and then nothing else."""
    outbox = make(size=1000)
    push(outbox, bytes(5000))
    assert outbox.push(b"", 1, 0, 0.0) == -1


@given(sizes=st.lists(st.integers(0, 700), max_size=12))
def test_the_buffer_never_holds_more_than_it_may(sizes: list[int]) -> None:
    """A message is accepted exactly if it fits."""
    outbox = make(messages=8, size=2000)
    for size in sizes:
        fits = outbox.held_bytes + size + OVERHEAD <= 2000 and outbox.held_messages < 8
        assert (outbox.push(bytes(size), 1, 0, 0.0) >= 0) == fits
        assert outbox.held_bytes <= 2000 and outbox.held_messages <= 8


def test_half_empty_looks_at_messages_and_bytes() -> None:
    """Waiting senders go on when at most half of either is in use."""
    outbox = make(messages=4, size=1000)
    assert outbox.half_empty
    push(outbox, bytes(100))
    push(outbox, bytes(100))
    assert outbox.half_empty
    push(outbox, bytes(0))
    assert not outbox.half_empty  # messages
    outbox = make(messages=4, size=1000)
    push(outbox, bytes(500 - OVERHEAD))
    assert outbox.half_empty
    push(outbox, b"")
    assert not outbox.half_empty  # bytes


def test_undelivered_are_queued_under_way_and_unacknowledged() -> None:
    """All messages not acknowledged, by number, whatever became of them so far; the oldest first."""
    outbox = make(window=RESERVE + BIG + 2 * OVERHEAD + 1)
    assert outbox.oldest_held() is None and outbox.undelivered() == ()
    push(outbox, bytes(BIG), 5)
    take(outbox)
    push(outbox, b"sent", 0)
    take(outbox)
    push(outbox, bytes(RESERVE), 1)
    assert outbox.undelivered() == (0, 1, 2) and outbox.oldest_held() == 0
    take_all(outbox)
    outbox.receive_ack(6, 0)
    assert outbox.undelivered() == (2,) and outbox.oldest_held() == 2


def test_the_oldest_held_may_be_sent_already() -> None:
    """An older message that awaits its acknowledgement counts before a younger one in the queue."""
    outbox = make(window=65)
    push(outbox, b"a")
    take(outbox)
    push(outbox, b"b", 0)
    assert outbox.oldest_held() == 0


def test_clear_lets_go_of_everything() -> None:
    """After the end nothing is held and nothing goes out."""
    outbox = make()
    push(outbox, bytes(BIG))
    take(outbox)
    push(outbox, b"x", 2)
    outbox.clear()
    assert outbox.next_record() is None and outbox.undelivered() == ()
    assert (outbox.held_messages, outbox.held_bytes, outbox.unacknowledged) == (0, 0, False)
    assert outbox.next_expiry() is None and outbox.oldest_held() is None
