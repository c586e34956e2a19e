"""A narrow line is no dead one: who leaves it for another link over the same line begins again, for ever."""

from __future__ import annotations

import pytest

from crust import limits
from crust.peers.forbearance import Forbearance
from crust.wire.frames import Ack
from tests.support.sessions import START, WINDOW, connected, push, receive, sent, timer

RTO = 0.2


def test_it_begins_as_the_timeout_has_it() -> None:
    """Three times as long, and a second at least."""
    patience = Forbearance()
    assert patience.seconds(RTO) == limits.SUSPICION_MIN
    assert patience.seconds(5.0) == 15.0
    assert patience.seconds(2 * limits.SUSPICION_MAX) == 6 * limits.SUSPICION_MAX  # it takes nothing away


def test_it_doubles_until_something_is_answered() -> None:
    """However often links are suspected, up to a bound."""
    patience = Forbearance()
    for times in (2, 4, 8, 16):
        patience.suspected()
        assert patience.seconds(RTO) == times * limits.SUSPICION_MIN
    for _ in range(2000):
        patience.suspected()
    assert patience.seconds(RTO) == limits.SUSPICION_MAX
    patience.answered(0.05)
    assert patience.seconds(RTO) == limits.SUSPICION_MIN


def test_it_is_twice_what_answers_have_taken_lately() -> None:
    """A slow one is forgotten slowly enough for those of one line, and soon where the line is a good one again."""
    patience = Forbearance()
    patience.answered(6.0)
    assert patience.seconds(RTO) == 12.0
    patience.answered(0.1)
    assert patience.seconds(RTO) == 6.0
    for _ in range(5):
        patience.answered(0.1)
    assert patience.seconds(RTO) == limits.SUSPICION_MIN


@pytest.mark.parametrize("seconds", [2.5, 6.5, 9.0])
def test_a_narrow_line_is_left_a_few_times_alone(seconds: float) -> None:
    """Each record needs so long, on whichever link, and is sent again on each new one: yet all of them arrive."""
    session = connected(rtt=0.02)
    for _ in range(20):
        push(session)
    now, moves = START, 0
    for number in range(20):
        while True:
            sent(session, now)
            begun = now
            suspected = False
            while not suspected and (due := timer(session)) < begun + seconds:
                now = max(now, due)
                suspected = session.handle_timer(now).suspect
                sent(session, now)
            if not suspected:
                break
            moves += 1
            session.attach(number, WINDOW, now)
        now = begun + seconds
        receive(session, Ack(number + 1, WINDOW), now=now)
    assert 1 <= moves <= 4
