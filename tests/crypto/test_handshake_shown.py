"""What of a handshake shows to those who watch it, or who try a responder with bytes that they have made up."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.crypto.handshake import HelloImpossible, Initiator, Responder, SaltMemory, State
from crust.exceptions import MalformedMessage
from tests.support.handshakes import ALICE, BOB, CAROL, NEW, OLD, SEEN, config, introduction, responder_of

# --- what an observer sees --------------------------------------------------------------------------------------------


def test_no_byte_or_bit_of_the_opening_is_biased() -> None:
    """Salt, lengths and keys of both sides over 2,000 connections of the same two nodes: each bit is a coin."""
    runs = 2000
    caller, called = config(ALICE), config(BOB)
    source = random.Random(99)
    columns = [[0] * 8 for _ in range(16 + 34 + 34)]
    values: list[set[int]] = [set() for _ in columns]
    for _ in range(runs):
        initiator = Initiator(caller, BOB.peer_id, source.randbytes)
        responder = Responder(called, source.randbytes, salts=SaltMemory())
        first = initiator.start()
        responder.receive(first)
        for at, byte in enumerate(first[:50] + responder.answer(SEEN)[:34]):
            values[at].add(byte)
            for bit in range(8):
                columns[at][bit] += byte >> bit & 1
    # Six standard deviations: one false alarm in about 750,000 runs of this test (672 bits), and the seed is fixed.
    bound = 6 * (runs / 4) ** 0.5
    worst = max(abs(count - runs / 2) for column in columns for count in column)
    assert worst < bound
    assert min(len(seen) for seen in values) > 240


def test_no_opening_looks_like_a_request_of_stun() -> None:
    """Salts that do are drawn again: a callee would answer them as such."""
    salts = [bytes.fromhex("0001 ffff 2112a442 0000000000000000"), bytes.fromhex("0001 ffff 2112a443 0000000000000000")]
    source = random.Random(3)
    initiator = Initiator(
        config(ALICE), BOB.peer_id, lambda size: salts.pop(0) if size == 16 and salts else source.randbytes(size)
    )
    assert initiator.start()[:8] == bytes.fromhex("0001 ffff 2112a443")
    assert salts == []


def test_message_lengths_vary_with_the_padding() -> None:
    """The same two nodes never show the same pattern of sizes; and every message fits its bound."""
    source: Callable[[int], bytes] = random.Random(7).randbytes
    sizes = set()
    for _ in range(60):
        initiator = Initiator(config(ALICE), BOB.peer_id, source)
        sizes.add(len(initiator.start()))
    assert len(sizes) > 40
    extremes = {}
    for fill in (0, 255):
        initiator = Initiator(config(ALICE), BOB.peer_id, lambda size, fill=fill: bytes((fill,)) * size)  # type: ignore[misc]
        responder = Responder(config(BOB), lambda size, fill=fill: bytes((fill,)) * size, salts=SaltMemory())  # type: ignore[misc]
        first = initiator.start()
        responder.receive(first)
        second = responder.answer(SEEN)
        initiator.receive(second)
        extremes[fill] = [len(first), len(second), len(initiator.introduce(introduction(ALICE)))]
    assert [high - low for low, high in zip(extremes[0], extremes[255], strict=True)] == [255] * 3
    assert max(extremes[255]) <= 16 + 2 + limits.HANDSHAKE_MESSAGE_MAX


# --- what a prober sees -----------------------------------------------------------------------------------------------


def taken_in(responder: Responder, data: bytes, step: int) -> int:
    """How many of these bytes a responder takes before its stream is closed: that is all that shows of it."""
    for at in range(0, len(data), step):
        try:
            responder.receive(data[at : at + step])
        except MalformedMessage:
            return at
    return len(data)


@given(salt=st.binary(min_size=16, max_size=16), step=st.sampled_from([1, 7, 18, 500]), seed=st.integers(0, 999))
def test_nobody_sees_whom_made_up_bytes_might_have_been_for(salt: bytes, step: int, seed: int) -> None:
    """Neither by when the stream is closed; the length at hand is made to fit one of them, which others have not."""
    mask = hashlib.shake_128(b"crust/1 mask" + salt + BOB.peer_id.public_key + bytes(32)).digest(2)
    fits = bytes(a ^ b for a, b in zip((200).to_bytes(2, "big"), mask, strict=True))
    data = salt + fits + random.Random(seed).randbytes(1100)
    replayed = SaltMemory()
    replayed.add(salt)
    counts = {taken_in(responder_of(config(who)), data, step) for who in (BOB, CAROL)}
    counts.add(taken_in(responder_of(config(BOB, (NEW, OLD))), data, step))
    counts.add(taken_in(responder_of(config(BOB), salts=replayed), data, step))
    assert counts == {(18 + limits.HANDSHAKE_MESSAGE_MAX) // step * step}


def test_it_tells_its_own_node_what_came() -> None:
    """Once; and keeps no more than a message 1 can have."""
    responder = responder_of(config(BOB))
    events = [*responder.receive(bytes(18)), *responder.receive(bytes(1024))]
    assert events == [HelloImpossible("this is no message 1 for us")] and responder.state is State.DEAF
    with pytest.raises(MalformedMessage, match="no message 1 for us"):
        responder.receive(b"x")
