"""
Nodes that take part like others, and lie: each makes up thousands of nodes, and sends those who ask into their arms.

The records are signed, as anybody can make keys. A half of them have ids as near as keys can be tried to those of the
liar's neighbours, where they displace most. Every other liar mixes them with records of honest nodes in versions that
do not exist, so that these are asked for in vain; the rest deliver whatever they announce, as honest nodes do. Whoever
asks a liar for a node is told of made-up ones beside it.
"""

from __future__ import annotations

import random

from crust.discovery.gossip.gossip import Gossip, GossipSettings
from crust.discovery.gossip.record import Reader, Record
from crust.wire import gossip as wire
from crust.wire.frames import TransportCode
from crust.wire.handshake import Role
from tests.simulation.gossip.records import Notary

__all__ = ["Liar", "Lies"]

NEAR = 3  # bytes of an id that can be had by trying keys: 2^24 of them
EVERY = 1.0  # seconds between two announcements on a link
ITEMS = 240  # lies in one
HONEST = 16  # honest nodes in it, with a version that nobody has
ADVICE = 6  # made-up nodes in an answer


class Lies:
    """Made-up records, each signed when somebody asks for it."""

    def __init__(self, notary: Notary, rng: random.Random, wall: float) -> None:
        self._notary = notary
        self._random = rng
        self._made = round(wall * 1000)
        self.version = wire.version_of(self._made, bytes(16))
        """The lowest that any of them may turn out to have."""
        spots = (wire.Spot(TransportCode.TCP, ("203.0.113.9", 9)),)
        self._template = wire.Statement(bytes(32), self._made, self._made, Role.NODE, True, spots, ())
        self._body = wire.build_record_body(self._template)
        self._at = self._body.index(bytes(32))
        self._ids: dict[int, bytes] = {}
        self._records: dict[int, Record] = {}

    def make_up(self, beside: bytes) -> int:
        """The prefix of a new one, whose id begins like that."""
        node = beside[:NEAR] + self._random.randbytes(32 - NEAR)
        prefix = wire.prefix_of(node)
        self._ids[prefix] = node
        return prefix

    def record(self, prefix: int) -> Record | None:
        """The record of one that was made up."""
        if prefix not in self._ids:
            return None
        if prefix not in self._records:
            node = self._ids[prefix]
            data = self._body[: self._at] + node + self._body[self._at + 32 :] + self._random.randbytes(64)
            self._records[prefix] = self._notary.register(Record(self._template._replace(peer_id=node), data))
        return self._records[prefix]

    def __len__(self) -> int:
        return len(self._ids)


class Liar(Gossip):
    """
    Args:
        lies: How many nodes it makes up; they are announced to every neighbour, in turn.
    """

    def __init__(
        self,
        our_id: bytes,
        settings: GossipSettings,
        read: Reader,
        rng: random.Random,
        *,
        notary: Notary,
        wall: float,
        lies: int,
    ) -> None:
        super().__init__(our_id, settings, read, rng)
        self._rng_of_lies = rng
        self._lies = Lies(notary, rng, wall)
        self._to_make_up = lies
        self._boasts = rng.random() < 0.5
        self._made_up: list[int] = []
        self._lied_to: dict[bytes, int] = {}
        self._lies_at = 0.0
        self._lies_to_send: list[tuple[bytes, wire.GossipFrame]] = []

    def link_up(self, peer_id: bytes, is_public: bool, now: float, *, short: bool = False) -> None:
        super().link_up(peer_id, is_public, now, short=short)
        if not short:
            self._lied_to.setdefault(peer_id, 0)

    def link_down(self, peer_id: bytes, now: float) -> None:
        super().link_down(peer_id, now)
        self._lied_to.pop(peer_id, None)

    def receive(self, peer_id: bytes, frame: wire.GossipFrame, now: float, wall: float) -> None:
        if isinstance(frame, wire.Request):
            made_up = [record.data for prefix in frame.prefixes if (record := self._lies.record(prefix)) is not None]
            for at in range(0, len(made_up), 16):
                self._lies_to_send.append((peer_id, wire.Records(tuple(made_up[at : at + 16]))))
        if isinstance(frame, wire.Find):
            beside = [self._lies.record(self._lies.make_up(frame.target)) for _ in range(ADVICE)]
            advice = tuple(record.data for record in beside if record is not None)
            self._lies_to_send.append((peer_id, wire.Found(frame.number, b"", advice)))
        else:
            super().receive(peer_id, frame, now, wall)

    def get_timer(self) -> float | None:
        timer = super().get_timer()
        return self._lies_at if timer is None else min(timer, self._lies_at)

    def handle_timer(self, now: float, wall: float) -> None:
        super().handle_timer(now, wall)
        if now >= self._lies_at:
            self._lies_at = now + EVERY
            for peer in self._lied_to:
                self._lie_to(peer)

    def frames_to_send(self) -> list[tuple[bytes, wire.GossipFrame]]:
        outgoing, self._lies_to_send = self._lies_to_send, []
        return [*super().frames_to_send(), *outgoing]

    def _lie_to(self, peer: bytes) -> None:
        """The next made-up nodes, and some that exist."""
        start = self._lied_to[peer]
        while len(self._made_up) < start + ITEMS and self._to_make_up:
            self._to_make_up -= 1
            near = self._rng_of_lies.random() < 0.5
            self._made_up.append(self._lies.make_up(peer if near else self._rng_of_lies.randbytes(NEAR)))
        prefixes = self._made_up[start : start + ITEMS]
        self._lied_to[peer] = start + len(prefixes)
        items = [(prefix, self._lies.version) for prefix in prefixes]
        known = list(self.store)
        victims = self._rng_of_lies.sample(known, min(HONEST, len(known))) if prefixes and self._boasts else []
        items += [(record.prefix, record.version + (1 << 40)) for record in victims]
        if items:
            self._lies_to_send.append((peer, wire.Announce(tuple(items))))
