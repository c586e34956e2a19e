"""A STUN message: of a server, of somebody who asks us, by UDP and at the beginning of a TCP stream.

It is a message or MalformedMessage; what was parsed can be built, and is parsed to the same. An answer is at most 24
bytes longer than what it answers, goes to nobody else, and is itself no request; a stream's first bytes are answered,
handed on whole, or end it, and never wait for more than a message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from crust import limits
from crust.exceptions import MalformedMessage, RemoteProtocolError
from crust.nat.stun.door import Door
from crust.nat.stun.message import (
    Class,
    Message,
    build_stun,
    looks_like_stun,
    parse_stun_untrusted,
    stun_length,
)
from crust.nat.stun.responder import Responder, is_request
from crust.nat.stun.transaction import Transaction
from tests.fuzz.codecs import parsed

TOKENS = [b"\x21\x12\xa4\x42", b"\x00\x01\x00\x00", b"\x01\x01", b"\x01\x11", b"\x80\x28\x00\x04", b"\x00\x20\x00\x08"]
ROUNDS = 200

_ID = bytes(range(12))
_SOURCE = ("192.0.2.7", 4711)


def run(data: bytes) -> None:
    message = parsed(parse_stun_untrusted, data)
    if message is not None:
        _again(message)
        if looks_like_stun(data):
            assert stun_length(data[:20]) == len(data)
        transaction = Transaction(Message(Class.REQUEST, _ID), 0.0)
        if transaction.receive(message, 0.1):
            assert transaction.finished and (transaction.error or message.reflexive)
    responder = Responder(lambda host: True)
    if is_request(data):
        answer = responder.answer(data, _SOURCE, 1.0)
        if answer is not None:
            assert len(answer) <= len(data) + 24 and not is_request(answer)
            told = parse_stun_untrusted(answer)
            assert told.transaction == data[8:20] and told.xor_mapped in (None, _SOURCE)
    _door(data)


def _again(message: Message) -> None:
    if message.class_ is Class.ERROR and message.error is None:
        return
    try:
        built = build_stun(message)
    except ValueError:
        return  # more than we send ourselves
    same = parse_stun_untrusted(built)
    assert dataclasses.replace(same, padding=0) == dataclasses.replace(message, padding=0)


def _door(data: bytes) -> None:
    """Whole, and byte by byte: both come to the same."""
    ends = []
    for parts in ([data], [data[at : at + 1] for at in range(len(data))]):
        door = Door(Responder(lambda host: True), _SOURCE)
        answers, rest, ended = b"", None, False
        for part in parts:
            if rest is not None:
                rest += part
                continue
            try:
                answer, rest = door.receive(part, 1.0)
            except (MalformedMessage, RemoteProtocolError):
                ended = True
                break
            answers += answer
        if rest is not None:
            assert rest == data and not answers
        assert len(door._buffer) <= limits.STUN_MESSAGE_MAX or rest is not None
        ends.append((rest, ended))
    assert ends[0] == ends[1]


def seeds() -> Iterable[bytes]:
    yield build_stun(Message(Class.REQUEST, _ID))
    yield build_stun(Message(Class.REQUEST, _ID, fingerprint=True, software="x", change_ip=True)) * 2
    yield build_stun(Message(Class.REQUEST, _ID, response_port=4711, padding=40))
    yield build_stun(Message(Class.SUCCESS, _ID, xor_mapped=("2001:db8::1", 4711), mapped=_SOURCE, fingerprint=True))
    yield build_stun(Message(Class.SUCCESS, _ID, other=_SOURCE, origin=_SOURCE, unknown=(0x7FFF,)))
    yield build_stun(Message(Class.ERROR, _ID, error=(420, "no"), unknown=(3, 0x27)))
    yield build_stun(Message(Class.REQUEST, _ID))[:17] + b"x"
