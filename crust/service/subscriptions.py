"""
Who hears what: callbacks on the dispatcher thread, and streams that are read.

State events go to every subscriber. A message has one kind of consumer: ``NewMessage`` callbacks if there are any (all
of them, in order), else a stream that asked for ``NewMessage``, else the peer's own inbox.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import limits
from ..exceptions import ForkedError, LocalProtocolError
from ..peers.messages import Handed, NewMessage
from ..peers.session import Delivery
from ..runtime.clock import Clock
from ..runtime.dispatcher import Dispatcher, name_of
from ..runtime.logs import NodeLog
from ..runtime.threads import contained, forward_interrupt
from .events import Event
from .stream import AnyEvent, EventStream

if TYPE_CHECKING:
    from ..peers.peer import Peer

__all__ = ["Subscription", "Subscriptions"]

_OVERHEAD = limits.MESSAGE_OVERHEAD
_CREDIT_INTERVAL = 0.05  # seconds of callbacks after which their messages' buffer is given back

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
        self.warn_after = warn_after
        """May be changed at any time."""
        self._consumed = consumed
        self._on_error = on_error
        self._lock = threading.Lock()  # guards changes of the tuples below; they are read without it
        self._all: tuple[Subscription, ...] = ()
        self._streams: tuple[EventStream, ...] = ()
        self._message_callbacks: tuple[Subscription, ...] = ()
        self._message_stream: EventStream | None = None
        self._pending: collections.deque[None] = collections.deque()  # one for each post on its way to callbacks
        self._waiting: collections.deque[None] = collections.deque()  # one for each state event of which that is so
        self._ended = False
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
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
        stream = EventStream(self, kinds, maxsize, _credit)
        with self._lock:
            if self._ended:
                stream.end()
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

    def remove_stream(self, stream: EventStream) -> None:
        with self._lock:
            self._streams = tuple(each for each in self._streams if each is not stream)
            if self._message_stream is stream:
                self._message_stream = None

    def abandon(self, error: ForkedError) -> None:
        """In a forked child: nobody hears anything any more (takes no lock)."""
        self._lock = threading.Lock()
        self._ended = True
        streams = self._streams
        self._all = self._message_callbacks = self._streams = ()
        self._message_stream = None
        for stream in streams:
            stream.abandon(error)

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
                stream.put(event)
        if any(issubclass(kind, each.kind) for each in self._all):
            self._waiting.append(None)
            self._dispatcher.post(self._run_event, event)

    def afterwards(self, then: Callable[[], object]) -> None:
        """Have that done, by the dispatcher, once callbacks have heard all that has been emitted. It must be quick."""
        if self._dispatcher.running:
            self._dispatcher.post(then)
        else:
            then()

    @property
    def waiting(self) -> int:
        """State events that wait for callbacks."""
        return len(self._waiting)

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
        if stream is None or self._pending:  # behind what callbacks, of which the last was cancelled, have not had
            self._pending.append(None)
            self._dispatcher.post(self._run_messages, peer, [])
        else:
            self._stream_out(stream, peer, peer._unread())

    @staticmethod
    def _stream_out(stream: EventStream, peer: Peer, deliveries: list[Delivery]) -> None:
        for index, (_, priority, messages, _, evidence) in enumerate(deliveries):
            for position, data in enumerate(messages):
                proof = None if evidence is None else peer._proof(data, evidence)
                if not stream.put(NewMessage(peer, data, priority, proof), len(data) + _OVERHEAD):
                    peer._deliver(_rest(deliveries, index, position))  # closed at this very moment
                    return

    def end(self) -> None:
        """No more events: streams end when they have been read, and no callback starts any more."""
        with self._lock:
            self._ended = True
            for subscription in self._all:
                subscription.cancelled = True
            self._all = self._message_callbacks = ()
            streams, self._streams, self._message_stream = self._streams, (), None
        for stream in streams:
            stream.end()

    # --- running (the dispatcher thread) ------------------------------------------------------------------------------

    def run(self, callback: Callback, argument: object, event: Event | None = None) -> None:
        """Run a callback of the application that is no subscriber; ``event``: what it is about, if it is about one."""
        self._run_one(callback, argument, event)
        self._dispatcher.set_current(None)

    def ask(self, callback: Callback, argument: object, answers: list[object]) -> None:
        """The same, if it has an answer: that is appended; nothing is, if it raises."""

        def run(given: object) -> None:
            answers.append(callback(given))

        run.__module__, run.__qualname__ = callback.__module__, getattr(callback, "__qualname__", repr(callback))
        self.run(run, argument)

    def report(self, callback: Callback, argument: object, error: BaseException) -> None:
        """Something of the application raised on another thread: its hook hears of it on this one. Any thread."""
        self._dispatcher.post(self._failed, callback, argument, error)

    def _run_event(self, event: Event) -> None:
        self._waiting.popleft()
        kind = type(event)
        for subscription in self._all:
            if issubclass(kind, subscription.kind) and not subscription.cancelled:
                self._run_one(subscription.callback, event, event)
        self._dispatcher.set_current(None)

    def _run_one(self, callback: Callback, argument: object, event: Event | None) -> None:
        began = time.monotonic()
        self._dispatcher.set_current(callback, began)
        try:
            callback(argument)
        except BaseException as error:
            self._failed(callback, event, error)
        self._check_duration(callback, time.monotonic() - began)

    def _run_messages(self, peer: Peer, deliveries: list[Delivery]) -> None:
        try:
            if peer._has_unread:
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
        warn_after = self.warn_after
        make = tuple.__new__  # NewMessage(…) itself costs twice as much
        callbacks: tuple[Subscription, ...] = ()
        for index, (_, priority, messages, _, evidence) in enumerate(deliveries):
            proof = None if evidence is None else peer._proof(messages[0], evidence)
            for position, data in enumerate(messages):
                if self._message_callbacks is not callbacks:
                    callbacks = self._message_callbacks
                    self._dispatcher.set_current(callbacks[0].callback if callbacks else None, began)
                if not callbacks:
                    self._hand_on(peer, _rest(deliveries, index, position))
                    if owed:
                        self._consumed(peer, owed)
                    return
                event = make(NewMessage, (peer, data, priority, proof))
                for subscription in callbacks:
                    if subscription.cancelled:
                        continue
                    try:
                        subscription.callback(event)
                    except BaseException as error:
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

    def _hand_on(self, peer: Peer, rest: list[Delivery]) -> None:
        """The last callback was cancelled: the next consumer gets these."""
        stream = self._message_stream
        if stream is None:
            peer._give_back(rest)
        else:
            self._stream_out(stream, peer, rest)

    def _failed(self, callback: Callback, event: AnyEvent | None, error: BaseException) -> None:
        """A callback raised: SystemExit too ends nothing but the callback, since this is not the program's thread."""
        if forward_interrupt(error):
            return
        self.errors += 1
        occasion = "" if event is None else f" on {type(event).__name__}"
        with contained(self._log.error, "callback %s raised%s what cannot be shown", name_of(callback), occasion):
            self._log.error("callback %s raised%s", name_of(callback), occasion, exc_info=error)
        if self._on_error is not None and event is not None:
            with contained(self._log.exception, "the on_callback_error hook itself raised"):
                self._on_error(event, error)

    def _check_duration(self, callback: Callback, seconds: float) -> None:
        if seconds > self.warn_after:
            self._log.warning(
                "callback %s took %.1f s; events and messages of all peers wait meanwhile: do long work elsewhere",
                name_of(callback),
                seconds,
            )


def _rest(deliveries: list[Delivery], index: int, done: int) -> list[Delivery]:
    """What is left from the delivery at ``index`` on, of which the ``done`` first messages have been handed over."""
    first = deliveries[index]
    return [first._replace(messages=first.messages[done:]), *deliveries[index + 1 :]]


def _is_event(kind: object) -> bool:
    return kind is object or (isinstance(kind, type) and issubclass(kind, (Event, NewMessage)))


def _takes_messages(kind: type[Any]) -> bool:
    return kind in (NewMessage, Event, object)


def _credit(peer: Peer, handed: Handed) -> None:
    peer._conversation.credit(handed)
