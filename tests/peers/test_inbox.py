"""The receiving half of a session: what is new, what is a repetition, what breaks the rules, what it may cost."""

from __future__ import annotations

import tracemalloc

import pytest

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.inbox import Inbox
from crust.wire.frames import Batch, Piece

OVERHEAD = limits.MESSAGE_OVERHEAD
BUFFER = 10_000


def make(buffer_size: int = BUFFER, max_message_size: int = 5000) -> Inbox:
    return Inbox(buffer_size=buffer_size, max_message_size=max_message_size)


def batch(first: int, *messages: bytes) -> Batch:
    return Batch(first, 0, 1, list(messages))


def piece(
    number: int,
    data: bytes,
    total: int,
    *,
    slot: int = 0,
    first: bool = False,
    last: bool = False,
    kind: int = 0,
    priority: int = 1,
) -> Piece:
    return Piece(number, kind, priority, slot, first, last, total, data)


def state(inbox: Inbox) -> tuple[int, int, int]:
    return inbox.next, inbox.used, inbox.window


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_stored_and_charged() -> None:
    """Its messages come out in order; each takes its length and overhead from the window."""
    inbox = make()
    assert inbox.window == BUFFER
    assert inbox.receive_batch(batch(0, b"a", b"", b"ccc")) == [b"a", b"", b"ccc"]
    assert state(inbox) == (3, 4 + 3 * OVERHEAD, BUFFER - 4 - 3 * OVERHEAD)


def test_a_repeated_batch_is_dropped() -> None:
    """All numbers below the expected one are there already: nothing comes out, nothing is charged."""
    inbox = make()
    inbox.receive_batch(batch(0, b"a", b"b"))
    inbox.receive_batch(batch(2, b"c"))
    before = state(inbox)
    assert inbox.receive_batch(batch(0, b"a", b"b")) == []
    assert inbox.receive_batch(batch(1, b"b", b"c")) == []
    assert state(inbox) == before


def test_of_an_overlapping_batch_only_the_new_is_taken() -> None:
    """Chunks from the expected number on are stored and charged, those before are not."""
    inbox = make()
    inbox.receive_batch(batch(0, b"a", b"b"))
    assert inbox.receive_batch(batch(1, b"b", b"c", b"dd")) == [b"c", b"dd"]
    assert state(inbox)[:2] == (4, 5 + 4 * OVERHEAD)


def test_a_gap_in_the_numbers_is_a_violation() -> None:
    """Links deliver in order, so a number above the expected one can only be a fault of the peer."""
    inbox = make()
    with pytest.raises(RemoteProtocolError, match="skipped from chunk 0 to 1"):
        inbox.receive_batch(batch(1, b"x"))
    with pytest.raises(RemoteProtocolError, match="skipped from chunk 0 to 7"):
        inbox.receive_piece(piece(7, b"x", 100, first=True))
    assert state(inbox) == (0, 0, BUFFER)


def test_a_batch_may_fill_the_window_and_not_exceed_it() -> None:
    """The last byte of the window may be used; one more is a violation."""
    inbox = make(2000)
    with pytest.raises(RemoteProtocolError, match="more than the window"):
        inbox.receive_batch(batch(0, bytes(1000), bytes(2000 - 1000 - 2 * OVERHEAD + 1)))
    assert state(inbox) == (0, 0, 2000)
    inbox.receive_batch(batch(0, bytes(1000), bytes(2000 - 1000 - 2 * OVERHEAD)))
    assert inbox.window == 0
    with pytest.raises(RemoteProtocolError, match="more than the window"):
        inbox.receive_batch(batch(2, b""))


def test_a_message_may_have_the_largest_size_and_no_more() -> None:
    """The limit holds for messages in batches and for those in pieces, from their first one on."""
    inbox = make()
    inbox.receive_batch(batch(0, bytes(5000)))
    with pytest.raises(RemoteProtocolError, match="5001 bytes; at most 5000"):
        inbox.receive_batch(batch(1, b"", bytes(5001)))
    inbox = make()
    with pytest.raises(RemoteProtocolError, match="5001 bytes; at most 5000"):
        inbox.receive_piece(piece(0, b"x", 5001, first=True))
    inbox.receive_piece(piece(0, b"x", 5000, first=True))


def test_consumed_messages_widen_the_window() -> None:
    """What the application takes may come again."""
    inbox = make(1000)
    inbox.receive_batch(batch(0, bytes(500)))
    inbox.consumed(500 + OVERHEAD)
    assert inbox.window == 1000
    inbox.receive_batch(batch(1, bytes(1000 - OVERHEAD)))


# --- pieces -----------------------------------------------------------------------------------------------------------


def test_pieces_are_put_together() -> None:
    """The message comes out with its last piece, and is charged as a whole with its first."""
    inbox = make()
    assert inbox.receive_piece(piece(0, b"one, ", 15, first=True)) is None
    assert inbox.used == 15 + OVERHEAD
    assert inbox.receive_piece(piece(1, b"two, ", 15)) is None
    whole = inbox.receive_piece(piece(2, b"three", 15, last=True))
    assert type(whole) is bytes and whole == b"one, two, three"
    assert state(inbox)[:2] == (3, 15 + OVERHEAD)


def test_pieces_of_all_sizes_keep_their_order() -> None:
    """Short and long pieces in turns make the same message."""
    inbox = make(1 << 20, 1 << 19)
    parts = [bytes([index]) * size for index, size in enumerate([1, 5000, 2, 3, 4096, 4095, 60_000, 1])]
    total = sum(map(len, parts))
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        whole = inbox.receive_piece(piece(index, part, total, first=index == 0, last=last))
        assert whole == (b"".join(parts) if last else None)


def test_a_message_of_one_piece() -> None:
    """First and last at once."""
    assert make().receive_piece(piece(0, b"all", 3, first=True, last=True)) == b"all"


def test_messages_in_pieces_interleave() -> None:
    """Each slot holds one; batches come in between; a slot can be used again."""
    inbox = make()
    for slot in range(limits.PARTIAL_MESSAGES_MAX):
        assert inbox.receive_piece(piece(slot, b"%d" % slot, 3, slot=slot, first=True)) is None
    assert inbox.receive_batch(batch(4, b"small")) == [b"small"]
    assert inbox.receive_piece(piece(5, b"bb", 3, slot=1, last=True)) == b"1bb"
    assert inbox.receive_piece(piece(6, b"n", 2, slot=1, first=True)) is None
    assert inbox.receive_piece(piece(7, b"d", 3, slot=3)) is None
    assert inbox.receive_piece(piece(8, b"a", 3, slot=0)) is None
    assert inbox.receive_piece(piece(9, b"e", 2, slot=1, last=True)) == b"ne"
    assert inbox.receive_piece(piece(10, b"d", 3, slot=3, last=True)) == b"3dd"


def test_a_repeated_piece_is_dropped() -> None:
    """The first, a middle and the last piece change nothing when they come again."""
    inbox = make()
    pieces = [
        piece(0, b"a", 3, first=True),
        piece(1, b"b", 3),
        piece(2, b"c", 3, last=True),
    ]
    for index, expected in enumerate([None, None, b"abc"]):
        assert inbox.receive_piece(pieces[index]) == expected
        before = state(inbox)
        for again in pieces[: index + 1]:
            assert inbox.receive_piece(again) is None
        assert state(inbox) == before


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (piece(1, b"x", 100, slot=1), "continued a message in slot 1, where none has begun"),
        (piece(1, b"x", 100, first=True), "began a second message in slot 0"),
        (piece(1, b"x", 101), "changed its mind"),
        (piece(1, b"x", 100, kind=1), "changed its mind"),
        (piece(1, b"x", 100, priority=2), "changed its mind"),
        (piece(1, bytes(100), 100), "do not add up"),  # one byte too many
        (piece(1, bytes(98), 100, last=True), "do not add up"),  # ends early
        (piece(1, bytes(99), 100), "do not add up"),  # complete, but not the last
        (piece(1, b"x", 5, slot=1, first=True, last=True), "do not add up"),
    ],
)
def test_pieces_that_do_not_fit_together_are_a_violation(wrong: Piece, complaint: str) -> None:
    """Slots, sizes, kinds and priorities must agree from the first piece to the last."""
    inbox = make()
    inbox.receive_piece(piece(0, b"x", 100, first=True))
    with pytest.raises(RemoteProtocolError, match=complaint):
        inbox.receive_piece(wrong)
    assert inbox.next == 1


def test_a_slot_is_free_after_the_last_piece() -> None:
    """A message cannot be continued once it is whole."""
    inbox = make()
    inbox.receive_piece(piece(0, b"x", 1, first=True, last=True))
    with pytest.raises(RemoteProtocolError, match="none has begun"):
        inbox.receive_piece(piece(1, b"x", 1, last=True))


def test_a_big_message_may_fill_the_window_and_not_exceed_it() -> None:
    """All of it is charged when it begins."""
    inbox = make(1000)
    with pytest.raises(RemoteProtocolError, match="more than the window"):
        inbox.receive_piece(piece(0, b"x", 1000 - OVERHEAD + 1, first=True))
    assert state(inbox) == (0, 0, 1000)
    inbox.receive_piece(piece(0, b"x", 1000 - OVERHEAD, first=True))
    assert inbox.window == 0


def test_tiny_pieces_cost_no_more_than_their_message() -> None:
    """A peer that sends two bytes a piece holds little more memory than the window charges it for."""
    total = 1 << 16
    inbox = make(1 << 20, total)
    tracemalloc.start()
    try:
        for number in range(total // 2 - 1):
            inbox.receive_piece(piece(number, b"%02d" % (number % 100), total, first=number == 0))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * total
    assert inbox.receive_piece(piece(total // 2 - 1, b"67", total, last=True)) == (
        b"".join(b"%02d" % (number % 100) for number in range(total // 2))
    )


def test_clear_forgets_what_is_under_way() -> None:
    """After the end no part of a message is kept."""
    inbox = make()
    inbox.receive_piece(piece(0, b"x", 100, first=True))
    inbox.clear()
    with pytest.raises(RemoteProtocolError, match="none has begun"):
        inbox.receive_piece(piece(1, b"x", 100))


def test_what_has_begun() -> None:
    """What is here of messages of which not all is, of all slots together; nothing of what was repeated."""
    inbox = make()
    inbox.receive_piece(piece(0, bytes(400), 1000, first=True))
    inbox.receive_piece(piece(1, bytes(300), 1000, slot=1, first=True))
    inbox.receive_piece(piece(1, bytes(300), 1000, slot=1, first=True))
    assert inbox.begun == 700
    inbox.receive_piece(piece(2, bytes(600), 1000, last=True))
    assert inbox.begun == 300
    inbox.clear()
    assert inbox.begun == 0
