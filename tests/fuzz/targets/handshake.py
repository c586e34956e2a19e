"""Both sides of a handshake, with somebody between them who changes, cuts, repeats and adds bytes.

Only MalformedMessage ends it, and then nothing more is sent; a responder that has not read a valid message 1 has sent
nothing; two that have both finished have the same keys and each the other's id, and what they read is what was sent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable

from crust.crypto.handshake import (
    AnswerReceived,
    HandshakeConfig,
    HelloReceived,
    Initiator,
    IntroductionReceived,
    Responder,
    SaltMemory,
    State,
)
from crust.exceptions import MalformedMessage
from crust.wire.handshake import Introduction, Resume
from tests.fuzz.source import Source, noise
from tests.support.handshakes import ALICE, BOB, BOTH_AEADS, NEW, OLD, SEEN, introduction

ROUNDS = 120
SIZE_MAX = 1024

_SECRETS = NEW, OLD
_OVER = (State.FAILED, State.DONE, State.DENIED)


def _random(name: str) -> Callable[[int], bytes]:
    """The same bytes each time."""
    counter = itertools.count()
    return lambda size: hashlib.shake_128(f"{name} {next(counter)}".encode()).digest(size)


def _introduction(resume: bool) -> Introduction:
    return dataclasses.replace(
        introduction(ALICE), capabilities=3, resume=Resume(bytes(16), 7) if resume else None
    )


def run(data: bytes) -> None:
    source = Source(data)
    secret = source.number(0, 2)
    network, aeads = bytes(32), BOTH_AEADS[source.number(0, 1) :]
    caller_secrets = (_SECRETS[secret - 1],) if secret else ()
    caller = Initiator(
        HandshakeConfig(ALICE, network, caller_secrets, aeads), BOB.peer_id, _random("caller")
    )
    callee = Responder(
        HandshakeConfig(BOB, network if source.number(0, 7) else b"x" * 32, _SECRETS if secret else (), BOTH_AEADS),
        _random("callee"),
        salts=SaltMemory(4),
    )
    way = _Way(source)
    to_callee = way.through(caller.start())
    asked = _introduction(source.chance())
    for _ in range(24):
        to_caller = b""
        for part in way.cut(to_callee):
            for event in _fed(callee, part):
                if isinstance(event, HelloReceived):
                    to_caller += way.through(callee.answer(SEEN))
                elif isinstance(event, IntroductionReceived):
                    assert event.introduction == asked and event.peer_id == ALICE.peer_id
        to_callee = b""
        for part in way.cut(to_caller):
            for event in _fed(caller, part):
                if isinstance(event, AnswerReceived):
                    to_callee += way.through(caller.introduce(asked))
        if not to_callee:
            break
    if caller.result and callee.result:
        one, other = caller.result, callee.result
        assert (one.send_key, one.receive_key) == (other.receive_key, other.send_key)
        assert (one.hash, one.aead, one.version) == (other.hash, other.aead, other.version)
        assert (one.peer_id, other.peer_id) == (BOB.peer_id, ALICE.peer_id)
    if callee.result:
        assert caller.result, "nobody but the caller can have introduced it"


def _fed(side: Initiator | Responder, data: bytes) -> list[object]:
    if side.state in _OVER:
        return []
    try:
        return list(side.receive(data))
    except MalformedMessage:
        assert side.state is State.FAILED and side.result is None
        return []


class _Way:
    """What is between them."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def through(self, data: bytes) -> bytes:
        return self._source.damaged(data) if self._source.chance() else data

    def cut(self, data: bytes) -> list[bytes]:
        at = self._source.number(0, max(len(data), 0))
        return [part for part in (data[:at], data[at:]) if part]


def seeds() -> Iterable[bytes]:
    yield b""
    yield bytes((1, 0, 1, 0))
    yield bytes((2, 1, 0, 0))
    yield from noise(12, 64)
