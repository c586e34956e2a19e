"""Sealed probes: who can read them, what they look like, and what comes of those that were changed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.nat.punch.probe_packet import (
    NO_ECHO,
    PROBE_MAX,
    PROBE_MIN,
    Kind,
    ProbeOpener,
    ProbeSealer,
    expected_tag,
    tag_of,
)
from crust.nat.punch.udp_signals import (
    Aim,
    Fresh,
    Guess,
    Ready,
    Roles,
    Round,
    UdpSignal,
    build_signal,
    parse_signal_untrusted,
)

KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=8, max_size=8).filter(lambda nonce: nonce != NO_ECHO)
ADDRESSES = st.tuples(
    st.one_of(st.ip_addresses(v=4).map(str), st.sampled_from(["2001:db8::7", "fe80::1"])),
    st.integers(1, 65_535),
)
SIGNALS: st.SearchStrategy[UdpSignal] = st.one_of(
    st.builds(Fresh, ADDRESSES),
    st.just(Ready()),
    st.builds(Round, st.integers(0, 65_535)),
    st.builds(Guess, st.integers(0, 65_535), ADDRESSES, st.integers(-1024, 1024)),
    st.builds(Roles, st.booleans()),
    st.builds(Aim, ADDRESSES),
)


def sealer(key: bytes = bytes(32), method: str = "punch-udp", seed: int = 1) -> ProbeSealer:
    return ProbeSealer(key, method, random.Random(seed).randbytes)


@given(key=KEYS, kind=st.sampled_from(Kind), nonce=NONCES, echo=st.binary(min_size=8, max_size=8), seed=st.integers())
def test_the_other_end_reads_what_was_sealed(key: bytes, kind: Kind, nonce: bytes, echo: bytes, seed: int) -> None:
    """Whatever it is, and however long the padding; and it is found by its tag."""
    data = sealer(key, seed=seed).seal(kind, nonce, echo)
    assert PROBE_MIN <= len(data) <= PROBE_MAX and data[0] >= 0x80
    assert expected_tag(data) == expected_tag(memoryview(data)) == tag_of(key, "punch-udp")
    message = ProbeOpener(key, "punch-udp").parse_probe_untrusted(data)
    assert (message.kind, message.nonce, message.echo) == (kind, nonce, echo)


@settings(max_examples=300)
@given(data=st.data())
def test_no_changed_probe_is_read(data: st.DataObject) -> None:
    """Not a bit of it may change, nor may any be missing or added."""
    probe = sealer().seal(Kind.PROBE, b"12345678")
    at = data.draw(st.integers(0, len(probe) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = [
        probe[:at] + bytes((probe[at] ^ bit,)) + probe[at + 1 :],
        probe[:at],
        probe + data.draw(st.binary(min_size=1, max_size=80)),
    ]
    for each in changed:
        with pytest.raises(MalformedMessage):
            ProbeOpener(bytes(32), "punch-udp").parse_probe_untrusted(each)


@given(junk=st.binary(max_size=200), with_tag=st.booleans())
def test_hostile_bytes_are_refused(junk: bytes, with_tag: bool) -> None:
    """With the right tag as well, which anybody on the way can see."""
    opener = ProbeOpener(bytes(32), "punch-udp")
    data = b"\xaa" + opener.tag + junk if with_tag else junk
    with pytest.raises(MalformedMessage):
        opener.parse_probe_untrusted(data)


@given(inner=st.binary(max_size=120))
def test_what_the_other_end_seals_wrongly_is_refused(inner: bytes) -> None:
    """It has the key, and may be broken, or hostile: kinds that there are not, too few bytes, a nonce of zeros."""
    from crust.crypto.keys import CHACHA20_POLY1305, hash32

    key = hash32(b"crust/1 punch key punch-udp", key=bytes(32))
    head, iv = b"\x80" + tag_of(bytes(32), "punch-udp"), bytes(12)
    data = head + iv + CHACHA20_POLY1305.seal(key, iv, head, inner)
    try:
        message = ProbeOpener(bytes(32), "punch-udp").parse_probe_untrusted(data)
    except MalformedMessage:
        return
    assert inner[0] in set(Kind) and message.nonce == inner[1:9] != NO_ECHO and message.echo == inner[9:17]


def test_directions_methods_and_attempts_have_keys_of_their_own() -> None:
    """What comes back to its sender, or from another attempt, is not expected there."""
    one, other = bytes(32), bytes(31) + b"\x01"
    probe = sealer(one).seal(Kind.PROBE, b"12345678")
    for opener in (ProbeOpener(other, "punch-udp"), ProbeOpener(one, "predict-udp")):
        assert expected_tag(probe) != opener.tag
        with pytest.raises(MalformedMessage):
            opener.parse_probe_untrusted(probe)


def test_two_probes_have_nothing_in_common_but_their_tag() -> None:
    """Same words, other bytes, other sizes; the first bit alone is always set."""
    make = sealer()
    probes = [make.seal(Kind.PROBE, make.nonce()) for _ in range(400)]
    assert len({len(probe) for probe in probes}) > limits.PUNCH_PADDING_MAX // 2
    for position in (0, *range(9, PROBE_MIN)):
        counts = [sum(probe[position] >> bit & 1 for probe in probes) for bit in range(8)]
        if position == 0:
            assert counts.pop() == 400
        assert all(120 < count < 280 for count in counts), position


def test_what_begins_like_other_protocols_has_no_tag() -> None:
    """STUN and µTP begin below 0x80, and what is too short or too long is nothing."""
    probe = sealer().seal(Kind.PROBE, b"12345678")
    assert expected_tag(bytes((probe[0] & 0x7F,)) + probe[1:]) is None
    assert expected_tag(probe[: PROBE_MIN - 1]) is None and expected_tag(probe + bytes(PROBE_MAX)) is None
    assert expected_tag(b"") is None


@given(signal=SIGNALS)
def test_signals_come_back_as_they_were(signal: UdpSignal) -> None:
    assert parse_signal_untrusted(build_signal(signal)) == signal


@given(body=st.binary(max_size=60))
def test_hostile_signals_are_refused(body: bytes) -> None:
    """Or they are what ours would be."""
    try:
        signal = parse_signal_untrusted(body)
    except MalformedMessage:
        return
    assert build_signal(signal) == body


def test_signals_without_sense_are_refused() -> None:
    """Steps beyond reason, no address, port 0, a byte too many."""
    with pytest.raises(ValueError, match="step"):
        build_signal(Guess(1, ("192.0.2.1", 7), 5000))
    with pytest.raises(ValueError, match="address"):
        build_signal(Aim(("192.0.2.1", 0)))
    for body in (b"", b"\x00", b"\x07", b"\x02\x00", b"\x05\x02", b"\x06\x00\x00\x00"):
        with pytest.raises(MalformedMessage):
            parse_signal_untrusted(body)
