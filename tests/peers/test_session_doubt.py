"""Links that translators forget are kept alive, and one that something speaks against is suspected sooner."""

from __future__ import annotations

import pytest

from crust import limits
from crust.peers.session import Session, Settings
from crust.wire.frames import Ack, Ping, Pong
from tests.support.sessions import QUIET, START, WINDOW, connected, make, middle, receive, sent, timer


def attached(keepalive: float | None, chance: float = 0.5, interval: float = 20.0) -> Session:
    session = make(Settings(heartbeat_interval=interval), uniform=lambda: chance)
    session.attach(0, WINDOW, START, keepalive=keepalive)
    sent(session, START)
    return session


# --- keeping alive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chance", "gap"), [(0.0, 15.0), (0.5, 13.125), (0.999999, 11.25)])
def test_a_link_that_is_forgotten_speaks_in_time(chance: float, gap: float) -> None:
    """At the latest after what somebody on the way remembers, jittered to the safe side only, again and again."""
    session = attached(15.0, chance)
    now = START
    for token in (1, 2, 3):
        assert timer(session) == pytest.approx(now + gap, abs=1e-4)
        now = timer(session)
        assert session.handle_timer(now).send
        assert sent(session, now) == [Ack(0, limits.RECEIVE_BUFFER), Ping(token)]
        receive(session, Pong(token), now=now)


def test_a_shorter_interval_holds_all_the_same() -> None:
    """Whoever wants heartbeats every two seconds gets them."""
    assert timer(attached(15.0, interval=2.0)) == pytest.approx(START + 2.0)


def test_the_next_link_may_need_none() -> None:
    """The interval is the configured one again."""
    session = attached(15.0)
    session.attach(0, WINDOW, START + 1)
    sent(session, START + 1)
    assert timer(session) == pytest.approx(START + 1 + 20.0)


# --- doubt ------------------------------------------------------------------------------------------------------------


def test_a_doubted_link_is_asked_at_once_and_suspected_soon() -> None:
    """Nothing was outstanding, and no second has passed."""
    session = connected(QUIET, rtt=0.02)
    assert session.doubt(START + 5)
    assert sent(session, START + 5)[-1] == Ping(1)
    due = timer(session)
    assert due == pytest.approx(START + 5 + max(2 * limits.RTO_MIN, limits.DOUBT_MIN))
    assert due - START - 5 < limits.SUSPICION_MIN
    assert session.handle_timer(due).suspect and session.suspected
    assert not session.doubt(due)


def test_a_slow_link_has_longer() -> None:
    """Two retransmission timeouts."""
    session = connected(QUIET, rtt=1.0)
    session.doubt(START)
    assert timer(session) == pytest.approx(START + 2 * session.rto) and session.rto > 1.0


def test_a_sign_of_life_ends_the_doubt() -> None:
    """Whatever it is; and another doubt begins anew."""
    session = connected(QUIET, rtt=0.02)
    session.doubt(START)
    sent(session, START)
    receive(session, Pong(1), now=START + 0.1)
    assert timer(session) > START + 100
    assert session.doubt(START + 1)
    assert sent(session, START + 1)[-1] == Ping(2)


def test_one_doubt_at_a_time() -> None:
    """Another one must not put off the suspicion."""
    session = connected(QUIET, uniform=middle, rtt=0.02)
    session.doubt(START)
    due = timer(session)
    assert not session.doubt(START + 0.2)
    sent(session, START + 0.2)
    assert timer(session) == due


def test_without_a_link_there_is_nothing_to_doubt() -> None:
    """Neither before the first one, nor after it."""
    assert not make().doubt(START)
    session = connected()
    session.detach()
    assert not session.doubt(START)
