"""The messages of file transfer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.wire import transfer
from crust.wire.transfer import TransferMessage
from tests.support import wire_values
from tests.support.wire_values import repeatable

LAYOUTS = [
    (transfer.Offer(7, 8, "ü.txt"), "01 00000007 0000000000000008 0006 c3bc2e747874"),
    (transfer.Accept(7), "02 00000007"),
    (transfer.Refuse(7, "no"), "03 00000007 02 6e6f"),
    (transfer.FileData(7, 9, b"data"), "04 00000007 0000000000000009 64617461"),
    (transfer.End(7, bytes(range(32))), "05 00000007" + bytes(range(32)).hex()),
    (transfer.Progress(7, 10), "06 00000007 000000000000000a"),
    (transfer.Done(7), "07 00000007"),
    (transfer.Fail(7, ""), "08 00000007 00"),
    (transfer.SignedOffer(7, 8, "ü.txt"), "09 00000007 0000000000000008 0006 c3bc2e747874"),
    (transfer.SignedEnd(7, b"signed"), "0a 00000007 7369676e6564"),
]

Parser = Callable[[bytes], TransferMessage]


def agreed(data: bytes) -> TransferMessage | type[MalformedMessage]:
    """What both parsers make of it."""

    def outcome(parse: Parser) -> TransferMessage | type[MalformedMessage]:
        try:
            return parse(data)
        except MalformedMessage:
            return MalformedMessage

    fast = outcome(transfer.parse_transfer_untrusted)
    assert fast == outcome(transfer.parse_transfer_by_definition_untrusted)
    return fast


@pytest.mark.parametrize(("message", "text"), LAYOUTS, ids=lambda value: type(value).__name__)
def test_the_layout_of_each_message(message: TransferMessage, text: str) -> None:
    """As docs/wire-format.md has it, built and parsed; and no beginning of it is a message."""
    data = bytes.fromhex(text)
    assert transfer.build_transfer(message) == data
    assert agreed(data) == message
    whole = len(data)
    if isinstance(message, transfer.FileData):  # the rest is data
        whole = transfer.TRANSFER_DATA_OVERHEAD
    elif isinstance(message, transfer.SignedEnd):
        whole -= len(message.signed)
    assert all(agreed(data[:size]) is MalformedMessage for size in range(whole))


@pytest.mark.parametrize("text", [text for _, text in LAYOUTS])
def test_what_is_well_formed_is_read_without_construct(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record holds thousands of words, and nothing else runs on greenlets while they are read."""
    by_definition = "parse_transfer_by_definition_untrusted"
    monkeypatch.setattr(transfer, by_definition, lambda data: pytest.fail("read by construct"))
    transfer.parse_transfer_untrusted(bytes.fromhex(text))


def test_every_type_of_message_has_its_layout_above() -> None:
    """So that no message is without a test of its bytes."""
    assert {bytes.fromhex(text)[0] for _, text in LAYOUTS} == set(transfer.TransferType)


@repeatable
@given(wire_values.transfers)
def test_a_message_survives(message: TransferMessage) -> None:
    """And both builders agree on its bytes."""
    data = transfer.build_transfer(message)
    assert data == transfer.build_transfer_by_definition(message)
    assert agreed(data) == message


VALID = wire_values.transfers.map(transfer.build_transfer)


@settings(repeatable, max_examples=300)
@given(wire_values.damaged(VALID) | st.binary(max_size=60))
def test_both_parsers_agree_on_whatever_arrives(data: bytes) -> None:
    """The same message, or MalformedMessage from both, and nothing else from either."""
    agreed(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00 00000007",
        "0b 00000007",
        "0a 00000007" + "00" * 1219,
        "02 00000007 00",
        "04 00000007 0000000000000009",
        "03 00000007 c9" + "61" * 201,
        "01 00000007 0000000000000008 0401" + "61" * 1025,
        "01 00000007 0000000000000008 0001 ff",
        "04 00000007 0000000000000009" + "00" * 65268,  # more than any record holds
    ],
)
def test_what_is_no_message_of_this_version_is_refused(text: str) -> None:
    """Unknown types, wrong sizes, bad text."""
    assert agreed(bytes.fromhex(text)) is MalformedMessage


@pytest.mark.parametrize(
    "message",
    [
        transfer.FileData(7, 9, b""),
        transfer.FileData(1 << 32, 9, b"a"),
        transfer.Offer(7, -1, "name"),
        transfer.Offer(7, 8, "x" * 1025),
        transfer.Refuse(7, "x" * 201),
        transfer.End(7, b"short"),
    ],
)
def test_what_the_wire_cannot_hold_cannot_be_built(message: TransferMessage) -> None:
    """ValueError, before anything is sent."""
    with pytest.raises(ValueError, match="cannot be built|without data"):
        transfer.build_transfer(message)
