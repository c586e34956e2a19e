"""
What a node notices of its machine's network: addresses that are gone or new, another way out, a cable that is back.

A thread ``crust-network`` waits for the system to say that something may have changed, or looks every few seconds
(:mod:`crust.runtime.network_news`); what has changed is found by comparing.
"""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.network_news import NetworkNews
from ...values import dataclass
from ..node import Node
from .surroundings import Surroundings

__all__ = ["Change", "NetworkWatch"]


@dataclass(frozen=True)
class Change:
    """What is not as before."""

    gone: frozenset[str]
    """Addresses that this machine has no more, link-local ones included, without a scope."""

    is_elsewhere: bool
    """Others may see us elsewhere: other addresses that reach farther than a link, or another way out."""

    came_up: bool
    """An interface runs again: what was given up may work now."""


class NetworkWatch:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        look: Sees how the network is now; may block.
        changed: Called on the thread of the watch.
    """

    def __init__(
        self, node: Node, look: Callable[[], Surroundings], changed: Callable[[Change], object]
    ) -> None:
        self._node = node
        self._look = look
        self._changed = changed
        self.on_look: list[Callable[[bool], object]] = []
        """
        Called on the thread of the watch whenever something may have changed, with whether an interface runs again.
        Filled before the start.
        """
        self._before: Surroundings | None = None
        self._news: NetworkNews | None = None
        self._begun = False

    def begin(self) -> None:
        """Watch from now on, if there are descriptors and a thread for it. Idempotent."""
        if self._begun:
            return
        self._begun = True
        try:
            self._before = self._look()
            news = self._news = NetworkNews(self.look)
        except OSError as error:
            self._node.log.warning("changes of the network will go unnoticed: %s", error)
            return
        try:
            self._node.spawn("crust-network", news.run)
        except RuntimeError as error:
            self._news = None
            news.release()
            self._node.log.warning("changes of the network will go unnoticed: %s", error)

    def _see(self) -> Surroundings | None:
        try:
            return self._look()
        except OSError as error:  # such as no descriptors: that says nothing about the network
            self._node.log.debug("the system does not tell how the network is: %s", error)
            return None

    def look(self, came_up: bool = False) -> None:
        """See what has changed, now (the thread of the watch)."""
        for heard in self.on_look:
            heard(came_up)
        now, before = self._see(), self._before
        if now is None:
            return
        self._before = now
        if before is None:
            return
        change = Change(
            gone=before.all_addresses - now.all_addresses,
            is_elsewhere=(before.addresses, before.ways_out) != (now.addresses, now.ways_out),
            came_up=came_up,
        )
        if change.gone or change.is_elsewhere or came_up:
            self._changed(change)

    def close(self) -> None:
        """Watch no more. Never blocks; idempotent."""
        self._begun = True
        if self._news is not None:
            self._news.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._begun = True
        if self._news is not None:
            self._news.abandon()
