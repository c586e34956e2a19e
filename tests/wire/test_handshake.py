"""The payloads of the handshake."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.exceptions import MalformedMessage
from crust.wire import codec, handshake
from crust.wire.handshake import (
    Accepted,
    Aead,
    DenialCode,
    Hello,
    Introduction,
    Manner,
    Purpose,
    Refused,
    Resume,
    Role,
)
from tests.support import wire_values
from tests.support.wire_values import repeatable

HELLO = Hello(versions=(1, 9), network_id=bytes(range(32)), aeads=(1, 2, 200))
INTRODUCTION = Introduction(
    peer_id=bytes(range(32)),
    role=Role.CLIENT,
    purpose=Purpose.BOOTSTRAP,
    manner=Manner.PREDICTED,
    capabilities=0x80000001,
    incarnation=b"i" * 16,
    observed=("192.0.2.7", 5483),
    window=0x01020304,
    max_message=0x05060708,
    resume=Resume(session_id=b"s" * 16, next=9),
)

PARSERS: list[Callable[[bytes], object]] = [
    handshake.parse_hello_untrusted,
    handshake.parse_answer_untrusted,
    handshake.parse_introduction_untrusted,
    handshake.unpad_payload_untrusted,
]


@repeatable
@given(wire_values.hellos)
def test_a_hello_survives(hello: Hello) -> None:
    """Unknown versions and AEADs included: an offer may name what only the other side knows."""
    assert handshake.parse_hello_untrusted(handshake.build_hello(hello)) == hello


@repeatable
@given(wire_values.answers)
def test_an_answer_survives(answer: handshake.Answer) -> None:
    """Both kinds."""
    assert handshake.parse_answer_untrusted(handshake.build_answer(answer)) == answer


@repeatable
@given(wire_values.introductions)
def test_an_introduction_survives(introduction: Introduction) -> None:
    """Unknown capabilities included: they are kept."""
    parsed = handshake.parse_introduction_untrusted(handshake.build_introduction(introduction))
    assert parsed == introduction


def test_the_layout_of_a_hello() -> None:
    """As docs/wire-format.md has it."""
    expected = "02 0001 0009" + bytes(range(32)).hex() + "03 01 02 c8"
    assert handshake.build_hello(HELLO) == bytes.fromhex(expected)


def test_the_layout_of_the_answers() -> None:
    """As docs/wire-format.md has it."""
    accepted = Accepted(1, Aead.CHACHA20_POLY1305, ("192.0.2.7", 5483))
    assert handshake.build_answer(accepted) == bytes.fromhex("00 0001 02 04 c0000207 156b")
    assert handshake.build_answer(Refused(DenialCode.NETWORK)) == bytes.fromhex("01 02")


def test_the_layout_of_an_introduction() -> None:
    """As docs/wire-format.md has it."""
    expected = (
        bytes(range(32)).hex() + "01 01 02 80000001" + (b"i" * 16).hex() + "04 c0000207 156b 01020304 05060708"
        "01" + (b"s" * 16).hex() + "0000000000000009"
    )
    assert handshake.build_introduction(INTRODUCTION) == bytes.fromhex(expected)


def test_an_introduction_fits_a_handshake_message() -> None:
    """The longest one, the longest padding, a key and two tags stay within 1,024 bytes."""
    longest = handshake.build_introduction(INTRODUCTION)
    assert 2 + len(longest) + 12 + 255 + 32 + 2 * 16 <= 1024


@pytest.mark.parametrize(
    "text",
    [
        "00" + "00" * 32 + "01 01",  # no version
        "02 0001 0001" + "00" * 32 + "01 01",  # one twice
        "01 0001" + "00" * 32 + "00",  # no AEAD
        "01 0001" + "00" * 32 + "02 01 01",
        "11" + "".join(f"{n:04x}" for n in range(17)) + "00" * 32 + "01 01",  # too many
        "01 0001" + "00" * 31 + "01 01",
        "01 0001" + "00" * 32 + "01 01 00",  # a byte too many
    ],
)
def test_a_bad_hello_is_refused(text: str) -> None:
    """Counts outside 1 to 16, repetitions, other sizes."""
    with pytest.raises(MalformedMessage):
        handshake.parse_hello_untrusted(bytes.fromhex(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02 01",  # no such outcome
        "01 00",  # no such code
        "01 0a",
        "01 01 00",
        "00 0001 03 00 0000",  # no such AEAD: not one that we can have offered
        "00 0001 01 00 0000 00",
        "00 0001 01",
    ],
)
def test_a_bad_answer_is_refused(text: str) -> None:
    """Unknown outcomes, codes and AEADs, other sizes."""
    with pytest.raises(MalformedMessage):
        handshake.parse_answer_untrusted(bytes.fromhex(text))


@pytest.mark.parametrize(("position", "value"), [(32, 2), (33, 2), (34, 5), (55, 5), (70, 2)])
def test_a_bad_introduction_is_refused(position: int, value: int) -> None:
    """Unknown role, purpose, manner, address family; a flag that is neither 0 nor 1."""
    body = bytearray(handshake.build_introduction(INTRODUCTION))
    body[position] = value
    with pytest.raises(MalformedMessage):
        handshake.parse_introduction_untrusted(bytes(body))


BY_DEFINITION: list[tuple[Callable[[bytes], object], str]] = [
    (handshake.parse_answer_untrusted, "ANSWER"),
    (handshake.parse_introduction_untrusted, "INTRODUCTION"),
]


@repeatable
@given(wire_values.answers, wire_values.introductions)
def test_the_short_way_builds_what_the_definitions_say(answer: handshake.Answer, introduction: Introduction) -> None:
    """The same bytes, for every value that the wire can hold."""
    assert handshake.build_answer(answer) == codec.build("ANSWER", answer, "Answer")
    expected = codec.build("INTRODUCTION", introduction, "Introduction")
    assert handshake.build_introduction(introduction) == expected


@pytest.mark.parametrize(("parse", "definition"), BY_DEFINITION, ids=[name for _, name in BY_DEFINITION])
@repeatable
@given(data=st.data())
def test_the_short_way_reads_what_the_definitions_say(
    parse: Callable[[bytes], object], definition: str, data: st.DataObject
) -> None:
    """The same value, or MalformedMessage, for valid and for broken bytes."""
    answers = wire_values.answers.map(handshake.build_answer)
    valid = answers | wire_values.introductions.map(handshake.build_introduction)
    body = data.draw(st.one_of(valid, wire_values.damaged(valid), st.binary(max_size=200)))

    def outcome(call: Callable[[], object]) -> object:
        try:
            return call()
        except MalformedMessage:
            return MalformedMessage

    by_definition = outcome(lambda: codec.parse_all(definition, body, "body", 1024))
    assert outcome(lambda: parse(body)) == by_definition


@repeatable
@given(st.binary(max_size=300), st.binary(max_size=255))
def test_padding_comes_off_again(body: bytes, padding: bytes) -> None:
    """Whatever its bytes are."""
    assert handshake.unpad_payload_untrusted(handshake.pad_payload(body, padding)) == body


def test_more_padding_than_allowed_is_refused() -> None:
    """On both sides."""
    with pytest.raises(ValueError, match="256 bytes of padding"):
        handshake.pad_payload(b"body", bytes(256))
    with pytest.raises(MalformedMessage, match="256 bytes of padding"):
        handshake.unpad_payload_untrusted(b"\0\4body" + bytes(256))


def test_a_body_longer_than_its_payload_is_refused() -> None:
    """And so is a payload longer than a handshake message."""
    for payload in (b"", b"\0", b"\0\2a", b"\4\0" + bytes(1023)):
        with pytest.raises(MalformedMessage):
            handshake.unpad_payload_untrusted(payload)


@pytest.mark.parametrize(
    "build",
    [
        lambda: handshake.build_hello(Hello((), bytes(32), (1,))),
        lambda: handshake.build_hello(Hello((1,), bytes(31), (1,))),
        lambda: handshake.build_hello(Hello((65536,), bytes(32), (1,))),
        lambda: handshake.build_answer(INTRODUCTION),
        lambda: handshake.build_introduction(HELLO),
        lambda: handshake.pad_payload(bytes(65536), b""),
    ],
)
def test_what_the_wire_cannot_hold_is_our_mistake(build: Callable[[], bytes]) -> None:
    """ValueError, before anything is sent."""
    with pytest.raises(ValueError, match="cannot be built"):
        build()


VALID = st.one_of(
    wire_values.hellos.map(handshake.build_hello),
    wire_values.answers.map(handshake.build_answer),
    wire_values.introductions.map(handshake.build_introduction),
)


@repeatable
@given(st.one_of(VALID, wire_values.damaged(VALID), st.binary(max_size=1200)))
def test_a_parser_raises_nothing_but_malformed_message(data: bytes) -> None:
    """No matter what bytes arrive."""
    for parse in PARSERS:
        try:
            parse(data)
        except MalformedMessage:
            pass


@repeatable
@given(VALID)
def test_no_beginning_of_a_message_is_a_message(data: bytes) -> None:
    """Truncation is always noticed."""
    for parse in PARSERS[:3]:
        try:
            parse(data)
        except MalformedMessage:
            continue
        for size in range(len(data)):
            with pytest.raises(MalformedMessage):
                parse(data[:size])
