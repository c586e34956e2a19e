"""What this node tells others of itself: its signed record, made anew when something in it has changed, or in time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .... import limits
from ....addresses import Contact, Endpoint, PeerId
from ....discovery.gossip.record import Record, make_record
from ....runtime.alarm import Alarm
from ....wire.handshake import Role
from ...network.network import Network
from ...node import Node

__all__ = ["Publishing"]


class Publishing:
    """
    The record of one node. :meth:`soon` is thread-safe, and never blocks; the rest is for one thread.

    Args:
        node: The node, not started.
        network: What knows its addresses.
        is_passing: Whether the session with that peer will end soon.
        due: Called when :meth:`make` is to be called (I/O thread).
    """

    def __init__(
        self, node: Node, network: Network, is_passing: Callable[[PeerId], bool], due: Callable[[], object]
    ) -> None:
        self._node = node
        self._network = network
        self._is_passing = is_passing
        self._due = due
        self._lock = threading.Lock()  # guards the next two
        self._alarm = Alarm(node.io)
        self._closed = False
        # What follows is the one thread's.
        self._last: Record | None = None
        self._sequence = 0
        self._told: tuple[object, ...] = ()
        self._made_at = float("-inf")
        self._rivals = 0  # times that records in our name, which we did not make, held against ours
        self._corrected = True  # we have made one since
        self._answered_at = float("-inf")

    def soon(self) -> None:
        """Something in it may have changed: look, a moment later, so that what comes together is told together."""
        delay = limits.GOSSIP_PUBLISH_DELAY if self._last is not None else limits.GOSSIP_PUBLISH_FIRST
        self._plan(self._node.clock.now() + delay)

    def _plan(self, at: float) -> None:
        with self._lock:
            if not self._closed:
                self._alarm.set_by(at, self._come)

    def _come(self, _now: float) -> None:
        with self._lock:
            self._alarm.rang()
            closed = self._closed
        if not closed:
            self._due()

    def make(self) -> Record | None:
        """The record that others are to have from now on; None: they have it, or there is nothing to tell."""
        now = self._node.clock.now()
        told = self._contents()
        changed = told != self._told
        old = now - self._made_at >= limits.GOSSIP_PUBLISH_AGAIN
        if not (changed or old):
            self._plan(self._made_at + limits.GOSSIP_PUBLISH_AGAIN)
            return None
        rest = self._made_at + self._rest(told)
        if now < rest:  # it changes all the time
            self._plan(rest)
            return None
        return self._sign(told, now)

    def _rest(self, told: tuple[object, ...]) -> float:
        """Seconds from the record before this one, in which something may change again."""
        if self._told and told[1] and not self._told[1]:
            return 0.0  # nobody introduced us until now: who has just joined is found as soon as can be
        return limits.GOSSIP_VIA_REST if self._only_via(told) else limits.GOSSIP_PUBLISH_REST

    def _only_via(self, told: tuple[object, ...]) -> bool:
        """It is only others than before who introduce us: those will do for a while, if there are some."""
        before = self._told
        return bool(before) and bool(before[1]) and (before[0], *before[2:]) == (told[0], *told[2:])

    def _sign(self, told: tuple[object, ...], now: float) -> Record | None:
        node = self._node
        endpoints, via, role, is_public, publish = told
        record = make_record(
            node.handshake.key_pair,
            node.handshake.network_id,
            wall=node.wall(),
            last=self._sequence,
            endpoints=endpoints,  # type: ignore[arg-type]  # as _contents() says
            via=via,  # type: ignore[arg-type]
            role=role,  # type: ignore[arg-type]
            is_public=bool(is_public),
            publish=str(publish),
        )
        self._told, self._made_at = told, now
        self._plan(now + limits.GOSSIP_PUBLISH_AGAIN)
        if record is not None:
            self._last, self._sequence = record, record.sequence
            self._corrected = True
        return record

    def _contents(self) -> tuple[tuple[Endpoint, ...], tuple[Contact, ...], Role, bool, str]:
        node = self._node
        publish = node.config.gossip.publish
        role = Role[node.config.network.role.upper()]
        endpoints: tuple[Endpoint, ...] = ()
        if publish == "full" and role is not Role.CLIENT:
            endpoints = tuple(each for each in self._network.addresses() if each.is_ip)[: limits.GOSSIP_ENDPOINTS_MAX]
        return endpoints, self._steady(self._via()), role, bool(endpoints) and self.is_public(), publish

    def _via(self) -> tuple[Contact, ...]:
        return tuple(each for each in self._node.circuits.via() if not self._is_passing(each.peer_id))

    def _steady(self, via: tuple[Contact, ...]) -> tuple[Contact, ...]:
        """Who introduces us: those that were told last, as long as they can, since which are best changes often."""
        told = self._told[1] if self._told else ()
        if isinstance(told, tuple) and len(told) >= len(via) and {*told} != {*via}:
            able = self._node.circuits.introducers
            if all(able.has(each.peer_id) for each in told):
                return told
        return tuple(sorted(via, key=lambda each: each.peer_id))

    def is_public(self) -> bool:
        """Whether strangers get in at our addresses, as far as that is known."""
        network = self._network
        if network.listeners.advertised() or network.outlook.entered:
            return True
        return bool(network.outlook.opened() or self._has_guests())

    def _has_guests(self) -> bool:
        """
        Somebody has dialled us, and nobody that we know of has a public address: then this is a network of its own, in
        which who can be dialled is public.
        """
        guests = False
        for each in self._node.registry.all():
            link = each.link
            if link is None or link.circuit is not None:
                continue
            if link.connection.remote.is_global or link.connection.local.is_global:
                return False
            guests = guests or (link.inbound and link.connection.remote.is_ip)
        return guests

    # --- somebody else ------------------------------------------------------------------------------------------------

    def heard(self, record: Record) -> bool:
        """
        Somebody gave us a record in our name that holds against ours. An earlier run of this node has made it, whose
        clock was fast; or there are two of us.

        Returns:
            True if there are two, and it has not been said yet.
        """
        if record.sequence < self._sequence or (self._last is not None and record.data == self._last.data):
            return False
        now = self._node.clock.now()
        self._sequence = record.sequence
        if not self._corrected:
            return False  # one more of the earlier run's, which others had; what we make next corrects both
        self._corrected = False
        self._rivals += 1
        # Whoever answers at once makes two programs overtake each other for ever.
        self._told = ()
        self._made_at = max(self._made_at, now - limits.GOSSIP_PUBLISH_AGAIN)
        delay = 0.0 if self._rivals == 1 else limits.GOSSIP_RIVAL_REST
        self._answered_at = max(now, self._answered_at) + delay
        self._plan(self._answered_at)
        return self._rivals == 2

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Make none any more. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            self._alarm.cancel()

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
