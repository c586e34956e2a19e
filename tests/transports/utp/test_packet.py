"""The packet of BEP 29: layouts, what is refused, and that the short way and the definition are the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.transports.utp import definition, packet
from crust.transports.utp.packet import Packet, PacketType
from tests.support import wire_values
from tests.support.wire_values import numbers, repeatable

LAYOUTS = [
    (Packet(PacketType.SYN, 0x1234, 1, 0, 0, 7, 0), "41 00 1234 00000001 00000000 00000000 0007 0000"),
    (
        Packet(PacketType.STATE, 0x1235, 2, 3, 0x100000, 8, 7, bytes.fromhex("01000080")),
        "21 01 1235 00000002 00000003 00100000 0008 0007 00 04 01000080",
    ),
    (
        Packet(PacketType.DATA, 0xFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0xFFFE, b"", b"\x00abc"),
        "01 00 ffff ffffffff 80000000 ffffffff ffff fffe 00 616263",
    ),
    (
        Packet(PacketType.SYN, 0x1234, 1, 0, 0, 7, 0, largest=0xFFE3),
        "41 02 1234 00000001 00000000 00000000 0007 0000 00 08 000000000000 ffe3",
    ),
    (
        Packet(PacketType.STATE, 0x1235, 2, 3, 4, 8, 7, b"\1\0\0\0", largest=0x5DC),
        "21 01 1235 00000002 00000003 00000004 0008 0007 02 04 01000000 00 08 000000000000 05dc",
    ),
    (Packet(PacketType.FIN, 1, 2, 3, 4, 5, 6), "11 00 0001 00000002 00000003 00000004 0005 0006"),
    (Packet(PacketType.RESET, 1, 2, 3, 4, 5, 6), "31 00 0001 00000002 00000003 00000004 0005 0006"),
]

HEAD = "0001 00000002 00000003 00000004 0005 0006"
PLAIN = Packet(PacketType.DATA, 1, 2, 3, 4, 5, 6)

# What other implementations put between header and payload: first extension, the chain, what is left of it here.
CHAINS = [
    ("02", "00 08 0000000000000000", b""),  # µTorrent's extension bits
    ("02", "00 08 00000000000105dc", b""),  # of a meaning that we do not know
    ("02", "00 07 000000000005dc", b""),  # of another length
    ("02", "00 00", b""),
    ("02", "03 08 0000000000000000 00 04 0000 0101", b""),
    ("03", "00 04 0000 0101", b""),  # libtorrent's close reason
    ("01", "03 03 0100ff 00 04 0000 0101", b"\x01\x00\xff"),  # libtorrent's masks have any length
    ("02", "01 08 0000000000000000 00 04 80000000", b"\x80\0\0\0"),
    ("c8", "00 00", b""),  # unknown
    ("c8", "c9 03 aabbcc 01 01 ff 00 04 0100ff00", b"\x01\0\xff\0"),
    ("01", "00 00", b""),  # a mask of nothing
    ("01", "00 ff" + "11" * 255, b"\x11" * 255),
]

sacks = st.integers(0, packet.SACK_MAX // 4).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))
packets = st.builds(
    Packet,
    type=st.sampled_from(PacketType),
    connection_id=numbers(16),
    timestamp=numbers(32),
    timestamp_difference=numbers(32),
    window=numbers(32),
    sequence=numbers(16),
    ack=numbers(16),
    sack=st.one_of(st.just(b""), sacks),
    payload=st.binary(max_size=60),
    largest=st.one_of(st.just(0), numbers(16)),
)


@st.composite
def chained(draw: st.DrawFn) -> bytes:
    """Datagrams with any chain of extensions, too long ones and doubled masks among them."""
    kinds = draw(st.lists(st.integers(1, 5), max_size=draw(st.sampled_from([10, packet.EXTENSIONS_MAX + 2]))))
    fields = {
        **draw(packets)._asdict(),
        "head": {"type": draw(st.sampled_from(PacketType)), "version": packet.VERSION},
        "extension": kinds[0] if kinds else 0,
    }
    # Made by hand: the definition would not build a chain that it refuses.
    built: bytes = definition.FIELDS.build({**fields, "extension": 0, "payload": b"", "extensions": None})
    chain = bytearray()
    for following in [*kinds[1:], 0][: len(kinds)]:
        data = draw(st.binary(max_size=9))
        chain += bytes((following, len(data))) + data
    return built[:1] + bytes((fields["extension"],)) + built[2:] + chain + draw(st.binary(max_size=30))


Parser = Callable[[bytes], Packet]
BOTH: list[Parser] = [packet.parse_packet_untrusted, packet.parse_packet_by_definition_untrusted]


def outcome(parse: Parser, data: bytes) -> Packet | type[MalformedMessage]:
    try:
        return parse(data)
    except MalformedMessage:
        return MalformedMessage


def agreed(data: bytes) -> Packet | type[MalformedMessage]:
    """What both parsers make of it, from bytes, from a memoryview, and from a head and a rest that lie apart."""
    short, long = (outcome(parse, data) for parse in BOTH)
    if len(data) >= packet.HEADER_SIZE:
        head, rest = data[: packet.HEADER_SIZE], memoryview(data)[packet.HEADER_SIZE :]
        assert short == outcome(lambda _: packet.parse_parts_untrusted(bytearray(head), rest), data)
    assert short == long == outcome(lambda view: packet.parse_packet_untrusted(memoryview(view)), data)
    return short


def refused(data: bytes) -> bool:
    return agreed(data) is MalformedMessage


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "text"), LAYOUTS, ids=lambda value: str(value)[:2])
def test_the_layout_of_each_type(value: Packet, text: str) -> None:
    """As BEP 29 draws it, built and parsed."""
    data = bytes.fromhex(text)
    assert packet.build_packet(value) == packet.build_packet_by_definition(value) == data
    assert agreed(data) == value


def test_every_type_has_its_layout_above() -> None:
    """So that none is without a test of its bytes."""
    assert {value.type for value, _ in LAYOUTS} == set(PacketType)


@pytest.mark.parametrize("payload", [b"", b"payload"])
@pytest.mark.parametrize(("first", "chain", "sack"), CHAINS)
def test_extensions_of_others_are_skipped(first: str, chain: str, sack: bytes, payload: bytes) -> None:
    """Whatever their number, order and length; the selective acknowledgement is kept."""
    data = bytes.fromhex(f"01 {first} {HEAD} {chain}") + payload
    assert agreed(data) == PLAIN._replace(sack=sack, payload=payload)
    assert all(refused(data[:size]) for size in range(len(data) - len(payload)))


# --- both ways --------------------------------------------------------------------------------------------------------


@repeatable
@given(packets)
def test_a_packet_survives(value: Packet) -> None:
    """Both builders make the same bytes of it, and both parsers the same packet of these."""
    data = packet.build_packet(value)
    assert data == packet.build_packet_by_definition(value)
    assert data == packet.build_header(*value[:-2], value.largest) + value.payload
    assert agreed(data) == value


@settings(repeatable, max_examples=500)
@given(wire_values.damaged(st.one_of(packets.map(packet.build_packet), chained())))
def test_both_parsers_agree_on_damaged_packets(data: bytes) -> None:
    """The same packet, or MalformedMessage from both, and nothing else from either."""
    agreed(data)


@settings(repeatable, max_examples=300)
@given(chained())
def test_both_parsers_agree_on_chains(data: bytes) -> None:
    """Also where the short way ends."""
    agreed(data)


@repeatable
@given(st.sampled_from(PacketType), st.binary(max_size=40), st.booleans())
def test_both_parsers_agree_on_random_bytes(kind: PacketType, data: bytes, typed: bool) -> None:
    """With and without a first byte that exists."""
    agreed(bytes((kind << 4 | 1,)) + data if typed else data)


@settings(repeatable, max_examples=200)
@given(packets.flatmap(lambda value: st.tuples(st.just(value), st.integers(0, 284))))
def test_a_packet_cut_short_in_its_head_is_refused(cut: tuple[Packet, int]) -> None:
    """Truncation is noticed wherever the head ends; a payload has no length of its own."""
    value, size = cut
    data = packet.build_packet(value)
    head = len(data) - len(value.payload)
    assert refused(data[: min(size, head - 1)])
    assert agreed(data[: max(size, head)]) != MalformedMessage


# --- what is not a packet ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00" * 20,  # version 0
        "02 00" + HEAD,  # version 2
        "51 00" + HEAD,  # types that do not exist
        "f1 00" + HEAD,
        "01 01" + HEAD,  # extensions that are not there
        "01 01" + HEAD + "00",
        "01 09" + HEAD + "00",
        "01 01" + HEAD + "00 04 010203",  # lengths that lie
        "01 01" + HEAD + "00 ff" + "00" * 254,
        "01 02" + HEAD + "00 08 00000000000000",
        "01 01" + HEAD + "02 04 01020304",  # a chain that goes on behind the end
        "01 01" + HEAD + "01 01 aa 00 01 bb",  # two masks
        "01 02" + HEAD + "02 08 0000000000000000 00 08 0000000000000000",
        "01 02" + HEAD + "00 08 000000000000 05",
        "01 07" + HEAD + "07 00" * packet.EXTENSIONS_MAX + "00 00",  # one extension too many
    ],
)
def test_what_is_no_packet_is_refused(text: str) -> None:
    """Unknown types and versions, and chains that do not end where they should."""
    assert refused(bytes.fromhex(text))


def test_chains_are_bounded() -> None:
    """Forty extensions, not one more: a datagram has room for thirty thousand."""
    longest = bytes.fromhex("01 07" + HEAD + "07 00" * (packet.EXTENSIONS_MAX - 1) + "00 00") + b"payload"
    assert agreed(longest) == PLAIN._replace(payload=b"payload")
    endless = bytes.fromhex("01 07" + HEAD + "07 00" * 32_000)
    assert refused(endless)


@pytest.mark.parametrize("size", [2, 3, 256, 257, 258, 259, 272, 514, 515, 1451, 7752, packet.PADDING_MAX])
def test_padding_is_skipped(size: int) -> None:
    """It is of the size that was asked for, a chain that others can follow, and differs each time."""
    header = packet.build_header(PacketType.DATA, 1, 2, 3, 4, 5, 6)
    padded = packet.pad_header(header, size)
    assert len(padded) == len(header) + size
    assert agreed(padded + b"payload") == PLAIN._replace(payload=b"payload")
    if size > 10:
        assert packet.pad_header(header, size) != padded
        assert padded[len(header) :].count(0) < 10 + size // 20


@pytest.mark.parametrize("size", [-1, 0, 1, packet.PADDING_MAX + 1])
def test_padding_that_is_not_to_be_had(size: int) -> None:
    """An extension has two bytes, and a packet has only so many extensions."""
    header = packet.build_header(PacketType.DATA, 1, 2, 3, 4, 5, 6)
    with pytest.raises(ValueError, match="padded"):
        packet.pad_header(header, size)
    with pytest.raises(ValueError, match="padded"):
        packet.pad_header(packet.build_header(PacketType.DATA, 1, 2, 3, 4, 5, 6, b"mask"), 10)


def test_the_payload_is_not_copied() -> None:
    """It is a view of the buffer that the datagram lies in."""
    buffer = bytearray(packet.build_packet(PLAIN._replace(sack=b"mask", payload=b"payload")))
    parsed = packet.parse_packet_untrusted(memoryview(buffer))
    assert isinstance(parsed.payload, memoryview)
    buffer[-7:] = b"changed"
    assert parsed.payload == b"changed"
    assert parsed.sack == b"mask"
    assert type(parsed.type) is PacketType


# --- our own mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        PLAIN._replace(connection_id=1 << 16),
        PLAIN._replace(timestamp=-1),
        PLAIN._replace(window=1 << 32),
        PLAIN._replace(sequence=1 << 16),
        PLAIN._replace(ack=-1),
        PLAIN._replace(type=5),  # type: ignore[arg-type]
        PLAIN._replace(sack=b"abc"),
        PLAIN._replace(sack=bytes(256)),
        PLAIN._replace(largest=1 << 16),
    ],
)
def test_what_the_wire_cannot_hold_cannot_be_built(value: Packet) -> None:
    """ValueError, before anything is sent."""
    for build in (packet.build_packet, packet.build_packet_by_definition):
        with pytest.raises(ValueError, match=r".+"):
            build(value)


def test_a_packet_fits_a_datagram() -> None:
    """65,535 bytes, not one more."""
    most = packet.DATAGRAM_MAX - packet.HEADER_SIZE
    assert len(packet.build_packet(PLAIN._replace(payload=bytes(most)))) == packet.DATAGRAM_MAX
    with pytest.raises(ValueError, match="65536 bytes"):
        packet.build_packet(PLAIN._replace(payload=bytes(most + 1)))
