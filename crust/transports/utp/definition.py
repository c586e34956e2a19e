"""
The packet of BEP 29 in construct, its chain of extensions included.

Everything of a packet is here; :mod:`crust.transports.utp.packet` has a short way that the tests hold equal to it.
"""

from __future__ import annotations

from typing import Any

from ...wire.fields import Definition, checked, choice, construct
from .packet import EXTENSIONS_MAX, VERSION, ExtensionType, Packet, PacketType

__all__ = ["FIELDS", "PACKET"]

_u8, _u16, _u32 = construct.Int8ub, construct.Int16ub, construct.Int32ub

BITS: Definition = construct.Struct("reserved" / construct.Bytes(6), "largest" / _u16)
"""What we put into the "extension bits"."""

EXTENSION: Definition = construct.Struct(
    "next" / _u8,  # the type of the extension behind this one; 0: none
    "data" / construct.Prefixed(_u8, construct.GreedyBytes),
)


def _is_last(extension: Any, extensions: list[Any], _context: object) -> bool:
    if not extension.next:
        return True
    if len(extensions) >= EXTENSIONS_MAX:
        raise ValueError(f"more than {EXTENSIONS_MAX} extensions")
    return False


FIELDS: Definition = construct.Struct(
    "head"
    / construct.BitStruct(
        "type" / choice(construct.Nibble, PacketType),
        "version" / checked(construct.Nibble, lambda version: version == VERSION, "not version 1"),
    ),
    "extension" / _u8,  # the type of the first extension; 0: none
    "connection_id" / _u16,
    "timestamp" / _u32,
    "timestamp_difference" / _u32,
    "window" / _u32,
    "sequence" / _u16,
    "ack" / _u16,
    "extensions" / construct.If(construct.this.extension, construct.RepeatUntil(_is_last, EXTENSION)),
    "payload" / construct.GreedyBytes,
)
"""The fields of a datagram as they stand in it."""


def _decode(raw: Any, _context: object) -> Packet:
    kind, known = raw.extension, {}
    for extension in raw.extensions or ():
        if kind in (ExtensionType.SELECTIVE_ACK, ExtensionType.EXTENSION_BITS):
            if kind in known:
                raise ValueError("an extension is there twice")
            known[kind] = extension.data
        kind = extension.next
    bits = known.get(ExtensionType.EXTENSION_BITS, b"")
    is_ours = len(bits) == BITS.sizeof() and not any(bits[:6])
    return Packet(
        raw.head.type,
        raw.connection_id,
        raw.timestamp,
        raw.timestamp_difference,
        raw.window,
        raw.sequence,
        raw.ack,
        known.get(ExtensionType.SELECTIVE_ACK, b""),
        raw.payload,
        BITS.parse(bits).largest if is_ours else 0,
    )


def _encode(packet: Packet, _context: object) -> dict[str, Any]:
    chain = [(ExtensionType.SELECTIVE_ACK, packet.sack)] if packet.sack else []
    if packet.largest:
        bits = BITS.build({"reserved": bytes(6), "largest": packet.largest})
        chain.append((ExtensionType.EXTENSION_BITS, bits))
    kinds = [int(kind) for kind, _ in chain] + [0]
    return {
        **packet._asdict(),
        "head": {"type": packet.type, "version": VERSION},
        "extension": kinds[0],
        "extensions": [
            construct.Container(next=following, data=data)
            for following, (_, data) in zip(kinds[1:], chain, strict=True)
        ],
        "payload": bytes(packet.payload),
    }


PACKET: Definition = construct.ExprAdapter(FIELDS, _decode, _encode)
"""A datagram as a :class:`~crust.transports.utp.packet.Packet`: other extensions than the first are left out."""
