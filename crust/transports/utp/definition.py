"""
The packet of BEP 29 in construct, its chain of extensions included.

Everything of a packet is here; :mod:`crust.transports.utp.packet` has a short way for what nearly every packet is: one
with no extension, or with a selective acknowledgement alone. It loads this module when something else arrives.
"""

from __future__ import annotations

from typing import Any

from ...wire.fields import Definition, checked, choice, construct
from .packet import EXTENSIONS_MAX, VERSION, ExtensionType, Packet, PacketType

__all__ = ["FIELDS", "PACKET"]

_u8, _u16, _u32 = construct.Int8ub, construct.Int16ub, construct.Int32ub

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
    kind, sacks = raw.extension, []
    for extension in raw.extensions or ():
        if kind == ExtensionType.SELECTIVE_ACK:
            sacks.append(extension.data)
        kind = extension.next
    if len(sacks) > 1:
        raise ValueError("two selective acknowledgements")
    return Packet(
        raw.head.type,
        raw.connection_id,
        raw.timestamp,
        raw.timestamp_difference,
        raw.window,
        raw.sequence,
        raw.ack,
        sacks[0] if sacks else b"",
        raw.payload,
    )


def _encode(packet: Packet, _context: object) -> dict[str, Any]:
    return {
        **packet._asdict(),
        "head": {"type": packet.type, "version": VERSION},
        "extension": ExtensionType.SELECTIVE_ACK if packet.sack else 0,
        "extensions": [construct.Container(next=0, data=packet.sack)],
        "payload": bytes(packet.payload),
    }


PACKET: Definition = construct.ExprAdapter(FIELDS, _decode, _encode)
"""A datagram as a :class:`~crust.transports.utp.packet.Packet`: other extensions than the first are left out."""
