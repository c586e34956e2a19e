"""
One message of STUN as bytes and as a value: a Binding request, its answer, or an indication.

Messages without the cookie, as RFC 3489 had them, are none here. Requests are not authenticated: what others add for
that is skipped.
"""

from __future__ import annotations

import enum
import io
import ipaddress
import zlib
from types import ModuleType
from typing import Any

from ... import limits
from ...exceptions import MalformedMessage
from ...values import dataclass
from ...wire.codec import Address

__all__ = [
    "HEADER_SIZE",
    "MAGIC_COOKIE",
    "NUMBERS_MAX",
    "REASON_MAX",
    "TRANSACTION_SIZE",
    "Address",
    "Class",
    "Family",
    "Message",
    "Method",
    "build_stun",
    "looks_like_stun",
    "parse_stun_untrusted",
    "stun_length",
]

MAGIC_COOKIE = 0x2112A442
HEADER_SIZE = 20
"""Bytes before the attributes."""
TRANSACTION_SIZE = 12
"""Bytes of a transaction's id."""
REASON_MAX = 763
"""Bytes of the reason of an error, and of the name of a software: 127 characters, as RFC 8489 counts them."""
NUMBERS_MAX = limits.STUN_ATTRIBUTES_MAX
"""Attributes that an error names as unknown, at most: no message has more."""
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_MASK = 0x5354554E
_FINGERPRINT_SIZE = 8


class Method(enum.IntEnum):
    """What is asked for."""

    BINDING = 1
    """At which address the request arrived."""


class Class(enum.IntEnum):
    """What a message is."""

    REQUEST = 0
    INDICATION = 1
    """Nobody answers it."""
    SUCCESS = 2
    ERROR = 3


class Family(enum.IntEnum):
    """How STUN numbers the families of addresses."""

    IPV4 = 1
    IPV6 = 2


@dataclass(frozen=True)
class Message:
    """
    A message. An attribute that is not there is None, False, 0 or empty.

    Of an attribute that is there twice the first counts.
    """

    class_: Class

    transaction: bytes
    """12 bytes; those of the request in its answer."""

    mapped: Address | None = None
    """MAPPED-ADDRESS: where the request came from, in clear: some routers rewrite it on the way."""

    xor_mapped: Address | None = None
    """XOR-MAPPED-ADDRESS: the same, masked."""

    other: Address | None = None
    """OTHER-ADDRESS, or CHANGED-ADDRESS of RFC 3489: the server's other address and port."""

    origin: Address | None = None
    """RESPONSE-ORIGIN, or SOURCE-ADDRESS of RFC 3489: where the answer was sent from."""

    response_port: int | None = None
    """RESPONSE-PORT: which port of the asker's to answer to."""

    change_ip: bool = False
    """CHANGE-REQUEST: answer from the other address."""

    change_port: bool = False
    """CHANGE-REQUEST: answer from the other port."""

    padding: int = 0
    """PADDING: bytes of it, that make the message longer; up to three more make it a multiple of 4."""

    error: tuple[int, str] | None = None
    """ERROR-CODE: 300 to 699, and a reason for people."""

    unknown: tuple[int, ...] = ()
    """
    In an error UNKNOWN-ATTRIBUTES: what its sender did not understand. In any other message the attributes that we do
    not know and may not pass over; to build one adds them without a value.
    """

    software: str = ""
    """SOFTWARE: what the sender runs. Control characters and broken text are replaced when it is received."""

    fingerprint: bool = False
    """FINGERPRINT: a checksum that tells STUN from what only resembles it; verified when it is received."""

    method: Method = Method.BINDING

    @property
    def reflexive(self) -> Address | None:
        """Where the request came from, as its answer says."""
        return self.xor_mapped or self.mapped


# --- telling STUN from other traffic ----------------------------------------------------------------------------------


def looks_like_stun(data: bytes | bytearray | memoryview) -> bool:
    """Whether a whole datagram has the head of a message: two zero bits, the cookie, and the right length. Quick."""
    size = len(data)
    return (
        size >= HEADER_SIZE
        and data[0] < 0x40
        and not size % 4
        and data[4:8] == _COOKIE
        and int.from_bytes(data[2:4], "big") == size - HEADER_SIZE
    )


def stun_length(head: bytes | bytearray | memoryview) -> int:
    """
    Bytes of the whole message that begins with the 20 bytes of ``head``: over TCP nothing else separates messages.

    Raises:
        MalformedMessage: No message begins like this, or it is longer than any that we take.
    """
    definition, fields = _codec()
    parsed = fields.parse_all(definition.HEAD, bytes(head), "the head of a STUN message", HEADER_SIZE)
    size = HEADER_SIZE + int(parsed.length)
    if size > limits.STUN_MESSAGE_MAX:
        raise MalformedMessage(f"a STUN message of {size} bytes; at most {limits.STUN_MESSAGE_MAX} are taken")
    return size


# --- bytes of a value -------------------------------------------------------------------------------------------------


def build_stun(message: Message) -> bytes:
    """
    The datagram, or what a stream carries of it. The fingerprint, if it is to have one, comes last.

    Raises:
        ValueError: A field is out of range, or the whole is longer than :data:`crust.limits.STUN_MESSAGE_MAX`.
    """
    definition, fields = _codec()
    if len(message.transaction) != TRANSACTION_SIZE:
        raise ValueError(f"a STUN transaction of {len(message.transaction)} bytes")
    body = b"".join(
        fields.build_all(definition.ATTRIBUTE, {"type": kind, "value": value}, "a STUN attribute")
        for kind, value in _attributes(message)
    )
    extra = _FINGERPRINT_SIZE if message.fingerprint else 0
    if HEADER_SIZE + len(body) + extra > limits.STUN_MESSAGE_MAX:
        raise ValueError(f"a STUN message of {HEADER_SIZE + len(body) + extra} bytes")
    head = {
        "type": (message.class_, message.method),
        "length": len(body) + extra,
        "cookie": MAGIC_COOKIE,
        "transaction": bytes(message.transaction),
    }
    built: bytes = fields.build_all(definition.HEAD, head, "a STUN message") + body
    if message.fingerprint:
        value = fields.build_all(definition.NUMBER, _checksum(built), "a STUN fingerprint")
        attribute = {"type": definition.Kind.FINGERPRINT, "value": value}
        built += fields.build_all(definition.ATTRIBUTE, attribute, "a STUN fingerprint")
    return built


def _attributes(message: Message) -> list[tuple[int, bytes]]:
    definition, fields = _codec()
    kind, build = definition.Kind, fields.build_all
    found: list[tuple[int, bytes]] = []
    if message.software:
        text = message.software.encode()
        if len(text) > REASON_MAX:
            raise ValueError(f"a STUN software's name of {len(text)} bytes")
        found.append((kind.SOFTWARE, text))
    if message.error is not None:
        code, reason = message.error
        if not 300 <= code <= 699:
            raise ValueError(f"a STUN error {code}")
        hundreds, units = divmod(code, 100)
        value = {"reserved": bytes(2), "hundreds": hundreds, "units": units, "reason": reason.encode()}
        found.append((kind.ERROR_CODE, build(definition.ERROR, value, "a STUN error")))
    if message.class_ is not Class.ERROR:
        found += [(number, b"") for number in message.unknown]
    elif message.unknown:
        shape = definition.NUMBERS[min(len(message.unknown), NUMBERS_MAX)]
        found.append((kind.UNKNOWN_ATTRIBUTES, build(shape, message.unknown, "a STUN list of attributes")))
    if message.change_ip or message.change_port:
        value = {"reserved": 0, "ip": message.change_ip, "port": message.change_port, "unused": 0}
        found.append((kind.CHANGE_REQUEST, build(definition.CHANGE, value, "a STUN change request")))
    if message.response_port is not None:
        value = {"port": message.response_port, "reserved": None}
        found.append((kind.RESPONSE_PORT, build(definition.PORT, value, "a STUN response port")))
    for number, address, masked in (
        (kind.XOR_MAPPED_ADDRESS, message.xor_mapped, True),
        (kind.MAPPED_ADDRESS, message.mapped, False),
        (kind.RESPONSE_ORIGIN, message.origin, False),
        (kind.OTHER_ADDRESS, message.other, False),
    ):
        if address is not None:
            found.append((number, _build_address(address, message.transaction if masked else None)))
    if message.padding:
        found.append((kind.PADDING, bytes(message.padding)))
    return found


def _build_address(address: Address, transaction: bytes | None) -> bytes:
    definition, fields = _codec()
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    family, packed, port = Family.IPV4 if ip.version == 4 else Family.IPV6, ip.packed, address[1]
    if transaction is not None:
        port, packed = port ^ MAGIC_COOKIE >> 16, _masked(packed, transaction)
    value = {"reserved": 0, "family": family, "port": port, "ip": packed}
    built: bytes = fields.build_all(definition.ADDRESS, value, "a STUN address")
    return built


# --- values of bytes --------------------------------------------------------------------------------------------------


def parse_stun_untrusted(data: bytes | bytearray | memoryview) -> Message:
    """
    The message that a datagram is, or a whole message of a stream.

    Raises:
        MalformedMessage: It is no message of STUN, or of no method of ours; its fingerprint is there and wrong.
    """
    definition, fields = _codec()
    data = bytes(data)
    if len(data) > limits.STUN_MESSAGE_MAX:
        raise MalformedMessage(f"a STUN message of {len(data)} bytes; at most {limits.STUN_MESSAGE_MAX} are taken")
    stream = io.BytesIO(data)
    head = fields.parse_next(definition.HEAD, stream, "a STUN message")
    if head.length != len(data) - HEADER_SIZE:
        raise MalformedMessage(f"a STUN message of {len(data)} bytes that says it has {HEADER_SIZE + head.length}")
    values: dict[int, bytes] = {}
    count, protected = 0, False
    while (at := stream.tell()) < len(data):
        count += 1
        if count > limits.STUN_ATTRIBUTES_MAX:
            raise MalformedMessage(f"a STUN message of more than {limits.STUN_ATTRIBUTES_MAX} attributes")
        attribute = fields.parse_next(definition.ATTRIBUTE, stream, "a STUN attribute")
        if definition.Kind.FINGERPRINT in values:
            raise MalformedMessage("a STUN message goes on behind its fingerprint")
        if attribute.type == definition.Kind.FINGERPRINT:
            expected = fields.parse_all(definition.NUMBER, attribute.value, "a STUN fingerprint", 4)
            if expected != _checksum(data[:at]):
                raise MalformedMessage("the fingerprint of a STUN message is wrong")
        elif protected:
            continue  # somebody may have added it on the way: RFC 8489 sections 14.5 and 14.6
        elif attribute.type in (definition.Kind.MESSAGE_INTEGRITY, definition.Kind.MESSAGE_INTEGRITY_SHA256):
            protected = True
        values.setdefault(attribute.type, attribute.value)
    return _value(head.type[0], head.transaction, values)


def _value(class_: Class, transaction: bytes, values: dict[int, bytes]) -> Message:
    """The message of a class with these attributes."""
    definition, fields = _codec()
    kind = definition.Kind
    known = {int(each) for each in kind}

    def parsed(number: int, shape: Any, name: str) -> Any:
        return fields.parse_all(shape, values[number], name, len(values[number])) if number in values else None

    def address(*numbers: int, mask: bytes | None = None) -> Address | None:
        found = next((found for each in numbers if (found := parsed(each, definition.ADDRESS, "a STUN address"))), None)
        return None if found is None else _address(found, mask)

    unknown = tuple(number for number in values if number < 0x8000 and number not in known)
    if class_ is Class.ERROR:
        listed = values.get(kind.UNKNOWN_ATTRIBUTES, b"")
        shape = definition.NUMBERS[min(len(listed) // 2, NUMBERS_MAX)]
        unknown = tuple(fields.parse_all(shape, listed, "a STUN list of attributes", len(listed)))
    change = parsed(kind.CHANGE_REQUEST, definition.CHANGE, "a STUN change request")
    error = parsed(kind.ERROR_CODE, definition.ERROR, "a STUN error")
    port = parsed(kind.RESPONSE_PORT, definition.PORT, "a STUN response port")
    software = values.get(kind.SOFTWARE, b"")
    if len(software) > REASON_MAX:
        raise MalformedMessage(f"a STUN software's name of {len(software)} bytes")
    if error is not None and not 3 <= error.hundreds <= 6:
        raise MalformedMessage(f"a STUN error {error.hundreds}xx")
    return Message(
        class_,
        transaction,
        mapped=address(kind.MAPPED_ADDRESS),
        xor_mapped=address(kind.XOR_MAPPED_ADDRESS, mask=transaction),
        other=address(kind.OTHER_ADDRESS, kind.CHANGED_ADDRESS),
        origin=address(kind.RESPONSE_ORIGIN, kind.SOURCE_ADDRESS),
        response_port=None if port is None else port.port,
        change_ip=bool(change and change.ip),
        change_port=bool(change and change.port),
        padding=len(values.get(kind.PADDING, b"")),
        error=None if error is None else (error.hundreds * 100 + error.units, _text(error.reason)),
        unknown=unknown,
        software=_text(software),
        fingerprint=kind.FINGERPRINT in values,
    )


def _address(found: Any, transaction: bytes | None) -> Address:
    port, packed = int(found.port), bytes(found.ip)
    if transaction is not None:
        port, packed = port ^ MAGIC_COOKIE >> 16, _masked(packed, transaction)
    ip = ipaddress.ip_address(packed)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # of a server whose sockets take both families
    return str(ip), port


def _text(data: bytes) -> str:
    """Text of a stranger, fit to be shown."""
    return "".join(each if each.isprintable() else "\ufffd" for each in data.decode("utf-8", "replace"))


def _masked(packed: bytes, transaction: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(packed, _COOKIE + transaction, strict=False))


def _checksum(preceding: bytes) -> int:
    """The fingerprint of a message, of which this comes before it."""
    return zlib.crc32(preceding) ^ _FINGERPRINT_MASK


def _codec() -> tuple[ModuleType, ModuleType]:
    """The definitions and what parses by them, loaded when the first message needs them."""
    from ...wire import fields
    from . import definition

    return definition, fields
