"""
What a running node does about the network around it: it listens, and knows under which addresses others may reach it.

Nothing here delays a start: a node is usable as soon as its listeners are open, and learns on.
"""

from __future__ import annotations

from ..addresses import Endpoint
from . import events
from .listeners import Listeners
from .node import Node

__all__ = ["Network"]


class Network:
    """
    The listeners of a node and what is learned about their addresses. Thread-safe.

    Args:
        node: The node, not started.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        listen = node.config.listen
        self.listeners = Listeners(
            node,
            listen,
            configured=listen.addresses != type(listen)().addresses,
            on_failed=self._failed,
        )

    def _failed(self, endpoint: Endpoint, error: str) -> None:
        self._node.subscriptions.emit(events.ListenerFailed(endpoint, error))

    def listen(self) -> None:
        """
        Open the listeners that are not open, and begin to learn what leads to them.

        Raises:
            ListenError: A configured address cannot be used.
            ServiceClosed: They have been closed for good.
        """
        opened = self.listeners.open()
        for endpoint in opened:
            self._node.subscriptions.emit(events.ListenerStarted(endpoint))
        if opened:
            self._changed()

    def stop_listening(self) -> None:
        """Close the listeners, until :meth:`listen`."""
        if self.listeners.endpoints():
            self.listeners.close()
            self._changed()

    def _changed(self) -> None:
        self._node.subscriptions.emit(events.AddressesChanged(self.addresses()))

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach this node; empty while it does not listen."""
        return self.listeners.addresses()

    def close(self) -> None:
        """For good: stop listening, and undo what was done to be reachable. Comes before the transports' end."""
        self.listeners.close(for_good=True)
