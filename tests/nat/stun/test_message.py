"""The messages of STUN: the vectors of RFC 5769, layouts, what is refused, and what must not pass for one."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.nat.stun.message import (
    HEADER_SIZE,
    REASON_MAX,
    Class,
    Message,
    build_stun,
    looks_like_stun,
    parse_stun_untrusted,
    stun_length,
)
from tests.support import wire_values
from tests.support.wire_values import numbers, repeatable, texts

VECTORS = json.loads((pathlib.Path(__file__).parents[2] / "vectors" / "stun.json").read_text())["vectors"]

TRANSACTION = bytes(range(0x10, 0x1C))
HEAD = "2112a442 101112131415161718191a1b"

LAYOUTS = [
    (Message(Class.REQUEST, TRANSACTION), f"0001 0000 {HEAD}"),
    (Message(Class.INDICATION, TRANSACTION), f"0011 0000 {HEAD}"),
    (
        Message(Class.REQUEST, TRANSACTION, change_ip=True, change_port=True, response_port=0x1234),
        f"0001 0010 {HEAD} 0003 0004 00000006 0027 0002 1234 0000",
    ),
    (Message(Class.REQUEST, TRANSACTION, change_port=True), f"0001 0008 {HEAD} 0003 0004 00000002"),
    (Message(Class.REQUEST, TRANSACTION, padding=8), f"0001 000c {HEAD} 0026 0008 0000000000000000"),
    (Message(Class.REQUEST, TRANSACTION, unknown=(0x7FFF,)), f"0001 0004 {HEAD} 7fff 0000"),
    (
        Message(Class.SUCCESS, TRANSACTION, xor_mapped=("20.0.0.1", 0x2112), software="crust"),
        f"0101 0018 {HEAD} 8022 0005 6372757374 000000 0020 0008 0001 0000 3512a443",
    ),
    (
        Message(Class.SUCCESS, TRANSACTION, mapped=("20.0.0.1", 7), origin=("20.0.0.2", 8), other=("2a10::1", 9)),
        f"0101 0030 {HEAD} 0001 0008 0001 0007 14000001 802b 0008 0001 0008 14000002"
        " 802c 0014 0002 0009 2a10 0000 0000 0000 0000 0000 0000 0001",
    ),
    (
        Message(Class.ERROR, TRANSACTION, error=(420, "Unknown"), unknown=(0x7FFE, 0x7FFF)),
        f"0111 0018 {HEAD} 0009 000b 0000 0414 556e6b6e6f776e 00 000a 0004 7ffe 7fff",
    ),
]

addresses = wire_values.addresses
messages = st.builds(
    Message,
    class_=st.sampled_from(Class),
    transaction=st.binary(min_size=12, max_size=12),
    mapped=addresses,
    xor_mapped=addresses,
    other=addresses,
    origin=addresses,
    response_port=st.none() | numbers(16),
    change_ip=st.booleans(),
    change_port=st.booleans(),
    padding=st.integers(0, 40),
    error=st.none() | st.tuples(st.integers(300, 699), texts(40).filter(str.isprintable)),
    unknown=st.lists(st.integers(0x2000, 0x7FFF), max_size=8, unique=True).map(tuple),
    software=texts(40).filter(str.isprintable),
    fingerprint=st.booleans(),
)


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def with_attributes(text: str, kind: str = "0101") -> bytes:
    body = raw(text)
    return raw(f"{kind} {len(body):04x} {HEAD}") + body


def refused(data: bytes) -> bool:
    try:
        parse_stun_untrusted(data)
    except MalformedMessage:
        return True
    return False


# --- as others make them ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_of_rfc_5769(vector: dict[str, Any]) -> None:
    """Padding of blanks, attributes of ICE and of authentication, both families, fingerprints."""
    data = bytes.fromhex(vector["bytes"])
    assert looks_like_stun(data)
    mapped = vector.get("xor_mapped")
    assert parse_stun_untrusted(data) == Message(
        Class[vector["class"]],
        bytes.fromhex(vector["transaction"]),
        xor_mapped=mapped and tuple(mapped),
        unknown=tuple(vector.get("unknown", ())),
        software=vector.get("software", ""),
        fingerprint=vector.get("fingerprint", False),
    )


@pytest.mark.parametrize("vector", [each for each in VECTORS if each.get("fingerprint")], ids=lambda each: each["name"])
def test_a_fingerprint_covers_every_bit(vector: dict[str, Any]) -> None:
    """A message of which any bit has changed is refused, or is none of ours any more."""
    data = bytes.fromhex(vector["bytes"])
    whole = parse_stun_untrusted(data)
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            parsed = parse_stun_untrusted(broken)
        except MalformedMessage:
            continue
        # Only where the bit has made the fingerprint itself another attribute that may be passed over.
        assert not parsed.fingerprint
        assert parsed.xor_mapped == whole.xor_mapped


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "text"), LAYOUTS, ids=[text[:9] for _, text in LAYOUTS])
def test_the_layout(value: Message, text: str) -> None:
    """As the RFCs draw it, built and parsed."""
    assert build_stun(value) == raw(text)
    assert parse_stun_untrusted(raw(text)) == value
    assert looks_like_stun(raw(text))
    assert stun_length(raw(text)[:HEADER_SIZE]) == len(raw(text))


def test_old_servers_are_understood() -> None:
    """The names that RFC 3489 had, a port padded inside its attribute, an IPv4 address dressed as IPv6."""
    answer = parse_stun_untrusted(
        with_attributes("0001 0008 0001 1234 14000001 0004 0008 0001 0d96 14000002 0005 0008 0001 0d97 14000003")
    )
    assert answer.reflexive == answer.mapped == ("20.0.0.1", 0x1234)
    assert (answer.origin, answer.other) == (("20.0.0.2", 3478), ("20.0.0.3", 3479))
    assert parse_stun_untrusted(with_attributes("0027 0004 1234 ffff")).response_port == 0x1234
    dressed = "0001 0014 0002 0007 00000000 00000000 0000ffff 14000001"
    assert parse_stun_untrusted(with_attributes(dressed)).mapped == ("20.0.0.1", 7)


def test_the_masked_address_is_the_one_that_counts() -> None:
    """Some routers rewrite the other one."""
    both = Message(Class.SUCCESS, TRANSACTION, mapped=("192.168.1.2", 5), xor_mapped=("20.0.0.1", 6))
    assert parse_stun_untrusted(build_stun(both)).reflexive == ("20.0.0.1", 6)
    assert Message(Class.SUCCESS, TRANSACTION).reflexive is None


def test_the_first_of_two_attributes_counts() -> None:
    """And what comes behind an authentication does not: somebody may have added it on the way."""
    twice = with_attributes("0001 0008 0001 0007 14000001 0001 0008 0001 0009 14000009")
    assert parse_stun_untrusted(twice).mapped == ("20.0.0.1", 7)
    behind = with_attributes("0008 0014" + "00" * 20 + "0001 0008 0001 0007 14000001 7fff 0000")
    assert parse_stun_untrusted(behind) == Message(Class.SUCCESS, TRANSACTION)


def test_unknown_attributes() -> None:
    """Those that may be passed over are, the others are listed; in an error the list is the sender's."""
    assert parse_stun_untrusted(with_attributes("ffff 0003 010203 00")).unknown == ()
    assert parse_stun_untrusted(with_attributes("7fff 0003 010203 00 0024 0000", "0001")).unknown == (0x7FFF, 0x24)
    assert parse_stun_untrusted(with_attributes("7fff 0000 000a 0002 0024 aaaa", "0111")).unknown == (0x24,)


def test_text_of_strangers_is_fit_to_be_shown() -> None:
    """Neither escape sequences nor broken UTF-8 reach a terminal."""
    assert parse_stun_untrusted(with_attributes("8022 0004 1b5b41ff")).software == "\ufffd[A\ufffd"
    error = parse_stun_untrusted(with_attributes("0009 0008 0000 0400 0a41420d", "0111")).error
    assert error == (400, "\ufffdAB\ufffd")


# --- both ways --------------------------------------------------------------------------------------------------------


@repeatable
@given(messages)
def test_a_message_survives(value: Message) -> None:
    """Built and parsed it is the same, and it is known for what it is."""
    data = build_stun(value)
    assert parse_stun_untrusted(data) == parse_stun_untrusted(memoryview(bytearray(data))) == value
    assert looks_like_stun(data)
    assert looks_like_stun(memoryview(data))
    assert stun_length(data[:HEADER_SIZE]) == len(data)


@settings(repeatable, max_examples=500)
@given(wire_values.damaged(messages.map(build_stun)))
def test_damaged_messages_raise_nothing_else(data: bytes) -> None:
    """A value or MalformedMessage; what the quick look refuses, the parser refuses too."""
    if not looks_like_stun(data):
        assert refused(data)
    elif not refused(data):
        build_stun(parse_stun_untrusted(data))  # what was understood can be said again


@repeatable
@given(st.integers(0, 0x3FFF), st.binary(max_size=80))
def test_any_attributes_raise_nothing_else(kind: int, body: bytes) -> None:
    """Behind a right head."""
    body = body[: len(body) // 4 * 4]
    refused(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + raw(HEAD) + body)


@repeatable
@given(messages, st.integers(0, 400))
def test_a_message_cut_short_is_refused(value: Message, size: int) -> None:
    """Wherever it ends."""
    data = build_stun(value)
    cut = data[: min(size, len(data) - 1)]
    assert refused(cut)
    assert not looks_like_stun(cut)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"0001 0000 {HEAD}00",  # longer than it says
        f"0001 0004 {HEAD}",  # shorter
        f"0001 0002 {HEAD} 0000",
        f"4001 0000 {HEAD}",  # not two zero bits
        f"8001 0000 {HEAD}",
        "0001 0000 2112a443 101112131415161718191a1b",  # no cookie: of RFC 3489, or something else
        f"0003 0000 {HEAD}",  # an allocation: TURN
        f"0000 0000 {HEAD}",
        f"0101 0004 {HEAD} 0001 0008",  # attributes that go on behind the end
        f"0101 0008 {HEAD} 8022 0005 01020304",
        f"0101 0008 {HEAD} ffff ffff 01020304",
        f"0101 0008 {HEAD} 0001 0004 00010007",  # addresses
        f"0101 000c {HEAD} 0001 0008 0003 0007 14000001",
        f"0101 000c {HEAD} 0001 0008 0002 0007 14000001",
        f"0101 0010 {HEAD} 0001 0009 0001 0007 14000001 00 000000",
        f"0101 0018 {HEAD} 0020 0014 0001 0007" + "14000001" * 4,
        f"0001 0008 {HEAD} 0003 0003 000006 00",  # other values
        f"0001 0008 {HEAD} 0027 0003 123400 00",
        f"0111 0008 {HEAD} 0009 0003 000004 00",
        f"0111 0008 {HEAD} 0009 0004 00000464",
        f"0111 0008 {HEAD} 0009 0004 00000200",
        f"0111 0008 {HEAD} 000a 0003 000102 00",
        f"0101 0008 {HEAD} 8028 0004 00000000",  # fingerprints
        f"0101 0004 {HEAD} 8028 0000",
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    """Wrong heads, lengths that lie, values that have no meaning."""
    assert refused(raw(text))


def test_nothing_follows_a_fingerprint() -> None:
    """Whoever adds something has to remake it."""
    plain = build_stun(Message(Class.REQUEST, TRANSACTION, fingerprint=True))
    assert refused(plain[:3] + b"\x0c" + plain[4:] + raw("ffff 0000"))


def test_bounds() -> None:
    """Of a message, of its attributes, of texts and lists."""
    assert len(build_stun(Message(Class.REQUEST, TRANSACTION, padding=limits.STUN_MESSAGE_MAX - 24))) == 9216
    with pytest.raises(ValueError, match="9220 bytes"):
        build_stun(Message(Class.REQUEST, TRANSACTION, padding=limits.STUN_MESSAGE_MAX - 23))
    longest = raw("0001 2400") + raw(HEAD) + bytes(0x2400)
    assert looks_like_stun(longest)
    assert refused(longest)
    with pytest.raises(MalformedMessage, match="9236 bytes"):
        stun_length(longest[:HEADER_SIZE])
    most = "".join(f"c0{number:02x} 0000" for number in range(limits.STUN_ATTRIBUTES_MAX))
    assert not refused(with_attributes(most))
    assert refused(with_attributes(most + "c0ff 0000"))
    assert refused(with_attributes("000a 0042" + "7fff" * 33 + "0000", "0111"))
    assert refused(with_attributes("8022 02fc" + "41" * 764))
    assert refused(with_attributes("0009 0300 00000400" + "41" * 764, "0111"))


def test_many_attributes_of_one_kind_are_many() -> None:
    """The bound counts what must be read, not what is kept."""
    assert refused(with_attributes("c000 0000" * (limits.STUN_ATTRIBUTES_MAX + 1)))


@pytest.mark.parametrize("head", ["", "0001 0000", "0001 0001" + HEAD, "4001 0000" + HEAD, "0001 0000" + "00" * 16])
def test_the_head_of_something_else_has_no_length(head: str) -> None:
    """A stream that does not begin with a message is not waited for."""
    with pytest.raises(MalformedMessage):
        stun_length(raw(head))


@pytest.mark.parametrize(
    "value",
    [
        Message(Class.REQUEST, b"short"),
        Message(Class.REQUEST, bytes(13)),
        Message(Class.SUCCESS, TRANSACTION, mapped=("no address", 1)),
        Message(Class.SUCCESS, TRANSACTION, xor_mapped=("20.0.0.1", 0x10000)),
        Message(Class.REQUEST, TRANSACTION, response_port=-1),
        Message(Class.REQUEST, TRANSACTION, unknown=(0x10000,)),
        Message(Class.ERROR, TRANSACTION, unknown=(1,) * (limits.STUN_ATTRIBUTES_MAX + 1)),
        Message(Class.ERROR, TRANSACTION, error=(299, "")),
        Message(Class.ERROR, TRANSACTION, error=(700, "")),
        Message(Class.ERROR, TRANSACTION, error=(400, "x" * (REASON_MAX + 1))),
        Message(Class.SUCCESS, TRANSACTION, software="x" * (REASON_MAX + 1)),
    ],
    ids=range(11),
)
def test_what_cannot_be_said(value: Message) -> None:
    """Our own mistakes are ValueErrors."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text is construct's, or ours
        build_stun(value)


def test_a_scope_stays_at_home() -> None:
    """An address with a scope is sent without."""
    message = Message(Class.SUCCESS, TRANSACTION, xor_mapped=("fe80::1%eth0", 1))
    assert parse_stun_untrusted(build_stun(message)).xor_mapped == ("fe80::1", 1)
