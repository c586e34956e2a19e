"""Frames: layouts, what is refused, and that the fast path and the definitions are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.wire import frames, gossip
from crust.wire.frames import Ack, Batch, Frame, Piece
from crust.wire.handshake import DenialCode, Role
from tests.support import wire_values
from tests.support.wire_values import repeatable

SESSION, INCARNATION = b"s" * 16, b"i" * 16
WELCOME = frames.Welcome(Role.CLIENT, 0x80000001, SESSION, frames.Outcome.RESUMED, 2, 3, 4, 5, INCARNATION)

LAYOUTS = [
    (
        WELCOME,
        f"01 01 80000001 {SESSION.hex()} 01 0000000000000002 00000003 00000004 00000005 {INCARNATION.hex()}",
    ),
    (frames.Denied(DenialCode.BUSY, "über", ("abc", "d")), "02 05 05 c3bc626572 02 0003 616263 0001 64"),
    (frames.Denied(DenialCode.BANNED), "02 04 00 00"),
    (frames.Use(1), "03 00000001"),
    (Ack(2, 3), "04 0000000000000002 00000003"),
    (frames.Ping(7), "05 00000007"),
    (frames.Pong(7), "06 00000007"),
    (frames.KeyUpdate(), "07"),
    (frames.Goodbye(frames.GoodbyeCode.RESTARTED, "bye"), "08 04 03 627965"),
    (frames.Retire(), "09"),
    (
        frames.EchoRequest(7, frames.EchoTransport.TCP, 0x1234, bytes(range(12))),
        "0a 00000007 01 1234 000102030405060708090a0b",
    ),
    (frames.EchoReply(7, frames.EchoOutcome.DENIED, "no"), "0b 00000007 05 02 6e6f"),
    (frames.CircuitOpen(8, b"k" * 32, True, b"abc"), f"0c 00000008 {'6b' * 32} 01 0003 616263"),
    (frames.CircuitOffer(9, ("192.0.2.7", 5483), True, b""), "0d 00000009 04 c0000207 156b 01 0000"),
    (frames.CircuitAccept(9, None, False, b"x"), "0e 00000009 00 0000 00 0001 78"),
    (frames.CircuitData(9, b"xy"), "0f 00000009 0002 7879"),
    (frames.CircuitCredit(9, 65536), "10 00000009 00010000"),
    (frames.CircuitClose(9, frames.CircuitReason.QUOTA, "no"), "11 00000009 04 02 6e6f"),
    (
        frames.Candidates(
            3,
            (frames.Standing(frames.TransportCode.TCP, 4, 2, -1, 1024, 2048, True),),
            (frames.Place(frames.PlaceKind.MAPPED, frames.TransportCode.UTP, True, ("192.0.2.7", 5483)),),
        ),
        "12 00000003 01 01 04 02 ffff 0400 0800 01 01 02 00 01 04 c0000207 156b",
    ),
    (frames.Signal(3, "punch", b"hi"), "13 00000003 05 70756e6368 0002 6869"),
    (frames.EchoPorts((1, 2), (3,)), "14 02 0001 0002 01 0003"),
    (gossip.Summary(0xFFFF, True, (1, 2)), "15 000000000000ffff 01 0002 0000000000000001 0000000000000002"),
    (gossip.Summary(7, False, ()), "15 0000000000000007 00 0000"),
    (
        gossip.Contents(1, 9, ((5, 6),)),
        "16 0000000000000001 0000000000000009 0001 0000000000000005 0000000000000006",
    ),
    (gossip.Announce(((5, 6),)), "17 0001 0000000000000005 0000000000000006"),
    (gossip.Request((5, 6)), "18 0002 0000000000000005 0000000000000006"),
    (gossip.Records((b"abc", b"d")), "19 02 0003 616263 0001 64"),
    (gossip.Find(7, b"k" * 32), f"1a 00000007 {'6b' * 32}"),
    (gossip.Found(7, b"", (b"ab",)), "1b 00000007 0000 01 0002 6162"),
    (gossip.Found(7, b"abc", ()), "1b 00000007 0003 616263 00"),
    (
        Batch(5, 1, 200, [b"one", b"", b"two!"]),
        "40 0000000000000005 01 00 c8 0003 0003 0000 0004 6f6e65 74776f21",
    ),
    (Batch(5, 0, 0, [b"one"]), "40 0000000000000005 00 00 00 0001 0003 6f6e65"),
    (Piece(6, 0, 1, 3, True, False, 70000, b"abc"), "41 0000000000000006 00 02 01 03 00011170 0003 616263"),
    (Piece(6, 1, 1, 0, False, True, 3, b"abc"), "41 0000000000000006 01 04 01 00 00000003 0003 616263"),
]

Parser = Callable[[bytes], list[Frame]]
BOTH: list[Parser] = [frames.parse_record_untrusted, frames.parse_record_by_definition_untrusted]


def outcome(parse: Parser, data: bytes) -> list[Frame] | type[MalformedMessage]:
    try:
        return parse(data)
    except MalformedMessage:
        return MalformedMessage


def agreed(data: bytes) -> list[Frame] | type[MalformedMessage]:
    """What both parsers make of it."""
    fast, slow = (outcome(parse, data) for parse in BOTH)
    assert fast == slow
    if isinstance(fast, list) and isinstance(slow, list):
        assert [type(frame) for frame in fast] == [type(frame) for frame in slow]
    return fast


def refused(data: bytes) -> bool:
    return agreed(data) is MalformedMessage


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "text"), LAYOUTS, ids=lambda value: type(value).__name__)
def test_the_layout_of_each_frame(frame: Frame, text: str) -> None:
    """As docs/wire-format.md has it, built and parsed."""
    data = bytes.fromhex(text)
    assert frames.build_record([frame]) == frames.build_record_by_definition([frame]) == data
    assert agreed(data) == [frame]


def test_every_type_of_frame_has_its_layout_above() -> None:
    """So that no frame is without a test of its bytes."""
    assert {bytes.fromhex(text)[0] for _, text in LAYOUTS} | {0} == set(frames.FrameType)


def test_the_overheads() -> None:
    """What senders reckon with is what the builders add."""
    assert (
        len(frames.build_batch(0, 0, 0, [b"ab", b"c"]))
        == frames.BATCH_OVERHEAD + 2 * frames.BATCH_PER_MESSAGE + 3
    )
    assert len(frames.build_piece(0, 0, 0, 0, True, True, 3, b"abc")) == frames.PIECE_OVERHEAD + 3


# --- valid records ----------------------------------------------------------------------------------------------------


@repeatable
@given(wire_values.records, st.integers(0, 300))
def test_a_record_survives(record: list[Frame], padding: int) -> None:
    """Both builders make the same bytes of it, and both parsers the same frames of these."""
    data = frames.build_record(record, padding)
    assert data == frames.build_record_by_definition(record, padding)
    assert agreed(data) == record


@repeatable
@given(wire_values.batches)
def test_a_batch_survives(batch: Batch) -> None:
    """Few messages or many, even or uneven: the parser has a way for each."""
    assert frames.build_batch(*batch) == frames.build_record_by_definition([batch])
    assert agreed(frames.build_batch(*batch)) == [batch]


@pytest.mark.parametrize(
    "lengths",
    [
        [0] * 2000,  # even, and more than are remembered
        [*range(300)],  # uneven, cut at once
        [*range(30), 2048],  # uneven, with one that is too long for that
        [2047] * 20 + [2046],
        [65260],  # a record full of one message
        [1, 2, 3],
        [0],
        [0, 0],
    ],
    ids=lambda lengths: f"{len(lengths)} messages",
)
def test_batches_of_every_shape(lengths: Sequence[int]) -> None:
    """At the limits between the parser's ways."""
    batch = Batch(7, 0, 1, [bytes((index % 251,)) * length for index, length in enumerate(lengths)])
    data = frames.build_batch(*batch)
    assert agreed(data) == [batch]
    assert all(type(message) is bytes for message in batch.messages)
    assert refused(data[:-1])
    assert refused(data[: frames.BATCH_OVERHEAD + 2 * len(lengths) - 1])


@repeatable
@given(wire_values.pieces)
def test_a_piece_survives(piece: Piece) -> None:
    """Also from a memoryview, as senders cut it."""
    data = frames.build_piece(*piece[:-1], memoryview(piece.data))
    assert data == frames.build_record_by_definition([piece])
    assert agreed(data) == [piece]


@repeatable
@given(wire_values.acks)
def test_an_ack_survives(ack: Ack) -> None:
    """To the last bit."""
    assert frames.build_ack(*ack) == frames.build_record_by_definition([ack])
    assert agreed(frames.build_ack(*ack)) == [ack]


def test_the_fast_path_gives_what_the_types_promise() -> None:
    """Plain ints, bools, bytes and a list."""
    record = frames.build_batch(1, 0, 1, [b"a"]) + frames.build_piece(2, 0, 1, 0, True, False, 9, b"a")
    batch, piece = frames.parse_record_untrusted(record)
    assert isinstance(batch, Batch) and isinstance(piece, Piece)
    assert type(batch.messages) is list
    assert type(piece.data) is bytes
    assert piece.is_first is True
    assert piece.is_last is False


# --- invalid records --------------------------------------------------------------------------------------------------

VALID = wire_values.records.map(frames.build_record)


@settings(repeatable, max_examples=500)
@given(wire_values.damaged(VALID))
def test_both_parsers_agree_on_damaged_records(data: bytes) -> None:
    """The same frames, or MalformedMessage from both, and nothing else from either."""
    agreed(data)


@repeatable
@given(
    st.sampled_from(frames.FrameType),
    st.binary(max_size=40),
    st.booleans(),
)
def test_both_parsers_agree_on_random_bytes(kind: frames.FrameType, data: bytes, typed: bool) -> None:
    """With and without a type that exists in front."""
    agreed(bytes((kind,)) + data if typed else data)


@settings(repeatable, max_examples=300)
@given(VALID.flatmap(lambda data: st.tuples(st.just(data), st.integers(0, len(data)))))
def test_both_parsers_agree_on_truncated_records(cut: tuple[bytes, int]) -> None:
    """Cut anywhere."""
    data, size = cut
    agreed(data[:size])


@pytest.mark.parametrize(("frame", "text"), LAYOUTS, ids=lambda value: type(value).__name__)
def test_no_beginning_of_a_frame_is_a_frame(frame: Frame, text: str) -> None:
    """Truncation is always noticed."""
    data = bytes.fromhex(text)
    assert all(refused(data[:size]) for size in range(len(data)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1c",  # types that do not exist
        "0a 00000007 02 1234 000102030405060708090a0b",  # an echo by what does not exist
        "0a 00000007 01 03ff 000102030405060708090a0b",  # to a port of the system
        "0b 00000007 06 00",
        "3f",
        "42",
        "ff",
        f"01 02 00000000 {SESSION.hex()} 00 0000000000000000 00000000 00000000 00000000 {INCARNATION.hex()}",  # role
        f"01 00 00000000 {SESSION.hex()} 03 0000000000000000 00000000 00000000 00000000 {INCARNATION.hex()}",  # outcome
        f"01 00 00000000 {SESSION.hex()} 00 0000000000000001 00000000 00000000 00000000 {INCARNATION.hex()}",  # next
        "02 00 00 00",  # denial codes that do not exist
        "02 0a 00 00",
        "02 01 01 ff 00",  # not UTF-8
        "02 01 00 09" + "0000" * 9,  # too many alternates
        "02 01 00 01 0001 ff",  # not ASCII
        "02 01 00 01 0401" + "61" * 1025,
        "02 01 c9" + "61" * 201 + "00",  # 201 bytes of text
        "03 00000000",  # decision 0
        "08 08 00",  # no such goodbye
        "08 00 c9" + "61" * 201,
        "15 000000000000ffff 02 0000",  # a flag that is neither
        "15 000000000000ffff 01 0003" + "00" * 24,  # parts that are no power of 2
        "15 000000000000ffff 01 0200" + "00" * 4096,
        "16 0000000000000009 0000000000000001 0000",  # a range from its end
        "16 0000000000000001 0000000000000009 0101" + "00" * 4112,
        "17 0000",  # nothing
        "17 0101" + "00" * 4112,
        "18 0000",
        "18 0041" + "00" * 520,
        "19 00",
        "19 01 0000",
        "19 11" + "0001 61" * 17,
        "19 01 0201" + "00" * 513,  # a record that is too long
        f"1b 00000007 0000 07 {'0001 61' * 7}",
        "40 0000000000000005 00 00 00 0000",  # no messages
        "40 0000000000000005 00 00 00 0000 0500000007",  # the same before another frame
        "40 0000000000000005 03 00 00 0001 0001 61",  # no such kind
        "40 0000000000000005 00 02 00 0001 0001 61",  # reserved flag
        "40 0000000000000005 00 00 00 0001 0002 61",
        "40 0000000000000005 00 00 00 0002 0001 0002 61 61",
        "41 0000000000000006 00 08 01 03 00011170 0003 616263",  # reserved flag
        "41 0000000000000006 03 02 01 03 00011170 0003 616263",  # no such kind
        "41 0000000000000006 00 02 01 04 00011170 0003 616263",  # no such slot
        "41 0000000000000006 00 02 01 03 00000002 0003 616263",  # longer than the whole
        "41 0000000000000006 00 02 01 03 00011170 0000",  # empty
        "00",  # padding alone
        "000000",
        "09 00 01",  # padding that is not zero
        "09 00 09",  # something after padding
    ],
)
def test_what_is_not_a_frame_of_this_version_is_refused(text: str) -> None:
    """Unknown values, reserved bits, wrong sizes."""
    assert refused(bytes.fromhex(text))


@pytest.mark.parametrize(
    "text",
    ["40 0000000000000005 00 01 00 0001 0001 61", "41 0000000000000006 00 03 01 03 00011170 0003 616263"],
)
def test_flags_that_are_not_known_are_refused_by_name(text: str) -> None:
    """Bit 0 has no meaning."""
    for parse in BOTH:
        with pytest.raises(MalformedMessage, match="a flag that this version does not know"):
            parse(bytes.fromhex(text))


def test_a_record_is_bounded() -> None:
    """65,280 bytes, not one more."""
    largest = frames.build_padded(frames.build_ack(1, 2), limits.RECORD_PLAINTEXT_MAX)
    assert len(largest) == limits.RECORD_PLAINTEXT_MAX
    assert agreed(largest) == [Ack(1, 2)]
    assert refused(largest + b"\0")


def test_control_frames_in_a_record_are_bounded() -> None:
    """They are dear to parse; acknowledgements and data are not, and do not count."""
    most = [*[Ack(1, 2)] * 100, *[frames.Retire()] * limits.CONTROL_FRAMES_MAX]
    assert agreed(frames.build_record(most)) == most
    assert refused(frames.build_record([*most, frames.Retire()]))


# --- our own mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda: frames.build_batch(0, 0, 0, []),
        lambda: frames.build_batch(0, 3, 0, [b"a"]),
        lambda: frames.build_batch(0, 0, 256, [b"a"]),
        lambda: frames.build_batch(-1, 0, 0, [b"a"]),
        lambda: frames.build_batch(0, 0, 0, [bytes(65536)]),
        lambda: frames.build_piece(0, 0, 0, 4, True, True, 1, b"a"),
        lambda: frames.build_piece(0, 0, 0, -1, True, True, 1, b"a"),
        lambda: frames.build_piece(0, 3, 0, 0, True, True, 1, b"a"),
        lambda: frames.build_piece(0, 0, 0, 0, True, True, 1, b""),
        lambda: frames.build_piece(0, 0, 0, 0, True, True, 1, b"ab"),
        lambda: frames.build_piece(1 << 64, 0, 0, 0, True, True, 1, b"a"),
        lambda: frames.build_ack(0, 1 << 32),
        lambda: frames.build_record([]),
        lambda: frames.build_record([frames.Use(0)]),
        lambda: frames.build_record([gossip.Announce(())]),
        lambda: frames.build_record([gossip.Announce(((1, 1 << 64),))]),
        lambda: frames.build_record([gossip.Request(())]),
        lambda: frames.build_record([gossip.Contents(2, 1, ())]),
        lambda: frames.build_record([gossip.Summary(1, True, (1, 2, 3))]),
        lambda: frames.build_record([gossip.Records((bytes(513),))]),
        lambda: frames.build_record([gossip.Find(1, b"short")]),
        lambda: frames.build_record([frames.Goodbye(frames.GoodbyeCode.CLOSED, "x" * 201)]),
        lambda: frames.build_record([Batch(0, 0, 0, [bytes(65265)])]),
    ],
)
def test_what_the_wire_cannot_hold_cannot_be_built(build: Callable[[], bytes]) -> None:
    """ValueError, before anything is sent."""
    with pytest.raises(ValueError, match=r".+"):
        build()


def test_padding_fills_a_record_and_no_more() -> None:
    """A record without room gets less."""
    assert frames.build_padded(b"\t", 0) == b"\t"
    assert frames.build_padded(b"\t", 3) == b"\t\0\0\0"
    assert len(frames.build_padded(bytes(65279), 255)) == 65280
