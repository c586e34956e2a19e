"""One simulated node: the core that real nodes have, its links, and what it publishes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from crust.discovery.gossip.events import Ask, Found
from crust.discovery.gossip.gossip import Gossip
from crust.discovery.gossip.record import Record
from crust.discovery.gossip.store import Store
from crust.wire.gossip import GossipFrame
from tests.simulation.gossip.internet import Internet, Link
from tests.simulation.gossip.records import Identity
from tests.simulation.gossip.upkeep import Upkeep

__all__ = ["Node", "OnFound"]

PUBLISH_AFTER = 1.0  # seconds from the first link to the first record, which then has some via
PUBLISH_EVERY = 30.0  # seconds at least between two records of which only via differs
RENEW = 3600.0  # seconds: half of a record's life
VIAS = 3
SHORT = 10.0  # seconds that a link stays which was made for a question

OnFound: TypeAlias = Callable[[Found], None]


class Node:
    """
    Args:
        net: Where it is.
        identity: Who it is.
        core: A fresh one.
        capacity: Links that it takes; only who is public is asked for any.
    """

    __slots__ = (
        "_publishing", "_renewal", "_searches", "_wakes_at", "_waiting", "alive", "capacity", "checks", "core", "id",
        "identity", "links", "net", "public", "published", "record", "sent", "shorts", "side", "upkeep", "vias",
    )  # fmt: skip

    def __init__(self, net: Internet, identity: Identity, core: Callable[[Node], Gossip], capacity: int) -> None:
        self.net = net
        self.identity = identity
        self.id = identity.id
        self.public = identity.public
        self.capacity = capacity
        self.alive = True
        self.side = 0
        self.links: dict[bytes, Link] = {}
        self.shorts: dict[bytes, Link] = {}
        self.sent = 0
        self.checks = 0
        """Signatures verified."""
        self.record: Record | None = None
        self.vias: tuple[Node, ...] = ()
        """As in the record."""
        self.published = -math.inf
        self.upkeep: Upkeep | None = None
        self._wakes_at = math.inf
        self._publishing = False
        self._renewal = 0
        self._searches: dict[int, OnFound] = {}
        self._waiting: dict[bytes, list[Ask]] = {}
        self.core = core(self)

    def read(self, data: bytes) -> Record:
        """What the core calls instead of verifying a signature."""
        self.checks += 1
        return self.net.notary.read(data)

    def join(self, contacts: Sequence[bytes]) -> None:
        """Come to life among the others, and stay linked."""
        self.net.nodes[self.id] = self
        self.upkeep = Upkeep(self, contacts)
        self.upkeep.start()

    # --- links --------------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        return len(self.links) < self.capacity

    def alternates(self, most: int) -> list[bytes]:
        """Other public nodes."""
        public = [peer for peer, link in self.links.items() if link.beyond(self).public]
        return self.net.random.sample(public, min(most, len(public)))

    def linked(self, link: Link) -> None:
        """It stands."""
        other = link.beyond(self)
        if link.short:
            self.shorts[other.id] = link
        else:
            self.links[other.id] = link
        self.core.link_up(other.id, other.public, self.net.now, short=link.short)
        self.act()
        if not link.short:
            self._consider_publishing()

    def unlinked(self, link: Link) -> None:
        """It is gone, or nobody would notice otherwise."""
        other = link.beyond(self).id
        links = self.shorts if link.short else self.links
        if self.alive and links.get(other) is link:
            del links[other]
            if other not in self.links:
                self.core.link_down(other, self.net.now)
                self.act()
            if not link.short:
                self._consider_publishing()
                if self.upkeep is not None:
                    self.upkeep.step()

    def receive(self, sender: Node, frame: GossipFrame) -> None:
        if sender.id in self.links or sender.id in self.shorts:
            self.core.receive(sender.id, frame, self.net.now, self.net.wall)
            self.act()

    def unreachable(self, peer: bytes) -> None:
        """A dial by that node's record has failed."""
        self.core.failed(peer, self.net.now)
        self.act()

    # --- what the core wants ------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Do it; after every call that may have changed something."""
        core, net = self.core, self.net
        for peer, frame in core.frames_to_send():
            link = self.links.get(peer) or self.shorts.get(peer)
            if link is not None:
                net.send(self, link, frame)
        for event in core.events():
            if isinstance(event, Found):
                self._searches.pop(event.number)(event)
        for ask in core.asks():
            self._bring(ask)
        timer = core.get_timer()
        if timer is not None and timer < self._wakes_at:
            self._wakes_at = max(timer, net.now)
            net.world.at(self._wakes_at, self._wake, self._wakes_at)

    def _wake(self, time: float) -> None:
        if time == self._wakes_at and self.alive:
            self._wakes_at = math.inf
            timer = self.core.get_timer()
            if timer is not None and timer <= self.net.now:
                self.core.handle_timer(self.net.now, self.net.wall)
            self.act()

    def _bring(self, ask: Ask) -> None:
        peer = ask.record.node
        link = self.links.get(peer) or self.shorts.get(peer)
        if link is not None:
            self.net.send(self, link, ask.frame)
        elif peer in self._waiting:
            self._waiting[peer].append(ask)
        else:
            self._waiting[peer] = [ask]
            self.net.dial(self, peer, lambda link, alternates: self._brought(peer, link), short=True)

    def _brought(self, peer: bytes, link: Link | None) -> None:
        asks = self._waiting.pop(peer)
        link = link or self.links.get(peer)
        if link is None:
            self.core.failed(peer, self.net.now)
            self.act()
            return
        for ask in asks:
            self.net.send(self, link, ask.frame)
        if link.short:
            self.net.later(SHORT, self._part, link)

    def _part(self, link: Link) -> None:
        if link.up:
            self.net.close(link, self)

    # --- its own record -----------------------------------------------------------------------------------------------

    def publish(self) -> Record:
        """A new record, whatever has changed."""
        record = self._sign(self.net.wall)
        self.published = self.net.now
        self.core.publish(record, self.net.now)
        self.act()
        self._renewal += 1
        self.net.later(RENEW, self._renew, self._renewal)
        return record

    def _sign(self, wall: float) -> Record:
        public = [link.beyond(self) for link in self.links.values() if link.beyond(self).public]
        self.vias = tuple(public[:VIAS])
        self.record = self.net.notary.register(self.identity.record(wall, tuple(via.identity for via in self.vias)))
        return self.record

    def _renew(self, renewal: int) -> None:
        if self.alive and renewal == self._renewal:
            self.publish()

    def _consider_publishing(self) -> None:
        """Who introduces us has changed, perhaps."""
        if not self._publishing and self._is_stale:
            self._publishing = True
            wait = max(PUBLISH_AFTER, self.published + PUBLISH_EVERY - self.net.now)
            self.net.later(wait, self._publish_if_stale)

    @property
    def _is_stale(self) -> bool:
        if self.record is None:
            return bool(self.links)
        if self.public:
            return False
        return any(via.id not in self.links for via in self.vias) or len(self.vias) < min(VIAS, len(self.links))

    def _publish_if_stale(self) -> None:
        self._publishing = False
        if self.alive and self._is_stale:
            self.publish()

    # --- what it knows ------------------------------------------------------------------------------------------------

    def find(self, peer: bytes, on_found: OnFound) -> None:
        """Look it up."""
        number = self.core.find(peer, self.net.now)
        self._searches[number] = on_found
        self.act()

    @property
    def known(self) -> int:
        """Records of others that are here."""
        return len(self.core.store) - (self.core.store.of(self.id) is not None)

    def knows(self, node: bytes, version: int) -> bool:
        """Whether that version of a record is here, or a newer one; one's own is."""
        record = self.record if node == self.id else self.core.store.of(node)
        return record is not None and record.version >= version

    # --- a life before the beginning ----------------------------------------------------------------------------------

    def first_record(self, rng: random.Random) -> Record:
        """One that it published some time ago."""
        age = rng.uniform(0, RENEW)
        self.published = self.net.now - age
        return self._sign(self.net.wall - age)

    def settle(self, everybody: Store, radius: int) -> None:
        """Know of these what its store takes, as if it had heard it long ago."""
        if self.record is not None:
            self.core.publish(self.record, self.net.now)  # nobody is linked yet: nobody is told
        store = self.core.store
        store.radius = radius
        # Part by part where all of a part is near enough: 40 million times add() would take minutes.
        for index, part in enumerate(everybody._parts):
            first = index << 56
            if (first ^ store.prefix) | (1 << 56) - 1 <= radius and part and not store._parts[index]:
                store._parts[index] = dict(part)
                store._hashes[index] = everybody._hashes[index]
                store._first_made[index] = everybody._first_made[index]
                store._size += len(part)
            else:
                for record in (part or {}).values():
                    store.add(record)
        for link in self.links.values():
            other = link.beyond(self).record
            if other is not None:
                store.add(other, pinned=True)

    def begin(self, contacts: Sequence[bytes]) -> None:
        """Go on from there, with the links that stand."""
        now = self.net.now
        self.net.later(self.published + RENEW - now, self._renew, self._renewal)
        for link in self.links.values():
            self.core.link_up(link.beyond(self).id, link.beyond(self).public, now)
        self.upkeep = Upkeep(self, contacts)
        self.upkeep.start()
        self.act()
