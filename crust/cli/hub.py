"""
Several programs on one node: who of them hears what.

Replies go to the program that asked, events to those that subscribed to them. A message goes to every program that
subscribed to messages of its sender. While there is none it stays in the inbox of its session, where the sender's
credit bounds it: nothing here takes a message before somebody wants it. A `_Tap` for each session, with a thread as
soon as it is wanted, moves messages from the inbox to the programs.

What one program leaves unread never holds up the others: see `Subscriber`.
"""

from __future__ import annotations

import collections
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import crust

from .as_json import JSON, event_as_json, snake_case
from .control import BadRequest

__all__ = ["Hub", "Subscriber"]

_log = logging.getLogger("crust.cli.hub")

QUEUE_BYTES = 4 * 1024 * 1024  # of lines that wait for one program; it is full then
QUEUE_EVENTS = 1024  # state events that wait for one program; the oldest are dropped then
PATIENCE = 1.0  # seconds that a full program has to read half of it, before it is cut off for the sake of others
STALLED = 5.0  # seconds in which a full program for which the node itself waits has to read anything at all
UNANSWERED_MAX = 1024  # commands of one program under way; more are not read until some are answered
KEPT_BYTES = 64 * 1024 * 1024  # of unread messages of sessions that have ended: see `Hub._trim` and `Hub._await_room`
SESSION_COST = 16_384  # of those, what each such session counts besides its messages, however small they are
_BATCH = 65_536  # bytes written at once
_OVERHEAD = 64  # that each message counts in ``PeerStats.unread_bytes`` besides its own

_BEGINNINGS = (crust.ConnectSuccess, crust.BootstrapConnect, crust.BootstrapAccept)


class Subscriber:
    """
    One program: what it wants to hear, and the lines that wait for it. Made by `Hub.join`; thread-safe.

    Of state events the oldest are dropped when `QUEUE_EVENTS` wait, and ``events_lost`` says how many. Messages are
    never dropped. When `QUEUE_BYTES` wait, the senders of messages wait for a program that is their only taker. If
    another one takes them too, the slow one gets `PATIENCE` seconds, and is then cut off.
    """

    def __init__(self, lock: threading.Lock, room: threading.Condition, cut: Callable[[], object]) -> None:
        self.events: Collection[str] = frozenset()
        self.peers: Collection[crust.PeerId] | None = None
        self.full_since: float | None = None
        self.read_at = 0.0  # when it last had room for more bytes on the way to it
        self._lock = lock
        self._room = room  # notified when there is room again
        self._filled = threading.Condition(lock)  # notified when there is something to write
        self._answered = threading.Condition(lock)  # notified when the program may ask again
        self._cut = cut
        self._lines: collections.deque[tuple[bytes, bool]] = collections.deque()  # a line; is it a state event?
        self._bytes = 0
        self._states = 0
        self._lost = 0
        self._unanswered = 0
        self._ended = False

    # --- what the program reads -----------------------------------------------------------------------------------

    def take(self) -> bytes | None:
        """The next lines to write, as soon as there are some; None when there will be no more."""
        with self._lock:
            while not self._lines:
                if self._ended:
                    return None
                self._filled.wait()
            found = []
            if self._lost:
                found.append(_line({"event": "events_lost", "count": self._lost}))
                self._lost = 0
            size = 0
            while self._lines and size < _BATCH:
                line, is_state = self._lines.popleft()
                found.append(line)
                size += len(line)
                self._states -= is_state
            self._bytes -= size
            self.read_at = time.monotonic()
            if self._bytes <= QUEUE_BYTES // 2 and self.full_since is not None:
                self.full_since = None
                self._room.notify_all()
                self._answered.notify_all()
            return b"".join(found)

    def has_read(self) -> None:
        """It took some of what `take` gave: it reads, however slowly, and however long a line is."""
        self.read_at = time.monotonic()

    def reply(self, told: dict[str, JSON]) -> None:
        """Give the answer to a command that `may_ask` let in."""
        with self._lock:
            self._unanswered -= 1
            self._answered.notify_all()
            self.put(_line(told))

    def may_ask(self) -> bool:
        """Wait until the program has read enough of its answers for one more command; False if it is gone."""
        with self._lock:
            while not self._ended and (self.full_since is not None or self._unanswered >= UNANSWERED_MAX):
                self._answered.wait()
            self._unanswered += 1
            return not self._ended

    def finish(self, cut: bool = False) -> None:
        """`end` for those who do not hold the lock."""
        with self._lock:
            self.end(cut)

    # --- for the hub, which holds the lock ------------------------------------------------------------------------

    def wants(self, name: str, peer_id: crust.PeerId | None) -> bool:
        """Did it subscribe to that? An event that is about no peer passes every choice of peers."""
        return name in self.events and (self.peers is None or peer_id is None or peer_id in self.peers)

    def wants_messages_of(self, peers: frozenset[crust.PeerId]) -> bool:
        """Did it subscribe to those of any of them?"""
        return "new_message" in self.events and (self.peers is None or not peers.isdisjoint(self.peers))

    def put(self, line: bytes, is_state: bool = False) -> None:
        """Queue one line; it takes it, full or not: who may wait looks at `full_since` first."""
        if self._ended:
            return
        if is_state and self._states >= QUEUE_EVENTS:
            index = next(i for i, (_, state) in enumerate(self._lines) if state)
            self._bytes -= len(self._lines[index][0])
            del self._lines[index]
            self._states -= 1
            self._lost += 1
        self._lines.append((line, is_state))
        self._states += is_state
        self._bytes += len(line)
        if self._bytes >= QUEUE_BYTES and self.full_since is None:
            self.full_since = time.monotonic()
        self._filled.notify()

    def end(self, cut: bool = False) -> None:
        """Nothing more comes; what waits is still written, unless the program is cut off."""
        if cut and not self._ended:
            self._lines.clear()
            self._cut()
        self._ended = True
        self._filled.notify_all()
        self._answered.notify_all()
        self._room.notify_all()


class _Tap:
    """The messages of one session on their way to the programs."""

    def __init__(self, peer: crust.Peer, number: int) -> None:
        self.peer = peer
        self.number = number  # of the session, counted from the start of the node
        self.thread: threading.Thread | None = None
        self.then: list[dict[str, JSON]] = []  # events that come after the messages: the first is lost_peer
        self.drained = False  # the last message is out
        self.over = False  # the session has ended
        self.kept = 0  # what it counts for once it has ended, with bytes that nobody has taken
        self.in_hand = 0  # of those that its thread has taken from the inbox already: one message
        self.given_up = False


class Hub:
    """
    The meeting place of one node and the programs that share it. Thread-safe.

    Args:
        kinds: The events that there are.
    """

    def __init__(self, kinds: Iterable[type[Any]]) -> None:
        self.names = tuple(sorted(snake_case(kind.__name__) for kind in kinds))
        self._lock = threading.Lock()  # guards everything here, and in the subscribers
        self._room = threading.Condition(self._lock)  # notified when a tap may go on
        self._subscribers: list[Subscriber] = []
        self._taps: dict[crust.PeerId, list[_Tap]] = {}  # per peer the oldest session first, which goes first
        self._kept: dict[_Tap, None] = {}  # those of ended sessions that count, in the order of their ends,
        self._kept_bytes = 0  # and what they count
        self._numbers = itertools.count()
        self._ending = False  # nobody waits for room any more
        self._closed = False

    # --- programs ---------------------------------------------------------------------------------------------------

    def join(self, first: dict[str, JSON], cut: Callable[[], object]) -> Subscriber:
        """
        A program has come. It hears nothing but its replies until it subscribes.

        Args:
            first: The first line that it gets.
            cut: Called if it has to be cut off; must not wait.
        """
        subscriber = Subscriber(self._lock, self._room, cut)
        with self._lock:
            subscriber.put(_line(first))
            self._subscribers.append(subscriber)
        return subscriber

    def subscribe(
        self, subscriber: Subscriber, events: Collection[str], peers: Collection[crust.PeerId] | None
    ) -> None:
        """
        Let it hear these events, about these peers (None: all), from now on, and no others.

        Raises:
            BadRequest: There is no such event.
        """
        for name in events:
            if name not in self.names:
                raise BadRequest(f"events: there is no event {name!r}; known: {', '.join(self.names)}")
        with self._lock:
            subscriber.events, subscriber.peers = frozenset(events), None if peers is None else frozenset(peers)
            self._settle()

    def leave(self, subscriber: Subscriber) -> None:
        """A program asks no more: it hears no more events; what waits for it is still written."""
        with self._lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
            subscriber.events = frozenset()
            self._settle()

    def end(self) -> None:
        """The node is about to close: it does not wait for programs any more."""
        with self._lock:
            self._ending = True
            self._room.notify_all()

    def close(self, timeout: float) -> None:
        """The node is closed: what its sessions left goes out to who wants it, as far as the time allows."""
        end = time.monotonic() + timeout
        with self._lock:
            while any(not tap.drained and self._takers(tap.peer.id) for tap in self._all()):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._room.wait(left)
            self._closed = True
            threads = [tap.thread for tap in self._all() if tap.thread is not None]
            for subscriber in self._subscribers:
                subscriber.end()
            self._room.notify_all()
        for thread in threads:
            thread.join(max(1.0, end - time.monotonic()))

    # --- the node (its dispatcher thread) -----------------------------------------------------------------------------

    def tell(self, event: Any) -> None:
        """
        Something happened; not for ``NewMessage``, which the taps find by themselves. It waits only for programs that
        have fallen far behind with what sessions have left.
        """
        told = event_as_json(event)
        peer = getattr(event, "peer", None)
        peer_id = getattr(event, "peer_id", None) if peer is None else peer.id
        with self._lock:
            if isinstance(event, crust.LostPeer):
                self._lost(event.peer, told)
                self._await_room()
                return
            self._tell_in_order(told, peer_id)
            if isinstance(event, _BEGINNINGS):
                self._taps.setdefault(event.peer.id, []).append(_Tap(event.peer, next(self._numbers)))
                self._settle(event.peer.id)

    def _lost(self, peer: crust.Peer, told: dict[str, JSON]) -> None:
        """``lost_peer`` comes after the last message of the session: at once only if nobody reads those."""
        tap = next((tap for tap in self._taps.get(peer.id, []) if tap.peer is peer), None)
        if tap is not None:
            tap.over = True
            left = peer.stats().unread_bytes + tap.in_hand
            tap.kept = left + SESSION_COST if left else 0
            if not tap.drained and (tap.thread is not None or tap.kept):
                tap.then.append(told)
                if tap.kept:
                    self._kept[tap] = None
                    self._kept_bytes += tap.kept
                self._settle(peer.id)
                self._trim()
                return
            self._remove(tap)
        self._tell_in_order(told, peer.id)

    def _trim(self) -> None:
        """Bound what is kept of ended sessions: no credit does it any more."""
        if self._kept_bytes <= KEPT_BYTES:
            return
        for tap in list(self._kept):
            if self._kept_bytes <= KEPT_BYTES:
                break
            if self._takers(tap.peer.id):
                continue
            _log.warning(
                "gave up unread messages of peer %s: nobody subscribed, and its session is over", tap.peer.id
            )
            tap.given_up = True
            self._finish(tap)
        self._room.notify_all()

    def _await_room(self) -> None:
        """
        Programs that want what ended sessions have left do not read it: until they have, the node waits with us. So it
        counts what more sessions leave, and is busy for new ones. One that reads slowly has all the time it needs, or
        strangers who leave much would have it cut off; one that reads nothing is.
        """
        while self._kept_bytes > KEPT_BYTES and not self._ending:
            kept = frozenset(tap.peer.id for tap in self._kept)
            full = [each for each in self._subscribers if each.full_since is not None and each.wants_messages_of(kept)]
            if full:
                self._wait_or_cut({each: max(each.full_since or 0.0, each.read_at) + STALLED for each in full})
                if all(each in self._subscribers for each in full):
                    continue
            elif self._room.wait(PATIENCE):
                continue
            self._settle()  # some have lost their takers, or their threads could not be started
            self._trim()

    # --- below, the lock is held ----------------------------------------------------------------------------------

    def _all(self) -> list[_Tap]:
        return [tap for taps in self._taps.values() for tap in taps]

    def _takers(self, peer_id: crust.PeerId) -> list[Subscriber]:
        return [each for each in self._subscribers if each.wants("new_message", peer_id)]

    def _tell_in_order(self, told: dict[str, JSON], peer_id: crust.PeerId | None) -> None:
        """Tell it now, or behind what waits already for the last message of an earlier session of this peer."""
        waiting = [] if peer_id is None else [tap for tap in self._taps.get(peer_id, []) if tap.then]
        if waiting:
            waiting[-1].then.append(told)
        else:
            self._tell(told, peer_id)

    def _tell(self, told: dict[str, JSON], peer_id: crust.PeerId | None) -> None:
        name = str(told["event"])
        line = _line(told)
        for subscriber in self._subscribers:
            if subscriber.wants(name, peer_id):
                subscriber.put(line, is_state=True)

    def _settle(self, peer_id: crust.PeerId | None = None) -> None:
        """Start the taps that are wanted now; what waits behind those that are not, waits no longer."""
        for each in [peer_id] if peer_id is not None else list(self._taps):
            taps = self._taps.get(each, [])
            if self._takers(each):
                if taps and taps[0].thread is None and not self._closed:
                    self._start(taps[0])
                continue
            for tap in taps:
                for told in tap.then:
                    self._tell(told, each)
                tap.then.clear()
        self._room.notify_all()

    def _start(self, tap: _Tap) -> None:
        name = f"crust-tap-{tap.peer.id.short}"
        thread = threading.Thread(target=self._run, args=(tap,), name=name, daemon=True)
        try:
            thread.start()  # it needs the lock, which we hold
        except RuntimeError as error:  # what is settled next tries again
            _log.warning("the messages of peer %s wait: %s", tap.peer.id, error)
            return
        tap.thread = thread

    def _remove(self, tap: _Tap) -> None:
        if tap in self._kept:
            del self._kept[tap]
            self._kept_bytes -= tap.kept
        taps = self._taps[tap.peer.id]
        taps.remove(tap)
        if not taps:
            del self._taps[tap.peer.id]

    def _finish(self, tap: _Tap) -> None:
        """Its last message is out: what came after it may follow, and the next session of this peer."""
        tap.drained = True
        if tap.over:  # else _lost() removes it
            for told in tap.then:
                self._tell(told, tap.peer.id)
            self._remove(tap)
        self._settle(tap.peer.id)

    # --- the thread of a tap --------------------------------------------------------------------------------------

    def _run(self, tap: _Tap) -> None:
        try:
            while True:  # when the last taker leaves, one message may be in hand; the others stay in the inbox
                message = tap.peer.recv_message()
                cost = len(message.data) + _OVERHEAD
                if not self._deliver(tap, _line(event_as_json(message)), cost):
                    return
        except (crust.PeerLost, crust.ServiceClosed):
            pass  # everything has been read
        with self._lock:
            if not tap.given_up:
                self._finish(tap)

    def _deliver(self, tap: _Tap, line: bytes, cost: int) -> bool:
        """Give one message to all who want it, when they have room or their time is up; False: nobody ever will."""
        with self._lock:
            tap.in_hand = len(line)
            while not self._closed and not tap.given_up:
                takers = self._takers(tap.peer.id)
                full = [each for each in takers if each.full_since is not None]
                if len(full) == len(takers):
                    self._room.wait()  # nobody takes it, or all are slow: the sender waits with us
                    continue
                if full:
                    self._wait_or_cut({each: (each.full_since or 0.0) + PATIENCE for each in full})
                    continue
                for each in takers:
                    each.put(line)
                tap.in_hand = 0
                self._let_go(tap, cost)
                return True
        return False

    def _let_go(self, tap: _Tap, cost: int) -> None:
        """So much of what an ended session has left is out: all of them go out together, and end late."""
        cost = min(cost, tap.kept - SESSION_COST)
        if cost > 0 and tap in self._kept:
            was_full = self._kept_bytes > KEPT_BYTES
            tap.kept -= cost
            self._kept_bytes -= cost
            if was_full and self._kept_bytes <= KEPT_BYTES:
                self._room.notify_all()

    def _wait_or_cut(self, until: dict[Subscriber, float]) -> None:
        """Wait for room until the first of these times; whose time has passed already is cut off."""
        now = time.monotonic()
        left = min(until.values()) - now
        if left > 0:
            self._room.wait(left)
            return
        for each, end in until.items():
            if end <= now:
                _log.warning("cut off a program that does not read: %d bytes wait for it", QUEUE_BYTES)
                self._subscribers.remove(each)
                each.end(cut=True)


def _line(told: dict[str, JSON]) -> bytes:
    return json.dumps(told).encode() + b"\n"
