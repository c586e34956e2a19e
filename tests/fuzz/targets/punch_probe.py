"""Sealed probes by which two ends look for a way, from strangers and from the other end.

A datagram is a probe of this attempt or MalformedMessage; nobody without the key makes one; the other end's own, which
may hold anything, gives what it holds; what is sent looks like neither STUN nor µTP.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

from crust import limits
from crust.crypto.keys import CHACHA20_POLY1305
from crust.exceptions import MalformedMessage
from crust.nat.punch.probe_packet import (
    NO_ECHO,
    PROBE_MAX,
    Kind,
    ProbeOpener,
    ProbeSealer,
    _key_of,
    expected_tag,
    tag_of,
)
from crust.nat.stun.message import looks_like_stun
from crust.transports.utp.packet import parse_packet_untrusted
from tests.fuzz.codecs import parsed

ROUNDS = 300
SIZE_MAX = 300

_KEY, _METHOD = bytes(31) + b"\1", "punched-utp"


def _sealer() -> ProbeSealer:
    counter = itertools.count()
    return ProbeSealer(_KEY, _METHOD, lambda size: hashlib.shake_128(b"%d" % next(counter)).digest(size))


def run(data: bytes) -> None:
    opener = ProbeOpener(_KEY, _METHOD)
    assert expected_tag(data) is None or len(data) <= PROBE_MAX
    assert parsed(opener.parse_probe_untrusted, data) is None or data in _own(), "a probe that nobody has sealed"
    # The same bytes as the other end's words.
    head = bytes((data[0] | 0x80,) if data else (0x80,)) + tag_of(_KEY, _METHOD)
    iv = bytes(CHACHA20_POLY1305.nonce_size)
    sealed = head + iv + CHACHA20_POLY1305.seal(_key_of(_KEY, _METHOD), iv, head, data)
    message = parsed(opener.parse_probe_untrusted, sealed)
    if message is not None:
        assert data == bytes((message.kind,)) + message.nonce + message.echo + message.padding
        assert message.nonce != NO_ECHO and len(message.padding) <= limits.PUNCH_PADDING_MAX
    assert not looks_like_stun(sealed)
    try:
        parse_packet_untrusted(sealed)
    except MalformedMessage:
        return
    raise AssertionError("a probe that passes for µTP")


def _own() -> list[bytes]:
    sealer = _sealer()
    return [sealer.seal(kind, sealer.nonce(), echo) for kind in Kind for echo in (NO_ECHO, b"e" * 8)]


def seeds() -> Iterable[bytes]:
    yield from _own()
    for kind in Kind:
        yield bytes((kind,)) + b"n" * 8 + b"e" * 8 + b"padding"
