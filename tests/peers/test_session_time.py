"""The core of a session in time: heartbeats, suspicion, loss, expiry."""

from __future__ import annotations

import itertools

import pytest

from crust import limits
from crust.peers.session import Session, Settings, State, Tick
from crust.wire.frames import (
    Ack,
    Batch,
    Ping,
    Pong,
)
from tests.support.sessions import (
    QUIET,
    START,
    WINDOW,
    batch,
    connected,
    make,
    middle,
    pass_time,
    push,
    receive,
    sent,
    timer,
)

# --- heartbeats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.75), (0.5, 1.0), (0.999999, 1.25)])
def test_heartbeats_are_jittered(chance: float, factor: float) -> None:
    """A PING after heartbeat_interval without sending, give or take a quarter."""
    session = connected(Settings(heartbeat_interval=8.0), uniform=lambda: chance)
    due = timer(session)
    assert due == pytest.approx(START + 8.0 * factor, abs=1e-4)
    tick = session.handle_timer(due)
    assert tick.send and not tick.lost and not tick.suspect
    assert sent(session, due) == [Ack(0, WINDOW), Ping(1)]
    receive(session, Pong(1), now=due)
    assert session.get_timer() == pytest.approx(due + 8.0 * factor, abs=1e-4)


def test_every_heartbeat_has_its_own_jitter() -> None:
    """Peers that began together do not march in step."""
    chances = itertools.cycle([0.0, 0.3, 0.9, 0.1])
    session = connected(Settings(heartbeat_interval=10.0), uniform=lambda: next(chances))
    times = []
    for now, tick in pass_time(session, START + 60):
        assert tick.send
        times.append(now)
        (_, question) = sent(session, now)
        assert isinstance(question, Ping)
        receive(session, Pong(question.token), now=now)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(set(gaps)) > 1 and all(7.5 <= gap <= 12.5 for gap in gaps)


def test_sending_is_a_sign_of_life() -> None:
    """A heartbeat is due only when nothing was sent for so long."""
    session = connected(Settings(heartbeat_interval=10.0))
    push(session)
    sent(session, START + 9)
    receive(session, Ack(1, WINDOW), now=START + 9)
    assert session.get_timer() == START + 19


# --- suspicion --------------------------------------------------------------------------------------------------------


def test_silence_with_unacknowledged_data_is_suspect() -> None:
    """After max(3 RTO, 1 s), once, until something is heard."""
    for rtt, after in ((None, 3 * limits.RTO_INITIAL), (0.001, limits.SUSPICION_MIN), (0.5, 3 * 1.5)):
        session = connected(rtt=rtt)
        push(session)
        sent(session, START + 5)
        assert session.get_timer() == START + 5 + after
        assert not session.handle_timer(START + 5 + after - 0.001).suspect
        assert not session.suspected
        tick = session.handle_timer(START + 5 + after)
        assert tick.suspect and not tick.send and not tick.lost
        assert session.suspected
        assert not session.handle_timer(START + 5 + 2 * after).suspect
        assert session.state is State.CONNECTED


def test_silence_with_nothing_outstanding_is_not_suspect() -> None:
    """Neither before anything is sent, nor for data that waits for window, nor after everything is acknowledged."""
    session = connected()
    assert session.get_timer() == START + QUIET.heartbeat_interval
    push(session)
    sent(session, START)
    receive(session, Ack(1, 0), now=START + 0.1)
    push(session)
    assert sent(session, START + 0.2) == []
    assert session.get_timer() == START + QUIET.heartbeat_interval
    assert not session.handle_timer(START + 1000).suspect


def test_any_sign_of_life_puts_suspicion_off() -> None:
    """Data, acknowledgements and PINGs alike; and it ends a suspicion, after which there is more patience."""
    for sign in (batch(0, b"x"), Ack(0, WINDOW), Ping(1)):
        session = connected()
        push(session)
        sent(session, START)
        receive(session, sign, now=START + 2.9)
        assert not session.handle_timer(START + 5.8).suspect
        assert session.handle_timer(START + 5.9).suspect
        receive(session, sign, now=START + 7)
        assert not session.suspected
        assert not session.handle_timer(START + 11.9).suspect
        assert session.handle_timer(START + 13).suspect


def test_an_unanswered_heartbeat_is_suspect() -> None:
    """An idle link that died is noticed by its heartbeat; its answer ends the matter."""
    session = connected(Settings(heartbeat_interval=10.0))
    session.handle_timer(START + 10)
    assert isinstance(sent(session, START + 10)[-1], Ping)
    assert session.get_timer() == START + 13
    receive(session, Ack(0, WINDOW), now=START + 10.5)
    assert session.get_timer() == START + 13.5  # still no answer
    receive(session, Pong(1), now=START + 11)
    assert session.get_timer() == START + 20


def test_an_answer_does_not_excuse_unacknowledged_data() -> None:
    """Suspicion ends when both data and question are answered."""
    session = connected(rtt=0.1)
    push(session)
    session.ping(START)
    sent(session, START)
    receive(session, Pong(1), now=START + 0.1)
    assert session.handle_timer(START + 1.1).suspect


def test_a_new_link_begins_unsuspected() -> None:
    """With something to repeat the clock starts anew, and runs twice as long; without, it does not run."""
    session = connected()
    push(session)
    sent(session, START)
    assert session.handle_timer(START + 3).suspect
    session.detach()
    assert session.get_timer() == START + QUIET.resume_timeout
    session.attach(0, WINDOW, START + 4)
    assert not session.suspected and session.get_timer() == START + 10
    session.detach()
    session.attach(1, WINDOW, START + 5)
    sent(session, START + 5)
    assert not session.handle_timer(START + 500).suspect


# --- loss -------------------------------------------------------------------------------------------------------------


def test_silence_for_too_long_is_the_end() -> None:
    """resume_timeout after the last authenticated byte, whatever we sent meanwhile."""
    session = connected(Settings(heartbeat_interval=1.0, resume_timeout=30.0))
    receive(session, Ack(0, WINDOW), now=START + 2)
    ticks = []
    for now, tick in pass_time(session, START + 100):
        ticks.append((now, tick.lost))
        if tick.lost:
            break
        while sent(session, now):
            pass
    assert [now for now, lost in ticks if lost] == [START + 32]
    assert not session.handle_timer(START + 31.999).lost


def test_time_without_a_link_counts() -> None:
    """Detached time is silence; a new link is a sign of life."""
    session = connected(Settings(resume_timeout=30.0))
    receive(session, Ack(0, WINDOW), now=START + 10)
    session.detach()
    assert session.get_timer() == START + 40
    assert not session.handle_timer(START + 39).lost
    session.attach(0, WINDOW, START + 39)
    assert not session.handle_timer(START + 68).lost
    session.detach()
    assert session.handle_timer(START + 69) == Tick(lost=True)


def test_a_session_that_is_never_carried_is_lost() -> None:
    """The controller's word may never come."""
    session = make(Settings(resume_timeout=30.0))
    assert session.get_timer() == START + 30
    assert session.handle_timer(START + 30).lost


# --- a stream that stops ----------------------------------------------------------------------------------------------


def caller(rtt: float = 0.05) -> Session:
    """A session whose link we dialled."""
    session = connected(rtt=rtt)
    session.asks = True
    return session


def asked(session: Session, until: float) -> list[float]:
    """When it sends a PING by itself, until then."""
    times = []
    for now, tick in pass_time(session, until):
        if tick.send and any(isinstance(frame, Ping) for frame in sent(session, now)):
            times.append(now)
    return times


def test_the_caller_asks_when_a_stream_of_data_stops() -> None:
    """Once, after as long a silence as makes a link suspicious; no answer to that does."""
    session = caller()
    for number in range(10):
        receive(session, batch(number, b"x"), now=START + number / 10)
    last = START + 0.9
    assert asked(session, last + 1.5) == [last + limits.SUSPICION_MIN]
    due = timer(session)
    assert due == last + 2 * limits.SUSPICION_MIN
    assert session.handle_timer(due).suspect


def test_an_answer_ends_the_question() -> None:
    """It is not asked again before there was another stream."""
    session = caller()
    for number in range(2):
        receive(session, batch(number, b"x"))
    assert asked(session, START + 1.0) == [START + 1.0]
    receive(session, Pong(1), now=START + 1.05)
    assert asked(session, START + 1000) == []
    for number in range(2, 4):
        receive(session, batch(number, b"x"), now=START + 1000)
    assert asked(session, START + 1001.5) == [START + 1001.0]


def test_messages_now_and_then_are_no_stream() -> None:
    """They make nobody ask; nor does anything make the callee ask, or one who hears something else meanwhile."""
    session = caller()
    for number in range(5):
        receive(session, batch(number, b"x"), now=START + 2 * number)
        assert asked(session, START + 2 * number + 1.9) == []
    callee = connected(rtt=0.05)
    talking = caller()
    for each in (callee, talking):
        for number in range(5):
            receive(each, batch(number, b"x"), now=START + number / 100)
    assert asked(callee, START + 100) == []
    receive(talking, Ack(0, WINDOW), now=START + 0.9)
    assert asked(talking, START + 100) == []


def test_a_slow_link_is_given_more_time() -> None:
    """Three retransmission timeouts, if that is more."""
    session = caller(rtt=2.0)
    patience = 3 * session.rto
    assert patience > limits.SUSPICION_MIN
    for number in range(2):
        receive(session, batch(number, b"x"))
    assert asked(session, START + 100)[:1] == [START + patience]


# --- expiry -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.NEW, State.SUSPENDED])
def test_messages_expire_while_there_is_no_link(state: State) -> None:
    """At drop_age, if their priority allows; the tick names them."""
    session = make(Settings(drop_priority=5, drop_age=10.0))
    session.state = state
    push(session, b"kept", 4)
    number = push(session, b"old", 5, now=START + 0.1)
    assert session.get_timer() == START + 0.1 + 10.0
    assert session.handle_timer(START + 10.0).dropped == []
    assert session.handle_timer(START + 0.1 + 10.0).dropped == [(5, [number])]
    assert session.outbox.undelivered() == (0,)
    assert session.get_timer() == START + limits.RESUME_TIMEOUT


def test_what_waited_behind_an_expired_message_may_go() -> None:
    """A message that waits for window holds less urgent ones back; when it expires they are to be sent."""
    settings = Settings(drop_age=10.0, heartbeat_interval=1e6, resume_timeout=1e7)
    session = Session(settings, window=500, now=START, uniform=middle)
    session.attach(0, 500, START)
    sent(session, START)
    push(session, bytes(1000), 2)
    push(session, b"fits", 3, now=START + 5)
    assert sent(session, START + 5) == []
    assert session.handle_timer(START + 10) == Tick(send=True, dropped=[(2, [0])])
    assert sent(session, START + 10) == [Batch(0, 0, 3, [b"fits"])]


def test_what_is_under_way_never_expires() -> None:
    """A message that has a number is repeated on the next link however old it is."""
    session = connected()
    push(session, b"x", 255)
    record = session.record_to_send(START)
    session.detach()
    assert session.handle_timer(START + 1000).dropped == []
    session.attach(0, WINDOW, START + 1000)
    assert session.record_to_send(START + 1000) == record


def test_timers_never_stay_due() -> None:
    """Whatever is due is done by one call, so that a timer cannot spin."""
    chances = itertools.cycle([0.1, 0.7, 0.4])
    settings = Settings(heartbeat_interval=3.0, resume_timeout=50.0, drop_age=7.3)
    session = connected(settings, uniform=lambda: next(chances))
    for index in range(20):
        push(session, bytes(limits.RECORD_TARGET), 3, now=START + index / 7)
    for _ in range(2):
        session.record_to_send(START)
    receive(session, batch(0, b"x"), Ping(9), now=START + 0.1)
    assert sum(len(tick.dropped) for _, tick in pass_time(session, START + 50)) > 5
