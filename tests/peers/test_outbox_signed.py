"""Signed messages in the outbox: among others of their priority, in order, marked by their kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crust.peers.lanes import Signed
from crust.peers.outbox import Outbox
from crust.wire import frames
from crust.wire.frames import Batch, Kind, Piece
from tests.support.outboxes import make, push, put_together, take, take_all
from tests.support.wire_values import repeatable


def push_signed(outbox: Outbox, data: bytes, priority: int = 1) -> int:
    outbox.signs = True
    return push(outbox, Signed(data), priority)


def test_a_lone_signed_message() -> None:
    """It takes the way of all others, with its kind."""
    outbox = make()
    push_signed(outbox, b"signed")
    assert take(outbox) == [Batch(0, Kind.SIGNED, 1, [b"signed"])]
    push(outbox, b"plain")
    assert take(outbox) == [Batch(1, Kind.MESSAGE, 1, [b"plain"])]


def test_order_holds_between_signed_messages_and_others() -> None:
    """One record, a batch for each run of one sort."""
    outbox = make()
    push(outbox, b"a")
    push_signed(outbox, b"b")
    push_signed(outbox, b"c")
    push(outbox, b"d")
    assert take(outbox) == [
        Batch(0, Kind.MESSAGE, 1, [b"a"]),
        Batch(1, Kind.SIGNED, 1, [b"b", b"c"]),
        Batch(3, Kind.MESSAGE, 1, [b"d"]),
    ]


def test_a_big_signed_message_travels_in_pieces_of_its_kind() -> None:
    """Each piece says so."""
    outbox = make()
    push_signed(outbox, bytes(200_000))
    pieces = take_all(outbox)
    assert len(pieces) > 1
    assert all(isinstance(piece, Piece) and piece.kind == Kind.SIGNED for piece in pieces)


def test_what_is_sent_again_has_its_kind() -> None:
    """After a resume, too."""
    outbox = make()
    push_signed(outbox, b"signed")
    push(outbox, b"plain")
    first = outbox.next_record()
    outbox.resume(0, 1 << 20)
    assert outbox.next_record() == first
    assert first is not None
    assert [frame.kind for frame in frames.parse_record_untrusted(first) if isinstance(frame, Batch)] == [2, 0]


@repeatable
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from((0, 3, 900, 70_000))), max_size=60))
def test_any_mixture_arrives_in_order(messages: list[tuple[bool, int, int]]) -> None:
    """Of each priority all messages, in order, each of its sort."""
    outbox = make()
    expected: dict[int, list[tuple[int, bytes]]] = {}
    for number, (signed, priority, size) in enumerate(messages):
        data = b"%03d" % number + bytes(size)
        (push_signed if signed else push)(outbox, data, priority)
        expected.setdefault(priority, []).append((2 if signed else 0, data))
    arrived: dict[int, list[tuple[int, bytes]]] = {}
    for priority, kind, data in put_together(take_all(outbox)):
        arrived.setdefault(priority, []).append((kind, data))
    assert arrived == expected
