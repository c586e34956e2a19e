"""One question: when it is sent, what ends it, and what does not."""

from __future__ import annotations

import pytest

from crust import limits
from crust.nat.stun.message import Class, Message, parse_stun_untrusted
from crust.nat.stun.transaction import Transaction

ID = bytes(range(12))
HERE = ("20.0.0.1", 5)


def asked(now: float = 100.0) -> Transaction:
    return Transaction(Message(Class.REQUEST, ID), now)


def run(transaction: Transaction) -> list[float]:
    """When it sends, if nobody answers."""
    times = []
    while (due := transaction.get_timer()) is not None:
        if transaction.handle_timer(due) is not None:
            times.append(due)
    return times


def test_it_is_repeated_and_given_up() -> None:
    """Early, since most losses are single; and not for long."""
    transaction = asked()
    assert run(transaction) == [100.0 + seconds for seconds in limits.STUN_SCHEDULE]
    assert (transaction.finished, transaction.error, transaction.answer) == (True, "no answer", None)
    assert transaction.handle_timer(200.0) is None
    assert not transaction.receive(Message(Class.SUCCESS, ID, xor_mapped=HERE), 200.0)


def test_what_is_sent_is_the_request() -> None:
    """Each time the same, so that any of the answers fits."""
    transaction = asked()
    first, second = transaction.handle_timer(100.0), transaction.handle_timer(100.1)
    assert first is not None
    assert first == second == transaction.request
    assert parse_stun_untrusted(first) == Message(Class.REQUEST, ID)
    assert transaction.handle_timer(100.1) is None  # not due yet
    assert transaction.sent == 2


def test_the_answer_ends_it() -> None:
    """With the time it took."""
    transaction = asked()
    transaction.handle_timer(100.0)
    answer = Message(Class.SUCCESS, ID, xor_mapped=HERE)
    assert transaction.receive(answer, 100.25)
    assert (transaction.answer, transaction.rtt, transaction.error) == (answer, 0.25, "")
    assert transaction.get_timer() is None
    assert transaction.handle_timer(100.3) is None
    assert not transaction.receive(answer, 100.3)


@pytest.mark.parametrize(
    "message",
    [
        Message(Class.SUCCESS, bytes(12), xor_mapped=HERE),
        Message(Class.REQUEST, ID),
        Message(Class.INDICATION, ID, xor_mapped=HERE),
    ],
)
def test_what_is_no_answer_does_not(message: Message) -> None:
    """Another transaction's, or no answer at all."""
    transaction = asked()
    assert not transaction.receive(message, 100.1)
    assert not transaction.finished


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Message(Class.ERROR, ID, error=(420, "Unknown Attribute")), "refused: 420 Unknown Attribute"),
        (Message(Class.ERROR, ID), "refused: 0 an error without a number"),
        (Message(Class.SUCCESS, ID), "the answer has no address"),
        (
            Message(Class.SUCCESS, ID, xor_mapped=HERE, unknown=(0x7FFF,)),
            "the answer has attributes that may not be passed over",
        ),
    ],
)
def test_useless_answers_end_it_too(message: Message, error: str) -> None:
    """To ask again would bring the same."""
    transaction = asked()
    assert transaction.receive(message, 100.1)
    assert (transaction.finished, transaction.error) == (True, error)


def test_over_a_stream_once_is_enough() -> None:
    """The stream repeats what is lost."""
    transaction = Transaction(Message(Class.REQUEST, ID), 0.0, schedule=(0.0,), timeout=5.0)
    assert run(transaction) == [0.0]
    assert transaction.error == "no answer"


def test_it_can_fail_from_outside() -> None:
    """The first reason stays."""
    transaction = asked()
    transaction.fail("the socket has closed")
    transaction.fail("something else")
    assert (transaction.finished, transaction.error) == (True, "the socket has closed")
    assert transaction.get_timer() is None
