"""
Changing ports while running: a node listens on other random ports, and its sessions follow.

One rotation: other listeners are opened, and the router opens ports for them; from now on nobody is told of the old
ones, and no dial leaves from there. The linked peers are told (:mod:`crust.service.network.relocation`), while the old
listeners still answer; sessions whose links use a port that is left move to new ones, by whoever dialled. After some
grace the old listeners and the router's ports for them are closed. A session that nobody could move keeps its link.

Ports that the configuration names stay, and so do sockets that have made a hole in a NAT.
"""

from __future__ import annotations

import collections
import random
import threading
import weakref
from collections.abc import Callable, Container

from ... import limits
from ...addresses import Endpoint
from ...exceptions import CrustError
from ...peers.link import Link
from ...runtime.timers import Timer
from ...transports.contract import Listener
from ..node import Node
from .listeners import Listeners

__all__ = ["Rotation"]


class Rotation:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        listeners: Its listeners.
        changed: Called with the endpoints that were opened: others reach us elsewhere from now on. On a thread of the
            node, or the caller's of :meth:`rotate`.
        closed: Called when the old listeners are closed.
        announce: Tells the peers where we are now.
    """

    def __init__(
        self,
        node: Node,
        listeners: Listeners,
        changed: Callable[[list[Endpoint]], object],
        closed: Callable[[], object],
        announce: Callable[[], object],
    ) -> None:
        self._node = node
        self._listeners = listeners
        self._changed = changed
        self._ended = closed
        self._announce = announce
        self.on_rotated: list[Callable[[], object]] = []
        """
        Called after each rotation: whoever has told strangers where this node is, as beacons and signed records do,
        tells them anew here. Filled before the start.
        """
        self._lock = threading.Lock()  # guards the fields below
        self._turn = threading.Lock()  # one rotation at a time; taken before the other
        self._used: collections.deque[int] = collections.deque(maxlen=limits.ROTATE_MEMORY)
        self._closed = False
        self._next: Timer | None = None
        self._timers: set[Timer] = set()
        self._moving_until = float("-inf")  # what becomes known of our addresses is told again until then

    # --- when ---------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Rotate from now on, if the configuration says so. Idempotent."""
        interval = self._node.config.listen.rotate_interval
        if interval is None:
            return
        delay = interval * random.uniform(1 - limits.JITTER, 1 + limits.JITTER)
        with self._lock:
            if not self._closed and (self._next is None or not self._next.active):
                self._next = self._node.io.call_later(delay, self._due)

    def _due(self, _now: float) -> None:
        if not self._spawn(self._rotate_on):
            self.begin()

    def _spawn(self, call: Callable[[], object]) -> bool:
        """A thread: the I/O thread cannot wait for sockets to be bound, and for what the system says of addresses."""
        try:
            self._node.spawn("crust-rotate", call)
        except RuntimeError as error:  # no thread to be had
            self._node.log.warning("the ports are not changed, or not all sessions are moved: %s", error)
            return False
        return True

    def _rotate_on(self) -> None:
        try:
            self.rotate()
        except CrustError as error:
            self._node.log.warning("the ports are not changed: %s", error)
        self.begin()

    # --- what ---------------------------------------------------------------------------------------------------------

    def rotate(self, grace: float | None = None) -> tuple[Endpoint, ...]:
        """
        Change all random ports.

        Args:
            grace: Seconds for which the old ones still answer; None: ten minutes, or a third of the interval.

        Returns:
            Where we listen from now on, in place of the old ones; nothing, if there are no random ports.

        Raises:
            ListenError: There are no ports to be had; nothing has changed.
        """
        if grace is None:
            interval = self._node.config.listen.rotate_interval
            third = limits.ROTATE_GRACE if interval is None else interval / limits.ROTATE_GRACE_SHARE
            grace = min(limits.ROTATE_GRACE, third)
        with self._turn:
            return self._rotate(grace)

    def _rotate(self, grace: float) -> tuple[Endpoint, ...]:
        for endpoint in self._listeners.endpoints():
            if endpoint.port not in self._used:
                self._used.append(endpoint.port)
        opened, old = self._listeners.rotate(frozenset(self._used))
        if not opened:
            return ()
        for transport in self._node.transports.values():
            transport.change_ports()
        links = weakref.WeakSet(each.link for each in self._node.registry.all() if each.link is not None)
        left = sorted({each.endpoint.port for each in old})
        self._node.log.info("ports changed from %s to %s", left, sorted({each.port for each in opened}))
        self._changed(opened)
        with self._lock:
            self._moving_until = self._node.io.now() + grace
        self._move(links)
        self._later(grace / 2, lambda: self._spawn(lambda: self._move(links)))
        self._later(grace, lambda: self._end(old))
        for heard in self.on_rotated:
            heard()
        return tuple(opened)

    def _move(self, links: Container[Link]) -> None:
        """Tell the peers, and move what can be moved from here: of these links those whose ports are left."""
        self._announce()
        kept = {(each.transport, each.port) for each in self._listeners.endpoints()}

        def is_left(link: Link) -> bool:
            local = link.connection.local
            return link in links and (local.transport, local.port) not in kept

        self._node.relocation.leave(is_left)

    def told_more(self) -> None:
        """More is known of our addresses, such as a port that the router has opened."""
        with self._lock:
            moving = not self._closed and self._node.io.now() < self._moving_until
        if moving:
            self._announce()

    def _later(self, delay: float, call: Callable[[], object]) -> None:
        def due(_now: float) -> None:
            with self._lock:
                self._timers.discard(timer)
                if self._closed:
                    return
            call()

        with self._lock:
            if self._closed:
                return
            timer = self._node.io.call_later(delay, due)
            self._timers.add(timer)

    def _end(self, old: list[Listener]) -> None:
        """The grace is over."""
        self._listeners.end(old)
        self._ended()

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Change nothing any more. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            timers, self._timers = self._timers, set()
            upcoming = self._next
        for timer in timers:
            timer.cancel()
        if upcoming is not None:
            upcoming.cancel()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._closed = True
