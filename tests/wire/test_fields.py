"""Shared pieces of the wire format."""

from __future__ import annotations

import enum

import construct
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.wire import fields
from tests.support import wire_values
from tests.support.wire_values import repeatable


class Colour(enum.IntEnum):
    RED = 1


def parse(definition: object, data: bytes) -> object:
    return fields.parse_all(definition, data, "thing", 100)


@repeatable
@given(wire_values.addresses)
def test_an_address_survives(address: tuple[str, int] | None) -> None:
    """What is built from an address parses to the same one."""
    assert parse(fields.ADDRESS, fields.build_all(fields.ADDRESS, address, "address")) == address


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (None, "00 0000"),
        (("192.0.2.7", 5483), "04 c0000207 156b"),
        (("2001:db8::7", 1), "06 20010db8000000000000000000000007 0001"),
        (("fe80::1%eth0", 1), "06 fe800000000000000000000000000001 0001"),
        (("::ffff:192.0.2.7", 1), "04 c0000207 0001"),
    ],
)
def test_an_address_on_the_wire(address: tuple[str, int] | None, text: str) -> None:
    """The layout of each family; a scope is left out, and an IPv4 address in IPv6 clothes is written as what it is."""
    assert fields.build_all(fields.ADDRESS, address, "address") == bytes.fromhex(text)


@pytest.mark.parametrize(
    "text",
    [
        "05 c0000207 156b",  # no such family
        "00 0001",  # a port without an address
        "06 00000000000000000000ffffc0000207 0001",  # a second way to write an IPv4 address
        "04 c00002",
        "04 c0000207 15",
        "",
    ],
)
def test_a_bad_address_is_refused(text: str) -> None:
    """There is one way to write an address."""
    with pytest.raises(MalformedMessage):
        parse(fields.ADDRESS, bytes.fromhex(text))


def test_an_address_that_is_none_cannot_be_built() -> None:
    """A host name, or a port out of range, is our own mistake: ValueError."""
    for wrong in (("example.org", 1), ("192.0.2.7", 65536), ("192.0.2.7", -1), 7):
        with pytest.raises(ValueError, match="address cannot be built"):
            fields.build_all(fields.ADDRESS, wrong, "address")


def test_bytes_left_over_are_refused() -> None:
    """A message is all of its bytes."""
    with pytest.raises(MalformedMessage, match="thing is followed by 1 bytes"):
        parse(construct.Int8ub, b"\1\2")


def test_too_many_bytes_are_refused_before_they_are_parsed() -> None:
    """The size is bounded first."""

    def explode(_value: object, _context: object) -> object:
        raise AssertionError("parsed")

    definition = construct.ExprAdapter(construct.GreedyBytes, explode, explode)
    with pytest.raises(MalformedMessage, match="thing has 101 bytes; at most 100"):
        fields.parse_all(definition, bytes(101), "thing", 100)


@pytest.mark.parametrize(
    "error",
    [construct.StreamError("x"), ValueError("x"), KeyError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x")],
)
def test_every_error_of_a_parser_becomes_one(error: Exception) -> None:
    """MalformedMessage, with its cause."""

    def fail(_value: object, _context: object) -> object:
        raise error

    with pytest.raises(MalformedMessage) as raised:
        parse(construct.ExprAdapter(construct.Int8ub, fail, fail), b"\1")
    assert raised.value.__cause__ is error


def test_a_choice_has_no_other_members() -> None:
    """Unknown numbers are refused, both ways."""
    colour = fields.choice(construct.Int8ub, Colour)
    assert parse(colour, b"\1") is Colour.RED
    with pytest.raises(MalformedMessage):
        parse(colour, b"\2")
    with pytest.raises(ValueError, match="cannot be built"):
        fields.build_all(colour, 2, "colour")


def test_a_flag_is_0_or_1() -> None:
    """Other values would be a second way to say the same."""
    assert parse(fields.FLAG, b"\0") == 0
    assert parse(fields.FLAG, b"\1") == 1
    with pytest.raises(MalformedMessage):
        parse(fields.FLAG, b"\2")


def test_an_array_is_as_long_as_allowed_and_has_each_item_once() -> None:
    """Counts outside the bounds are refused before any item is read."""
    array = fields.array(construct.Int8ub, construct.Int8ub, range(1, 3), distinct=True)
    assert parse(array, b"\2\5\6") == (5, 6)
    for wrong in (b"\0", b"\3\1\2\3", b"\2\5\5", b"\2\5"):
        with pytest.raises(MalformedMessage):
            parse(array, wrong)
    for items in ((), (1, 2, 3), (5, 5)):
        with pytest.raises(ValueError, match="cannot be built"):
            fields.build_all(array, items, "array")


@repeatable
@given(st.text(max_size=12))
def test_text_is_bounded_in_bytes(text: str) -> None:
    """Its length counts bytes of UTF-8, not characters."""
    definition = fields.text(construct.Int8ub, 10)
    if len(text.encode()) <= 10:
        assert parse(definition, fields.build_all(definition, text, "text")) == text
    else:
        with pytest.raises(ValueError, match="more than 10 bytes"):
            fields.build_all(definition, text, "text")


@pytest.mark.parametrize("data", [b"\1\xff", b"\3\xed\xa0\x80", b"\2\xc0\x80", b"\2a", b"\x0baaaaaaaaaaa"])
def test_bad_text_is_refused(data: bytes) -> None:
    """Bytes that are not UTF-8 (surrogates and overlong forms included), missing bytes, too many bytes."""
    with pytest.raises(MalformedMessage):
        parse(fields.text(construct.Int8ub, 10), data)


def test_a_value_of_another_class_cannot_be_built() -> None:
    """The definitions take what they give, not whatever has the same attributes."""
    definition = fields.by_type(construct.Int8ub, {1: (int, construct.Int8ub)})
    assert fields.build_all(definition, 7, "thing") == b"\1\7"
    with pytest.raises(ValueError, match="thing cannot be built: a str has no place here"):
        fields.build_all(definition, "7", "thing")
    with pytest.raises(MalformedMessage):
        parse(definition, b"\2\7")
