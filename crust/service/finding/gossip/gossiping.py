"""
The gossip of a running node: it drives :class:`~crust.discovery.gossip.gossip.Gossip` over the links that there are.

All of it happens on one thread, ``crust-gossip``, which is there while there is something to do: whatever comes from
elsewhere is put into its row, and what comes from peers only as far as there is room. Reader threads and the I/O thread
never check a signature.

Links that are circuits carry no gossip: they are for finding a better path, and are counted by the byte.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence

from .... import limits
from ....addresses import Contact, Endpoint, PeerId, address_key
from ....discovery.gossip.clocks import Doubt
from ....discovery.gossip.events import Found, Misbehaved, RecordLearned, Superseded
from ....discovery.gossip.gossip import Gossip, GossipSettings
from ....discovery.gossip.record import Record, read_with
from ....peers.conversation import Conversation
from ....peers.link import Link
from ....peers.whereabouts import site_key
from ....runtime.alarm import Alarm
from ....runtime.memory import linger
from ....wire.frames import GOSSIP_FRAMES, GossipFrame
from ....wire.handshake import Capability
from ... import events
from ...network.network import Network
from ...node import Node
from ..dial_rules import DialRules
from .asking import Asking
from .borrowed import Borrowed
from .mail import Mail
from .public_nodes import PublicNodes
from .publishing import Publishing
from .worker import Worker

__all__ = ["Gossiping", "OnFound"]

OnFound = Callable[[Record | None, int], object]
"""Told the record, and how many nodes were asked; on the thread ``crust-gossip``. It must not block."""

_SAID = {
    "forged": "it passed on a record that is signed by nobody, or lied about one",
    "unasked": "it sent what nobody asked for",
    "flood": "it sent more than its share of gossip",
}


class _Linked:
    """A peer that takes part."""

    __slots__ = ("conversation", "is_short", "link")

    def __init__(self, conversation: Conversation, link: Link, is_short: bool) -> None:
        self.conversation, self.link, self.is_short = conversation, link, is_short


class _Quest:
    """Somebody wants to know where a node is."""

    def __init__(self, peer_id: PeerId, found: OnFound, closed: Callable[[], object], newer_than: int) -> None:
        self.peer_id, self.found, self.closed, self.newer_than = peer_id, found, closed, newer_than
        self.number = 0
        self.is_over = False


class Gossiping:
    """
    See :class:`crust.service.finding.directory.Source`. Thread-safe; nothing here blocks.

    Args:
        node: The node, not started.
        network: What knows its addresses.
        rules: What may be dialled.
        borrowed: Sessions that the node begins for itself.
        leads_in: Whether strangers are known to reach that peer.
    """

    name = "gossip"

    def __init__(
        self,
        node: Node,
        network: Network,
        rules: DialRules,
        borrowed: Borrowed,
        leads_in: Callable[[Conversation], bool],
    ) -> None:
        self._node = node
        self._leads_in = leads_in
        self._rules = rules
        self._borrowed = borrowed
        patience = linger(limits.GOSSIP_LINGER) if self.is_on else 0.0
        self._worker = Worker(node, "crust-gossip", self._rest, limits.GOSSIP_TURN, patience)
        self._lock = threading.Lock()  # guards the next three
        self._closed = False
        self._quests: set[_Quest] = set()
        self._waiting: dict[PeerId, int] = {}  # frames of a peer that have not had their turn
        self._public = PublicNodes(rules)
        self.dropped_frames = 0
        """Frames that came when too many waited."""
        self.on_learned: list[Callable[[], object]] = []
        """They hear that a record has come (the thread of gossip). Filled before the start."""
        # What follows is the one thread's.
        identity = node.handshake
        settings = GossipSettings(max_records=node.config.gossip.max_records)
        self._parse, self._doubt = read_with(identity.network_id), Doubt()
        self._warns_at = float("-inf")  # of our clock again, at the earliest
        own_id = identity.key_pair.peer_id.public_key
        self._core = Gossip(own_id, settings, self._read, random.Random(), node.refusals.count)
        self._links: dict[bytes, _Linked] = {}
        self._finds: dict[int, _Quest] = {}
        self._mail = Mail(node.refusals.count)
        self._began_at = float("inf")
        self._asking = Asking(node, rules, borrowed, self._worker.put, self._unreached)
        self.publishing = Publishing(node, network, borrowed.is_guest, lambda: self._worker.put(self._publish))
        """Our own record."""
        self._alarm = Alarm(node.io)
        self._mail_due: float | None = None
        node.on_connected.append(self._connected)
        node.on_detached.append(self._gone)
        node.on_lost.append(lambda conversation, reason: self._gone(conversation))
        for kind in GOSSIP_FRAMES:
            node.on_signal[kind] = self._received
        node.on_reloaded.append(self._reloaded)
        network.outlook.on_change.append(self.publishing.soon)
        network.rotation.on_rotated.append(self.publishing.soon)
        node.sections.add("gossip", self._look)

    @property
    def is_on(self) -> bool:
        """Whether this node takes part."""
        return self._node.config.gossip.enabled

    def close(self) -> None:
        """Say and do nothing any more; who looks for somebody hears it. Never blocks; idempotent."""
        self.publishing.close()
        self._worker.close()
        with self._lock:
            self._closed = True
            quests, self._quests = self._quests, set()
        for quest in quests:
            quest.closed()

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._lock = threading.Lock()
        self._public.abandon()
        self.publishing.abandon()
        self._worker.abandon()

    # --- what others ask ----------------------------------------------------------------------------------------------

    def record(self, peer_id: PeerId) -> Record | None:
        """That node's record, if it is known here. Maybe one that does not hold any more."""
        return self._core.store.of(peer_id.public_key)

    def places(self, peer_id: PeerId) -> Sequence[Endpoint]:
        record = self.record(peer_id) if self.is_on else None
        return () if record is None else self._rules.usable(record.endpoints, limits.GOSSIP_DIALS)

    def contacts(self) -> Sequence[Contact]:
        """Public nodes that may be dialled now, by chance, but one of each address before another one of any."""
        return self._public.contacts() if self.is_on else ()

    def met(self) -> Sequence[Contact]:
        """Of these, those that are where a link of ours has led to them."""
        return self._public.contacts(met=True) if self.is_on else ()

    def find(
        self, peer_id: PeerId, found: OnFound, closed: Callable[[], object] = lambda: None, *, newer_than: int = -1
    ) -> Callable[[], None]:
        """
        Look for a node; ``found`` is told once, within ten seconds; or ``closed`` is called, on any thread.

        Args:
            newer_than: A record with no greater sequence is none.

        Returns:
            Call it to hear nothing of it any more.
        """
        quest = _Quest(peer_id, found, closed, newer_than)
        with self._lock:
            self._quests.add(quest)
            is_closed = self._closed
        if is_closed:
            closed()
        self._worker.put(lambda: self._begin(quest))

        def end() -> None:
            quest.is_over = True
            with self._lock:
                self._quests.discard(quest)
            self._worker.put(lambda: self._end(quest))

        return end

    def _begin(self, quest: _Quest) -> None:
        if quest.is_over:
            return
        try:
            if not self.is_on:
                raise ValueError("gossip is switched off")
            quest.number = self._core.find(quest.peer_id.public_key, self._node.clock.now(), quest.newer_than)
        except ValueError:  # or there are too many at once
            self._answer(quest, None, 0)
        else:
            self._finds[quest.number] = quest

    def _end(self, quest: _Quest) -> None:
        if self._finds.pop(quest.number, None) is not None:
            self._core.cancel_find(quest.number)

    def _answer(self, quest: _Quest, record: Record | None, asked: int) -> None:
        with self._lock:
            self._quests.discard(quest)
        if not quest.is_over:
            quest.found(record, asked)

    @property
    def can_find(self) -> bool:
        """Whether there is anybody to ask, or anything known."""
        return self.is_on and (bool(self._links) or len(self._core.store) > 1)

    @property
    def age(self) -> float:
        """Seconds since the first link carried gossip: who has just joined knows little yet, and is little known."""
        return self._node.clock.now() - self._began_at

    def put(self, job: Callable[[], object]) -> None:
        """Have that done on the thread of gossip."""
        self._worker.put(job)

    def failed(self, peer_id: PeerId) -> None:
        """Nobody was reached where the record of that node says."""
        self._worker.put(lambda: self._core.failed(peer_id.public_key, self._node.clock.now()))

    def _look(self) -> Mapping[str, object] | None:
        if not self.is_on:
            return None
        return {
            "records": len(self._core.store),
            "links": len(self._links),
            "short_links": len(self._borrowed),
            "dropped_frames_total": self.dropped_frames,
            "rejected_total": sum(self._core.rejected.copy().values()),
            "clock_off_seconds": self._doubt.off,
        }

    # --- what the node tells (any thread, locks may be held) ----------------------------------------------------------

    def _connected(self, conversation: Conversation) -> None:
        if self.is_on and conversation.capabilities & Capability.GOSSIP:
            self._worker.put(lambda: self._link_up(conversation))
        if self.is_on:
            self.publishing.soon()

    def _gone(self, conversation: Conversation) -> None:
        if conversation.capabilities & Capability.GOSSIP:
            self._worker.put(lambda: self._link_down(conversation))
            self.publishing.soon()

    def _received(self, conversation: Conversation, link: Link, frame: GossipFrame) -> None:
        """A frame came (the link's reader thread)."""
        peer_id = conversation.peer_id
        with self._lock:
            waiting = self._waiting.get(peer_id, 0)
            limit = "GOSSIP_WAITING" if waiting >= limits.GOSSIP_WAITING else ""
            if len(self._waiting) > limits.GOSSIP_WAITING_PEERS:
                limit = limit or "GOSSIP_WAITING_PEERS"
            if limit or not self.is_on:
                self.dropped_frames += 1
            else:
                self._waiting[peer_id] = waiting + 1
        if limit and self.is_on:
            self._node.refusals.count(limit)
        if limit or not self.is_on:
            return
        self._worker.put(lambda: self._take(conversation, frame))

    def _reloaded(self, changed: frozenset[str]) -> None:
        if "gossip.publish" in changed:
            self.publishing.soon()

    # --- the thread: links --------------------------------------------------------------------------------------------

    def _link_up(self, conversation: Conversation) -> None:
        link = conversation.link
        if link is None or link.circuit is not None or conversation.path is None:
            self._link_down(conversation)
            return
        peer_id, now = conversation.peer_id.public_key, self._node.clock.now()
        is_short = self._borrowed.covers(conversation.peer_id) and not self._borrowed.is_guest(conversation.peer_id)
        known = self._links.get(peer_id)
        if known is not None and known.conversation is conversation and known.is_short == is_short:
            known.link = link  # it has only moved, perhaps to another place
            self._tell_core(conversation)
            self._has_met(conversation, link)
            return
        self._began_at = min(self._began_at, now)
        self._links[peer_id] = _Linked(conversation, link, is_short)
        self._core.link_up(peer_id, self._leads_in(conversation), now, short=is_short, place=_place(link))
        self._has_met(conversation, link)
        self._asking.stands(conversation)

    def _has_met(self, conversation: Conversation, link: Link) -> None:
        record = self.record(conversation.peer_id)
        if record is not None:
            self._public.learned(record, _place(link))

    def tried(self, conversation: Conversation) -> None:
        """It is known now, or not any more, whether strangers reach that peer. Any thread."""
        self._worker.put(lambda: self._tell_core(conversation))

    def _tell_core(self, conversation: Conversation) -> None:
        peer_id = conversation.peer_id.public_key
        known = self._links.get(peer_id)
        if known is not None and known.conversation is conversation:
            leads_in, now = self._leads_in(conversation), self._node.clock.now()
            self._core.link_up(peer_id, leads_in, now, short=known.is_short, place=_place(known.link))

    def _link_down(self, conversation: Conversation) -> None:
        peer_id = conversation.peer_id.public_key
        known = self._links.get(peer_id)
        link = conversation.link
        if known is None or known.conversation is not conversation:
            return
        if link is None or link.circuit is not None or conversation.ended_reason:
            del self._links[peer_id]
            self._mail.drop(peer_id)
            self._core.link_down(peer_id, self._node.clock.now())

    def keep(self, peer_id: PeerId) -> None:
        """The application wants that peer: a link that was for a question stays."""
        if self._borrowed.covers(peer_id):
            self._borrowed.keep(peer_id)
            self._worker.put(lambda: self._made_long(peer_id))

    def _made_long(self, peer_id: PeerId) -> None:
        known = self._links.get(peer_id.public_key)
        if known is not None:
            self._link_up(known.conversation)

    def _take(self, conversation: Conversation, frame: GossipFrame) -> None:
        peer_id = conversation.peer_id
        with self._lock:
            left = self._waiting.pop(peer_id, 1) - 1
            if left:
                self._waiting[peer_id] = left
        known = self._links.get(peer_id.public_key)
        if known is None or known.conversation is not conversation:
            return
        if known.is_short:
            self._borrowed.used(peer_id)
        self._core.receive(peer_id.public_key, frame, self._node.clock.now(), self._node.wall())

    def _tick(self) -> None:
        self._alarm.rang()
        self._core.handle_timer(self._node.clock.now(), self._node.wall())

    def _publish(self) -> None:
        if self.is_on and self._links:
            record = self.publishing.make()
            if record is not None:
                self._core.publish(record, self._node.clock.now())

    def _read(self, data: bytes) -> Record:
        """A record; it also shows what time it is for others. Raises as :data:`Reader` says."""
        record = self._parse(data)
        if record.node != self._core.our_id and self._doubt.heard(record, self._node.wall()):
            self._warn_of_the_clock()
        return record

    def _warn_of_the_clock(self) -> None:
        now, off = self._node.clock.now(), self._doubt.off or 0.0
        if now < self._warns_at:
            return
        self._warns_at = now + limits.GOSSIP_DOUBT_PERIOD
        self._node.log.warning(
            "the clock of this machine seems to be wrong, by some %.0f hours too %s: all records that come from other "
            "nodes are of another time, so this node takes none of them, and others take none of its own; set the "
            "clock, by NTP for instance",
            max(1.0, abs(off) / 3600),
            "late" if off > 0 else "early",
        )

    def _unreached(self, node: bytes) -> None:
        self._core.failed(node, self._node.clock.now())

    # --- the thread: what comes of it ---------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Carry out what the core wants."""
        now, learned = self._node.clock.now(), False
        for event in self._core.events():
            if isinstance(event, Found):
                quest = self._finds.pop(event.number, None)
                if quest is not None:
                    self._answer(quest, event.record, event.asked)
            elif isinstance(event, RecordLearned):
                known = self._links.get(event.record.node)
                self._public.learned(event.record, None if known is None else _place(known.link))
                learned = True
            elif isinstance(event, Misbehaved):
                self._misbehaved(event)
            elif isinstance(event, Superseded):
                self._superseded(event.record)
        if learned:
            self._tell_of_news()
        for peer_id, frame in self._core.frames_to_send():
            known = self._links.get(peer_id)
            if known is not None and not self._mail.add(known.conversation, frame, now):
                self._node.log.debug("peer %s takes gossip too slowly", known.conversation.peer_id)
        for ask in self._core.asks():
            known = self._links.get(ask.record.node)
            if known is not None:
                self._mail.add(known.conversation, ask.frame, now)
            else:
                self._asking.ask(ask)
        for conversation, frame in self._asking.frames():
            self._mail.add(conversation, frame, now)
        self._mail_due = self._mail.pump(now)
        times = [each for each in (self._core.get_timer(), self._mail_due) if each is not None]
        self._alarm.set(min(times, default=None), lambda _: self._worker.put(self._tick))

    def _tell_of_news(self) -> None:
        for heard in self.on_learned:
            heard()

    def _misbehaved(self, event: Misbehaved) -> None:
        known = self._links.get(event.peer_id)
        if known is not None:
            self._node.misbehaved(known.conversation, f"gossip-{event.kind}", _SAID[event.kind])

    def _superseded(self, record: Record) -> None:
        if self.publishing.heard(record):
            self._node.log.warning(
                "another program publishes addresses under the identity of this node, %s: give each its own, or end "
                "one of the two; peers reach now the one and now the other",
                self._node.handshake.key_pair.peer_id,
            )
            self._node.subscriptions.emit(events.IdentityShared(tuple(record.endpoints)))


def _place(link: Link) -> bytes:
    """Where the other end is, a whole IPv6 /48 being one place: those there share what there is for one address."""
    key = address_key(link.connection.remote.host)
    return site_key(key) or key
