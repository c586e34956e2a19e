"""The short ways of the outbox lead where the long ones do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust.peers.filler import Filler
from crust.peers.outbox import Outbox
from crust.wire import frames
from tests.support.outboxes import OVERHEAD, make, push


def push_quickly(outbox: Outbox, data: bytes) -> bool:
    """What ``Sending.send`` does with a message of the same kind as the last; False if it has to ask."""
    held = outbox.held_bytes + len(data) + OVERHEAD
    number = outbox.next_message
    if held > outbox.quick_bytes or number >= outbox.quick_count:
        return False
    outbox.next_message = number + 1
    outbox.held_bytes = held
    outbox.quick_append(data)
    return True


# --- a lone message ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    data=st.binary(max_size=300),
    priority=st.integers(0, 255),
    kind=st.integers(0, 1),
    prefix=st.sampled_from([b"", frames.build_ack(1, 2)]),
    before=st.integers(0, 3),
)
def test_a_lone_message_makes_the_record_that_the_filler_makes(
    data: bytes, priority: int, kind: int, prefix: bytes, before: int
) -> None:
    """The same bytes, and the same accounts afterwards."""
    outbox = make(drop=None)
    for number in range(before):
        push(outbox, b"before" * number, priority, kind)
    while outbox.next_record() is not None:
        pass
    push(outbox, data, priority, kind)
    outbox._close_run()
    filler = Filler(prefix, outbox._next_chunk, outbox._slots, outbox._window - outbox._begun)
    for lane in outbox._order:
        if lane.messages:
            filler.fill(lane)
    begun, sent = outbox._begun, outbox.sent_bytes
    assert outbox.next_record(prefix) == b"".join(filler.parts)
    assert outbox._begun == begun + filler.begun
    assert outbox.sent_bytes == outbox.held_bytes == sent + filler.released
    assert outbox._keep[-1].finished == filler.finished
    assert outbox.next_record() is None
    assert outbox.undelivered() == tuple(range(before + 1))


def test_a_lone_message_waits_for_window() -> None:
    """It begins only when the receiver has room for all of it."""
    outbox = make(window=100 + OVERHEAD - 1)
    push(outbox, bytes(100))
    assert outbox.next_record() is None
    outbox.receive_ack(0, 100 + OVERHEAD)
    assert outbox.next_record() is not None


# --- the quick way in -------------------------------------------------------------------------------------------------


def test_what_came_quickly_goes_out_like_the_rest() -> None:
    """Numbers, order and accounts are those of ``push``."""
    outbox = make()
    push(outbox, b"first")
    outbox.allow_quick(1000)
    assert push_quickly(outbox, b"second") and push_quickly(outbox, b"third")
    assert outbox.accepted == (3, 2)
    record = outbox.next_record()
    assert record is not None
    assert frames.parse_record_untrusted(record) == [frames.Batch(0, 0, 1, [b"first", b"second", b"third"])]
    assert outbox.receive_ack(3, 5000)
    assert (outbox.held_bytes, outbox.held_messages) == (0, 0)


def test_the_quick_way_ends_where_it_was_said_to() -> None:
    """At so many bytes held, at the buffer's own limits, and never for messages that may expire."""
    outbox = make(messages=3)
    push(outbox, b"")
    outbox.allow_quick(2 * OVERHEAD)
    assert push_quickly(outbox, b"") and not push_quickly(outbox, b"")
    outbox.allow_quick(1000)
    assert push_quickly(outbox, b"") and not push_quickly(outbox, b""), "the buffer has room for three messages"
    outbox = make(size=2 * OVERHEAD)
    push(outbox, b"")
    outbox.allow_quick(1000)
    assert push_quickly(outbox, b"") and not push_quickly(outbox, b""), "the buffer has room for so many bytes"
    outbox = make(drop=1)
    push(outbox, b"", priority=1)
    outbox.allow_quick(1000)
    assert not push_quickly(outbox, b""), "this message needs its time of arrival"


@pytest.mark.parametrize("ending", ["forbid_quick", "clear", "another lane", "acknowledged"])
def test_the_quick_way_is_closed_by(ending: str) -> None:
    """Whatever changes what it was reckoned with."""
    outbox = make()
    push(outbox, bytes(100))
    outbox.allow_quick(100 + OVERHEAD + 50 + OVERHEAD)
    if ending == "another lane":
        push(outbox, b"", priority=7)
    elif ending == "acknowledged":
        assert outbox.next_record() is not None
        outbox.receive_ack(1, 1000)  # so that as much as before may be queued, not more
        assert outbox.quick_bytes == 50 + OVERHEAD
        return
    else:
        getattr(outbox, ending)()
    assert not push_quickly(outbox, bytes(50))
