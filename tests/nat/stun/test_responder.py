"""Who is answered, with what, and how often."""

from __future__ import annotations

import pytest

from crust import limits
from crust.nat.stun.message import Class, Message, build_stun, parse_stun_untrusted
from crust.nat.stun.responder import Responder, is_request
from tests.support.bitten import Bitten

ID = bytes(range(12))
PEER, STRANGER = ("20.0.0.1", 5), ("20.0.0.2", 5)


def ask(**fields: object) -> bytes:
    return build_stun(Message(Class.REQUEST, ID, **fields))  # type: ignore[arg-type]


@pytest.fixture
def responder() -> Responder:
    return Responder({PEER[0], "2a10::1"}.__contains__)


def answer(responder: Responder, request: bytes, source: tuple[str, int] = PEER, now: float = 1.0) -> Message | None:
    built = responder.answer(request, source, now)
    return None if built is None else parse_stun_untrusted(built)


@pytest.mark.parametrize("source", [PEER, ("2a10::1", 65535)])
def test_the_answer_is_the_address(responder: Responder, source: tuple[str, int]) -> None:
    """And nothing else: neither who we are nor where else we are."""
    assert answer(responder, ask(), source) == Message(Class.SUCCESS, ID, xor_mapped=source)
    assert (responder.answered, responder.ignored) == (1, 0)


def test_a_fingerprint_is_for_those_who_send_one(responder: Responder) -> None:
    """It tells STUN from other traffic, where they need that."""
    reply = answer(responder, ask(fingerprint=True))
    assert reply == Message(Class.SUCCESS, ID, xor_mapped=PEER, fingerprint=True)


def test_strangers_get_nothing(responder: Responder) -> None:
    """Unless everybody does."""
    assert answer(responder, ask(), STRANGER) is None
    assert not responder.may_ask(STRANGER[0])
    open_one = Responder(lambda host: False, everybody=True)
    assert answer(open_one, ask(), STRANGER) == Message(Class.SUCCESS, ID, xor_mapped=STRANGER)


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"unknown": (0x7FFF, 0x24)}, (0x7FFF, 0x24)),
        ({"change_ip": True}, (0x0003,)),
        ({"change_port": True, "unknown": (0x24,)}, (0x24, 0x0003)),
        ({"response_port": 7}, (0x0027,)),
    ],
)
def test_what_we_cannot_do_is_refused(
    responder: Responder, fields: dict[str, object], unknown: tuple[int, ...]
) -> None:
    """To answer to another port, or from another address, would make us send to whom did not ask."""
    assert answer(responder, ask(**fields)) == Message(Class.ERROR, ID, error=(420, ""), unknown=unknown)


def test_padding_is_understood_and_not_returned(responder: Responder) -> None:
    """Whoever measures how large a packet gets through has an answer; nobody has a large one."""
    assert answer(responder, ask(padding=1400)) == Message(Class.SUCCESS, ID, xor_mapped=PEER)


@pytest.mark.parametrize("source", [PEER, ("2a10::1", 5)])
def test_answers_are_short(responder: Responder, source: tuple[str, int]) -> None:
    """No answer is worth a forged request."""
    requests = [ask(), ask(fingerprint=True), ask(software="x" * 99), ask(unknown=tuple(range(0x4000, 0x4010)))]
    for request in requests:
        built = responder.answer(request, source, 1.0)
        assert built is not None
        assert len(built) <= len(request) + 24
    for fields in ({"unknown": (0x7FFF,)}, {"change_ip": True}, {"response_port": 7}):
        built = responder.answer(ask(**fields), source, 1.0)
        assert built is not None
        assert len(built) <= len(ask(**fields)) + 12


def test_broken_requests_get_nothing(responder: Responder) -> None:
    """A wrong fingerprint, or attributes that do not fit together."""
    broken = bytearray(ask(fingerprint=True))
    broken[-1] ^= 1
    assert is_request(broken)
    assert answer(responder, bytes(broken)) is None
    assert (responder.answered, responder.ignored) == (0, 1)


def test_only_requests_are_requests() -> None:
    """By class, length and cookie."""
    assert is_request(ask())
    assert is_request(memoryview(ask(padding=4)))
    assert not is_request(build_stun(Message(Class.SUCCESS, ID)))
    assert not is_request(build_stun(Message(Class.INDICATION, ID)))
    assert not is_request(ask() + b"more")
    assert not is_request(ask()[:19])
    assert not is_request(b"\0\1\0\0" + bytes(16))


def test_each_address_has_its_share() -> None:
    """And all addresses together have one; an IPv6 /64 counts as one address."""
    responder, bitten = Responder(lambda host: True), Bitten()
    responder.on_limit = lambda limit, host: bitten(limit)

    def answered(source: str, count: int, now: float) -> int:
        return sum(responder.answer(ask(), (source, 5), now) is not None for _ in range(count))

    each = limits.STUN_ANSWERS_PER_SECOND
    assert answered("20.0.0.1", 2 * each, 10.0) == each == bitten["STUN_ANSWERS_PER_SECOND"]
    assert answered("20.0.0.1", each, 10.5) == each // 2
    assert answered("20.0.0.2", 2 * each, 10.5) == each
    assert answered("2a10::1", each // 2, 10.5) == each // 2
    assert answered("2a10::ffff", each, 10.5) == each - each // 2
    assert answered("2a10:0:0:1::1", each, 10.5) == each
    total = sum(answered(f"20.0.1.{number}", each, 50.0) for number in range(60))
    assert total == limits.STUN_ANSWERS_ALL_PER_SECOND
    assert bitten["STUN_ANSWERS_ALL_PER_SECOND"] == 60 * each - total
