"""
Records without keys: what costs a computer 150 microseconds, a thousand times a thousand times, is only counted here.

Whoever makes a record registers it; who reads its bytes gets that same object, so that thousands of nodes share it.
"""

from __future__ import annotations

import random

from crust.discovery.gossip.record import Record
from crust.exceptions import MalformedMessage
from crust.wire import gossip as wire
from crust.wire.frames import TransportCode
from crust.wire.handshake import Role

__all__ = ["Identity", "Notary", "size_of"]

PORT = 5483
SIGNATURE = 64


class Notary:
    """Stands in for signatures: bytes that nobody registered are a forgery."""

    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}

    def register(self, record: Record) -> Record:
        return self._records.setdefault(record.data, record)

    def read(self, data: bytes) -> Record:
        """
        The record in these bytes.

        Raises:
            MalformedMessage: Nobody has signed that.
        """
        record = self._records.get(data)
        if record is None:
            raise MalformedMessage("nobody has signed that record")
        return record


class Identity:
    """Whose name and addresses: as many as nodes have with a private and a public IPv4 address."""

    def __init__(self, rng: random.Random, public: bool) -> None:
        self.id = rng.randbytes(32)
        self.public = public
        host = f"{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        codes = (TransportCode.TCP, TransportCode.UTP)
        self.spots = tuple(wire.Spot(code, (host, PORT)) for code in codes)
        self._inner = tuple(wire.Spot(code, ("192.168.0.7", PORT)) for code in codes)
        self._rng = rng
        self._sequence = 0

    @property
    def sequence(self) -> int:
        """The last one's."""
        return self._sequence

    def record(self, wall: float, via: tuple[Identity, ...]) -> Record:
        """The next one, made at that Unix time."""
        self._sequence = max(self._sequence + 1, round(wall * 1000))
        statement = wire.Statement(
            peer_id=self.id,
            sequence=self._sequence,
            made=round(wall * 1000),
            role=Role.NODE,
            is_public=self.public,
            spots=self.spots + self._inner,
            via=() if self.public else tuple(wire.Via(other.id, other.spots) for other in via),
        )
        return Record(statement, wire.build_record_body(statement) + self._rng.randbytes(SIGNATURE))


def size_of(frame: wire.GossipFrame) -> int:
    """The bytes of a frame on the wire; a test holds it equal to what is built."""
    if isinstance(frame, wire.Announce):
        return 3 + 16 * len(frame.items)
    if isinstance(frame, wire.Request):
        return 3 + 8 * len(frame.prefixes)
    if isinstance(frame, wire.Records):
        return 2 + sum(2 + len(record) for record in frame.records)
    if isinstance(frame, wire.Contents):
        return 19 + 16 * len(frame.items)
    if isinstance(frame, wire.Summary):
        return 12 + 8 * len(frame.hashes)
    if isinstance(frame, wire.Find):
        return 5 + len(frame.target)
    return 8 + len(frame.record) + sum(2 + len(record) for record in frame.nearer)
