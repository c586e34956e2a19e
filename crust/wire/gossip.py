"""
What nodes tell each other about nodes (docs/wire-format.md, "Gossip"): the frames, and the signed record of a node.

An id is shortened to its first 8 bytes, as a number: its *prefix*. A record's *version* is a number too, its sequence
and then 16 bits of its digest: of two records of one node the greater version holds, everywhere.

The frames, and what a record says, have a short way made of :mod:`struct`, as those of :mod:`crust.wire.control`: what
construct makes of a record is hundreds of objects, in circles that wait for the garbage collector.
"""

from __future__ import annotations

import functools
import ipaddress
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from .. import limits
from ..exceptions import MalformedMessage
from .codec import Address, build, parse_all
from .handshake import Role

__all__ = [
    "GOSSIP_FRAMES",
    "Announce",
    "Contents",
    "Find",
    "Found",
    "GossipFrame",
    "Item",
    "Records",
    "Request",
    "Spot",
    "Statement",
    "Summary",
    "Via",
    "build_record_body",
    "parse_statement_untrusted",
    "prefix_of",
    "read_gossip",
    "show_gossip",
    "size_of",
    "split_record_untrusted",
    "version_of",
]

Item: TypeAlias = tuple[int, int]
"""The prefix of a node's id, and the version of its record."""


class Summary(NamedTuple):
    """The sender takes part in gossip; how much it keeps; and maybe what that is, in short."""

    radius: int
    """Records of nodes are kept whose prefix XOR the sender's own is at most this (u64)."""
    asks: bool
    """Compare, and answer with a Summary that asks nothing and the Contents of each part that differs."""
    hashes: tuple[int, ...]
    """None, or 1, 2, 4 … 256: of equal parts of all prefixes, in order, each the XOR of its records' digests (u64)."""


class Contents(NamedTuple):
    """All that the sender keeps of a range."""

    first: int
    """The lowest prefix of the range."""
    last: int
    """The highest."""
    items: tuple[Item, ...]
    """At most 256."""


class Announce(NamedTuple):
    """Records that the sender can give."""

    items: tuple[Item, ...]
    """1 to 256."""


class Request(NamedTuple):
    """Records that the sender wants, by prefix."""

    prefixes: tuple[int, ...]
    """1 to 64."""


class Records(NamedTuple):
    """Records, as asked for; or the sender's own, unasked."""

    records: tuple[bytes, ...]
    """1 to 16, of at most 512 bytes."""


class Find(NamedTuple):
    """Who knows this node?"""

    number: int
    """u32, which comes back."""
    target: bytes
    """Its id, 32 bytes."""


class Found(NamedTuple):
    """The answer to :class:`Find`."""

    number: int
    record: bytes
    """The record of that node; empty: it is not known here."""
    nearer: tuple[bytes, ...]
    """Records of at most 6 public nodes that may know it, nearest first."""


GossipFrame: TypeAlias = Summary | Contents | Announce | Request | Records | Find | Found
GOSSIP_FRAMES = (Summary, Contents, Announce, Request, Records, Find, Found)


# --- records ----------------------------------------------------------------------------------------------------------


class Spot(NamedTuple):
    """An address at which a node listens."""

    transport: int
    """``crust.wire.frames.TransportCode``."""
    address: Address


class Via(NamedTuple):
    """A peer that introduces others to the node."""

    peer_id: bytes
    spots: tuple[Spot, ...]
    """At most 2."""


class Statement(NamedTuple):
    """What a node says of itself: the body of its record."""

    peer_id: bytes
    """32 bytes."""
    sequence: int
    """u48. Each record has a greater one than that before."""
    made: int
    """Unix time in milliseconds, u48."""
    role: Role
    is_public: bool
    """Strangers get in at its spots."""
    spots: tuple[Spot, ...]
    """At most 8."""
    via: tuple[Via, ...]
    """At most 3."""


def prefix_of(peer_id: bytes) -> int:
    """The number that an id is shortened to."""
    return int.from_bytes(peer_id[:8], "big")


def version_of(sequence: int, digest: bytes) -> int:
    """The number by which the records of one node are ordered."""
    return sequence << 16 | int.from_bytes(digest[:2], "big")


def build_record_body(statement: Statement) -> bytes:
    """
    A record without its signature, which covers this (docs/wire-format.md says how) and follows it.

    Raises:
        ValueError: The wire cannot hold it.
    """
    return build("STATEMENT", statement, "record")


def parse_statement_untrusted(data: bytes) -> Statement:
    """
    What a record says. Its signature is not looked at.

    Raises:
        MalformedMessage: The bytes are no record.
    """
    body, _ = split_record_untrusted(data)
    quick = _read_statement(body)
    if quick is not None:
        return quick
    statement: Statement = parse_all("STATEMENT", body, "record", limits.GOSSIP_RECORD_MAX)
    return statement


def split_record_untrusted(data: bytes) -> tuple[bytes, bytes]:
    """
    The body of a record, and its signature.

    Raises:
        MalformedMessage: The bytes are no record.
    """
    if not limits.SIGNATURE_SIZE + limits.PEER_ID_SIZE < len(data) <= limits.GOSSIP_RECORD_MAX:
        raise MalformedMessage(f"a record of a node of {len(data)} bytes")
    return data[: -limits.SIGNATURE_SIZE], data[-limits.SIGNATURE_SIZE :]


def _read_statement(body: bytes) -> Statement | None:
    """What is certainly right; the definition knows what is wrong with the rest."""
    try:
        peer_id, sequence, made, role, public = _STATEMENT.unpack_from(body)
        spots, at = _read_spots(body, _STATEMENT.size, limits.GOSSIP_ENDPOINTS_MAX)
        count = body[at]
        if public > 1 or count > limits.GOSSIP_VIA_MAX:
            return None
        at += 1
        via = []
        for _ in range(count):
            introducer = body[at : at + limits.PEER_ID_SIZE]
            theirs, at = _read_spots(body, at + limits.PEER_ID_SIZE, limits.GOSSIP_VIA_ENDPOINTS_MAX)
            via.append(Via(introducer, theirs))
        if at != len(body):
            return None
        numbers = int.from_bytes(sequence, "big"), int.from_bytes(made, "big")
        return Statement(peer_id, *numbers, _ROLES[role], public == 1, spots, tuple(via))
    except (struct.error, LookupError, ValueError):
        return None


def _read_spots(body: bytes, at: int, most: int) -> tuple[tuple[Spot, ...], int]:
    count = body[at]
    if count > most:
        raise ValueError
    at += 1
    transports = _transports()
    spots = []
    for _ in range(count):
        start = at + 2
        transport, size = transports[body[at]], _IP_SIZES[body[at + 1]]
        at = start + size + 2
        ip = ipaddress.ip_address(body[start : start + size])
        port = body[at - 2] << 8 | body[at - 1]
        if not port or (ip.version == 6 and ip.ipv4_mapped is not None):
            raise ValueError
        spots.append(Spot(transport, (str(ip), port)))
    if len(set(spots)) != count:
        raise ValueError
    return tuple(spots), at


@functools.cache
def _transports() -> Mapping[int, int]:
    from .frame_values import TransportCode  # which is made of what is here

    return {int(code): code for code in TransportCode}


_STATEMENT = struct.Struct(f">{limits.PEER_ID_SIZE}s6s6sBB")  # id, sequence, made, role, is_public
_ROLES = {int(role): role for role in Role}
_IP_SIZES = {4: 4, 6: 16}


# --- the short way of the frames --------------------------------------------------------------------------------------

_SUMMARY, _CONTENTS, _ANNOUNCE, _REQUEST = 0x15, 0x16, 0x17, 0x18
_RECORDS, _FIND, _FOUND = 0x19, 0x1A, 0x1B
_SUMMARY_HEAD = struct.Struct(">BQBH")  # type, radius, asks, count
_CONTENTS_HEAD = struct.Struct(">BQQH")  # type, first, last, count
_LIST_HEAD = struct.Struct(">BH")  # type, count
_FIND_ALL = struct.Struct(f">BI{limits.PEER_ID_SIZE}s")
_FOUND_HEAD = struct.Struct(">BIH")  # type, number, size of the record
_COUNTS = frozenset((0, *(1 << bits for bits in range(limits.GOSSIP_DEPTH_MAX + 1))))


def show_gossip(frame: object) -> bytes | None:
    """The bytes of a frame of gossip that is certainly right; else None. ``struct.error``: it is not."""
    if isinstance(frame, Announce):
        if 0 < len(frame.items) <= limits.GOSSIP_ITEMS_MAX:
            return _LIST_HEAD.pack(_ANNOUNCE, len(frame.items)) + _flat(frame.items)
    elif isinstance(frame, Request):
        if 0 < len(frame.prefixes) <= limits.GOSSIP_REQUEST_MAX:
            count = len(frame.prefixes)
            return _LIST_HEAD.pack(_REQUEST, count) + struct.pack(f">{count}Q", *frame.prefixes)
    elif isinstance(frame, Contents):
        if len(frame.items) <= limits.GOSSIP_ITEMS_MAX and frame.first <= frame.last:
            return _CONTENTS_HEAD.pack(_CONTENTS, frame.first, frame.last, len(frame.items)) + _flat(frame.items)
    elif isinstance(frame, Summary):
        if len(frame.hashes) in _COUNTS:
            count = len(frame.hashes)
            head = _SUMMARY_HEAD.pack(_SUMMARY, frame.radius, bool(frame.asks), count)
            return head + struct.pack(f">{count}Q", *frame.hashes)
    elif isinstance(frame, Records):
        if 0 < len(frame.records) <= limits.GOSSIP_BATCH_MAX and _are_records(frame.records):
            return bytes((_RECORDS, len(frame.records))) + _joined(frame.records)
    elif isinstance(frame, Find):
        if len(frame.target) == limits.PEER_ID_SIZE:
            return _FIND_ALL.pack(_FIND, frame.number, frame.target)
    elif isinstance(frame, Found) and len(frame.record) <= limits.GOSSIP_RECORD_MAX:
        if len(frame.nearer) <= limits.GOSSIP_NEARER_MAX and _are_records(frame.nearer):
            head = _FOUND_HEAD.pack(_FOUND, frame.number, len(frame.record))
            return head + frame.record + bytes((len(frame.nearer),)) + _joined(frame.nearer)
    return None


def _flat(items: tuple[Item, ...]) -> bytes:
    return struct.pack(f">{2 * len(items)}Q", *[number for item in items for number in item])


def _are_records(records: Iterable[bytes]) -> bool:
    return all(0 < len(data) <= limits.GOSSIP_RECORD_MAX for data in records)


def _joined(records: Iterable[bytes]) -> bytes:
    return b"".join([part for data in records for part in (len(data).to_bytes(2, "big"), data)])


def size_of(frame: GossipFrame) -> int:
    """How many bytes :func:`show_gossip` makes of a frame."""
    if isinstance(frame, Records):
        return 2 + sum(2 + len(data) for data in frame.records)
    if isinstance(frame, Announce):
        return _LIST_HEAD.size + 16 * len(frame.items)
    if isinstance(frame, Request):
        return _LIST_HEAD.size + 8 * len(frame.prefixes)
    if isinstance(frame, Contents):
        return _CONTENTS_HEAD.size + 16 * len(frame.items)
    if isinstance(frame, Summary):
        return _SUMMARY_HEAD.size + 8 * len(frame.hashes)
    if isinstance(frame, Find):
        return _FIND_ALL.size
    return _FOUND_HEAD.size + len(frame.record) + 1 + sum(2 + len(data) for data in frame.nearer)


def read_gossip(plaintext: bytes | memoryview, at: int) -> tuple[GossipFrame, int] | None:
    """The frame at ``at`` if it is one of gossip and certainly right, and its end. ``struct.error``: it is cut."""
    kind = plaintext[at]
    if kind == _ANNOUNCE or kind == _REQUEST:
        _, count = _LIST_HEAD.unpack_from(plaintext, at)
        start = at + _LIST_HEAD.size
        if kind == _REQUEST:
            if not 0 < count <= limits.GOSSIP_REQUEST_MAX:
                return None
            return Request(struct.unpack_from(f">{count}Q", plaintext, start)), start + 8 * count
        if not 0 < count <= limits.GOSSIP_ITEMS_MAX:
            return None
        return Announce(_items(plaintext, start, count)), start + 16 * count
    if kind == _CONTENTS:
        _, first, last, count = _CONTENTS_HEAD.unpack_from(plaintext, at)
        if count > limits.GOSSIP_ITEMS_MAX or first > last:
            return None
        start = at + _CONTENTS_HEAD.size
        return Contents(first, last, _items(plaintext, start, count)), start + 16 * count
    if kind == _SUMMARY:
        _, radius, asks, count = _SUMMARY_HEAD.unpack_from(plaintext, at)
        if count not in _COUNTS or asks > 1:
            return None
        start = at + _SUMMARY_HEAD.size
        return Summary(radius, asks == 1, struct.unpack_from(f">{count}Q", plaintext, start)), start + 8 * count
    if kind == _RECORDS:
        records, end = _read_records(plaintext, at + 1, limits.GOSSIP_BATCH_MAX)
        return (Records(records), end) if records else None
    if kind == _FIND:
        _, number, target = _FIND_ALL.unpack_from(plaintext, at)
        return Find(number, target), at + _FIND_ALL.size
    if kind == _FOUND:
        _, number, size = _FOUND_HEAD.unpack_from(plaintext, at)
        start = at + _FOUND_HEAD.size
        if size > limits.GOSSIP_RECORD_MAX:
            return None
        nearer, end = _read_records(plaintext, start + size, limits.GOSSIP_NEARER_MAX)
        return Found(number, bytes(plaintext[start : start + size]), nearer), end
    return None


def _items(plaintext: bytes | memoryview, start: int, count: int) -> tuple[Item, ...]:
    numbers = struct.unpack_from(f">{2 * count}Q", plaintext, start)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _read_records(plaintext: bytes | memoryview, at: int, most: int) -> tuple[tuple[bytes, ...], int]:
    """A count, and so many records; ``LookupError`` or ``ValueError``: not certainly."""
    count = plaintext[at]
    if count > most:
        raise ValueError
    at += 1
    records = []
    for _ in range(count):
        start = at + 2
        size = plaintext[at] << 8 | plaintext[at + 1]
        at = start + size
        if not 0 < size <= limits.GOSSIP_RECORD_MAX or at > len(plaintext):
            raise ValueError
        records.append(bytes(plaintext[start:at]))
    return tuple(records), at
