"""Events for those who would rather ask than be called."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import CrustError, ForkedError, ServiceClosed, Timeout
from ..peers.messages import Handed, NewMessage
from ..runtime.clock import Clock
from ..runtime.clock import Event as Latch
from ..runtime.threads import Waker
from .events import Event, EventsLost

if TYPE_CHECKING:
    from ..peers.peer import Peer

__all__ = ["AnyEvent", "Credit", "EventStream", "StreamOwner"]

AnyEvent = Event | NewMessage
Credit = Callable[["Peer", Handed], object]
"""Gives the buffer of a message back, once."""


class StreamOwner(Protocol):
    """Who feeds a stream."""

    clock: Clock

    def remove_stream(self, stream: EventStream) -> None:
        """Feed it no longer. Idempotent."""

    def bites(self, limit: str, /) -> object:
        """A limit has bitten (the stream's lock is held)."""


class EventStream:
    """
    Events to be read: iterate, or :meth:`get`; ``with`` closes it. Thread-safe.

    Of state events the oldest are dropped when ``maxsize`` wait, and an ``EventsLost`` says how many. Messages are
    never dropped: credit bounds them, and reading one gives its credit back.
    """

    def __init__(self, owner: StreamOwner, kinds: tuple[type[Any], ...], maxsize: int, credit: Credit) -> None:
        self._owner = owner
        self.kinds = kinds
        self._maxsize = maxsize
        self._credit = credit
        self._clock = owner.clock
        self._lock = threading.Lock()  # guards what follows
        self._sleepers: list[Latch] = []  # of those who wait in get()
        self._events: collections.deque[tuple[AnyEvent, int]] = collections.deque()
        self._handed: Handed | None = None
        self._states = 0
        self._lost = 0
        self._closed = False
        self._ended = False
        self._forked: ForkedError | None = None
        self._waker: Waker | None = None

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        """Events as they come, until the stream or the service is closed."""
        while True:
            try:
                yield self.get()
            except ForkedError:
                raise
            except ServiceClosed:
                return

    def get(self, timeout: float | None = None) -> Any:
        """
        The next event.

        Args:
            timeout: Seconds; None: no limit; 0: only what is there.

        Raises:
            Timeout: None came in time.
            ServiceClosed: The stream or the service is closed, and everything has been read.
            ForkedError: The stream belongs to the parent process.

        Interrupts: as for :meth:`crust.Peer.recv`.
        """
        try:
            return self._get(timeout)
        except CrustError:
            raise
        except BaseException:  # interrupted: if it was about to hand out the last event, select() must tell again
            if self._handed is not None and self._waker is not None:
                self._waker.wake()
            raise

    def _get(self, timeout: float | None) -> Any:
        deadline = self._clock.deadline(timeout)
        sleeper: Latch | None = None
        while True:
            with self._lock:
                if sleeper is not None and sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
                handed = self._take_locked()
                if handed is None:
                    if timeout is not None and deadline.expired:
                        raise Timeout(f"no event within {timeout} s")
                    sleeper = self._clock.event()
                    self._sleepers.append(sleeper)
            if handed is None:
                assert sleeper is not None
                sleeper.wait(deadline.remaining())
                continue
            if handed[1]:
                self._credit(handed[0].peer, handed)
            # In one breath, so that an interrupt finds the event here, or with the caller.
            handed = self._handed
            if handed is not None:  # else another thread has taken it
                self._handed = None
                return handed[0]

    def _take_locked(self) -> Handed | None:
        """The event to hand out next, which ``_handed`` holds until somebody has it; None if there is none yet."""
        if self._forked is not None:
            raise self._forked
        if self._handed is None:
            if self._lost:
                lost = EventsLost(self._lost)
                self._handed = [lost, 0]
                self._lost = 0
            elif self._events:
                event, cost = self._events[0]
                self._handed = [event, cost]
                del self._events[0]
                if not cost:
                    self._states -= 1
            elif self._closed or self._ended:
                raise ServiceClosed("the event stream is closed")
            if not self._events and self._waker is not None and not self._ended:
                self._waker.drain()
        return self._handed

    def fileno(self) -> int:
        """
        A descriptor that is readable while events wait (and once the service is closed), for ``select``.

        Raises:
            ServiceClosed: The stream has been closed.
        """
        with self._lock:
            if self._forked is not None:
                raise self._forked
            if self._closed:
                raise ServiceClosed("the event stream is closed")
            if self._waker is None:
                self._waker = Waker()
                if self._events or self._lost or self._ended or self._handed is not None:
                    self._waker.wake()
            return self._waker.fileno()

    def close(self) -> None:
        """Stop listening; unread messages give their credit back. Idempotent."""
        self._owner.remove_stream(self)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            unread = self._take_unread_locked()
            self._wake_locked()
            if self._waker is not None:
                self._waker.close()
                self._waker = None
        for handed in unread:
            if handed[1]:
                self._credit(handed[0].peer, handed)

    def _take_unread_locked(self) -> list[Handed]:
        unread: list[Handed] = [[event, cost] for event, cost in self._events if cost]
        if self._handed is not None:
            unread.append(self._handed)
            self._handed = None
        self._events.clear()
        return unread

    def put(self, event: AnyEvent, cost: int = 0) -> bool:
        """Add an event; one with a cost is a message. False if the stream has been closed and did not take it."""
        with self._lock:
            if self._closed:
                return False
            if not cost:
                if self._states >= self._maxsize:
                    index = next(i for i, (_, kept) in enumerate(self._events) if not kept)
                    del self._events[index]
                    self._states -= 1
                    self._lost += 1
                    self._owner.bites("EVENT_STREAM_SIZE")
                self._states += 1
            was_empty = not self._events
            self._events.append((event, cost))
            if self._sleepers:
                self._wake_locked()
            if was_empty and self._waker is not None:
                self._waker.wake()
            return True

    def end(self) -> None:
        """No more events; what waits can still be read."""
        with self._lock:
            self._ended = True
            self._wake_locked()
            if self._waker is not None:
                self._waker.wake()

    def _wake_locked(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.set()

    def abandon(self, error: ForkedError) -> None:
        """In a forked child: it is dead (takes no lock)."""
        self._lock = threading.Lock()
        self._sleepers = []
        self._events = collections.deque()
        self._handed = None
        self._forked = error
        self._closed = True
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.abandon()
