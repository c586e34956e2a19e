"""How large datagrams may be is told by who takes them: a peer that does not say gets none beyond the usual size."""

from __future__ import annotations

import pytest

from crust import limits
from crust.transports.utp.connection import Settings, UtpConnection
from crust.transports.utp.packet import Packet, build_packet, parse_packet_untrusted

JUMBO = Settings(mtu_ceiling=9000, window=4 * 1024 * 1024)


def sent_by(core: UtpConnection, now: float) -> list[bytes]:
    return [data for burst in core.packets_to_send(now) for data in burst.datagrams()]


def transfer(*, caller_says: bool, callee_says: bool) -> tuple[int, int, list[int]]:
    """Largest datagrams of caller and callee, when both send a lot, and the sizes of SYN and answer."""
    now = 1.0
    caller = UtpConnection.dial(7, 100, JUMBO, now)
    (syn,) = sent_by(caller, now)
    callee = UtpConnection.accept(heard(syn, caller_says), 200, JUMBO, now)
    (answer,) = sent_by(callee, now)
    caller.receive_datagram(build_packet(heard(answer, callee_says)), now)
    largest = [0, 0]
    for _ in range(300):
        now += 0.005
        for index, (one, other) in enumerate(((caller, callee), (callee, caller))):
            one.send(bytes(100_000))
            for data in sent_by(one, now):
                largest[index] = max(largest[index], len(data))
                other.receive_datagram(data, now)
            other.events_received()
            if now >= one.get_timer():
                one.handle_timer(now)
    return largest[0], largest[1], [len(syn), len(answer)]


def heard(data: bytes, says: bool) -> Packet:
    """What the other end makes of it, or would if it had not been told."""
    packet = parse_packet_untrusted(data)
    return packet if says else packet._replace(largest=0)


def test_both_say_it() -> None:
    """They grow to what the interface allows."""
    assert transfer(caller_says=True, callee_says=True)[:2] == (9000, 9000)


def test_a_callee_that_does_not_say_it() -> None:
    """As libtorrent, which would lose the rest of a longer one and acknowledge it all the same."""
    assert transfer(caller_says=True, callee_says=False)[:2] == (limits.UTP_DATAGRAM_USUAL, 9000)


def test_a_caller_that_does_not_say_it() -> None:
    """It gets the usual size, and an answer no larger than the shortest SYN."""
    _, callee, (_, answer) = transfer(caller_says=False, callee_says=False)
    assert callee == limits.UTP_DATAGRAM_USUAL
    assert answer == limits.UTP_HEADER_SIZE


def test_an_answer_is_no_larger_than_the_call() -> None:
    """So that nobody can make us send more to somebody else than he sends to us."""
    _, _, (syn, answer) = transfer(caller_says=True, callee_says=True)
    assert answer <= syn


@pytest.mark.parametrize("largest", [1, 500, 1199])
def test_less_than_the_usual_is_not_believed(largest: int) -> None:
    """Whatever a peer says, packets of the base size go out: the smallest that any path takes."""
    (syn,) = sent_by(UtpConnection.dial(7, 100, JUMBO, 1.0), 1.0)
    callee = UtpConnection.accept(parse_packet_untrusted(syn)._replace(largest=largest), 200, JUMBO, 1.0)
    assert callee.mtu.size == limits.UTP_MTU_BASE
