"""When what was not acknowledged is sent again."""

from __future__ import annotations

import pytest

from crust import limits
from crust.transports.utp.congestion import make_congestion
from crust.transports.utp.pacing import Pacer
from crust.transports.utp.retransmission import Retransmission
from crust.transports.utp.rtt import RoundTrip, echoed


def test_the_timeout_stays_long_until_something_is_measured() -> None:
    """Or a round trip longer than the first timeout would never be measured: all is sent again before its answer."""
    resend = Retransmission(RoundTrip())
    resend.sent(1, 10.0)
    assert resend.rto_at == pytest.approx(10.0 + limits.UTP_RTO_INITIAL)
    resend.timed_out(10.5)
    resend.acked(1, False, 10.6)
    assert resend.rto_at == pytest.approx(10.6 + 2 * limits.UTP_RTO_INITIAL)
    resend.acked(1, True, 10.7)
    assert resend.rto_at == pytest.approx(10.7 + limits.UTP_RTO_INITIAL)


def test_what_is_kept_of_many_timeouts_is_bounded() -> None:
    """After an outage, the first answer does not leave waits of many seconds."""
    resend = Retransmission(RoundTrip(0.1))
    for step in range(10):
        resend.timed_out(10.0 + step)
    assert resend.rto_at == pytest.approx(19.0 + limits.UTP_RTO_MAX)
    resend.acked(1, False, 30.0)
    assert resend.rto_at <= 30.0 + 8 * 0.3 + 0.01


def test_a_path_slower_than_the_longest_wait_is_waited_for() -> None:
    """A queue of seconds: the limit is one of the backoff, not of the round trip."""
    rtt = RoundTrip()
    for _ in range(20):
        rtt.sample(7.0)
    assert rtt.rto > 7.0
    resend = Retransmission(rtt)
    resend.sent(1, 100.0)
    assert resend.rto_at > 107.0
    resend.timed_out(108.0)
    assert resend.rto_at > 115.0


def test_after_a_timeout_a_packet_goes_at_once() -> None:
    """Paced by a window of one packet and a long round trip, it would not go before the next timeout."""
    congestion = make_congestion("fair", 1000)
    congestion.timed_out(50.0)
    pacer = Pacer(50.0)
    assert pacer.room(congestion, 6.0, 50.0) == 0.0
    pacer.restart(1000, 50.0)
    assert pacer.room(congestion, 6.0, 50.0) >= 1000


def test_a_pause_is_told_once() -> None:
    """And only a long one, after something has been acknowledged."""
    resend = Retransmission(RoundTrip())
    assert not resend.pause(5.0)
    resend.acked(0, True, 10.0)
    assert not resend.pause(10.1)
    assert resend.pause(13.0) == pytest.approx(3.0)
    assert not resend.pause(13.0)


def test_a_packet_tells_the_round_trip_by_itself() -> None:
    """Its timestamp less the difference is ours of what it answers, by whatever clocks, and across their wrapping."""
    for theirs in (0, 4_000_000_000, 0xFFFF_FF00):
        for ours in (5, 0x7FFF_FFFF, 0xFFFF_FFF0):
            arrived = theirs + 30_000 & 0xFFFFFFFF  # on their clock, 30 ms on the way
            difference = arrived - ours & 0xFFFFFFFF
            answered = arrived + 15_000 & 0xFFFFFFFF
            now = ours + 30_000 + 15_000 + 40_000 & 0xFFFFFFFF
            assert echoed(now, answered, difference) == pytest.approx(0.070)
    assert echoed(1000, 500, 0) is None
    assert echoed(1000, 500, 0x7FFFFFFF) is None
    assert echoed(1000, 500_000_000, 1) is None  # an hour: no round trip
