"""Session cores on a virtual clock, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crust import limits
from crust.peers.session import Delivery, Session, Settings, Tick
from crust.wire import frames
from crust.wire.frames import (
    Ack,
    Batch,
    Frame,
)

OVERHEAD = limits.MESSAGE_OVERHEAD
WINDOW = limits.RECEIVE_BUFFER
START = 1000.0
QUIET = Settings(heartbeat_interval=1e6, resume_timeout=1e7)
"""Nothing happens by itself but what is under test."""


def middle() -> float:
    """No jitter."""
    return 0.5


def make(
    settings: Settings = QUIET, *, uniform: Callable[[], float] = middle, rtt: float | None = None
) -> Session:
    """A session that is not attached."""
    return Session(settings, window=WINDOW, now=START, uniform=uniform, rtt=rtt)


def connected(
    settings: Settings = QUIET, *, uniform: Callable[[], float] = middle, rtt: float | None = None
) -> Session:
    """A session on its first link, which has said what it says at once."""
    session = make(settings, uniform=uniform, rtt=rtt)
    session.attach(0, WINDOW, START)
    assert sent(session, START) == [Ack(0, settings.receive_buffer)]
    return session


def sent(session: Session, now: float) -> list[Frame]:
    """The frames of the next record; none if there is nothing to send."""
    record = session.record_to_send(now)
    return [] if record is None else frames.parse_record_untrusted(record)


def push(session: Session, data: bytes = b"x", priority: int = 1, now: float = START) -> int:
    number = session.outbox.push(data, priority, 0, now)
    assert number >= 0
    return number


def receive(session: Session, *received: Frame, now: float = START) -> list[Delivery]:
    return session.receive_frames(received, now)


def batch(first: int, *messages: bytes) -> Batch:
    return Batch(first, 0, 1, list(messages))


def timer(session: Session) -> float:
    due = session.get_timer()
    assert due is not None
    return due


def pass_time(session: Session, until: float) -> Iterator[tuple[float, Tick]]:
    """Each tick up to that moment, at its time; a timer that stays due for ever fails."""
    now = -1.0
    while (due := session.get_timer()) is not None and due <= until:
        assert due > now, "handle_timer has left something due"
        now = due
        yield now, session.handle_timer(now)
