"""Statements: what is signed of messages and files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.wire import proofs
from crust.wire.codec import build
from crust.wire.proofs import FileStatement, MessageStatement
from tests.support import wire_values
from tests.support.wire_values import repeatable

WHO = (b"s" * 32, b"r" * 32, b"i" * 16)
WHO_TEXT = b"".join(WHO).hex()
MESSAGE = MessageStatement(*WHO, 1_800_000_000_123, b"data")
FILE = FileStatement(*WHO, 1_800_000_000_123, 5, bytes(range(32)), "ü.txt")


def agreed(data: bytes) -> MessageStatement | type[MalformedMessage]:
    """What both parsers make of it."""
    found = []
    for parse in (
        proofs.parse_message_statement_untrusted,
        proofs.parse_message_statement_by_definition_untrusted,
    ):
        try:
            found.append(parse(data))
        except MalformedMessage:
            found.append(MalformedMessage)  # type: ignore[arg-type]
    assert found[0] == found[1]
    return found[0]


def test_the_layout_of_a_message() -> None:
    """As docs/wire-format.md has it; no beginning of it is a statement, nor is anything longer."""
    data = bytes.fromhex(WHO_TEXT + "000001a3185c507b 00000004 64617461")
    assert proofs.build_message_statement(MESSAGE) == data
    assert agreed(data) == MESSAGE
    assert all(agreed(data[:size]) is MalformedMessage for size in range(len(data)))
    assert agreed(data + b"x") is MalformedMessage
    assert proofs.MESSAGE_OVERHEAD == len(data) - 4 + 64


def test_the_layout_of_a_file() -> None:
    """The same."""
    rest = "000001a3185c507b 0000000000000005" + bytes(range(32)).hex() + "0006 c3bc2e747874"
    data = bytes.fromhex(WHO_TEXT + rest)
    assert proofs.build_file_statement(FILE) == data
    assert proofs.parse_file_statement_untrusted(data) == FILE
    for broken in (*(data[:size] for size in range(len(data))), data + b"x", data[:-6] + b"\xff" * 6):
        with pytest.raises(MalformedMessage):
            proofs.parse_file_statement_untrusted(broken)


@repeatable
@given(wire_values.message_statements)
def test_a_message_survives(statement: MessageStatement) -> None:
    """And both builders agree on its bytes."""
    data = proofs.build_message_statement(statement)
    assert data == build("MESSAGE_STATEMENT", statement, "a statement")
    assert agreed(data) == statement


@repeatable
@given(wire_values.file_statements)
def test_a_file_survives(statement: FileStatement) -> None:
    """Through its bytes."""
    assert proofs.parse_file_statement_untrusted(proofs.build_file_statement(statement)) == statement


@settings(repeatable, max_examples=200)
@given(
    wire_values.damaged(wire_values.message_statements.map(proofs.build_message_statement))
    | st.binary(max_size=150)
)
def test_both_parsers_agree_on_whatever_arrives(data: bytes) -> None:
    """The same statement, or MalformedMessage from both."""
    agreed(data)


@settings(repeatable, max_examples=200)
@given(
    wire_values.damaged(wire_values.file_statements.map(proofs.build_file_statement)) | st.binary(max_size=200)
)
def test_a_damaged_file_statement_is_refused_or_is_another(data: bytes) -> None:
    """MalformedMessage and nothing else; what is taken is built again as the same bytes."""
    try:
        statement = proofs.parse_file_statement_untrusted(data)
    except MalformedMessage:
        return
    assert proofs.build_file_statement(statement) == data


@pytest.mark.parametrize(
    "changes",
    [{"sender": b"s" * 31}, {"receiver": b""}, {"id": b"i" * 17}, {"time": -1}, {"time": 1 << 64}],
    ids=str,
)
def test_what_the_wire_cannot_hold_cannot_be_built(changes: dict[str, object]) -> None:
    """ValueError, before anything is signed."""
    message = {name: getattr(MESSAGE, name) for name in MessageStatement.__slots__}
    with pytest.raises(ValueError, match="statement"):
        proofs.build_message_statement(MessageStatement(**{**message, **changes}))
    file = {name: getattr(FILE, name) for name in FileStatement.__slots__}
    with pytest.raises(ValueError, match="statement"):
        proofs.build_file_statement(FileStatement(**{**file, **changes}))


def test_a_signature_needs_a_statement() -> None:
    """Both have to be there."""
    assert proofs.split_signed_untrusted(b"x" + bytes(64)) == (b"x", bytes(64))
    for short in (b"", bytes(64)):
        with pytest.raises(MalformedMessage):
            proofs.split_signed_untrusted(short)
