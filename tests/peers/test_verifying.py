"""What is verified in one turn, so that nobody's flood keeps others waiting."""

from __future__ import annotations

import collections

from crust import limits
from crust.peers.session import Delivery
from crust.peers.verifying import _part_of
from crust.wire.frames import Kind


def delivery(kind: int, count: int, size: int) -> Delivery:
    return Delivery(kind, 1, [bytes(size)] * count, count * (size + limits.MESSAGE_OVERHEAD))


def parts(*deliveries: Delivery) -> list[list[Delivery]]:
    """Turn by turn."""
    waiting = collections.deque(deliveries)
    found = []
    while waiting:
        found.append(_part_of(waiting))
    return found


def test_few_messages_at_a_time() -> None:
    """However they came; none is lost, and each holds the credit of its own bytes."""
    most = limits.VERIFIED_PER_TURN
    for deliveries in ([delivery(Kind.SIGNED, 3 * most + 1, 200)], [delivery(Kind.SIGNED, 1, 200)] * (3 * most + 1)):
        found = parts(*deliveries)
        assert [sum(len(each.messages) for each in part) for part in found] == [most, most, most, 1]
        assert sum(each.cost for part in found for each in part) == sum(each.cost for each in deliveries)


def test_few_bytes_at_a_time() -> None:
    """But one message at least, however long."""
    half = limits.VERIFIED_BYTES_PER_TURN // 2
    found = parts(*[delivery(Kind.SIGNED, 1, half)] * 4, delivery(Kind.SIGNED, 1, 10 * half))
    assert [len(part) for part in found] == [2, 2, 1]


def test_what_is_not_signed_counts_as_one() -> None:
    """It is only handed over: as it came."""
    plain = delivery(Kind.MESSAGE, 10 * limits.VERIFIED_PER_TURN, 1)
    assert parts(plain, delivery(Kind.SIGNED, 1, 1)) == [[plain, delivery(Kind.SIGNED, 1, 1)]]
