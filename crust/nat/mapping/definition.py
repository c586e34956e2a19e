"""
The packets of PCP (RFC 6887) and NAT-PMP (RFC 6886) in construct.

Both go to the same port of a router. The first byte is the version, 2 or 0; of the second one the highest bit says that
it is an answer, the rest what is asked.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ...wire.fields import Definition, checked, choice, construct, typed
from . import natpmp, pcp

__all__ = ["ADDRESS", "NATPMP", "PCP"]

_u8, _u16, _u32 = construct.Int8ub, construct.Int16ub, construct.Int32ub


# --- pieces -----------------------------------------------------------------------------------------------------------


def _decode_ip(raw: bytes, _context: object) -> str:
    ip = ipaddress.IPv6Address(raw)
    return str(ip.ipv4_mapped or ip)


def _encode_ip(text: str, _context: object) -> bytes:
    ip = ipaddress.ip_address(text)
    return bytes(10) + b"\xff\xff" + ip.packed if ip.version == 4 else ip.packed


ADDRESS: Definition = construct.ExprAdapter(construct.Bytes(16), _decode_ip, _encode_ip)
"""An address in 16 bytes; of IPv4 as an IPv4-mapped one (RFC 6887 section 5)."""

_IPV4: Definition = construct.ExprAdapter(
    construct.Bytes(4),
    lambda raw, _: str(ipaddress.IPv4Address(raw)),
    lambda text, _: ipaddress.IPv4Address(text).packed,
)


def _version(number: int) -> Definition:
    return checked(_u8, lambda version: version == number, f"the version is not {number}")


def _reserved(size: int) -> Definition:
    """Bytes that are sent as 0 and not looked at: both RFCs ask for that."""
    return construct.ExprAdapter(
        construct.Bytes(size), lambda _raw, _context: bytes(size), lambda _value, _context: bytes(size)
    )


# --- PCP --------------------------------------------------------------------------------------------------------------

_OPTIONS: Definition = checked(
    construct.GreedyBytes, lambda rest: len(rest) % 4 == 0, "the options are not a multiple of 4 bytes"
)
"""We send none; those that come back unasked are to be ignored (section 7.3)."""

_MAP: Definition = construct.Struct(
    "nonce" / construct.Bytes(pcp.NONCE_SIZE),
    "protocol" / choice(_u8, pcp.Protocol),
    "reserved" / _reserved(3),
    "internal" / _u16,
    "external" / _u16,
    "external_ip" / ADDRESS,
)

_MAP_FIELDS = ("nonce", "protocol", "internal", "external", "external_ip")
_REQUEST = ("reserved" / _reserved(2), "lifetime" / _u32, "client" / ADDRESS)
_ANSWER = (
    "reserved" / _reserved(1),
    "result" / _u8,
    "lifetime" / _u32,
    "epoch" / _u32,
    "unused" / _reserved(12),
)


def _message(cls: type[Any], head: tuple[Definition, ...], has_map: bool) -> Definition:
    """A ``cls`` made of its head, perhaps the fields of MAP, and options, which say nothing to us."""
    names = [field.name for field in head if field.name not in ("reserved", "unused")]
    body = ("map" / _MAP,) if has_map else ()
    fields = construct.Struct(*head, *body, "options" / _OPTIONS)

    def decode(raw: Any, _context: object) -> Any:
        found = {name: raw[name] for name in names if name in pcp.fields_of(cls)}
        if has_map:
            found.update({name: raw.map[name] for name in _MAP_FIELDS})
        return cls(**found)

    def encode(value: Any, _context: object) -> dict[str, Any]:
        if type(value) is not cls:
            raise TypeError(f"a {cls.__name__} is needed")
        own = {name: getattr(value, name) for name in names}
        if has_map:
            own["map"] = {**{name: getattr(value, name) for name in _MAP_FIELDS}, "reserved": None}
        return {**own, "reserved": None, "unused": None, "options": b""}

    return construct.ExprAdapter(fields, decode, encode)


def _answer() -> Definition:
    """What comes back for MAP; or a Rejection, if there is an error and nothing, or anything, behind the header."""
    whole = _message(pcp.MapResponse, _ANSWER, True)
    rejection = construct.Struct(*_ANSWER, "rest" / construct.GreedyBytes)

    def decode(raw: Any, _context: object) -> Any:
        if isinstance(raw, pcp.MapResponse):
            return raw
        if raw.result == pcp.SUCCESS:
            raise ValueError("a success without what was asked for")
        return pcp.Rejection(raw.result, raw.lifetime, raw.epoch)

    def encode(value: Any, _context: object) -> Any:
        if isinstance(value, pcp.MapResponse):
            return value
        own = {name: getattr(value, name) for name in ("result", "lifetime", "epoch")}
        return {**own, "reserved": None, "unused": None, "rest": b""}

    either = construct.Select(construct.FocusedSeq("value", "value" / whole, construct.Terminated), rejection)
    return construct.ExprAdapter(either, decode, encode)


def _decode_pcp(raw: Any, _context: object) -> Any:
    return raw.body


def _encode_pcp(value: Any, _context: object) -> dict[str, Any]:
    return {"version": pcp.VERSION, "kind": _KINDS[type(value)], "body": value}


_KINDS = {
    pcp.AnnounceRequest: pcp.ANNOUNCE,
    pcp.MapRequest: pcp.MAP,
    pcp.AnnounceResponse: 0x80 | pcp.ANNOUNCE,
    pcp.MapResponse: 0x80 | pcp.MAP,
    pcp.Rejection: 0x80 | pcp.MAP,
}
_BODIES = {
    pcp.ANNOUNCE: _message(pcp.AnnounceRequest, _REQUEST, False),
    pcp.MAP: _message(pcp.MapRequest, _REQUEST, True),
    0x80 | pcp.ANNOUNCE: _message(pcp.AnnounceResponse, _ANSWER, False),
    0x80 | pcp.MAP: _answer(),
}

PCP: Definition = construct.ExprAdapter(
    construct.Struct(
        "version" / _version(pcp.VERSION),
        "kind" / checked(_u8, _BODIES.__contains__, "the opcode is neither ANNOUNCE nor MAP"),
        "body" / construct.Switch(construct.this.kind, _BODIES),
    ),
    _decode_pcp,
    _encode_pcp,
)
"""A request or an answer, ANNOUNCE or MAP."""


# --- NAT-PMP ----------------------------------------------------------------------------------------------------------

_ZERO = checked(_u16, lambda result: result == natpmp.SUCCESS, "an error")
_MAP_REQUEST = ("reserved" / _reserved(2), "internal" / _u16, "external" / _u16, "lifetime" / _u32)
_MAP_RESPONSE = ("result" / _ZERO, "epoch" / _u32, "internal" / _u16, "external" / _u16, "lifetime" / _u32)


def _pmp(cls: type[Any], protocol: str, *fields: Definition) -> Definition:
    """A ``cls`` of one transport protocol, which the opcode says."""
    names = [field.name for field in fields if field.name not in ("reserved", "result")]

    def encode(value: Any, _context: object) -> dict[str, Any]:
        return {**{name: getattr(value, name) for name in names}, "reserved": None, "result": natpmp.SUCCESS}

    return construct.ExprAdapter(
        construct.Struct(*fields),
        lambda raw, _: cls(protocol=protocol, **{name: raw[name] for name in names}),
        encode,
    )


_ADDRESS_RESPONSE = construct.ExprAdapter(
    construct.Struct("result" / _ZERO, "epoch" / _u32, "external_ip" / _IPV4),
    lambda raw, _: natpmp.AddressResponse(raw.epoch, raw.external_ip),
    lambda value, _: {"result": natpmp.SUCCESS, "epoch": value.epoch, "external_ip": value.external_ip},
)


def _or_error(opcode: int, whole: Definition) -> Definition:
    """``whole``, or an Error, whose remaining fields mean nothing and may be missing (RFC 6886 section 3.5)."""
    error = construct.ExprAdapter(
        construct.Struct(
            "result" / checked(_u16, lambda result: result != natpmp.SUCCESS, "a success without its fields"),
            "epoch" / construct.Optional(_u32),
            "rest" / construct.GreedyBytes,
        ),
        lambda raw, _: natpmp.Error(opcode, raw.result, raw.epoch or 0),
        lambda value, _: {"result": value.result, "epoch": value.epoch, "rest": b""},
    )
    return construct.Select(construct.FocusedSeq("value", "value" / whole, construct.Terminated), error)


_PMP_BODIES = {
    natpmp.ADDRESS: typed(natpmp.AddressRequest),
    natpmp.MAP_UDP: _pmp(natpmp.MapRequest, "udp", *_MAP_REQUEST),
    natpmp.MAP_TCP: _pmp(natpmp.MapRequest, "tcp", *_MAP_REQUEST),
    0x80 | natpmp.ADDRESS: _or_error(natpmp.ADDRESS, _ADDRESS_RESPONSE),
    0x80 | natpmp.MAP_UDP: _or_error(natpmp.MAP_UDP, _pmp(natpmp.MapResponse, "udp", *_MAP_RESPONSE)),
    0x80 | natpmp.MAP_TCP: _or_error(natpmp.MAP_TCP, _pmp(natpmp.MapResponse, "tcp", *_MAP_RESPONSE)),
}


def _encode_pmp(value: Any, _context: object) -> dict[str, Any]:
    return {"version": natpmp.VERSION, "kind": natpmp.kind_of(value), "body": value}


NATPMP: Definition = construct.ExprAdapter(
    construct.Struct(
        "version" / _version(natpmp.VERSION),
        "kind" / checked(_u8, _PMP_BODIES.__contains__, "the opcode is none of NAT-PMP's"),
        "body" / construct.Switch(construct.this.kind, _PMP_BODIES),
    ),
    lambda raw, _: raw.body,
    _encode_pmp,
)
"""A request or an answer."""
