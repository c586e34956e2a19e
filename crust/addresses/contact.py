"""A peer and where it may be reached, and what one side gives the other so that both can connect."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

from .. import limits
from ..values import dataclass
from .endpoint import Endpoint, parse_endpoint
from .peer_id import PeerId, parse_peer_id
from .text import check_text, fail

__all__ = ["ConnectionInfo", "Contact", "network_id"]

_INFO_PREFIX = "crust1:"
_HINT_DIGITS = 2 * limits.NETWORK_HINT_SIZE
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Contact:
    """
    A peer and where it may be reached.

    As text one copy-and-paste word, ``<peer id>@tcp://192.0.2.7:5483,utp://192.0.2.7:5483``; the bare peer id is a
    contact too. A repeated endpoint counts once.
    """

    peer_id: PeerId
    """Whom to reach."""

    endpoints: tuple[Endpoint, ...]
    """Where, in the order to try; at most 32. Empty: wherever the node knows of."""

    def __init__(self, peer_id: PeerId, endpoints: Iterable[Endpoint] = ()) -> None:
        if not isinstance(peer_id, PeerId):
            raise TypeError(f"contact: expected a PeerId, found {type(peer_id).__name__}")
        unique = tuple(dict.fromkeys(endpoints))
        for endpoint in unique:
            if not isinstance(endpoint, Endpoint):
                raise TypeError(f"contact: expected an Endpoint, found {type(endpoint).__name__}")
            if not endpoint.is_dialable:
                raise fail("contact: nobody can dial this endpoint", str(endpoint), 0)
        object.__setattr__(self, "peer_id", peer_id)
        object.__setattr__(self, "endpoints", unique)
        if len(unique) > limits.CONTACT_ENDPOINTS_MAX or len(str(self)) > limits.CONTACT_TEXT_MAX:
            message = (
                f"contact: {len(unique)} endpoints; at most {limits.CONTACT_ENDPOINTS_MAX} are allowed,"
                f" and {limits.CONTACT_TEXT_MAX} characters in all"
            )
            raise fail(message, str(self), 0)

    @classmethod
    def parse(cls, text: str) -> Contact:
        """
        Read what ``str`` gives.

        Raises:
            ContactSyntaxError: names what is wrong and the column. An endpoint without a peer id is refused: crust
                dials keys, and without the key whoever answers there would do.
        """
        return _known_contact(text)

    def __str__(self) -> str:
        if not self.endpoints:
            return str(self.peer_id)
        return f"{self.peer_id}@{','.join(map(str, self.endpoints))}"

    def __reduce__(self) -> tuple[object, ...]:
        return (Contact, (self.peer_id, self.endpoints))


@functools.lru_cache(maxsize=256)  # a program dials the same contacts again and again
def _known_contact(text: str) -> Contact:
    check_text("contact", text)
    return parse_contact(text, 0)


def parse_contact(text: str, start: int) -> Contact:
    """Read ``text[start:]``; columns in errors count from the start of ``text``."""
    end = len(text)
    at = text.find("@", start)
    id_end = end if at < 0 else at
    if start == end:
        raise fail("contact: nothing there, expected a peer id", text, start)
    if text.startswith(_INFO_PREFIX, start):
        raise fail("contact: this is connection info; read it with ConnectionInfo.parse", text, start)
    if id_end == start or any(mark in text[start:id_end] for mark in ":/."):
        message = (
            "contact: the peer id is missing, expected <peer id>@tcp://host:port; crust dials keys, because at an"
            " address alone anybody could answer"
        )
        raise fail(message, text, start)
    peer_id = parse_peer_id(text, start, id_end)
    if at < 0:
        return Contact(peer_id)
    endpoints = []
    position = at + 1
    while True:
        comma = text.find(",", position)
        stop = end if comma < 0 else comma
        endpoint = parse_endpoint(text, position, stop, False)
        if not endpoint.is_dialable:
            raise fail("contact: nobody can dial this address", text, position)
        endpoints.append(endpoint)
        if len(endpoints) > limits.CONTACT_ENDPOINTS_MAX:
            raise fail(f"contact: more than {limits.CONTACT_ENDPOINTS_MAX} endpoints", text, position)
        if comma < 0:
            return Contact(peer_id, endpoints)
        position = comma + 1


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """
    What one side gives the other so that both can connect: a contact and the network it belongs to.

    As text one word, ``crust1:<network, 16 hex digits>:<contact>``.

    Args:
        contact: the peer.
        network_id: 32 bytes as ``network_id()`` makes them, or their first 8. The first 8 are kept: they tell at once
            that two nodes are in different networks; the handshake compares all 32.
    """

    contact: Contact
    """Who, and where."""

    network_id: bytes
    """The first 8 bytes of the network's id."""

    def __post_init__(self) -> None:
        if not isinstance(self.contact, Contact):
            raise TypeError(f"connection info: expected a Contact, found {type(self.contact).__name__}")
        if not isinstance(self.network_id, bytes):
            raise TypeError(f"connection info: a network id is bytes, found {type(self.network_id).__name__}")
        if len(self.network_id) not in (32, limits.NETWORK_HINT_SIZE):
            raise ValueError(f"connection info: a network id has 32 or 8 bytes, found {len(self.network_id)}")
        object.__setattr__(self, "network_id", self.network_id[: limits.NETWORK_HINT_SIZE])

    @classmethod
    def parse(cls, text: str) -> ConnectionInfo:
        """
        Read what ``str`` gives.

        Raises:
            ContactSyntaxError: names what is wrong and the column.
        """
        check_text("connection info", text)
        if not text.startswith(_INFO_PREFIX):
            raise fail(f"connection info: expected it to begin with {_INFO_PREFIX}", text, 0)
        start = len(_INFO_PREFIX)
        for index in range(start, start + _HINT_DIGITS):
            if text[index : index + 1].lower() not in _HEX:
                raise fail(f"connection info: expected {_HINT_DIGITS} hex digits for the network", text, index)
        end = start + _HINT_DIGITS
        if not text.startswith(":", end):
            raise fail("connection info: expected : after the network", text, end)
        return cls(parse_contact(text, end + 1), bytes.fromhex(text[start:end]))

    @property
    def peer_id(self) -> PeerId:
        """Whom to connect to."""
        return self.contact.peer_id

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it may be reached."""
        return self.contact.endpoints

    def same_network(self, network: bytes) -> bool:
        """Whether this peer may be in the network with that 32-byte id."""
        return network[: limits.NETWORK_HINT_SIZE] == self.network_id

    def __str__(self) -> str:
        return f"{_INFO_PREFIX}{self.network_id.hex()}:{self.contact}"

    def __reduce__(self) -> tuple[object, ...]:
        return (ConnectionInfo, (self.contact, self.network_id))


def network_id(name: str | None) -> bytes:
    """The 32 bytes that tell one crust network from another; None and the empty name are the same, unnamed network."""
    return hashlib.blake2b(b"crust/1 network\0" + (name or "").encode(), digest_size=32).digest()
