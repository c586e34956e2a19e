"""A link that brings what the other side says, but nothing of ours to it: what comes is no answer."""

from __future__ import annotations

import pytest

from crust import limits
from crust.peers.session import Session, Settings
from crust.wire.frames import Ack, Ping, Pong
from tests.support.sessions import START, WINDOW, batch, connected, push, receive, sent, timer

ASKING = Settings(heartbeat_interval=4.0, resume_timeout=1e7)
STEP = 0.25  # seconds between two messages of the other side, more often than a link is suspected for silence


def stream(session: Session, count: int, begun: float = START, first: int = 0) -> tuple[float, bool]:
    """Messages come at that pace, and all that is due is done: when the last came, and if the link is suspected."""
    now = begun
    for number in range(first, first + count):
        now += STEP
        receive(session, batch(number, b"x"), now=now)
        while timer(session) <= now + STEP / 2:
            at = max(now, timer(session))
            if session.handle_timer(at).suspect:
                return at, True
            sent(session, at)
    return now, session.suspected


def test_what_comes_is_no_answer() -> None:
    """A message of ours is not acknowledged, and theirs come all the while: suspected in time, and that stays so."""
    session = connected(rtt=0.02)
    push(session)
    assert sent(session, START)
    at, suspected = stream(session, 100)
    assert suspected and at - START == pytest.approx(limits.UNHEARD_MIN, abs=STEP)
    receive(session, batch(session.inbox.next, b"still here"), now=at)
    assert session.suspected


def test_an_acknowledgement_of_something_new_is_one() -> None:
    """It takes the suspicion away; the same number said again does not."""
    session = connected(rtt=0.02)
    push(session)
    sent(session, START)
    at, suspected = stream(session, 100)
    assert suspected
    receive(session, Ack(0, WINDOW), now=at)
    assert session.suspected
    receive(session, Ack(1, WINDOW), now=at)
    assert not session.suspected


def test_who_does_not_read_for_now_is_awaited() -> None:
    """It says so by repeating what it has acknowledged: no other link would bring an answer sooner."""
    session = connected(rtt=0.02)
    push(session)
    sent(session, START)
    now = START
    for number in range(20):
        now, suspected = stream(session, 8, now, 8 * number)  # two seconds
        assert not suspected
        receive(session, Ack(0, WINDOW), now=now)
    at, suspected = stream(session, 100, now, session.inbox.next)
    assert suspected and at - now == pytest.approx(limits.UNHEARD_MIN, abs=STEP)


def test_progress_is_an_answer_however_slow_all_of_it_is() -> None:
    """Much is outstanding for long, but some of it is acknowledged now and then."""
    session = connected(rtt=0.02)
    for _ in range(10):
        push(session)
        sent(session, START)
    now = START
    for number in range(10):
        now, suspected = stream(session, 16, now, 16 * number)  # four seconds
        assert not suspected
        receive(session, Ack(number + 1, WINDOW), now=now)


@pytest.mark.parametrize("calls", [True, False])
def test_who_only_acknowledges_asks(calls: bool) -> None:
    """Acknowledgements are not answered, so the side that called asks in time, and suspects the link if in vain."""
    session = connected(ASKING, rtt=0.02)
    session.asks = calls
    at, suspected = stream(session, 100)
    assert suspected is calls
    if calls:
        assert at - START == pytest.approx(ASKING.heartbeat_interval + limits.UNHEARD_MIN, abs=3 * STEP)


def test_an_answered_question_is_not_asked_again_soon() -> None:
    """One in a heartbeat's time, however much comes."""
    session = connected(ASKING, rtt=0.02)
    session.asks = True
    asked = 0
    now = START
    for number in range(100):
        now += STEP
        receive(session, batch(number, b"x"), now=now)
        for frame in sent(session, now + limits.ACK_DELAY):
            if isinstance(frame, Ping):
                asked += 1
                receive(session, Pong(frame.token), now=now + limits.ACK_DELAY)
    assert asked == pytest.approx(100 * STEP / ASKING.heartbeat_interval, abs=1)


def test_who_did_not_listen_has_heard_no_answer() -> None:
    """After a rest of our own the time begins anew."""
    session = connected(rtt=0.02)
    push(session)
    sent(session, START)
    assert stream(session, 100)[1]
    now = START + 60
    session.excuse(now)
    assert not session.suspected
    at, suspected = stream(session, 100, now, session.inbox.next)
    assert suspected and at - now == pytest.approx(limits.UNHEARD_MIN, abs=STEP)
