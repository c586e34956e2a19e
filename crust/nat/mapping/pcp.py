"""The packets of the Port Control Protocol, RFC 6887, that a client needs: ANNOUNCE and MAP, as values and bytes."""

from __future__ import annotations

import dataclasses
import enum

from ...values import dataclass

__all__ = [
    "ANNOUNCE",
    "MAP",
    "NONCE_SIZE",
    "SUCCESS",
    "VERSION",
    "AnnounceRequest",
    "AnnounceResponse",
    "MapRequest",
    "MapResponse",
    "Message",
    "Protocol",
    "Rejection",
    "Result",
    "build_pcp",
    "fields_of",
    "parse_pcp_untrusted",
]

VERSION = 2
ANNOUNCE = 0
MAP = 1
NONCE_SIZE = 12
_PACKET_MAX = 1100  # section 7
SUCCESS = 0


class Protocol(enum.IntEnum):
    """What is mapped, by the numbers of IANA."""

    TCP = 6
    UDP = 17


class Result(enum.IntEnum):
    """What came of it, section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True)
class AnnounceRequest:
    """Are you there, and since when?"""

    client: str
    lifetime: int = 0


@dataclass(frozen=True)
class MapRequest:
    """Open a port; with a lifetime of 0: close it."""

    client: str
    """Our own address, as it stands on this packet."""
    lifetime: int
    nonce: bytes
    """What shows that a later request comes from the same client."""
    protocol: Protocol
    internal: int
    external: int
    """The outer port we should like; 0: any."""
    external_ip: str = "0.0.0.0"


@dataclass(frozen=True)
class AnnounceResponse:
    """The answer to ANNOUNCE; a router also sends it unasked when it has started anew."""

    result: int
    epoch: int
    """Seconds since the router began to keep its table."""
    lifetime: int = 0


@dataclass(frozen=True)
class MapResponse:
    """The answer to MAP, whatever came of it."""

    result: int
    lifetime: int
    """Seconds granted; with an error: for how long it will stay that way."""
    epoch: int
    nonce: bytes
    protocol: Protocol
    internal: int
    external: int
    external_ip: str


@dataclass(frozen=True)
class Rejection:
    """The answer to MAP if it is an error and does not repeat what was asked."""

    result: int
    lifetime: int
    epoch: int


Message = AnnounceRequest | MapRequest | AnnounceResponse | MapResponse | Rejection


def fields_of(cls: type[Message]) -> frozenset[str]:
    """The names of a message's fields."""
    return frozenset(field.name for field in dataclasses.fields(cls))


def build_pcp(message: Message) -> bytes:
    """
    The packet.

    Raises:
        ValueError: It cannot hold this.
    """
    from ...wire import fields
    from . import definition

    return fields.build_all(definition.PCP, message, "a PCP packet")


def parse_pcp_untrusted(data: bytes) -> Message:
    """
    The message that a datagram is.

    Raises:
        MalformedMessage: It is no PCP packet of version 2 that this client knows.
    """
    from ...wire import fields
    from . import definition

    message: Message = fields.parse_all(definition.PCP, data, "a PCP packet", _PACKET_MAX)
    return message
