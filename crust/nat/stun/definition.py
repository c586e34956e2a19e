"""
The messages of STUN in construct: RFC 8489, with what RFC 5780 adds and what still comes from servers of RFC 3489.

:mod:`crust.nat.stun.message` makes values of it; it also has the two things that are no fields: addresses are masked
with the head of the message, and the fingerprint is a checksum of all that precedes it.
"""

from __future__ import annotations

import enum
from typing import Any

from ...wire.fields import Definition, checked, choice, construct
from .message import MAGIC_COOKIE, NUMBERS_MAX, REASON_MAX, Class, Family, Method

__all__ = ["ADDRESS", "ATTRIBUTE", "CHANGE", "ERROR", "HEAD", "NUMBER", "NUMBERS", "PORT", "Kind"]

_u8, _u16, _u32 = construct.Int8ub, construct.Int16ub, construct.Int32ub


class Kind(enum.IntEnum):
    """The attributes that we know; below 0x8000 whoever does not know one must refuse the request."""

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004  # RFC 3489; RESPONSE-ORIGIN today
    CHANGED_ADDRESS = 0x0005  # RFC 3489; OTHER-ADDRESS today
    USERNAME = 0x0006
    PASSWORD = 0x0007
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REFLECTED_FROM = 0x000B  # RFC 3489
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


_TYPE_BITS: Definition = construct.BitStruct(
    "zeros" / checked(construct.BitsInteger(2), lambda bits: bits == 0, "it does not begin with two zero bits"),
    "method_high" / construct.BitsInteger(5),  # the class stands between the bits of the method
    "class_high" / construct.BitsInteger(1),
    "method_middle" / construct.BitsInteger(3),
    "class_low" / construct.BitsInteger(1),
    "method_low" / construct.BitsInteger(4),
)


def _decode_type(bits: Any, _context: object) -> tuple[Class, Method]:
    method = Method(bits.method_high << 7 | bits.method_middle << 4 | bits.method_low)
    return Class(bits.class_high << 1 | bits.class_low), method


def _encode_type(kind: tuple[Class, Method], _context: object) -> dict[str, int]:
    class_, method = map(int, kind)
    return {
        "zeros": 0,
        "method_high": method >> 7,
        "class_high": class_ >> 1,
        "method_middle": method >> 4 & 7,
        "class_low": class_ & 1,
        "method_low": method & 15,
    }


HEAD: Definition = construct.Struct(
    "type" / construct.ExprAdapter(_TYPE_BITS, _decode_type, _encode_type),
    "length" / checked(_u16, lambda size: size % 4 == 0, "its length is no multiple of 4"),
    "cookie" / checked(_u32, lambda cookie: cookie == MAGIC_COOKIE, "it has not the cookie of RFC 8489"),
    "transaction" / construct.Bytes(12),
)
"""What each message begins with; ``length`` is that of the attributes, which follow."""

ATTRIBUTE: Definition = construct.Struct(
    "type" / _u16,
    "value" / construct.Prefixed(_u16, construct.GreedyBytes),
    "padding" / construct.Padding(lambda context: -len(context.value) % 4),  # of any content when it is received
)

ADDRESS: Definition = construct.Struct(
    "reserved" / _u8,
    "family" / choice(_u8, Family),
    "port" / _u16,
    "ip" / construct.Bytes(lambda context: 4 if context.family is Family.IPV4 else 16),
)
"""The value of every attribute that is an address; masked in XOR-MAPPED-ADDRESS."""

CHANGE: Definition = construct.BitStruct(
    "reserved" / construct.BitsInteger(29),
    "ip" / construct.Flag,
    "port" / construct.Flag,
    "unused" / construct.Bit,
)
"""The value of CHANGE-REQUEST (RFC 5780 section 7.2)."""

ERROR: Definition = construct.Struct(
    "reserved" / construct.Bytes(2),
    "hundreds"
    / construct.ExprAdapter(
        _u8,
        lambda value, _context: value & 7,  # five bits are reserved, and ignored
        lambda value, _context: value,
    ),
    "units" / checked(_u8, lambda number: number < 100, "the last digits of an error are below 100"),
    "reason"
    / checked(construct.GreedyBytes, lambda text: len(text) <= REASON_MAX, "the reason of an error is too long"),
)
"""The value of ERROR-CODE."""

NUMBERS: list[Definition] = [construct.Array(count, _u16) for count in range(NUMBERS_MAX + 1)]
"""The value of UNKNOWN-ATTRIBUTES, by how many there are."""

PORT: Definition = construct.Struct("port" / _u16, "reserved" / construct.Optional(construct.Bytes(2)))
"""The value of RESPONSE-PORT: two bytes, and for some its padding too."""

NUMBER: Definition = _u32
"""The value of FINGERPRINT."""
