"""
The states of a µTP connection, and what leads from one to another.

The names are TCP's (RFC 9293 section 3.3.2), and so is their meaning: µTP opens with two packets instead of three and
ends each direction with a FIN of its own, as TCP does. Three things differ:

- A caller is ESTABLISHED by the answer to its SYN, a callee by the first packet that acknowledges the random number of
  that answer: until then it may be talking to somebody who only wrote a false address on an envelope.
- There is no three-packet opening, so nobody but the caller says when SYN_RECEIVED ends: if it stays silent, it is
  forgotten.
- TIME_WAIT lasts :data:`crust.limits.UTP_TIME_WAIT`: connection ids are random, so an old connection's packets meet a
  new one by chance only, and their sequence numbers would have to fit as well.

An event that is not in the table for the present state changes nothing: duplicates and late packets are normal.
"""

from __future__ import annotations

import enum

__all__ = ["TRANSITIONS", "Event", "State"]


class State(enum.Enum):
    """Where a connection stands."""

    __hash__ = object.__hash__  # an enumeration's own is a function in Python: too slow for every packet

    SYN_SENT = "syn-sent"
    SYN_RECEIVED = "syn-received"
    ESTABLISHED = "established"
    FIN_WAIT_1 = "fin-wait-1"
    FIN_WAIT_2 = "fin-wait-2"
    CLOSE_WAIT = "close-wait"
    CLOSING = "closing"
    LAST_ACK = "last-ack"
    TIME_WAIT = "time-wait"
    CLOSED = "closed"


class Event(enum.Enum):
    """What moves a connection from state to state."""

    __hash__ = object.__hash__

    CONFIRMED = "confirmed"
    """The other side has shown that it got our first packet."""
    FINISHED = "finished"
    """We have nothing more to send: a FIN ends our direction."""
    FIN_ACKED = "fin acknowledged"
    """All that we sent has arrived, the FIN too."""
    END_RECEIVED = "end received"
    """The other side's FIN, and all before it, is here."""
    BROKEN = "broken"
    """RESET by the other side, aborted by us, or silent for too long."""
    EXPIRED = "expired"
    """Nothing more can come of it."""


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.SYN_SENT, Event.CONFIRMED): State.ESTABLISHED,
    (State.SYN_RECEIVED, Event.CONFIRMED): State.ESTABLISHED,
    (State.ESTABLISHED, Event.FINISHED): State.FIN_WAIT_1,
    (State.ESTABLISHED, Event.END_RECEIVED): State.CLOSE_WAIT,
    (State.FIN_WAIT_1, Event.FIN_ACKED): State.FIN_WAIT_2,
    (State.FIN_WAIT_1, Event.END_RECEIVED): State.CLOSING,
    (State.FIN_WAIT_2, Event.END_RECEIVED): State.TIME_WAIT,
    (State.CLOSING, Event.FIN_ACKED): State.TIME_WAIT,
    (State.CLOSE_WAIT, Event.FINISHED): State.LAST_ACK,
    (State.LAST_ACK, Event.FIN_ACKED): State.TIME_WAIT,
    (State.TIME_WAIT, Event.EXPIRED): State.CLOSED,
    **{(state, Event.BROKEN): State.CLOSED for state in State if state is not State.CLOSED},
}
