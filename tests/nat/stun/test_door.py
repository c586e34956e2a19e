"""What begins a stream: questions of STUN, in whatever pieces, or something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.nat.stun.door import Door
from crust.nat.stun.message import Class, Message, build_stun, parse_stun_untrusted
from crust.nat.stun.responder import Responder
from tests.support.wire_values import repeatable

HERE = ("20.0.0.1", 5)


MET: list[tuple[str, str]] = []
"""Limits, and whom they have bitten."""


def a_door(*, known: bool = True) -> Door:
    responder = Responder(lambda host: known)
    responder.on_limit = lambda limit, host: MET.append((limit, host))
    return Door(responder, HERE)


def question(number: int = 0, **fields: object) -> bytes:
    return build_stun(Message(Class.REQUEST, bytes([number]) * 12, **fields))  # type: ignore[arg-type]


@repeatable
@given(st.lists(st.integers(0, 8), min_size=1, max_size=4), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_questions_are_answered_in_whatever_pieces(paddings: list[int], cuts: list[int]) -> None:
    """Several in a row, each once."""
    stream = b"".join(question(number, padding=padding) for number, padding in enumerate(paddings))
    door, answers = a_door(), b""
    while stream:
        size = cuts.pop() if cuts else len(stream)
        said, through = door.receive(memoryview(stream[:size]), 1.0)
        assert through is None
        answers, stream = answers + said, stream[size:]
    expected = [
        build_stun(Message(Class.SUCCESS, bytes([number]) * 12, xor_mapped=HERE)) for number in range(len(paddings))
    ]
    assert answers == b"".join(expected)
    assert door.requests == len(paddings)


@repeatable
@given(st.binary(min_size=1, max_size=40), st.integers(1, 40))
def test_anything_else_goes_through_whole(data: bytes, size: int) -> None:
    """As soon as it differs from a question; not a byte is lost or answered."""
    door = a_door()
    seen = b""
    for piece in (data[:size], data[size:]):
        if not piece:
            continue
        said, through = door.receive(piece, 1.0)
        seen += piece
        assert said == b""
        if through is not None:
            assert through == seen
            return
    assert b"\0\1".startswith(seen[:2])
    assert b"\x21\x12\xa4\x42".startswith(seen[4:8])


def test_what_differs_late_goes_through_too() -> None:
    """A handshake may share seven bytes with a question."""
    almost = b"\0\1\0\0\x21\x12\xa4"
    door = a_door()
    assert door.receive(almost, 1.0) == (b"", None)
    assert door.receive(b"\x43and more", 1.0) == (b"", almost + b"\x43and more")
    assert door.requests == 0


@pytest.mark.parametrize(
    "data",
    [
        question() + b"more",  # a handshake after a question
        question()[:2] + b"\xff\xfc" + question()[4:],  # longer than any
        question()[:2] + b"\x00\x03" + question()[4:] + b"abc",  # a length that cannot be
        question(fingerprint=True)[:-1] + b"\xff",  # broken
    ],
)
def test_what_is_wrong_ends_the_stream(data: bytes) -> None:
    """It is neither answered nor taken for a handshake."""
    with pytest.raises(RemoteProtocolError):
        a_door().receive(data, 1.0)


def test_strangers_end_the_stream() -> None:
    """Nobody waits for their deadline."""
    with pytest.raises(RemoteProtocolError, match="no answer here"):
        a_door(known=False).receive(question(), 1.0)


def test_questions_are_counted() -> None:
    """A stream is no place to stay."""
    door = a_door()
    MET.clear()
    for number in range(limits.STUN_REQUESTS_PER_CONNECTION):
        said, _ = door.receive(question(number), 1.0)
        assert parse_stun_untrusted(said).xor_mapped == HERE
    with pytest.raises(RemoteProtocolError, match="more than 16"):
        door.receive(question(), 1.0)
    assert MET == [("STUN_REQUESTS_PER_CONNECTION", HERE[0])]
