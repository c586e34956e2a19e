"""
Pieces that several messages share, and the one place where construct, which has no types, meets typed code.

construct interprets these definitions. They are never ``.compile()``d: compiled parsers accept truncated input. Nothing
here has a variable-length integer: construct's is unbounded and quadratic.
"""

from __future__ import annotations

import enum
import io
import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

# construct has no annotations: what comes out of it is Any until a function of this package gives it a type.
import construct  # type: ignore[import-untyped, unused-ignore]

from ..exceptions import MalformedMessage
from .codec import Address

__all__ = [
    "ADDRESS",
    "FLAG",
    "Address",
    "Definition",
    "array",
    "build_all",
    "by_type",
    "checked",
    "choice",
    "construct",
    "optional",
    "parse_all",
    "parse_next",
    "text",
    "typed",
]

Definition: TypeAlias = Any
"""A construct: something with ``parse_stream`` and ``build``."""

# What construct raises on bytes that do not fit, and what our own decoders inside it raise.
_ERRORS = (construct.ConstructError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


# --- between bytes and values -----------------------------------------------------------------------------------------


def parse_all(definition: Definition, data: bytes | memoryview, name: str, max_size: int) -> Any:
    """
    Parse bytes of a stranger that must be one ``definition`` from end to end.

    Args:
        name: What it is, for the error.
        max_size: Bytes allowed; checked before anything is parsed.

    Raises:
        MalformedMessage: The bytes are anything else.
    """
    size = len(data)
    if size > max_size:
        raise MalformedMessage(f"{name} has {size} bytes; at most {max_size} are allowed")
    stream = io.BytesIO(data)
    value = parse_next(definition, stream, name)
    if stream.tell() != size:
        raise MalformedMessage(f"{name} is followed by {size - stream.tell()} bytes that do not belong to it")
    return value


def parse_next(definition: Definition, stream: io.BytesIO, name: str) -> Any:
    """
    Parse the ``definition`` that comes next in a stranger's bytes, of which somebody has checked the size.

    Raises:
        MalformedMessage: Something else comes next.
    """
    try:
        return definition.parse_stream(stream)
    except _ERRORS as error:
        raise MalformedMessage(f"{name} is malformed: {_reason(error)}") from error


def build_all(definition: Definition, value: object, name: str) -> bytes:
    """
    The bytes of a value of ours.

    Raises:
        ValueError: The wire cannot hold this value.
    """
    try:
        built: bytes = definition.build(value)
    except _ERRORS as error:
        raise ValueError(f"{name} cannot be built: {_reason(error)}") from error
    return built


def _reason(error: Exception) -> str:
    # construct's texts have the path to the field in their first line and the fault in the last.
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[-1][:200]


# --- kinds of fields --------------------------------------------------------------------------------------------------


def checked(definition: Definition, holds: Callable[[Any], bool], complaint: str) -> Definition:
    """``definition``, refused in both directions unless ``holds`` of its value."""

    def check(value: Any, _context: object) -> Any:
        if not holds(value):
            raise ValueError(complaint)
        return value

    return construct.ExprAdapter(definition, check, check)


def choice(number: Definition, allowed: type[enum.IntEnum]) -> Definition:
    """A number that must be a member of ``allowed``."""

    def convert(value: Any, _context: object) -> enum.IntEnum:
        return allowed(value)

    return construct.ExprAdapter(number, convert, convert)


def typed(cls: type[Any], *fields: Definition) -> Definition:
    """The named ``fields`` in this order, as the attributes of a ``cls``."""
    names = tuple(field.name for field in fields)

    def decode(container: Any, _context: object) -> Any:
        return cls(**{name: container[name] for name in names})

    def encode(value: Any, _context: object) -> dict[str, Any]:
        if type(value) is not cls:
            raise TypeError(f"a {cls.__name__} is needed, not a {type(value).__name__}")
        return {name: getattr(value, name) for name in names}

    return construct.ExprAdapter(construct.Struct(*fields), decode, encode)


def by_type(number: Definition, kinds: Mapping[int, tuple[type[Any], Definition]]) -> Definition:
    """A number that says what follows: a value of one of several classes, each with its number and definition."""
    numbers = {cls: value for value, (cls, _) in kinds.items()}
    bodies = {value: definition for value, (_, definition) in kinds.items()}

    def decode(container: Any, _context: object) -> Any:
        return container.body

    def encode(value: Any, _context: object) -> dict[str, Any]:
        if type(value) not in numbers:
            raise TypeError(f"a {type(value).__name__} has no place here")
        return {"type": numbers[type(value)], "body": value}

    known = checked(number, bodies.__contains__, f"the type is none of {', '.join(map(str, bodies))}")
    fields = construct.Struct("type" / known, "body" / construct.Switch(construct.this.type, bodies))
    return construct.ExprAdapter(fields, decode, encode)


def optional(definition: Definition) -> Definition:
    """u8 0, or u8 1 and ``definition``; None stands for 0."""

    def decode(container: Any, _context: object) -> Any:
        return container.value

    def encode(value: Any, _context: object) -> dict[str, Any]:
        return {"given": int(value is not None), "value": value}

    fields = construct.Struct("given" / FLAG, "value" / construct.If(construct.this.given == 1, definition))
    return construct.ExprAdapter(fields, decode, encode)


def array(
    number: Definition, item: Definition, sizes: Collection[int], *, distinct: bool = False
) -> Definition:
    """A count, and so many items, as a tuple; ``sizes`` are the counts allowed."""

    def check(value: Any, _context: object) -> tuple[Any, ...]:
        items = tuple(value)
        if len(items) not in sizes:
            raise ValueError(f"{len(items)} items; {min(sizes)} to {max(sizes)} are allowed")
        if distinct and len(set(items)) != len(items):
            raise ValueError("an item is listed twice")
        return items

    counted = checked(number, lambda count: count in sizes, f"the count is not {min(sizes)} to {max(sizes)}")
    return construct.ExprAdapter(construct.PrefixedArray(counted, item), check, check)


def text(number: Definition, max_size: int, encoding: str = "utf-8") -> Definition:
    """A length in bytes, and so many bytes of text, at most ``max_size``."""

    def decode(value: bytes, _context: object) -> str:
        return value.decode(encoding)

    def encode(value: str, _context: object) -> bytes:
        return value.encode(encoding)

    counted = checked(number, lambda size: size <= max_size, f"text of more than {max_size} bytes")
    return construct.ExprAdapter(construct.Prefixed(counted, construct.GreedyBytes), decode, encode)


FLAG: Definition = checked(construct.Int8ub, lambda value: value in (0, 1), "a flag is 0 or 1")
"""u8 that is 0 or 1. (construct's own ``Flag`` takes 2 to 255 for true.)"""


# --- address: family u8 (0, 4 or 6) | ip (0, 4 or 16 bytes) | port u16 ------------------------------------------------

_FAMILIES = {0: 0, 4: 4, 6: 16}


def _decode_address(container: Any, _context: object) -> Address | None:
    if container.family == 0:
        if container.port:
            raise ValueError("a port without an address")
        return None
    ip = ipaddress.ip_address(container.ip)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        raise ValueError("an IPv4 address is written as one, not as IPv6")
    return str(ip), container.port


def _encode_address(address: Address | None, _context: object) -> dict[str, Any]:
    if address is None:
        return {"family": 0, "ip": b"", "port": 0}
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return {"family": ip.version, "ip": ip.packed, "port": address[1]}


ADDRESS: Definition = construct.ExprAdapter(
    construct.Struct(
        "family"
        / checked(construct.Int8ub, lambda family: family in _FAMILIES, "an address family is 0, 4 or 6"),
        "ip" / construct.Bytes(lambda context: _FAMILIES[context.family]),
        "port" / construct.Int16ub,
    ),
    _decode_address,
    _encode_address,
)
"""``(ip, port)``, or None for an address that is not known. An IPv6 scope says nothing elsewhere and is left out."""
