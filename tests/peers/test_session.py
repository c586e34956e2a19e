"""The core of a session: states, receiving, acknowledgements, windows, PING."""

from __future__ import annotations

import itertools

import pytest

from crust import limits
from crust.exceptions import RemoteProtocolError
from crust.peers.session import TRANSITIONS, Delivery, Event, Settings, State, Tick
from crust.wire import frames
from crust.wire.frames import (
    Ack,
    Batch,
    Frame,
    Goodbye,
    GoodbyeCode,
    KeyUpdate,
    Piece,
    Ping,
    Pong,
    Retire,
    Use,
)
from tests.support.sessions import (
    OVERHEAD,
    START,
    WINDOW,
    batch,
    connected,
    make,
    pass_time,
    push,
    receive,
    sent,
    timer,
)

# --- states -----------------------------------------------------------------------------------------------------------


def test_the_transitions_are_these() -> None:
    """Every pair of state and event is either in the table or cannot happen."""
    impossible = {
        (State.NEW, Event.DETACHED),  # a link that never carried the session is not its link
        (State.SUSPENDED, Event.DETACHED),
        (State.LOST, Event.ATTACHED),
        (State.LOST, Event.DETACHED),
        (State.LOST, Event.ENDED),
    }
    assert set(TRANSITIONS) | impossible == set(itertools.product(State, Event))
    assert not set(TRANSITIONS) & impossible
    for (_, event), after in TRANSITIONS.items():
        expected = {
            Event.ATTACHED: State.CONNECTED,
            Event.DETACHED: State.SUSPENDED,
            Event.ENDED: State.LOST,
        }
        assert after is expected[event]


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_methods_follow_the_table(state: State, event: Event) -> None:
    """attach, detach and end do what the table says, and anything else is a bug that raises."""
    session = make()
    session.state = state
    act = {
        Event.ATTACHED: lambda: session.attach(0, WINDOW, START),
        Event.DETACHED: session.detach,
        Event.ENDED: session.end,
    }[event]
    if (state, event) in TRANSITIONS:
        act()
        assert session.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(KeyError):
            act()
        assert session.state is state


def test_the_end_reports_what_was_not_acknowledged_and_lets_go() -> None:
    """Queued, sent and unacknowledged messages are named; then nothing is held and no timer runs."""
    session = connected()
    for index in range(3):
        push(session, b"%d" % index)
        if index < 2:
            sent(session, START)
    receive(session, Ack(1, WINDOW))
    assert session.end() == (1, 2)
    assert session.outbox.held_bytes == 0
    assert session.get_timer() is None
    assert session.handle_timer(1e12) == Tick()


def test_a_link_that_continues_beyond_what_was_sent_is_refused() -> None:
    """The peer cannot expect a chunk whose predecessor was never sent; the session stays as it was."""
    session = connected()
    push(session)
    sent(session, START)
    session.detach()
    with pytest.raises(RemoteProtocolError, match="acknowledged chunk 1"):
        session.attach(2, WINDOW, START)
    assert session.state is State.SUSPENDED
    session.attach(1, WINDOW, START)
    assert not session.outbox.unacknowledged


# --- receiving --------------------------------------------------------------------------------------------------------


def test_messages_are_delivered_with_their_cost() -> None:
    """Batches and whole messages in pieces come out in order, with what they take of the buffer."""
    session = connected()
    deliveries = receive(
        session,
        Batch(0, 0, 3, [b"a", b"bb"]),
        Piece(2, 1, 7, 0, True, False, 5, b"abc"),
        Batch(3, 0, 0, [b"c"]),
        Piece(4, 1, 7, 0, False, True, 5, b"de"),
    )
    assert deliveries == [
        Delivery(0, 3, [b"a", b"bb"], 3 + 2 * OVERHEAD),
        Delivery(0, 0, [b"c"], 1 + OVERHEAD),
        Delivery(1, 7, (b"abcde",), 5 + OVERHEAD),
    ]
    assert session.inbox.used == sum(delivery.cost for delivery in deliveries)


def test_repetitions_deliver_nothing() -> None:
    """A record that comes again is not doubled, in whole or in part."""
    session = connected()
    receive(session, batch(0, b"a"), Piece(1, 0, 1, 0, True, True, 1, b"b"))
    assert receive(session, batch(0, b"a"), Piece(1, 0, 1, 0, True, True, 1, b"b")) == []
    assert receive(session, batch(0, b"a", b"b", b"new")) == [Delivery(0, 1, [b"new"], 3 + OVERHEAD)]


@pytest.mark.parametrize(
    "violation",
    [
        batch(1, b"a gap"),
        batch(0, bytes(101)),
        batch(0, *[bytes(100)] * 7),
        Piece(0, 0, 1, 0, False, True, 1, b"x"),
        Ack(1, 0),
        Goodbye(GoodbyeCode.CLOSED, ""),
        KeyUpdate(),
        Retire(),
        Use(1),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_violations(violation: Frame) -> None:
    """Gaps, data over the limits, acknowledgements of nothing, and frames of the link raise RemoteProtocolError."""
    session = connected(Settings(max_message_size=100, receive_buffer=1000))
    with pytest.raises(RemoteProtocolError):
        receive(session, violation)


# --- acknowledgements -------------------------------------------------------------------------------------------------


def test_an_acknowledgement_rides_on_data() -> None:
    """If there is data to send, it goes in front of it, and needs no record of its own."""
    session = connected()
    receive(session, batch(0, b"x"))
    push(session, b"answer")
    assert sent(session, START) == [Ack(1, WINDOW - 1 - OVERHEAD), batch(0, b"answer")]
    assert session.ack_due == float("inf")
    assert sent(session, START + 1) == []
    push(session, b"more")
    assert sent(session, START) == [batch(1, b"more")]  # once is enough


def test_an_acknowledgement_waits_for_data_a_moment() -> None:
    """Without data it goes out after ACK_DELAY, not before, once."""
    session = connected()
    receive(session, batch(0, b"x"))
    assert not session.ack_now and sent(session, START) == []
    due = START + limits.ACK_DELAY
    receive(session, batch(1, b"y"), now=START + limits.ACK_DELAY / 2)  # the first one counts
    assert session.get_timer() == due
    assert sent(session, due - 0.001) == []
    assert session.handle_timer(due).send
    assert sent(session, due) == [Ack(2, WINDOW - 2 - 2 * OVERHEAD)]
    assert sent(session, due) == []


def test_acknowledgements_need_no_timer_to_be_sent_in_time() -> None:
    """Whoever asks for a record when one is due gets it."""
    session = connected()
    receive(session, batch(0, b"x"))
    assert sent(session, START + limits.ACK_DELAY) == [Ack(1, WINDOW - 1 - OVERHEAD)]


def test_much_data_is_acknowledged_at_once() -> None:
    """After ACK_EVERY_BYTES, overheads included, the acknowledgement waits no longer."""
    session = connected()
    size = limits.ACK_EVERY_BYTES // 4 - OVERHEAD
    for number in range(3):
        receive(session, batch(number, bytes(size)))
    receive(session, Piece(3, 0, 1, 0, True, False, 2 * size, bytes(size - 1 - OVERHEAD)))
    assert not session.ack_now
    receive(session, Piece(4, 0, 1, 0, False, False, 2 * size, b"x"))
    assert session.ack_now
    assert sent(session, START)[0] == Ack(5, WINDOW - 5 * size - 4 * OVERHEAD)
    assert not session.ack_now and session.ack_due == float("inf")
    receive(session, Piece(5, 0, 1, 0, False, False, 2 * size, b"x"))
    assert not session.ack_now  # the count begins anew


def test_a_repetition_is_acknowledged_again() -> None:
    """A peer that repeats has missed the acknowledgement; the answer is a legal record like any other."""
    session = connected(uniform=lambda: 0.0)
    receive(session, batch(0, b"x"))
    assert sent(session, START + 1) == [Ack(1, WINDOW - 1 - OVERHEAD)]
    receive(session, batch(0, b"x"), now=START + 2)
    due = timer(session)
    assert due == START + 2 + limits.ACK_DELAY
    assert session.handle_timer(due).send
    assert sent(session, due) == [Ack(1, WINDOW - 1 - OVERHEAD)]
    assert sent(session, due) == []
    receive(session, batch(0, b"x"), now=due)
    assert sent(session, due + 1) == [Ack(1, WINDOW - 1 - OVERHEAD)]  # without a timer too


def test_a_due_acknowledgement_that_the_link_does_not_take_waits_for_it() -> None:
    """The timer fires once for it, and not for ever while the link is full; then it is the first thing out."""
    session = connected()
    receive(session, batch(0, b"x"))
    ticks = [tick for _, tick in pass_time(session, START + 10)]
    assert [tick.send for tick in ticks] == [True]
    assert sent(session, START + 10) == [Ack(1, WINDOW - 1 - OVERHEAD)]


def test_a_new_link_begins_with_an_acknowledgement() -> None:
    """What was said in the handshake may be stale by then."""
    session = connected()
    receive(session, batch(0, b"x"))
    session.detach()
    session.attach(0, WINDOW, START)
    assert sent(session, START) == [Ack(1, WINDOW - 1 - OVERHEAD)]


def test_records_are_repeated_before_anything_new() -> None:
    """On a new link the records that the peer misses go first, as they were; the new acknowledgement follows."""
    session = connected()
    receive(session, batch(0, b"x"))
    push(session, b"a")
    first = session.record_to_send(START)
    session.detach()
    receive(session, batch(1, b"y"))
    push(session, b"b", 0)
    session.attach(0, WINDOW, START)
    assert session.record_to_send(START) == first
    assert sent(session, START) == [Ack(2, WINDOW - 2 - 2 * OVERHEAD), Batch(1, 0, 0, [b"b"])]


def test_control_records_are_padded_and_data_is_not() -> None:
    """Records without data get 0 to 255 bytes of padding, by chance."""
    size = len(frames.build_ack(0, 0))
    for chance, padding in ((0.0, 0), (0.5, 128), (0.9999, 255)):
        session = connected(uniform=lambda chance=chance: chance)  # type: ignore[misc]
        receive(session, batch(0, b"x"))
        record = session.record_to_send(START + 1)
        assert record is not None and len(record) == size + padding
        push(session)
        record = session.record_to_send(START)
        assert record == frames.build_batch(0, 0, 1, [b"x"])


# --- window updates ---------------------------------------------------------------------------------------------------


def test_much_freed_buffer_is_announced_at_once() -> None:
    """When a quarter of the buffer has been freed since the last acknowledgement."""
    session = connected()
    cost = WINDOW // limits.WINDOW_UPDATE_SHARE // 64
    for number in range(64):
        receive(session, batch(number, bytes(cost - OVERHEAD)))
        while sent(session, START):
            pass
    assert not any(session.consumed(cost) for _ in range(63))
    assert sent(session, START) == []
    assert session.consumed(cost)
    assert sent(session, START) == [Ack(64, WINDOW)]
    assert sent(session, START) == []


def test_freed_buffer_is_not_announced_for_every_message() -> None:
    """Question and answer on a session with room take no records besides their own."""
    session = connected()
    for number in range(100):
        (delivery,) = receive(session, batch(number, bytes(1000)))
        assert not session.consumed(delivery.cost)
        push(session, b"answer")
        assert sent(session, START) == [Ack(number + 1, WINDOW), batch(number, b"answer")]
        assert sent(session, START) == []


def test_a_window_that_grew_enough_for_the_longest_message_is_announced() -> None:
    """The smallest legal buffer is less than a quarter used, yet the other side cannot begin: it must hear when."""
    size = 70_000
    settings = Settings(
        max_message_size=size,
        receive_buffer=size + limits.SMALL_RESERVE + OVERHEAD + 5000,
        heartbeat_interval=1e6,
        resume_timeout=1e7,
    )
    session = connected(settings)
    for number in range(2):
        receive(session, batch(number, bytes(4000)))
    assert sent(session, START + limits.ACK_DELAY) == [
        Ack(2, settings.receive_buffer - 2 * (4000 + OVERHEAD))
    ]
    assert session.consumed(4000 + OVERHEAD)
    assert sent(session, START) == [Ack(2, settings.receive_buffer - 4000 - OVERHEAD)]
    assert not session.consumed(4000 + OVERHEAD)  # it had enough already


def test_a_suspended_session_announces_on_its_next_link() -> None:
    """There is nobody to tell while there is no link; the word is not lost."""
    session = connected()
    receive(session, *[batch(number, bytes(60_000)) for number in range(60)])
    session.detach()
    assert not session.consumed(60 * (60_000 + OVERHEAD))
    session.attach(0, WINDOW, START)
    assert sent(session, START) == [Ack(60, WINDOW)]


# --- PING and PONG ----------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_at_once_with_an_acknowledgement() -> None:
    """The answer carries its token and waits for no timer."""
    session = connected()
    receive(session, batch(0, b"x"), Ping(77))
    assert session.ack_now
    assert sent(session, START) == [Ack(1, WINDOW - 1 - OVERHEAD), Pong(77)]
    assert sent(session, START) == []
    receive(session, batch(1, b""))
    assert sent(session, START + 1) == [Ack(2, WINDOW - 1 - 2 * OVERHEAD)]  # answered once


def test_an_answer_rides_on_data() -> None:
    """With data to send it goes in front of it."""
    session = connected()
    push(session)
    receive(session, Ping(1), Ping(2))
    assert sent(session, START) == [Ack(0, WINDOW), Pong(1), Pong(2), batch(0, b"x")]


def test_one_question_at_a_time() -> None:
    """A second PING waits for the answer to the first; each has a token of its own."""
    session = connected()
    session.ping(START)
    session.ping(START)
    (_, first) = sent(session, START)
    assert isinstance(first, Ping)
    session.ping(START)
    assert sent(session, START) == []
    receive(session, Pong(first.token))
    session.ping(START)
    (_, second) = sent(session, START)
    assert isinstance(second, Ping) and second.token != first.token


def test_an_answer_measures_the_round_trip() -> None:
    """RFC 6298: the first sample is taken whole, later ones are smoothed; the timeout follows."""
    session = connected()
    assert session.srtt is None and session.rto == limits.RTO_INITIAL
    session.ping(START)
    receive(session, Pong(1), now=START + 0.4)
    assert session.srtt == pytest.approx(0.4)
    assert session.rto == pytest.approx(0.4 + 4 * 0.2)
    session.ping(START)
    receive(session, Pong(2), now=START + 0.8)
    assert session.srtt == pytest.approx(0.4 * 7 / 8 + 0.8 / 8)
    assert session.rto == pytest.approx(0.45 + 4 * (0.2 * 3 / 4 + 0.4 / 4))
    assert connected(rtt=0.001).rto == limits.RTO_MIN


@pytest.mark.parametrize("token", [0, 2])
def test_an_answer_to_another_question_is_no_sample(token: int) -> None:
    """A PONG with another token, or a second one, or one from before a new link, changes nothing."""
    session = connected()
    session.ping(START)
    receive(session, Pong(token), now=START + 1)
    assert session.srtt is None
    receive(session, Pong(1), now=START + 0.5)
    receive(session, Pong(1), now=START + 9)
    assert session.srtt == 0.5
    session.ping(START)
    session.attach(0, WINDOW, START)  # moved
    receive(session, Pong(2), now=START + 9)
    session.ping(START)
    session.detach()
    receive(session, Pong(3), now=START + 9)  # the last words of the old link
    session.attach(0, WINDOW, START)
    receive(session, Pong(3), now=START + 9)
    assert session.srtt == 0.5


def test_questions_are_not_hoarded() -> None:
    """Of PINGs that come faster than answers can go out only the latest are answered: the asker waits for the last."""
    session = connected()
    for token in range(3 * limits.PONGS_QUEUED_MAX):
        receive(session, Ping(token))
    answer = sent(session, START)
    assert answer[1:] == [
        Pong(token) for token in range(2 * limits.PONGS_QUEUED_MAX, 3 * limits.PONGS_QUEUED_MAX)
    ]


def test_repeated_records_with_questions_are_no_violation() -> None:
    """Cuts, each after a record with a PING, make one side repeat many PINGs at once: that is not its fault."""
    near, far = connected(), connected()
    for _ in range(2 * limits.PONGS_QUEUED_MAX):
        push(near)
        near.ping(START)
        while near.record_to_send(START):
            pass  # lost
        near.detach()
        near.attach(0, WINDOW, START)
    while (record := near.record_to_send(START)) is not None:
        far.receive_frames(frames.parse_record_untrusted(record), START)
    assert far.inbox.next == 2 * limits.PONGS_QUEUED_MAX
    near.ping(START)
    receive(far, *sent(near, START))
    receive(near, *sent(far, START), now=START + 0.25)
    assert near.srtt == 0.25 and not near.outbox.unacknowledged


def test_answers_of_an_old_link_are_not_owed_on_a_new_one() -> None:
    """The asker has forgotten its question with the link."""
    session = connected()
    receive(session, Ping(1))
    session.detach()
    session.attach(0, WINDOW, START)
    assert sent(session, START) == [Ack(0, WINDOW)]
