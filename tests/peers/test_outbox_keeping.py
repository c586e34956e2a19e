"""The sending half of a session: acknowledgements, resuming, expiry, the buffer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.wire import frames
from crust.wire.frames import Batch, Kind
from tests.support.outboxes import (
    BIG,
    OVERHEAD,
    PLENTY,
    RESERVE,
    chunks_in,
    make,
    push,
    put_together,
    records_of,
    take,
    take_all,
)

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


def test_undelivered_counts_every_message_once() -> None:
    """However many of those pushed in a row have been sent or acknowledged."""
    outbox = make(window=5 * (1 + OVERHEAD))
    for _ in range(9):
        push(outbox, b"x")
    take_all(outbox)
    assert outbox.undelivered() == tuple(range(9))
    outbox.receive_ack(5, 2 * (1 + OVERHEAD))
    assert outbox.undelivered() == (5, 6, 7, 8)
    take_all(outbox)
    push(outbox, b"y", 0)
    push(outbox, b"x")
    assert outbox.undelivered() == (5, 6, 7, 8, 9, 10) and outbox.oldest_held() == 5


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
