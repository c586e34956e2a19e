"""Whether the application keeps up with what others have sent; if not, nobody comes who would add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Backlog"]


class Backlog:
    """
    Of one node. Thread-safe.

    Messages of sessions that live are bounded by their credit, and events by the number of sessions; but whoever ends a
    session and begins another has new credit, and brings more events.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def is_behind(self, fresh: bool) -> bool:
        """Whether a session is not to begin (``fresh``), or not to be resumed; counts what it runs into."""
        node = self._node
        waiting, budget = node.subscriptions.waiting, node.budget
        if not fresh:
            limit = "EVENTS_WAITING_RESUMED" if waiting >= limits.EVENTS_WAITING_RESUMED else ""
        elif budget.over and budget.left:
            limit = "limits.total_buffers"
        else:
            limit = "EVENTS_WAITING_MAX" if waiting >= limits.EVENTS_WAITING_MAX else ""
        if limit:
            node.refusals.count(limit)
        return bool(limit)
