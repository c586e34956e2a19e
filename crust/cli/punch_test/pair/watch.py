"""What happens in a test, live: lines for people on stderr, JSON lines for programs on stdout."""

from __future__ import annotations

import collections
import json
import threading
import time
from collections.abc import Callable, Sequence

import crust

from ...as_json import JSON, value_as_json
from ...context import Context
from ...terminal import human_size, printable
from .meeting import ATTEMPTS_MAX, Measurement
from .words import attempted, path_words, place_of, rank

__all__ = ["Watch", "milliseconds", "told_measurement"]


_FAILURE_PATIENCE = 2.0  # seconds for an event that is under way


class Watch:
    """
    Hears what the node tries, and tells. Thread-safe; the node's callbacks run here.

    Args:
        context: Where people look.
        as_json: Whether programs read along.
        came: Called with each peer that called us, on the dispatcher; True if the test is with that one from now on.
    """

    def __init__(self, context: Context, as_json: bool, came: Callable[[crust.Peer], bool] | None = None) -> None:
        self._context = context
        self._terminal = context.terminal
        self._as_json = as_json
        self._came = came
        self._lock = threading.Lock()  # guards what follows
        self._began = time.time()
        self._other: crust.PeerId | None = None
        self._rendezvous: frozenset[crust.PeerId] = frozenset()
        self._attempts: collections.deque[crust.Attempt] = collections.deque(maxlen=ATTEMPTS_MAX)
        self._failure = threading.Event()
        self._telling = threading.Lock()  # guards _silent, and that nothing is told after `end`
        self._silent = True
        self.changed = threading.Event()
        """Set when something has happened that the test may have waited for."""

    def follow(self, node: crust.Service) -> None:
        """Before the start."""
        node.on(crust.PathAttempted, self._attempted)
        node.on(crust.ConnectFailure, self._failed)
        node.on(crust.ConnectSuccess, self._connected)
        node.on(crust.PathChanged, self._moved)
        node.on(crust.PeerSuspended, self._suspended)
        node.on(crust.LostPeer, self._lost)

    def introduced_by(self, rendezvous: Sequence[crust.Contact]) -> None:
        """There are links to these, which are missed if they end."""
        with self._lock:
            self._rendezvous = frozenset(contact.peer_id for contact in rendezvous)

    def begin(self, other: crust.PeerId) -> None:
        """A test with that one begins: times count from now."""
        with self._lock:
            self._other = other
            self._began = time.time()
            self._attempts.clear()
        with self._telling:
            self._silent = False

    def await_failure(self) -> None:
        """The call has failed: wait until all attempts that led to that are told."""
        self._failure.wait(_FAILURE_PATIENCE)

    def end(self) -> None:
        """The test is over: what becomes of it now is no part of the result, which is the last thing that is told."""
        with self._telling:
            self._silent = True

    @property
    def attempts(self) -> tuple[crust.Attempt, ...]:
        """What was tried in this test, oldest first."""
        with self._lock:
            return tuple(self._attempts)

    @property
    def began(self) -> float:
        """When the test did, seconds since the epoch."""
        with self._lock:
            return self._began

    # --- what happens -------------------------------------------------------------------------------------------------

    def _concerns(self, peer_id: crust.PeerId) -> bool:
        with self._lock:
            return peer_id == self._other

    def _introduces(self, peer_id: crust.PeerId) -> bool:
        with self._lock:
            return peer_id in self._rendezvous

    def _attempted(self, event: crust.PathAttempted) -> None:
        if not self._concerns(event.peer_id):
            return
        with self._telling:
            if self._silent:
                return
            with self._lock:
                self._attempts.append(event.attempt)
        text = attempted(event.attempt)
        self.tell("attempt", text, good=event.attempt.verdict == "connected", attempt=value_as_json(event.attempt))
        self.changed.set()

    def _failed(self, event: crust.ConnectFailure) -> None:
        if self._concerns(event.peer_id):
            self._failure.set()

    def _connected(self, event: crust.ConnectSuccess) -> None:
        if event.inbound and self._came is not None and self._came(event.peer):
            self.begin(event.peer.id)
        if not self._concerns(event.peer.id):
            return
        who = f"{self._context.call(event.peer.id)} calls: " if event.inbound else ""
        text = f"{who}connected {_where(event.path)}"
        self.tell("connected", text, good=True, peer=str(event.peer.id), path=value_as_json(event.path))

    def _moved(self, event: crust.PathChanged) -> None:
        if not self._concerns(event.peer.id):
            return
        better = event.old is None or rank(event.new.path_class) < rank(event.old.path_class)
        text = f"{'better: ' if better else ''}now connected {_where(event.new)}"
        self.tell("moved", text, good=better, peer=str(event.peer.id), path=value_as_json(event.new))
        self.changed.set()

    def _suspended(self, event: crust.PeerSuspended) -> None:
        if self._concerns(event.peer.id):
            text = f"the connection broke ({printable(event.reason)}); looking for another way"
            self.tell("suspended", text, peer=str(event.peer.id), reason=event.reason)
        elif self._introduces(event.peer.id):
            self._terminal.warn("the rendezvous does not answer any more; looking for it")

    def _lost(self, event: crust.LostPeer) -> None:
        if self._introduces(event.peer.id) and event.reason is not crust.LostReason.SERVICE_CLOSED:
            self._terminal.warn(f"the rendezvous is gone ({event.reason})")
        self.changed.set()

    # --- telling ------------------------------------------------------------------------------------------------------

    def tell(self, event: str, text: str, *, good: bool = False, **fields: JSON) -> None:
        """A line for people, and one for programs."""
        seconds = max(0.0, time.time() - self.began)
        shown = self._terminal.paint(text, "green") if good else text
        with self._telling:
            if self._silent:
                return
            self._terminal.say(f"{seconds:6.1f} s  {shown}")
            if self._as_json:
                told: dict[str, JSON] = {"event": event, "seconds": round(seconds, 3), "text": text, **fields}
                self._terminal.out(json.dumps(told))

    def measured(self, measurement: Measurement) -> None:
        """A path was measured."""
        self.tell("measured", told_measurement(measurement), measurement=value_as_json(measurement))


def _where(path: crust.Path) -> str:
    return printable(f"{path_words(path.path_class)} ({place_of(path.remote)})")


def told_measurement(measurement: Measurement) -> str:
    """Round trip and throughput in words."""
    told = []
    if measurement.rtt is not None:
        told.append(f"round trip {milliseconds(measurement.rtt)}")
    if measurement.sent is not None:
        told.append(f"{human_size(measurement.sent)}/s to the other end")
    if measurement.received is not None:
        told.append(f"{human_size(measurement.received)}/s from there")
    return f"{path_words(measurement.path_class)}: {', '.join(told) or 'nothing could be measured'}"


def milliseconds(seconds: float) -> str:
    """``23 ms``, ``0.4 ms``."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{max(seconds * 1000, 0.1):.1f} ms"
