"""
The signed record of a node: what it says of itself, where it listens and who introduces it (docs/wire-format.md,
"Records of nodes").

A record holds for two hours from the time at which it was made, by clocks that differ by ten minutes at most. Of two
records of one node the one with the greater version holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from ... import limits
from ...addresses import Contact, Endpoint, PeerId
from ...crypto.identity import KeyPair
from ...crypto.keys import is_signed
from ...exceptions import MalformedMessage
from ...wire import gossip as wire
from ...wire.frames import TransportCode
from ...wire.handshake import Role

__all__ = ["PUBLISH", "Reader", "Record", "make_record", "next_sequence", "parse_record_untrusted", "read_with"]

PUBLISH = ("full", "via", "none")
"""What a node may tell of itself: its addresses and who introduces it, only that, or nothing."""

_DOMAIN = b"crust/1 record of a node\0"
_LIFE, _SKEW = round(limits.GOSSIP_LIFE * 1000), round(limits.GOSSIP_SKEW * 1000)
_CODES = {"utp": TransportCode.UTP, "tcp": TransportCode.TCP}
_NAMES = {int(code): name for name, code in _CODES.items()}


class Record:
    """
    A record whose signature is right. Immutable: one object serves all who know it, in every thread.

    Kept small: the addresses in it are parsed anew each time they are asked for.
    """

    __slots__ = ("data", "is_public", "made", "mix", "node", "prefix", "role", "sequence", "version")

    def __init__(self, statement: wire.Statement, data: bytes) -> None:
        digest = hashlib.blake2b(data, digest_size=16).digest()
        self.data = data
        """Its bytes, signature included; at most 512."""
        self.node = statement.peer_id
        """Whose it is: the 32 bytes of the public key."""
        self.prefix = wire.prefix_of(statement.peer_id)
        """The id's first 8 bytes, as a number: what nodes are compared and sorted by."""
        self.sequence = statement.sequence
        self.made = statement.made
        """Unix time in milliseconds."""
        self.role = statement.role
        self.is_public = statement.is_public and bool(statement.spots)
        """Strangers get in at its endpoints, it says."""
        self.version = wire.version_of(statement.sequence, digest)
        """Sequence and digest as one number: the greater one holds, wherever two records of a node meet."""
        self.mix = wire.prefix_of(digest[8:])
        """64 bits of its digest, for the hashes by which stores are compared."""

    @property
    def peer_id(self) -> PeerId:
        """Whose it is."""
        return PeerId(self.node)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the node says that it listens: hearsay, at most 8."""
        return _endpoints(wire.parse_statement_untrusted(self.data).spots)

    @property
    def via(self) -> tuple[Contact, ...]:
        """Peers that introduce others to it, at most 3; hearsay as well."""
        statement = wire.parse_statement_untrusted(self.data)
        return tuple(Contact(PeerId(via.peer_id), _endpoints(via.spots)) for via in statement.via)

    def expires(self) -> float:
        """Until when it holds, in Unix time (seconds)."""
        return (self.made + _LIFE) / 1000

    def holds(self, wall: float) -> bool:
        """Whether it is neither too old nor too far in the future at that Unix time (seconds)."""
        age = wall * 1000 - self.made
        return -_SKEW <= age <= _LIFE

    def __repr__(self) -> str:
        return f"<Record of {self.node.hex()[:8]}… {self.sequence}{' public' if self.is_public else ''}>"


Reader = Callable[[bytes], Record]
"""Makes a record of a stranger's bytes, or raises MalformedMessage. It looks at the signature."""


def _endpoints(spots: Iterable[wire.Spot]) -> tuple[Endpoint, ...]:
    found = (Endpoint(_NAMES[spot.transport], *spot.address) for spot in spots)
    return tuple(endpoint for endpoint in found if endpoint.is_dialable)


def _spots(endpoints: Iterable[Endpoint], most: int) -> tuple[wire.Spot, ...]:
    usable = [e for e in dict.fromkeys(endpoints) if e.ip is not None and e.is_dialable and "%" not in e.host]
    return tuple(wire.Spot(_CODES[e.transport], (e.host, e.port)) for e in usable[:most])


def next_sequence(last: int, wall: float) -> int:
    """The sequence of a record made at that Unix time, after one with the sequence ``last`` (0: the first one)."""
    return max(last + 1, round(wall * 1000))


def make_record(
    keys: KeyPair,
    network_id: bytes,
    *,
    wall: float,
    last: int = 0,
    endpoints: Iterable[Endpoint] = (),
    via: Iterable[Contact] = (),
    role: Role = Role.NODE,
    is_public: bool = False,
    publish: str = "full",
) -> Record | None:
    """
    A record of our own, signed.

    Args:
        keys: Whose it is.
        network_id: 32 bytes; in another network the record means nothing.
        wall: Unix time, seconds.
        last: The sequence of our last record, 0 if there is none.
        endpoints: Where we listen, best first; 8 that are IP addresses are named.
        via: Peers that introduce us, best first; 3 with 2 addresses each are named.
        is_public: Strangers get in at the endpoints.
        publish: One of :data:`PUBLISH`. A client never names its addresses.

    Returns:
        None if nothing is to be published, or if there is nothing to tell.

    Raises:
        ValueError: ``publish`` is none of these.
        IdentityError: The secret key has been cleared.
    """
    if publish not in PUBLISH:
        raise ValueError(f"publish is one of {', '.join(PUBLISH)}, not {publish!r}")
    is_full = publish == "full" and role is not Role.CLIENT
    spots = _spots(endpoints, limits.GOSSIP_ENDPOINTS_MAX) if is_full else ()
    via_most = limits.GOSSIP_VIA_ENDPOINTS_MAX
    introducers = tuple(wire.Via(c.peer_id.public_key, _spots(c.endpoints, via_most)) for c in via)
    introducers = introducers[: limits.GOSSIP_VIA_MAX]
    if publish == "none" or not (spots or introducers):
        return None
    statement = wire.Statement(
        peer_id=keys.peer_id.public_key,
        sequence=next_sequence(last, wall),
        made=round(wall * 1000),
        role=role,
        is_public=is_public and bool(spots),
        spots=spots,
        via=introducers,
    )
    body = wire.build_record_body(statement)
    return Record(statement, body + keys.sign(_signed(body, network_id)))


def parse_record_untrusted(data: bytes, network_id: bytes) -> Record:
    """
    The record in a stranger's bytes, of a node of this network. Whether it still holds is another matter.

    Raises:
        MalformedMessage: The bytes are no record, or its signature is not that of the node for this network.
    """
    body, signature = wire.split_record_untrusted(data)
    statement = wire.parse_statement_untrusted(data)
    if not is_signed(statement.peer_id, _signed(body, network_id), signature):
        raise MalformedMessage("a record whose signature is not that of its node, in this network")
    return Record(statement, data)


def read_with(network_id: bytes) -> Reader:
    """:func:`parse_record_untrusted` for that network."""
    return lambda data: parse_record_untrusted(data, network_id)


def _signed(body: bytes, network_id: bytes) -> bytes:
    return _DOMAIN + network_id + body
