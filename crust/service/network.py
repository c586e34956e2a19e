"""
What a running node does about the network around it: it listens, and knows under which addresses others may reach it.

Nothing here delays a start: a node is usable as soon as its listeners are open, and learns on.
"""

from __future__ import annotations

from ..addresses import Endpoint
from ..candidates import Candidate, CandidateKind
from . import events
from .listeners import Listeners
from .node import Node
from .port_mapping import PortMapping
from .reflection import Reflection

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
        self.port_mapping = PortMapping(node, self.listeners, self._changed)
        """Ports of the router that lead to the listeners."""
        self.reflection = Reflection(node, self.listeners.open_now, self._seen)
        """Where others see the listeners; strangers are told if they get in there."""
        self._shown: tuple[Endpoint, ...] = ()  # where strangers were told last that they get in

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
            self.reflection.refresh()
            self.port_mapping.follow()

    def stop_listening(self) -> None:
        """Close the listeners, until :meth:`listen`."""
        if self.listeners.endpoints():
            self.listeners.close()
            self.port_mapping.follow()
            self._changed()

    def _seen(self) -> None:
        """Others may see us at another address than before."""
        found = (each for endpoints in self.reflection.reflexive().values() for each in endpoints)
        self.port_mapping.seen_at(next((each.host for each in found if each.family == 4), None))
        shown = tuple(self.reflection.filtering.open_places().values())
        if shown != self._shown:
            self._shown = shown
            self._changed()

    def _changed(self) -> None:
        self._node.subscriptions.emit(events.AddressesChanged(self.addresses()))

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach this node; empty while it does not listen."""
        outer = [each.endpoint for each in self.port_mapping.mapped() if each.public]
        bound = self.listeners.endpoints()
        outer += (seen for local, seen in self.reflection.filtering.open_places().items() if local in bound)
        if not bound:
            outer = []
        return tuple(dict.fromkeys((*self.listeners.advertised(), *outer, *self.listeners.on_interfaces())))

    def candidates(self) -> tuple[Candidate, ...]:
        """
        Every address at which this node may be reachable, those included that it does not tell strangers; each endpoint
        once, by the first of: configured, interface, mapped, reflexive.
        """
        found: dict[Endpoint, Candidate] = {}

        def add(kind: CandidateKind, endpoint: Endpoint, local: Endpoint | None, shown: bool) -> None:
            found.setdefault(endpoint, Candidate(kind, endpoint, local, shown))

        for endpoint in self.listeners.advertised():
            add(CandidateKind.CONFIGURED, endpoint, None, True)
        bound = self.listeners.endpoints()
        for endpoint in self.listeners.on_interfaces():
            add(CandidateKind.INTERFACE, endpoint, _listener_of(endpoint, bound), True)
        for each in self.port_mapping.mapped():
            add(CandidateKind.MAPPED, each.endpoint, each.local, each.public)
        open_places = self.reflection.filtering.open_places()
        for local, endpoints in self.reflection.reflexive().items():
            for endpoint in endpoints if local in bound else ():  # what was seen of closed ones is forgotten later
                add(CandidateKind.REFLEXIVE, endpoint, local, open_places.get(local) == endpoint)
        return tuple(found.values())

    def close(self, timeout: float | None) -> None:
        """
        For good: stop listening, and begin to undo what was done to be reachable. Comes before the transports' end.

        Args:
            timeout: Seconds that the node has to end.
        """
        self.port_mapping.close(timeout)
        self.reflection.close()
        self.listeners.close(for_good=True)

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self.reflection.abandon()
        self.port_mapping.abandon()


def _listener_of(endpoint: Endpoint, bound: tuple[Endpoint, ...]) -> Endpoint | None:
    """The listener behind an endpoint of an interface."""
    for local in bound:
        same = (local.transport, local.port, local.family) == (endpoint.transport, endpoint.port, endpoint.family)
        if same and local.ip is not None and (local.ip.is_unspecified or local.ip == endpoint.ip):
            return local
    return None
