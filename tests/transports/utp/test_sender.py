"""What counts as lost, by hand."""

from __future__ import annotations

from crust import limits
from crust.transports.utp.sender import Sender

RTT = 0.04


def sent(packets: int) -> Sender:
    """One with so many packets under way, from number 0 on, since time 0."""
    sender = Sender(0)
    sender.push(bytes(packets * 1000))
    assert sender.take(1000, packets * 1000, packets, 0.0) is not None
    return sender


def test_three_that_arrive_behind_a_packet_make_it_lost() -> None:
    """Two may have overtaken it."""
    sender = sent(10)
    sender.acknowledge(-1, 0b11, RTT, 0.01, RTT)
    assert not sender.resending
    sender.acknowledge(-1, 0b111, RTT, 0.01, RTT)
    assert sender.resending and sender.congested and sender.lost_packets == 1


def test_a_packet_that_was_late_only_makes_us_patient() -> None:
    """What is acknowledged sooner than a round trip after its second sending had arrived by the first."""
    sender = sent(20)
    sender.acknowledge(-1, 0b111, RTT, 0.01, RTT)
    assert sender.next_resend(RTT) is not None
    sender.acknowledge(3, 0, RTT + 0.001, 0.01, RTT)
    assert sender.reorder == 2 * limits.UTP_REORDER
    sender.acknowledge(3, 0b111, RTT + 0.002, 0.01, RTT)
    assert not sender.resending
    for _ in range(10):
        sender = sent(20)
        sender.reorder = limits.UTP_REORDER_MAX
        sender.acknowledge(-1, (1 << 19) - 1, RTT, 0.01, RTT)
        assert not sender.resending


def test_a_packet_that_was_lost_does_not() -> None:
    """A whole round trip after its second sending."""
    sender = sent(20)
    sender.acknowledge(-1, 0b111, RTT, 0.01, RTT)
    assert sender.next_resend(RTT) is not None
    sender.acknowledge(3, 0, 2 * RTT, 0.01, RTT)
    assert sender.reorder == limits.UTP_REORDER


def test_the_tail_that_is_sent_once_more_is_no_loss() -> None:
    """Its early acknowledgement says nothing about reordering."""
    sender = sent(3)
    assert sender.tail(0.1) is not None
    sender.acknowledge(2, 0, 0.101, 0.01, RTT)
    assert sender.reorder == limits.UTP_REORDER and sender.in_flight == 0


def test_what_was_sent_again_can_be_lost_again() -> None:
    """When one that was sent clearly after it has arrived."""
    sender = sent(5)
    sender.acknowledge(-1, 0b111, RTT, 0.01, RTT)
    assert sender.next_resend(RTT) is not None
    sender.push(bytes(1000))
    assert sender.take(1000, 1000, 1, RTT + 0.02) is not None
    sender.acknowledge(-1, 0b10111, 2 * RTT + 0.02, 0.01, RTT)
    assert sender.resending and sender.lost_packets == 2
