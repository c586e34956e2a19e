"""
Who hears what: callbacks on the dispatcher thread, and streams that are read.

State events go to every subscriber. A message has one kind of consumer: ``NewMessage`` callbacks if there are any (all
of them, in order), else a stream that asked for ``NewMessage``, else the peer's own inbox.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import limits
from ..exceptions import LocalProtocolError, ServiceClosed, Timeout
from ..peers.messages import NewMessage
from ..peers.session import Delivery
from ..runtime.clock import Clock
from ..runtime.dispatcher import Dispatcher
from ..runtime.logs import NodeLog
from ..runtime.threads import Waker
from .events import Event, EventsLost

if TYPE_CHECKING:
    from ..peers.peer import Peer

__all__ = ["EventStream", "Subscription", "Subscriptions"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_CREDIT_INTERVAL = 0.05  # seconds of callbacks after which their messages' buffer is given back

AnyEvent = Event | NewMessage
Callback = Callable[[Any], object]
ErrorHook = Callable[[Any, BaseException], object]
Consumed = Callable[["Peer", int], object]


class Subscription:
    """
    One callback for events of a kind. Made by :meth:`crust.Service.on`; thread-safe.

    Raises:
        TypeError: ``kind`` is no event class, or ``callback`` cannot be called.
    """

    def __init__(self, kind: type[Any], callback: Callback) -> None:
        if not _is_event(kind):
            raise TypeError(f"{kind!r} is no event class of crust")
        if not callable(callback):
            raise TypeError(f"a callback must be callable, not {type(callback).__name__}")
        self.kind = kind
        self.callback = callback
        self.cancelled = False
        self._owner: Subscriptions | None = None

    def cancel(self) -> None:
        """No call begins after this returns, except one that the dispatcher has begun. Idempotent."""
        self.cancelled = True
        if self._owner is not None:
            self._owner._remove(self)

    def __call__(self, event: Any) -> object:
        """The callback itself, so that a decorated function can still be called."""
        return self.callback(event)


class EventStream:
    """
    Events to be read: iterate, or :meth:`get`; ``with`` closes it. Thread-safe.

    Of state events the oldest are dropped when ``maxsize`` wait, and an ``EventsLost`` says how many. Messages are
    never dropped: credit bounds them, and reading one gives its credit back.
    """

    def __init__(self, owner: Subscriptions, kinds: tuple[type[Any], ...], maxsize: int, consumed: Consumed) -> None:
        self._owner = owner
        self.kinds = kinds
        self._maxsize = maxsize
        self._consumed = consumed
        self._clock = owner.clock
        self._changed = self._clock.condition()
        self._events: collections.deque[tuple[AnyEvent, int]] = collections.deque()
        self._states = 0
        self._lost = 0
        self._closed = False
        self._ended = False
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
        """
        deadline = self._clock.deadline(timeout)
        with self._changed:
            while True:
                if self._lost:
                    count, self._lost = self._lost, 0
                    return EventsLost(count)
                if self._events:
                    event, cost = self._events.popleft()
                    break
                if self._closed or self._ended:
                    raise ServiceClosed("the event stream is closed")
                if timeout is not None and deadline.expired:
                    raise Timeout(f"no event within {timeout} s")
                self._changed.wait(deadline.remaining())
            if not cost:
                self._states -= 1
            if not self._events and self._waker is not None and not self._ended:
                self._waker.drain()
        if cost:
            self._consumed(event.peer, cost)  # type: ignore[union-attr]  # only messages have a cost
        return event

    def fileno(self) -> int:
        """A descriptor that is readable while events wait (and once the service is closed), for ``select``."""
        with self._changed:
            if self._waker is None:
                self._waker = Waker()
                if self._events or self._lost or self._ended:
                    self._waker.wake()
            return self._waker.fileno()

    def close(self) -> None:
        """Stop listening; unread messages give their credit back. Idempotent."""
        self._owner._remove_stream(self)
        with self._changed:
            if self._closed:
                return
            self._closed = True
            unread = [(event, cost) for event, cost in self._events if cost]
            self._events.clear()
            self._changed.notify_all()
            if self._waker is not None:
                self._waker.close()
                self._waker = None
        for event, cost in unread:
            self._consumed(event.peer, cost)  # type: ignore[union-attr]  # only messages have a cost

    def _put(self, event: AnyEvent, cost: int = 0) -> None:
        with self._changed:
            if self._closed:
                return
            if not cost:
                if self._states >= self._maxsize:
                    index = next(i for i, (_, kept) in enumerate(self._events) if not kept)
                    del self._events[index]
                    self._states -= 1
                    self._lost += 1
                self._states += 1
            was_empty = not self._events
            self._events.append((event, cost))
            self._changed.notify()
            if was_empty and self._waker is not None:
                self._waker.wake()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            if self._waker is not None:
                self._waker.wake()


class Subscriptions:
    """
    All subscribers of one node. Thread-safe.

    Args:
        dispatcher: Runs the callbacks.
        log: For callbacks that raise or take long.
        warn_after: Seconds after which a callback is named in the log.
        consumed: Gives the credit of a message back.
        on_error: The application's hook for exceptions in its callbacks.
        clock: What readers of streams wait with.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        log: NodeLog,
        warn_after: float,
        consumed: Consumed,
        on_error: ErrorHook | None,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self._dispatcher = dispatcher
        self._log = log
        self._warn_after = warn_after
        self._consumed = consumed
        self._on_error = on_error
        self._lock = threading.Lock()  # guards changes of the tuples below; they are read without it
        self._all: tuple[Subscription, ...] = ()
        self._streams: tuple[EventStream, ...] = ()
        self._message_callbacks: tuple[Subscription, ...] = ()
        self._message_stream: EventStream | None = None
        self._pending: collections.deque[None] = collections.deque()  # one for each post on its way to callbacks
        self._ended = False
        self.errors = 0
        """Callbacks that raised."""

    # --- registering --------------------------------------------------------------------------------------------------

    def add(self, subscription: Subscription) -> None:
        """
        Let a callback hear events of its kind; ``Event`` and ``object`` mean all, messages included.

        Raises:
            LocalProtocolError: A stream takes the messages that it wants.
        """
        with self._lock:
            if subscription.cancelled:
                return
            if _takes_messages(subscription.kind):
                if self._message_stream is not None:
                    raise LocalProtocolError(
                        "an event stream takes this node's messages already; close it before registering a callback"
                    )
                self._message_callbacks = (*self._message_callbacks, subscription)
            subscription._owner = self
            self._all = (*self._all, subscription)

    def _remove(self, subscription: Subscription) -> None:
        with self._lock:
            self._all = tuple(each for each in self._all if each is not subscription)
            self._message_callbacks = tuple(each for each in self._message_callbacks if each is not subscription)

    def add_stream(self, kinds: tuple[type[Any], ...], maxsize: int) -> EventStream:
        """Open a stream of events of these kinds."""
        for kind in kinds:
            if not _is_event(kind):
                raise TypeError(f"{kind!r} is no event class of crust")
        if maxsize < 1:
            raise ValueError("maxsize must be at least 1")
        stream = EventStream(self, kinds, maxsize, self._consumed)
        with self._lock:
            if self._ended:
                stream._end()
                return stream
            if NewMessage in kinds:
                if self._message_stream is not None or self._message_callbacks:
                    raise LocalProtocolError(
                        "this node's messages are taken already, by a NewMessage callback or another stream; "
                        "a message has one consumer"
                    )
                self._message_stream = stream
            self._streams = (*self._streams, stream)
        return stream

    def _remove_stream(self, stream: EventStream) -> None:
        with self._lock:
            self._streams = tuple(each for each in self._streams if each is not stream)
            if self._message_stream is stream:
                self._message_stream = None

    def consumer(self) -> str:
        """Who takes messages, in words; empty if the inboxes do."""
        if self._message_callbacks:
            return "a NewMessage callback"
        return "an event stream" if self._message_stream is not None else ""

    # --- emitting (any thread; runs no user code) ---------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Hand a state event to everybody who wants it."""
        kind = type(event)
        for stream in self._streams:
            if any(issubclass(kind, wanted) for wanted in stream.kinds):
                stream._put(event)
        if any(issubclass(kind, each.kind) for each in self._all):
            self._dispatcher.post(self._run_event, event)

    def deliver(self, peer: Peer, deliveries: list[Delivery]) -> bool:
        """Hand over messages; False if nobody takes them (the conversation's lock is held)."""
        if self._message_callbacks or self._pending:
            self._pending.append(None)
            self._dispatcher.post(self._run_messages, peer, deliveries)
            return True
        stream = self._message_stream
        if stream is None:
            return False
        self._stream_out(stream, peer, peer._unread())
        self._stream_out(stream, peer, deliveries)
        return True

    def take_inbox(self, peer: Peer) -> None:
        """A consumer of messages has come: it gets what waits in the inbox (the conversation's lock is held)."""
        stream = self._message_stream
        if stream is None:
            self._dispatcher.post(self._run_inbox, peer)
        elif not self._pending:
            self._stream_out(stream, peer, peer._unread())

    @staticmethod
    def _stream_out(stream: EventStream, peer: Peer, deliveries: list[Delivery]) -> None:
        for _, priority, messages, _ in deliveries:
            for data in messages:
                stream._put(NewMessage(peer, data, priority, None), len(data) + _OVERHEAD)

    def end(self) -> None:
        """No more events: streams end when they have been read, and no callback starts any more."""
        with self._lock:
            self._ended = True
            for subscription in self._all:
                subscription.cancelled = True
            self._all = self._message_callbacks = ()
            streams, self._streams, self._message_stream = self._streams, (), None
        for stream in streams:
            stream._end()

    # --- running (the dispatcher thread) ------------------------------------------------------------------------------

    def run(self, callback: Callback, argument: object) -> None:
        """Run a callback of the application that no event belongs to."""
        self._run_one(callback, argument, None)
        self._dispatcher.set_current(None)

    def _run_event(self, event: Event) -> None:
        kind = type(event)
        for subscription in self._all:
            if issubclass(kind, subscription.kind) and not subscription.cancelled:
                self._run_one(subscription.callback, event, event)
        self._dispatcher.set_current(None)

    def _run_one(self, callback: Callback, argument: object, event: Event | None) -> None:
        began = time.monotonic()
        self._dispatcher.set_current(_name(callback))
        try:
            callback(argument)
        except Exception as error:
            self._failed(callback, event, error)
        self._check_duration(callback, time.monotonic() - began)

    def _run_messages(self, peer: Peer, deliveries: list[Delivery]) -> None:
        try:
            if not peer._inbox.empty():
                self._run_inbox(peer)  # it is older
            self._run_deliveries(peer, deliveries)
        finally:
            self._pending.popleft()

    def _run_inbox(self, peer: Peer) -> None:
        with peer._conversation.lock:
            unread = peer._unread()
        self._run_deliveries(peer, unread)

    def _run_deliveries(self, peer: Peer, deliveries: list[Delivery]) -> None:
        clock = time.monotonic
        paid = began = clock()
        owed = 0
        warn_after = self._warn_after
        make = tuple.__new__  # NewMessage(…) itself costs twice as much
        callbacks: tuple[Subscription, ...] = ()
        for index, (_, priority, messages, _) in enumerate(deliveries):
            for position, data in enumerate(messages):
                if self._message_callbacks is not callbacks:
                    callbacks = self._message_callbacks
                    self._dispatcher.set_current(_name(callbacks[0].callback) if callbacks else None)
                if not callbacks:
                    self._hand_on(peer, deliveries[index:], position)
                    if owed:
                        self._consumed(peer, owed)
                    return
                event = make(NewMessage, (peer, data, priority, None))
                for subscription in callbacks:
                    if subscription.cancelled:
                        continue
                    try:
                        subscription.callback(event)
                    except Exception as error:
                        self._failed(subscription.callback, event, error)
                    now = clock()
                    if now - began > warn_after:
                        self._check_duration(subscription.callback, now - began)
                    began = now
                owed += len(data) + _OVERHEAD
                if began - paid > _CREDIT_INTERVAL:
                    self._consumed(peer, owed)
                    owed, paid = 0, began
        self._dispatcher.set_current(None)
        if owed:
            self._consumed(peer, owed)

    def _hand_on(self, peer: Peer, deliveries: list[Delivery], done: int) -> None:
        """The last callback was cancelled: the next consumer gets all but the ``done`` first messages of these."""
        first = deliveries[0]
        rest = [first._replace(messages=first.messages[done:]), *deliveries[1:]]
        stream = self._message_stream
        if stream is None:
            peer._deliver(rest)
        else:
            self._stream_out(stream, peer, rest)

    def _failed(self, callback: Callback, event: AnyEvent | None, error: Exception) -> None:
        self.errors += 1
        occasion = "" if event is None else f" on {type(event).__name__}"
        self._log.error("callback %s raised%s", _name(callback), occasion, exc_info=error)
        if self._on_error is not None and event is not None:
            try:
                self._on_error(event, error)
            except Exception as failure:
                self._log.error("the on_callback_error hook itself raised", exc_info=failure)

    def _check_duration(self, callback: Callback, seconds: float) -> None:
        if seconds > self._warn_after:
            self._log.warning(
                "callback %s took %.1f s; events and messages of all peers wait meanwhile: do long work elsewhere",
                _name(callback),
                seconds,
            )


def _is_event(kind: object) -> bool:
    return kind is object or (isinstance(kind, type) and issubclass(kind, (Event, NewMessage)))


def _takes_messages(kind: type[Any]) -> bool:
    return kind in (NewMessage, Event, object)


def _name(callback: Callback) -> str:
    name = getattr(callback, "__qualname__", None) or repr(callback)
    return f"{getattr(callback, '__module__', '?')}.{name}"
