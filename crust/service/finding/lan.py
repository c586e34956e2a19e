"""Nodes on the same links as this one, as a source of peers: what joins the beacon to a node."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Contact, Endpoint, PeerId
from ...peers.conversation import Conversation
from ...runtime.clock import Event
from ...wire.handshake import Role
from .. import events
from ..network.network import Network
from ..node import Node
from .lan_peer import LanPeer
from .neighbours import Neighbours

if TYPE_CHECKING:
    from ...discovery.beacon.driver import BeaconDriver
    from ...discovery.beacon.links import Link
    from ...discovery.beacon.packet import Offer
    from ...discovery.beacon.seeker import Found

__all__ = ["Lan", "Seeking"]

_SWITCH = "CRUST_LAN"  # in the environment: off, or loopback (programs of this machine alone), whatever else is said


class Seeking:
    """One who wants peers of the LAN, until :meth:`stop`. Made by :meth:`Lan.seek`."""

    def __init__(self, lan: Lan, found: Callable[[Contact], object]) -> None:
        self._lan = lan
        self.found = found

    def contacts(self) -> Sequence[Contact]:
        """Who is known by now, those known before included; the last heard first."""
        return self._lan.contacts()

    @property
    def asks(self) -> bool:
        """Somebody is asked: there are links, and ``lan.seek`` allows it."""
        return self._lan._may_seek()

    def stop(self) -> None:
        """Hear no more. Idempotent; never blocks."""
        self._lan.leave(self)


class Lan:
    """
    See :class:`crust.service.finding.directory.Source`. Thread-safe.

    There are sockets and a thread only while they are needed: somebody seeks, or we announce.

    Args:
        node: The node, not started.
        network: What knows its listeners.
    """

    name = "lan"

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        self._lock = threading.Lock()  # guards what follows
        self._driver: BeaconDriver | None = None
        self._asked_for = False  # by start(), that is by the application
        self._running = False
        self._seekers: tuple[Seeking, ...] = ()
        self._waiting: tuple[Event, ...] = ()  # of those who wait for an answer
        # Who is there, and when it was heard, the last heard first; replaced as a whole, on the thread of the beacon.
        self._known: dict[tuple[Link, PeerId, str], tuple[Found, float]] = {}
        self._warned: set[str] = set()
        self.neighbours = Neighbours(node.refusals.count)
        """How often they are dialled that nobody else has told of."""
        node.on_connected.append(self._connected)
        self.on_found: list[Callable[[], object]] = []
        """They hear that somebody answers who did not before (the thread of the beacon). Filled before the start."""
        network.rotation.on_rotated.append(self.changed)
        if network.watch is not None:
            network.watch.on_look.append(self._look)

    # --- for the node -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The node runs, and listens."""
        with self._lock:
            self._running = True
        self.adjust()

    def adjust(self) -> None:
        """Do what the configuration says now."""
        lan = self._node.config.lan
        never = lan.seek == "never"
        with self._lock:
            announce = lan.announce or self._asked_for
            seek = not never and (self._asked_for or lan.seek == "always")
            driver = self._driver
            if self._running and (announce or seek or self._seekers):
                # Here, since most nodes ask nobody: they start the sooner.
                from ...discovery.beacon.driver import Wishes

                driver = driver or self._open()
                if driver is not None:
                    driver.wish(Wishes(announce, seek, not never))
            elif driver is not None:
                self._driver = None
                driver.close()

    def _open(self) -> BeaconDriver | None:
        """A driver, on a thread of its own (the lock is held); None if there can be none."""
        from ...discovery.beacon.driver import BeaconDriver
        from ...discovery.beacon.packet import NetworkKey

        node, lan = self._node, self._node.config.lan
        if not node.has_links or os.environ.get(_SWITCH) == "off":
            return None
        handshake = node.handshake
        psks: list[bytes | None] = [secret.psk for secret in handshake.secrets] or [None]
        try:
            driver = BeaconDriver(
                tuple(NetworkKey(handshake.network_id, psk) for psk in psks),
                handshake.key_pair,
                (lan.port, lan.port if lan.listen_port is None else lan.listen_port),
                links=self._links,
                offer=self._offer,
                found=self._found,
                tell=self._tell,
                trouble=self._trouble,
                now=node.clock.now,
                known_before=self._alive(),
                bites=node.refusals.count,
            )
        except OSError as error:
            node.log.warning("nobody is looked for on the LAN: %s", error)
            return None
        try:
            node.spawn("crust-lan", driver.run)
        except RuntimeError as error:
            driver.release()
            node.log.warning("nobody is looked for on the LAN: %s", error)
            return None
        self._driver = driver
        return driver

    def changed(self) -> None:
        """We listen elsewhere: those who have asked lately are told."""
        driver = self._driver
        if driver is not None:
            driver.changed()

    def _look(self, came_up: bool) -> None:
        driver = self._driver
        if driver is not None:
            driver.look(came_up)

    def _connected(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link = conversation.link
        if link is not None and link.circuit is None and not link.inbound:
            self.neighbours.answered(conversation.peer_id)

    def close(self) -> None:
        """For good. Never blocks; idempotent."""
        with self._lock:
            self._running = False
            driver, self._driver = self._driver, None
            waiting = self._waiting
        if driver is not None:
            driver.close()
        for each in waiting:
            each.set()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._running = False
        self.neighbours.abandon()
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.abandon()

    # --- for the beacon, on its thread --------------------------------------------------------------------------------

    def _links(self) -> frozenset[Link]:
        from ...discovery.beacon.links import links_of

        interfaces = self._node.config.listen.interfaces
        addresses = self._node.local_addresses(interfaces.include, interfaces.exclude)
        if os.environ.get(_SWITCH) == "loopback":
            addresses = [each for each in addresses if each.is_loopback]
        return links_of(addresses, interfaces.include)

    def _offer(self, link: Link) -> Offer | None:
        from ...discovery.beacon.packet import Offer

        ports = {"tcp": 0, "utp": 0}
        for endpoint in self._network.listeners.endpoints():
            if endpoint.ip is None or endpoint.family != link.family:
                continue
            if endpoint.ip.is_unspecified or endpoint.host == link.host:
                ports[endpoint.transport] = ports[endpoint.transport] or endpoint.port
        role = Role[self._node.config.network.role.upper()]
        return Offer(role, ports["tcp"], ports["utp"]) if any(ports.values()) else None

    def _found(self, found: Found) -> None:
        if found.peer_id == self._node.handshake.key_pair.peer_id:
            self._met_ourselves(found)
            return
        contact = _contact_of(found)
        if found.is_new:
            # Whoever hears of it finds it among the others, even if nobody seeks any more then.
            others = dict(self._known)
            others.pop(_where(found), None)
            self._known = {_where(found): (found, self._node.clock.now()), **others}
            role = found.offer.role.name.lower()
            self._node.log.debug("on the LAN, by %s: %s", found.link.interface, contact)
            self._node.subscriptions.emit(events.PeerDiscovered(contact, found.link.interface, role))
            for heard in self.on_found:
                heard()
        for seeking in self._seekers:
            seeking.found(contact)

    def _met_ourselves(self, found: Found) -> None:
        if found.host not in self._warned and len(self._warned) < _TWINS:
            if not self._warned:
                self._node.subscriptions.emit(events.IdentityShared(tuple(_contact_of(found).endpoints)))
            self._warned.add(found.host)
            self._node.log.warning("another node has our identity, at %s on the LAN: each needs its own", found.host)

    def _tell(self, known: Sequence[tuple[Found, float]]) -> None:
        ours = self._node.handshake.key_pair.peer_id
        self._known = {_where(each[0]): each for each in known if each[0].peer_id != ours}

    def _alive(self) -> list[tuple[Found, float]]:
        """Who is known and was heard lately: while nobody is asked, only time tells."""
        now = self._node.clock.now()
        return [each for each in self._known.values() if now - each[1] < limits.BEACON_LIFE]

    def _trouble(self, error: OSError) -> None:
        lan = self._node.config.lan
        self._node.log.info("not on every link of the LAN yet (UDP port %d): %s", lan.listen_port or lan.port, error)

    # --- for others ---------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Answer those who ask, and ask ourselves, from now on."""
        with self._lock:
            self._asked_for = True
        self.adjust()

    def seek(self, found: Callable[[Contact], object]) -> Seeking:
        """
        Ask all links now, and listen to answers until :meth:`Seeking.stop`. Never blocks; nothing is asked, and nobody
        found, if ``lan.seek`` is ``never``.

        Args:
            found: Called with each peer that answers from now on, once for each answer, on a thread of the node; must
                be quick. Those known already are in :meth:`Seeking.contacts`, and are asked to answer too.
        """
        seeking = Seeking(self, found)
        if self._node.config.lan.seek == "never":
            return seeking
        with self._lock:
            self._seekers += (seeking,)
        self.adjust()
        driver = self._driver
        if driver is not None:
            driver.seek()
        return seeking

    def leave(self, seeking: Seeking) -> None:
        """The end of one :meth:`seek`."""
        with self._lock:
            self._seekers = tuple(each for each in self._seekers if each is not seeking)
        self.adjust()

    def has_peers(self, timeout: float | None) -> bool:
        """
        Ask, and wait until somebody answers; False if nobody does in that time, or the node is closed. Who has answered
        just now counts: it would not do so again, to the same asking.
        """
        if self._may_seek() and any(each.age < _RECENT for each in self.peers()):
            return True
        answered = self._node.clock.event()
        with self._lock:
            self._waiting += (answered,)
        seeking = self.seek(lambda contact: answered.set())
        try:
            return self._may_seek() and answered.wait(timeout) and self._running
        finally:
            seeking.stop()
            with self._lock:
                self._waiting = tuple(each for each in self._waiting if each is not answered)

    @property
    def is_announcing(self) -> bool:
        """Whether those who ask are answered."""
        return self._driver is not None and (self._node.config.lan.announce or self._asked_for)

    def _may_seek(self) -> bool:
        return self._driver is not None and self._node.config.lan.seek != "never"

    def peers(self) -> tuple[LanPeer, ...]:
        """Who is known, the last heard first; a peer with several addresses several times."""
        now = self._node.clock.now()
        return tuple(
            LanPeer(_contact_of(found), found.link.interface, found.offer.role.name.lower(), max(0.0, now - heard))
            for found, heard in self._alive()
        )

    def places(self, peer_id: PeerId) -> Sequence[Endpoint]:
        return [each for found, _ in self._alive() if found.peer_id == peer_id for each in _contact_of(found).endpoints]

    def contacts(self) -> Sequence[Contact]:
        known: dict[PeerId, tuple[Endpoint, ...]] = {}
        for found, _ in self._alive():
            known[found.peer_id] = (*known.get(found.peer_id, ()), *_contact_of(found).endpoints)
        return [Contact(peer_id, endpoints[:_PLACES]) for peer_id, endpoints in known.items()]


_TWINS = 16  # addresses of nodes with our own identity that are told of
_RECENT = 2.0  # seconds for which an answer is one to the present question: all of one asking, and a little more
_PLACES = 24  # endpoints of one peer: it may have many interfaces, and anybody on the link can seem to have


def _where(found: Found) -> tuple[Link, PeerId, str]:
    return found.link, found.peer_id, found.host


def _contact_of(found: Found) -> Contact:
    ports = (("tcp", found.offer.tcp), ("utp", found.offer.utp))
    return Contact(found.peer_id, tuple(Endpoint(name, found.host, port) for name, port in ports if port))
