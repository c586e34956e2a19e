"""
What a running node does about the network around it: it listens, and knows under which addresses others may reach it.

Nothing here delays a start: a node is usable as soon as its listeners are open, and learns on.
"""

from __future__ import annotations

from collections.abc import Callable

from ...addresses import Endpoint
from ...candidates import Candidate, CandidateKind
from ...wire.frames import Place, Standing
from .. import events
from ..node import Node
from ..traversal.ground import NodeGround
from ..traversal.traversals import Traversals
from .listeners import Listeners
from .loading import load
from .network_watch import Change, NetworkWatch
from .outlook import Outlook
from .port_mapping import PortMapping
from .reflection import Reflection
from .rotation import Rotation
from .way_out import WayOut

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
        self.reflection = Reflection(node, self.listeners.open_now, self._seen, self._sounded)
        """Where others see the listeners; strangers are told if they get in there."""
        self.outlook = Outlook(node, self.listeners.endpoints, self.candidates, self.reflection, self.port_mapping)
        """What peers are told, with whom a path is looked for."""
        self.way_out = WayOut(
            self.listeners.endpoints,
            lambda: self.outlook.networks,
            lambda: self.outlook.terrain,
            has_servers=lambda: bool(node.config.nat.stun_servers),
        )
        """From which port dials over TCP leave."""
        if self.reflection.udp is not None:  # else this is a network in memory, where nobody is translated
            node.local_port = self.way_out.port_for
        node.on_connected += [self.outlook.met, self.way_out.met]
        self.on_moved: list[Callable[[], object]] = []
        """They hear that the network of this machine is another one. Filled before the start."""
        self.on_changed: list[Callable[[], object]] = []
        """They hear that our addresses may be others. Filled before the start; must not block."""
        self.rotation = Rotation(node, self.listeners, self._rotated, self.port_mapping.follow, self._announce)
        """Other ports while running."""
        look = node.surroundings()
        self.watch = None if look is None else NetworkWatch(node, look, self.moved)
        """Notices that the network is another one; None where it never is."""
        self.traversals = self._make_traversals()
        """Better paths for sessions; None where nothing translates."""
        self._addresses: tuple[Endpoint, ...] = ()  # as told last
        self._shown: tuple[Endpoint, ...] = ()  # where strangers were told last that they get in

    def _make_traversals(self) -> Traversals | None:
        if self.reflection.udp is None:
            return None
        load()
        ground = NodeGround(self.listeners.open_now, self.reflection.udp, self.reflection.desk)
        traversals = Traversals(self._node, lambda: self.outlook.terrain, self.outlook.targets, ground)
        self.outlook.on_change.append(traversals.terrain_changed)
        return traversals

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
            self.outlook.look()
            self._changed()
            self.reflection.refresh()
            self.port_mapping.follow()
            for conversation in self._node.registry.all():
                self.reflection.desk.met(conversation)
            self.rotation.begin()
        if self.watch is not None:
            self.watch.begin()

    def moved(self, change: Change) -> None:
        """The network of this machine is another one (a thread of the node; may block)."""
        node = self._node
        node.log.info(
            "the network has changed: %s", ", ".join(f"{each} is gone" for each in sorted(change.gone)) or "look anew"
        )
        node.relocation.without(change.gone)
        for endpoint in self.listeners.reopen():
            node.subscriptions.emit(events.ListenerStarted(endpoint))
        node.dialer.hurry()
        for heard in self.on_moved:
            heard()
        if not change.is_elsewhere:
            return
        self.reflection.refresh()
        self.port_mapping.follow()
        self.port_mapping.look()
        if node.traversals is not None:
            node.traversals.network_changed()
        if self.addresses() != self._addresses:
            self._changed()
        self._announce()

    def _rotated(self, opened: list[Endpoint]) -> None:
        """We listen elsewhere from now on."""
        for endpoint in opened:
            self._node.subscriptions.emit(events.ListenerStarted(endpoint))
        self._changed()
        self.reflection.refresh()
        self.port_mapping.follow()
        self.reflection.desk.stop()
        for conversation in self._node.registry.all():
            self.reflection.desk.met(conversation)

    def _announce(self) -> None:
        """Tell our peers where we are now."""
        self._node.relocation.announce(self.candidates(), self.listeners.endpoints())

    def advertised_others(self) -> None:
        """The configuration names other addresses than before (a thread of the node; may block)."""
        self._changed()
        self._announce()

    def stop_listening(self) -> None:
        """Close the listeners, until :meth:`listen`."""
        if self.listeners.endpoints():
            self.listeners.close()
            self.reflection.desk.stop()
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
        else:
            self.outlook.changed()

    def _sounded(self) -> None:
        """More is known of the translators on the way."""
        self.outlook.changed()

    def _changed(self) -> None:
        self.outlook.changed()
        self._addresses = self.addresses()
        self._node.subscriptions.emit(events.AddressesChanged(self._addresses))
        self.rotation.told_more()
        for heard in self.on_changed:
            heard()

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach this node; empty while it does not listen."""
        outer = [each.endpoint for each in self.port_mapping.mapped() if each.public]
        bound = self.listeners.endpoints()
        outer += (seen for local, seen in self.reflection.filtering.open_places().items() if local in bound)
        if not bound:
            outer = []
        return tuple(dict.fromkeys((*self.listeners.advertised(), *outer, *self.listeners.on_interfaces())))

    def standings(self) -> tuple[Standing, ...]:
        """What is known of the translators on the way, at most one for each transport and family. Never waits."""
        return self.outlook.terrain.standings

    def places(self) -> tuple[Place, ...]:
        """
        Where a peer may reach this node with whom it looks for a path, best first, those included where only one peer
        has seen it. Never waits.
        """
        return self.outlook.terrain.places

    def candidates(self) -> tuple[Candidate, ...]:
        """
        Every address at which this node may be reachable, those included that it does not tell strangers; each endpoint
        once, by the first of: configured, interface, mapped, reflexive. Of the last kind also where a single introducer
        sees it, who need not be believed.
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
        for local in bound:
            for endpoint in self.reflection.sounder.hearsay([local]):
                add(CandidateKind.REFLEXIVE, endpoint, local, False)
        return tuple(found.values())

    def close(self, timeout: float | None) -> None:
        """
        For good: stop listening, and begin to undo what was done to be reachable. Comes before the transports' end.

        Args:
            timeout: Seconds that the node has to end.
        """
        if self.watch is not None:
            self.watch.close()
        self.rotation.close()
        self.outlook.close()
        self.port_mapping.close(timeout)
        self.reflection.close()
        self.listeners.close(for_good=True)

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        if self.watch is not None:
            self.watch.abandon()
        self.rotation.abandon()
        self.outlook.abandon()
        if self.traversals is not None:
            self.traversals.abandon()
        self.reflection.abandon()
        self.port_mapping.abandon()


def _listener_of(endpoint: Endpoint, bound: tuple[Endpoint, ...]) -> Endpoint | None:
    """The listener behind an endpoint of an interface."""
    for local in bound:
        same = (local.transport, local.port, local.family) == (endpoint.transport, endpoint.port, endpoint.family)
        if same and local.ip is not None and (local.ip.is_unspecified or local.ip == endpoint.ip):
            return local
    return None
