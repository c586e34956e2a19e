"""How a node has its router open ports for its listeners: which ones, and what the application hears of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...addresses import Endpoint
from ...nat.mapping.layers import is_global
from ...values import dataclass
from .. import events
from ..node import Node
from .listeners import Listeners

if TYPE_CHECKING:
    from ...nat.mapping.keeper import Keeper, Mapping

__all__ = ["MappedListener", "PortMapping"]

_PROTOCOLS = {"tcp": "tcp", "utp": "udp"}
_NAMELESS = (
    "the router opened a port, but does not name the address that it has on the Internet; a STUN server would tell it"
    " (nat.stun_servers)"
)


@dataclass(frozen=True)
class MappedListener:
    """A listener, and where the router's port leads to it."""

    local: Endpoint
    """As bound."""
    endpoint: Endpoint
    """At the router."""
    protocol: str
    lease: int
    reason: str
    """Why it does not lead there from all of the Internet; empty: it does."""

    @property
    def public(self) -> bool:
        """Whether strangers can be told."""
        return is_global(self.endpoint.host)


class PortMapping:
    """
    Thread-safe. Nothing is sent for listeners that only this machine reaches, or that the Internet reaches anyway.

    Args:
        node: The node.
        listeners: Its listeners.
        changed: Called when :meth:`mapped` has changed, on the thread of the port mapping.
    """

    def __init__(self, node: Node, listeners: Listeners, changed: Callable[[], object]) -> None:
        self._node = node
        self._listeners = listeners
        self._changed = changed
        self._lock = threading.Lock()  # guards the fields below
        self._keeper: Keeper | None = None
        self._mapped: dict[Endpoint, MappedListener] = {}
        self._failure = ""
        self._seen: str | None = None
        self._closed = False

    def follow(self) -> None:
        """Others listen now than before, or they do so at other ports. Does not wait."""
        served = (*self._listeners.endpoints(), *self._listeners.retired())
        wanted = [each for each in served if _is_mappable(each)]
        with self._lock:
            if self._closed or (self._keeper is None and not wanted):
                return
            if self._keeper is None:
                self._keeper = self._make()
            keeper = self._keeper
        if keeper is None:
            return
        from ...nat.mapping.ways import Wanted

        keeper.want(
            {
                Wanted(_PROTOCOLS[each.transport], each.port): ""
                if each.ip and each.ip.is_unspecified
                else each.host
                for each in wanted
            }
        )

    def _make(self) -> Keeper | None:
        """None: the configuration, the environment or this kind of machine forbids it."""
        nat = self._node.config.nat
        gateways = self._node.find_gateways()
        if not nat.port_mapping or gateways is None:
            return None
        from ...nat.mapping.journal import state_folder
        from ...nat.mapping.keeper import (  # not before it is needed: `import crust` stays cheap
            Keeper,
            Settings,
        )

        settings = Settings(
            protocols=nat.port_mapping,
            lifetime=nat.mapping_lease,
            description="crust",  # nobody's id: all of the LAN may read the router's table
            folder=state_folder(os.environ),
        )
        node = self._node
        return Keeper(settings, gateways, node.spawn, node.clock.now, self._look, node.refusals.count)

    def look(self) -> None:
        """The network may be another one: see which routers are there, now."""
        with self._lock:
            keeper = self._keeper
        if keeper is not None:
            keeper.look()

    def mapped(self) -> list[MappedListener]:
        """What leads to our listeners now."""
        with self._lock:
            return list(self._mapped.values())

    @property
    def failure(self) -> str:
        """Why the router opens no port, or not of use; empty: it does, or was not asked."""
        return self._failure

    def seen_at(self, address: str | None) -> None:
        """Others see this node at that IPv4 address."""
        with self._lock:
            if address == self._seen:
                return
            self._seen = address
            keeper = self._keeper
        if keeper is not None:
            keeper.seen_at(address)

    def close(self, timeout: float | None) -> None:
        """Have the ports closed; within the time that ``Service.close`` has, and without a wait here."""
        with self._lock:
            self._closed = True
            keeper = self._keeper
            self._mapped = {}
        if keeper is not None:
            keeper.close(timeout)

    def abandon(self) -> None:
        """In a forked child: the ports are the parent's (takes no lock)."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.abandon()

    # --- on the thread of the port mapping ----------------------------------------------------------------------------

    def _look(self) -> None:
        keeper = self._keeper
        assert keeper is not None
        bound = self._listeners.endpoints()
        news: list[events.Event] = []
        with self._lock:
            if self._closed:
                return
            mapped = {
                each.local: each
                for item in keeper.mappings()
                if (each := self._named(item, bound)) is not None
            }
            nameless = any(not item.external_ip for item in keeper.mappings()) and not self._seen
            failure = keeper.failure or (_NAMELESS if nameless else "")
            for local, each in mapped.items():
                if self._mapped.get(local) != each:
                    news.append(
                        events.PortMapped(local, each.endpoint, each.protocol, each.lease, each.reason)
                    )
            if failure and failure != self._failure:
                news.append(events.PortMapFailed(failure))
            shown = {each.endpoint for each in self._mapped.values()} != {
                each.endpoint for each in mapped.values()
            }
            self._mapped, self._failure = mapped, failure
        for event in news:
            self._log(event)
            self._node.subscriptions.emit(event)
        if shown:
            self._changed()

    def _named(self, mapping: Mapping, bound: tuple[Endpoint, ...]) -> MappedListener | None:
        """With the listener that it leads to, and an address; None if one of them is not known."""
        for local in bound:
            if (_PROTOCOLS.get(local.transport), local.port) == (
                mapping.wanted.protocol,
                mapping.wanted.port,
            ):
                break
        else:
            return None
        host = mapping.external_ip or self._seen
        if not host or not _is_mappable(local):
            return None
        endpoint = Endpoint(local.transport, host, mapping.external)
        return MappedListener(local, endpoint, mapping.protocol, mapping.lifetime, mapping.layers.reason)

    def _log(self, event: events.Event) -> None:
        if isinstance(event, events.PortMapped):
            text = "the router leads %s to %s (%s)%s"
            reason = f"; {event.reason}" if event.reason else ""
            self._node.log.info(text, event.endpoint, event.listener, event.protocol, reason)
        elif isinstance(event, events.PortMapFailed):
            self._node.log.info("no port mapping: %s", event.reason)


def _is_mappable(endpoint: Endpoint) -> bool:
    """Whether a router can lead to a listener, and need be: it has an IPv4 address of a network inside."""
    ip = endpoint.ip
    if ip is None or ip.version != 4 or endpoint.transport not in _PROTOCOLS:
        return False
    return ip.is_unspecified or not (ip.is_loopback or ip.is_global or ip.is_link_local)
