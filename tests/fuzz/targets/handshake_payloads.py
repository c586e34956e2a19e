"""What is inside the three messages of a handshake, from somebody who has the keys to say it.

Each payload parses or is MalformedMessage; what was parsed builds the same bytes again; padding is cut off exactly.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.wire import handshake
from tests.fuzz.codecs import parsed
from tests.fuzz.targets.handshake import _introduction

ROUNDS = 600


def run(data: bytes) -> None:
    body = parsed(handshake.unpad_payload_untrusted, data)
    if body is not None:
        size = int.from_bytes(data[:2], "big")
        assert body == data[2 : 2 + size] and len(body) == size
        assert handshake.pad_payload(body, data[2 + size :]) == data
    for part in (data, body):
        if part is None:
            continue
        hello = parsed(handshake.parse_hello_untrusted, part)
        assert hello is None or handshake.build_hello(hello) == part
        answer = parsed(handshake.parse_answer_untrusted, part)
        assert answer is None or handshake.build_answer(answer) == part
        introduction = parsed(handshake.parse_introduction_untrusted, part)
        assert introduction is None or handshake.build_introduction(introduction) == part


def seeds() -> Iterable[bytes]:
    bodies = [
        handshake.build_hello(handshake.Hello((1,), bytes(32), (1, 2))),
        handshake.build_answer(handshake.Accepted(1, handshake.Aead.AEGIS_256, ("2001:db8::1", 5483))),
        handshake.build_answer(handshake.Accepted(1, handshake.Aead.AEGIS_256, None)),
        handshake.build_answer(handshake.Refused(handshake.DenialCode.NETWORK)),
        handshake.build_introduction(_introduction(False)),
        handshake.build_introduction(_introduction(True)),
    ]
    yield from bodies
    for body in bodies:
        yield handshake.pad_payload(body, b"padding")
