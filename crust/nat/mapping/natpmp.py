"""The packets of the NAT Port Mapping Protocol, RFC 6886, as values and bytes."""

from __future__ import annotations

import enum

from ...values import dataclass

__all__ = [
    "ADDRESS",
    "MAP_TCP",
    "MAP_UDP",
    "SUCCESS",
    "VERSION",
    "AddressRequest",
    "AddressResponse",
    "Error",
    "MapRequest",
    "MapResponse",
    "Message",
    "Result",
    "build_natpmp",
    "kind_of",
    "parse_natpmp_untrusted",
]

VERSION = 0
ADDRESS, MAP_UDP, MAP_TCP = 0, 1, 2
SUCCESS = 0
_PACKET_MAX = 64  # an answer has 16 bytes; some routers pad


class Result(enum.IntEnum):
    """What came of it, section 3.5."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True)
class AddressRequest:
    """What is your outer address?"""


@dataclass(frozen=True)
class MapRequest:
    """Open a port; with a lifetime of 0: close it."""

    protocol: str
    """``tcp`` or ``udp``."""
    internal: int
    external: int
    """The outer port we should like; 0: any."""
    lifetime: int


@dataclass(frozen=True)
class AddressResponse:
    """The outer address."""

    epoch: int
    """Seconds since the router began to keep its table."""
    external_ip: str


@dataclass(frozen=True)
class MapResponse:
    """A port has been opened, or closed."""

    protocol: str
    epoch: int
    internal: int
    external: int
    lifetime: int


@dataclass(frozen=True)
class Error:
    """It was not done. What else stands in the answer means nothing."""

    opcode: int
    result: int
    epoch: int = 0


Message = AddressRequest | MapRequest | AddressResponse | MapResponse | Error


def kind_of(message: Message) -> int:
    """The second byte of the packet."""
    if isinstance(message, Error):
        return 0x80 | message.opcode
    answer = 0x80 if isinstance(message, AddressResponse | MapResponse) else 0
    if isinstance(message, AddressRequest | AddressResponse):
        return answer | ADDRESS
    return answer | (MAP_TCP if message.protocol == "tcp" else MAP_UDP)


def build_natpmp(message: Message) -> bytes:
    """
    The packet.

    Raises:
        ValueError: It cannot hold this.
    """
    from ...wire import fields
    from . import definition

    return fields.build_all(definition.NATPMP, message, "a NAT-PMP packet")


def parse_natpmp_untrusted(data: bytes) -> Message:
    """
    The message that a datagram is.

    Raises:
        MalformedMessage: It is no packet of NAT-PMP.
    """
    from ...wire import fields
    from . import definition

    message: Message = fields.parse_all(definition.NATPMP, data, "a NAT-PMP packet", _PACKET_MAX)
    return message
