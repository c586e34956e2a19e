"""
Whom to reach and where: ``PeerId``, ``Endpoint``, ``Contact``, ``ConnectionInfo``, and helpers for networks.

All of them are immutable values: hashable, picklable, safe to share between threads. Each has exactly one text form;
``parse`` also takes other spellings of the same thing (upper case, a long IPv6 address) and ``str`` gives the one form.
Text may come from anyone: ``parse`` raises nothing but ``ContactSyntaxError``, which names the offending column.
The forms are described in docs/wire-format.md, "Text forms".
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from . import limits
from .exceptions import ContactSyntaxError
from .values import dataclass

__all__ = [
    "ConnectionInfo",
    "Contact",
    "Endpoint",
    "IPAddress",
    "IPNetwork",
    "PeerId",
    "address_key",
    "network_id",
    "parse_ip",
    "parse_networks",
]

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

TRANSPORTS = ("tcp", "utp")
RELAY = "relay"  # of the ends of paths through another peer; nobody can dial these, and no contact has one

_PEER_ID_LENGTH = 56  # characters: 35 bytes in base32 leave no spare bits, so an id has one spelling only
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_LOOKALIKE = {"0": "o", "1": "l", "8": "b", "9": "g"}
_INFO_PREFIX = "crust1:"
_HINT_DIGITS = 2 * limits.NETWORK_HINT_SIZE
_HEX = frozenset("0123456789abcdef")
_SHOWN_MAX = 200  # characters of a mistyped text that an error repeats

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)  # RFC 1035 section 2.3.1, and the usual "_"
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # an interface name or number; Linux allows 15 characters
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def _fail(message: str, text: str, index: int) -> ContactSyntaxError:
    """The error for a fault at ``text[index]``; what is shown of ``text`` cannot disturb a terminal."""
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return ContactSyntaxError(f"{message} (column {index + 1} of {_quoted(shown)})", shown, index + 1)


def _quoted(text: str) -> str:
    """``text`` quoted, with everything escaped that is not printable (control and direction characters)."""
    return repr(text)


def _check_text(what: str, text: str) -> None:
    """Bound the work that hostile text can cause."""
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected str, found {type(text).__name__}")
    if len(text) > limits.CONTACT_TEXT_MAX:
        message = f"{what}: {len(text)} characters long, at most {limits.CONTACT_TEXT_MAX} are allowed"
        raise _fail(message, text, limits.CONTACT_TEXT_MAX)
    for index, character in enumerate(text):
        if character.isspace():
            raise _fail(f"{what}: white space is not allowed, remove it", text, index)


# --- peer ids ---------------------------------------------------------------------------------------------------------


@functools.total_ordering
class PeerId:
    """
    The name of a peer: its Ed25519 public key. Ids are ordered by their bytes.

    Whether the key is a usable curve point is not checked here but by the identity and the handshake.

    Args:
        public_key: 32 bytes (RFC 8032 section 5.1.5). Another length is a ``ValueError``.
    """

    __slots__ = ("_public_key",)

    _public_key: bytes

    def __init__(self, public_key: bytes) -> None:
        if not isinstance(public_key, bytes):
            raise TypeError(f"a public key is bytes, found {type(public_key).__name__}")
        if len(public_key) != limits.PEER_ID_SIZE:
            raise ValueError(f"a public key has {limits.PEER_ID_SIZE} bytes, found {len(public_key)}")
        object.__setattr__(self, "_public_key", public_key)

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """
        Read the 56 characters that ``str`` gives; upper case is taken too.

        Raises:
            ContactSyntaxError: wrong length, a character that ids never contain, or a typo (the checksum tells).
        """
        _check_text("peer id", text)
        return _parse_peer_id(text, 0, len(text))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes."""
        return self._public_key

    @property
    def short(self) -> str:
        """The first 8 characters: enough for a log line, not for security."""
        return str(self)[:8]

    def __str__(self) -> str:
        return base64.b32encode(self._public_key + _checksum(self._public_key)).decode("ascii").lower()

    def __repr__(self) -> str:
        return f"<PeerId {self.short}…>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self._public_key == other._public_key

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self._public_key < other._public_key

    def __hash__(self) -> int:
        return hash(self._public_key)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"PeerId cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"PeerId cannot be changed: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return (PeerId, (self._public_key,))


def _checksum(public_key: bytes) -> bytes:
    digest = hashlib.blake2b(b"crust/1 peer id\0" + public_key, digest_size=32).digest()
    return digest[: limits.PEER_ID_CHECKSUM_SIZE]


def _parse_peer_id(text: str, start: int, end: int) -> PeerId:
    """Read ``text[start:end]``; columns in errors count from the start of ``text``."""
    for index in range(start, end):
        character = text[index]
        if not character.isascii() or character.lower() not in _BASE32:
            hint = f"; did you mean {_LOOKALIKE[character]!r}?" if character in _LOOKALIKE else ""
            message = f"peer id: {_quoted(character)} does not occur in peer ids, only a-z and 2-7 do{hint}"
            raise _fail(message, text, index)
    length = end - start
    if length != _PEER_ID_LENGTH:
        message = f"peer id: {length} characters, expected {_PEER_ID_LENGTH}; was it copied whole?"
        raise _fail(message, text, start + min(length, _PEER_ID_LENGTH))
    raw = base64.b32decode(text[start:end].upper())
    public_key, checksum = raw[: limits.PEER_ID_SIZE], raw[limits.PEER_ID_SIZE :]
    if checksum != _checksum(public_key):
        raise _fail("peer id: mistyped, the checksum in its last characters does not match", text, start)
    return PeerId(public_key)


# --- endpoints --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    Where a node listens: ``tcp://192.0.2.7:5483``, ``utp://[2001:db8::7]:5483``, ``tcp://node.example.org:443``.

    Raises ``ContactSyntaxError`` for a host or port that cannot be. IPv4-mapped IPv6 addresses become IPv4 addresses.
    """

    transport: str
    """``tcp`` or ``utp``; in paths and attempts also ``relay``, with the address of a peer in between."""

    host: str
    """An IP address in its shortest form (IPv6 without brackets, a link-local one perhaps with ``%interface``), or a
    DNS name in lower case."""

    port: int
    """0 to 65535; 0 means "any free port" and makes sense for listening only."""

    ip: IPAddress | None = dataclasses.field(init=False, repr=False, compare=False)
    """The host as an address, or None if it is a DNS name."""

    def __post_init__(self) -> None:
        for name, kind in (("transport", str), ("host", str), ("port", int)):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"endpoint {name}: expected {kind.__name__}, found {type(value).__name__}")
        if self.transport not in TRANSPORTS and self.transport != RELAY:
            raise _fail("endpoint: the transport must be tcp or utp", self.transport, 0)
        if not 0 <= self.port <= 65535:
            raise _fail("endpoint: the port must be 0 to 65535", str(self.port), 0)
        host, ip = _parse_host(self.host, 0, len(self.host))
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "ip", ip)

    @classmethod
    def parse(cls, text: str, *, allow_port_zero: bool = False, allow_relay: bool = False) -> Endpoint:
        """
        Read ``transport://host:port``.

        Args:
            text: an IPv6 address stands in brackets.
            allow_port_zero: for listening addresses.
            allow_relay: for the ends of paths, which may be ``relay://…``.

        Raises:
            ContactSyntaxError: names what is wrong and the column.
        """
        _check_text("endpoint", text)
        if allow_relay and text.startswith(f"{RELAY}://"):
            same = cls.parse(f"{TRANSPORTS[0]}{text[len(RELAY) :]}", allow_port_zero=allow_port_zero)
            return cls(RELAY, same.host, same.port)
        return _parse_endpoint(text, 0, len(text), allow_port_zero)

    @property
    def is_ip(self) -> bool:
        """True for an IP address, False for a DNS name."""
        return self.ip is not None

    @property
    def family(self) -> int | None:
        """4, 6, or None for a DNS name."""
        return None if self.ip is None else self.ip.version

    @property
    def is_global(self) -> bool:
        """An address of the public internet. False for private, shared (RFC 6598), multicast… and for DNS names."""
        return self.ip is not None and self.ip.is_global and not self.ip.is_multicast

    @property
    def is_loopback(self) -> bool:
        """This very machine, by address. False for DNS names, even ``localhost``."""
        return self.ip is not None and self.ip.is_loopback

    @property
    def is_link_local(self) -> bool:
        """169.254.0.0/16 or fe80::/10. False for DNS names."""
        return self.ip is not None and self.ip.is_link_local

    @property
    def is_dialable(self) -> bool:
        """Whether it can name one node: a port that is not 0, an address neither unspecified nor multicast."""
        if self.transport == RELAY:
            return False
        if self.ip is None:
            return self.port != 0
        broadcast = self.ip.version == 4 and int(self.ip) == 0xFFFFFFFF
        return self.port != 0 and not (self.ip.is_unspecified or self.ip.is_multicast or broadcast)

    def with_port(self, port: int) -> Endpoint:
        """The same with another port: what a listener on port 0 really got."""
        return Endpoint(self.transport, self.host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"

    def __reduce__(self) -> tuple[object, ...]:
        return (Endpoint, (self.transport, self.host, self.port))


@functools.lru_cache(maxsize=1024)  # a node meets the same addresses again and again
def parse_ip(text: str) -> IPAddress:
    """
    Read an IP address; an IPv4-mapped IPv6 address (``::ffff:192.0.2.7``) becomes the IPv4 address it stands for.

    Raises:
        ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(text)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def _parse_host(text: str, start: int, end: int) -> tuple[str, IPAddress | None]:
    """Read ``text[start:end]`` as an IP address or DNS name, in canonical form."""
    host = text[start:end]
    known = _plain_ip(host)
    if known is not None:
        return known
    if not host:
        raise _fail("endpoint: the host is missing", text, start)
    for index, character in enumerate(host, start):
        if not character.isascii() or not character.isprintable():
            hint = "write an international name as xn--…"
            raise _fail(f"endpoint: {_quoted(character)} is not allowed in a host; {hint}", text, index)
    try:
        ip = parse_ip(host)
    except ValueError:
        return _parse_name(text, start, end), None
    scope = ip.scope_id if isinstance(ip, ipaddress.IPv6Address) else None
    if scope is not None and not (ip.is_link_local and _SCOPE.fullmatch(scope)):
        message = "endpoint: %… must name an interface, and belongs to link-local addresses (fe80::) only"
        raise _fail(message, text, start + host.index("%"))
    return str(ip), ip


@functools.lru_cache(maxsize=1024)  # the same
def _plain_ip(host: str) -> tuple[str, IPAddress] | None:
    """An IP address without a scope in its canonical form, and as an address; None if ``host`` is anything else."""
    try:
        ip = parse_ip(host)
    except ValueError:
        return None
    return None if "%" in host else (str(ip), ip)


def _parse_name(text: str, start: int, end: int) -> str:
    """Read ``text[start:end]`` as a DNS name: labels of letters, digits, ``-`` and ``_``; lower case, no final dot."""
    host = text[start:end].lower()
    if ":" in host or "%" in host:
        raise _fail("endpoint: this is neither an IP address nor a host name", text, start)
    name = host[:-1] if host.endswith(".") else host
    if len(name) > 253:
        raise _fail("endpoint: a host name has at most 253 characters", text, start + 253)
    position = start
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            message = "endpoint: a host name has parts of 1 to 63 letters, digits and inner hyphens, joined by dots"
            raise _fail(message, text, position)
        position += len(label) + 1
    if _NUMBER_LIKE.fullmatch(labels[-1]):  # resolvers read 127.1 and 0x7f000001 as addresses; nobody else does
        raise _fail("endpoint: this looks like an IPv4 address but is none; write four numbers 0 to 255", text, start)
    return name


def _parse_endpoint(text: str, start: int, end: int, allow_port_zero: bool) -> Endpoint:
    """Read ``text[start:end]``; columns in errors count from the start of ``text``."""
    separator = text.find("://", start, end)
    transport = text[start:separator].lower() if separator >= 0 else ""
    if transport not in TRANSPORTS:
        raise _fail("endpoint: expected tcp://host:port or utp://host:port", text, start)
    host_start = separator + 3
    if text.startswith("[", host_start, end):
        bracket = text.find("]", host_start, end)
        if bracket < 0:
            raise _fail("endpoint: the closing ] is missing", text, host_start)
        host_start, host_end, colon = host_start + 1, bracket, bracket + 1
        if ":" not in text[host_start:host_end]:
            raise _fail("endpoint: only an IPv6 address stands in brackets", text, host_start)
        if not text.startswith(":", colon, end):
            raise _fail("endpoint: expected :port after ]", text, colon)
    else:
        colon = text.rfind(":", host_start, end)
        host_end = colon
        if colon < 0:
            raise _fail("endpoint: the port is missing, expected host:port", text, end)
        if ":" in text[host_start:colon]:
            raise _fail("endpoint: an IPv6 address needs brackets, as in tcp://[::1]:5483", text, host_start)
    port_text = text[colon + 1 : end]
    if not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        raise _fail("endpoint: the port must be a number from 1 to 65535 and nothing may follow it", text, colon + 1)
    port = int(port_text)
    if port == 0 and not allow_port_zero:
        raise _fail("endpoint: port 0 (any free port) is for listening only", text, colon + 1)
    host, _ = _parse_host(text, host_start, host_end)
    return Endpoint(transport, host, port)


# --- contacts ---------------------------------------------------------------------------------------------------------


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
                raise _fail("contact: nobody can dial this endpoint", str(endpoint), 0)
        object.__setattr__(self, "peer_id", peer_id)
        object.__setattr__(self, "endpoints", unique)
        if len(unique) > limits.CONTACT_ENDPOINTS_MAX or len(str(self)) > limits.CONTACT_TEXT_MAX:
            message = (
                f"contact: {len(unique)} endpoints; at most {limits.CONTACT_ENDPOINTS_MAX} are allowed,"
                f" and {limits.CONTACT_TEXT_MAX} characters in all"
            )
            raise _fail(message, str(self), 0)

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
    _check_text("contact", text)
    return _parse_contact(text, 0)


def _parse_contact(text: str, start: int) -> Contact:
    """Read ``text[start:]``; columns in errors count from the start of ``text``."""
    end = len(text)
    at = text.find("@", start)
    id_end = end if at < 0 else at
    if start == end:
        raise _fail("contact: nothing there, expected a peer id", text, start)
    if text.startswith(_INFO_PREFIX, start):
        raise _fail("contact: this is connection info; read it with ConnectionInfo.parse", text, start)
    if id_end == start or any(mark in text[start:id_end] for mark in ":/."):
        message = (
            "contact: the peer id is missing, expected <peer id>@tcp://host:port; crust dials keys, because at an"
            " address alone anybody could answer"
        )
        raise _fail(message, text, start)
    peer_id = _parse_peer_id(text, start, id_end)
    if at < 0:
        return Contact(peer_id)
    endpoints = []
    position = at + 1
    while True:
        comma = text.find(",", position)
        stop = end if comma < 0 else comma
        endpoint = _parse_endpoint(text, position, stop, False)
        if not endpoint.is_dialable:
            raise _fail("contact: nobody can dial this address", text, position)
        endpoints.append(endpoint)
        if len(endpoints) > limits.CONTACT_ENDPOINTS_MAX:
            raise _fail(f"contact: more than {limits.CONTACT_ENDPOINTS_MAX} endpoints", text, position)
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
        _check_text("connection info", text)
        if not text.startswith(_INFO_PREFIX):
            raise _fail(f"connection info: expected it to begin with {_INFO_PREFIX}", text, 0)
        start = len(_INFO_PREFIX)
        for index in range(start, start + _HINT_DIGITS):
            if text[index : index + 1].lower() not in _HEX:
                raise _fail(f"connection info: expected {_HINT_DIGITS} hex digits for the network", text, index)
        end = start + _HINT_DIGITS
        if not text.startswith(":", end):
            raise _fail("connection info: expected : after the network", text, end)
        return cls(_parse_contact(text, end + 1), bytes.fromhex(text[start:end]))

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


# --- networks ---------------------------------------------------------------------------------------------------------


def network_id(name: str | None) -> bytes:
    """The 32 bytes that tell one crust network from another; None and the empty name are the same, unnamed network."""
    return hashlib.blake2b(b"crust/1 network\0" + (name or "").encode(), digest_size=32).digest()


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """
    Read IP networks (``192.0.2.0/24``, ``2001:db8::/32``) and single addresses.

    IPv4-mapped networks become IPv4 networks, like the addresses that they are compared with.

    Raises:
        ContactSyntaxError: names the entry that is no network.
    """
    return tuple(map(_parse_network, texts))


def _parse_network(text: str) -> IPNetwork:
    _check_text("network", text)
    if "%" in text:
        raise _fail("network: an interface (%…) has no place here", text, text.index("%"))
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise _fail("network: expected an address or a network such as 192.0.2.0/24", text, 0) from error
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise _fail(f"network: bits are set beyond the prefix; did you mean {network}?", text, 0) from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        low = int(network.network_address) & 0xFFFFFFFF
        return ipaddress.IPv4Network((low, network.prefixlen - 96))
    return network


def address_key(ip: str | IPAddress) -> bytes:
    """
    What quotas count by: 4 bytes, the whole IPv4 address; 8 bytes, the /64 of an IPv6 address.

    One site easily has 2^64 IPv6 addresses, so a single one means nothing. Nor does a scope.

    Raises:
        ValueError: ``ip`` is no IP address.
    """
    packed = parse_ip(str(ip)).packed
    return packed if len(packed) == 4 else packed[:8]
