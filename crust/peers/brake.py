"""
The brake: links whose peers sent so much that the node's memory is full are not read until there is room again; nor are
those, for a while, whose peers cost too much for what they bring.

No thread waits for that: a transport may serve all its connections on one. What lowers the budget asks the I/O thread
to let them go; should that be lost to an interrupt, it looks by itself now and then. The other side hears then that we
live: it would look for another way otherwise, and send what we have no room for once more.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..runtime.budget import Budget
from ..runtime.flusher import IoLoop
from .unfinished import Unfinished

if TYPE_CHECKING:
    from .holding import Holding
    from .link import Link

__all__ = ["Brake"]

_REST = 0.02  # seconds that a link rests at least, if it rests
_LOOK = 0.5  # seconds between looks by itself: less than it takes until a silent link is suspected


class Brake:
    """
    All links of one node that are not read for now. Thread-safe; nothing here blocks.

    Args:
        budget: What all peers together hold in memory. It tells this brake when it is below its limit again.
        io: The node's I/O loop.
    """

    def __init__(self, budget: Budget, io: IoLoop) -> None:
        self._budget = budget
        self._io = io
        self._lock = threading.Lock()  # guards what follows; taken before those of conversations and connections
        self._held: dict[Link, Holding] = {}
        self.unfinished: Unfinished[Holding] = Unfinished(budget)
        """What has begun to come, and not come to an end."""
        self._looks = False
        self._closed = False
        budget.on_below = self._below

    def hold(self, link: Link, conversation: Holding, wait: float = 0.0) -> None:
        """
        Do not read that link until there is room, or its peer's messages are all consumed.

        Args:
            wait: Seconds, if it is for what its peer costs.
        """
        with self._lock:
            if self._closed:
                return
            self._held[link] = conversation
            self._budget.awaited = True
            if not self._looks:
                self._looks = True
                self._io.call_later(_LOOK, self._look)
            link.connection.pause()
        if wait:
            self._io.call_later(wait, lambda _: self._rested(link, conversation))
        elif not self._budget.over:  # since a moment ago: who lowered it saw nobody waiting
            self._below()

    def holds(self, link: Link | None) -> bool:
        """Whether we do not read that link."""
        return link in self._held

    def _below(self) -> None:
        self._io.flush_soon(self)

    def flush(self) -> None:
        """Let those go on that may (I/O thread)."""
        with self._lock:
            for link, conversation in list(self._held.items()):
                self._look_at_locked(link, conversation)
            self._budget.awaited = bool(self._held)

    def _look_at_locked(self, link: Link, conversation: Holding) -> None:
        """Let one go on if it may."""
        if self._closed or not conversation.must_rest:
            del self._held[link]
            conversation.read_on(link)

    def _rested(self, link: Link, conversation: Holding) -> None:
        """The time is over for which a link was not to be read (I/O thread). The others have timers of their own."""
        with self._lock:
            if link in self._held:
                self._look_at_locked(link, conversation)
                self._budget.awaited = bool(self._held)
        wait = conversation.owes() if self.holds(link) else 0.0
        if wait:  # it has become longer since
            wait = max(wait, _REST)
            conversation.rests_on(link, wait)
            self._io.call_later(wait, lambda _: self._rested(link, conversation))

    def _look(self, now: float) -> None:
        self._looks = False
        stuck = self.unfinished.stuck(now)
        if stuck is not None:
            stuck.overstayed()
        self.flush()
        with self._lock:
            for link, conversation in self._held.items():
                conversation.reassure(link)
            if self._held and not self._looks:
                self._looks = True
                self._io.call_later(_LOOK, self._look)

    def close(self) -> None:
        """Let everybody go, now and later."""
        self._closed = True
        self.flush()
