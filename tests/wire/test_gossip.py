"""The record of a node as bytes: its layout, its bounds, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from crust import limits
from crust.exceptions import MalformedMessage
from crust.wire import codec, gossip
from crust.wire.frames import TransportCode
from crust.wire.gossip import Spot, Statement, Via
from crust.wire.handshake import Role
from tests.support import wire_values
from tests.support.wire_values import repeatable

ID, OTHER = b"k" * 32, b"o" * 32
SIGNATURE = b"s" * 64
STATEMENT = Statement(
    ID,
    0x0123456789AB,
    7,
    Role.CLIENT,
    True,
    (Spot(TransportCode.TCP, ("192.0.2.7", 5483)),),
    (Via(OTHER, (Spot(TransportCode.UTP, ("2001:db8::7", 1)),)),),
)
LAYOUT = (
    f"{ID.hex()} 0123456789ab 000000000007 01 01"
    "01 01 04 c0000207 156b"
    f"01 {OTHER.hex()} 01 00 06 20010db8000000000000000000000007 0001"
)


def parsed(text: str) -> Statement:
    return gossip.parse_statement_untrusted(bytes.fromhex(text) + SIGNATURE)


def test_the_layout() -> None:
    """As docs/wire-format.md has it, built and parsed."""
    assert gossip.build_record_body(STATEMENT) == bytes.fromhex(LAYOUT)
    assert parsed(LAYOUT) == STATEMENT


def test_the_largest_record_has_room() -> None:
    """Everything that a record may name, by IPv6, fits 512 bytes."""
    spots = tuple(Spot(TransportCode.TCP, ("2001:db8::7", port)) for port in range(1, 9))
    via = tuple(Via(OTHER, spots[:2]) for _ in range(3))
    body = gossip.build_record_body(STATEMENT._replace(spots=spots, via=via))
    assert len(body) + limits.SIGNATURE_SIZE <= limits.GOSSIP_RECORD_MAX
    assert gossip.parse_statement_untrusted(body + SIGNATURE).via == via


@repeatable
@given(wire_values.statements)
def test_a_statement_survives(statement: Statement) -> None:
    """Whatever the wire can hold."""
    assert gossip.parse_statement_untrusted(gossip.build_record_body(statement) + SIGNATURE) == statement


@repeatable
@given(
    wire_values.damaged(wire_values.statements.map(lambda one: gossip.build_record_body(one) + SIGNATURE))
)
def test_damage_is_refused_or_means_something(data: bytes) -> None:
    """Nothing but MalformedMessage comes out of a stranger's bytes; and what is taken is what would be built."""
    try:
        statement = gossip.parse_statement_untrusted(data)
    except MalformedMessage:
        return
    assert gossip.build_record_body(statement) == data[:-64]


def by_definition(data: bytes) -> object:
    try:
        body, _ = gossip.split_record_untrusted(data)
        return codec.parse_all("STATEMENT", body, "record", limits.GOSSIP_RECORD_MAX)
    except MalformedMessage as error:
        return str(error)


@repeatable
@given(
    wire_values.damaged(wire_values.statements.map(lambda one: gossip.build_record_body(one) + SIGNATURE))
)
def test_the_short_way_reads_what_the_definition_does(data: bytes) -> None:
    """Of whole records and of damaged ones: the same values of the same types, or the same error."""
    try:
        quick: object = gossip.parse_statement_untrusted(data)
    except MalformedMessage as error:
        quick = str(error)
    assert repr(quick) == repr(by_definition(data))


@repeatable
@given(wire_values.gossips)
def test_the_size_is_known_before_the_bytes_are_made(frame: gossip.GossipFrame) -> None:
    """Of each kind of frame."""
    assert gossip.size_of(frame) == len(gossip.show_gossip(frame) or b"")


def test_records_are_read_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Construct, and what it leaves to the garbage collector, has no part in a record that is in order."""
    monkeypatch.setattr(gossip, "parse_all", None)
    assert parsed(LAYOUT) == STATEMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ID.hex()}",
        LAYOUT[:-4],
        LAYOUT + "00",
        LAYOUT.replace("000000000007 01", "000000000007 02"),  # no such role
        f"{ID.hex()} 000000000001 000000000001 00 02 00 00",  # a flag that is neither
        f"{ID.hex()} 000000000001 000000000001 00 00 09 {'01 04 c0000207 156b' * 9} 00",
        f"{ID.hex()} 000000000001 000000000001 00 00 02 {'01 04 c0000207 156b' * 2} 00",  # twice the same
        f"{ID.hex()} 000000000001 000000000001 00 00 01 01 04 c0000207 0000 00",  # no port
        f"{ID.hex()} 000000000001 000000000001 00 00 01 01 00 0000 00",  # no address
        f"{ID.hex()} 000000000001 000000000001 00 00 01 02 04 c0000207 156b 00",  # no such transport
        f"{ID.hex()} 000000000001 000000000001 00 00 00 04" + f"{OTHER.hex()} 00" * 4,
        f"{ID.hex()} 000000000001 000000000001 00 00 00 01 {OTHER.hex()} 03" + "01 04 c0000207 156b" * 3,
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    """Bounds, unknown values, a byte too many or too few."""
    with pytest.raises(MalformedMessage):
        parsed(text)


def test_sizes_are_looked_at_first() -> None:
    """Neither less than a signature and an id, nor more than 512 bytes, is parsed."""
    for size in (0, 63, 64, 96, 513, 70_000):
        with pytest.raises(MalformedMessage, match=f"of {size} bytes"):
            gossip.split_record_untrusted(bytes(size))


def test_versions_are_ordered_by_sequence_and_then_by_digest() -> None:
    """So that of two records of one node every node keeps the same one."""
    one, other = bytes((0, 1)) + bytes(14), bytes((0, 2)) + bytes(14)
    assert gossip.version_of(5, one) < gossip.version_of(5, other) < gossip.version_of(6, one)
    assert gossip.prefix_of(bytes(range(32))) == 0x0001020304050607
