"""Where a node listens, and its text form."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re

from ..values import dataclass
from .ip import IPAddress, is_translated, is_unicast, parse_ip
from .text import check_text, fail, quoted

__all__ = ["RELAY", "TRANSPORTS", "Endpoint", "parse_endpoint"]

TRANSPORTS = ("tcp", "utp")
RELAY = "relay"  # of the ends of paths through another peer; nobody can dial these, and no contact has one

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)  # RFC 1035 section 2.3.1, and the usual "_"
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # an interface name or number; Linux allows 15 characters
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)


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
            raise fail("endpoint: the transport must be tcp or utp", self.transport, 0)
        if not 0 <= self.port <= 65535:
            raise fail("endpoint: the port must be 0 to 65535", str(self.port), 0)
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
        check_text("endpoint", text)
        if allow_relay and text.startswith(f"{RELAY}://"):
            same = cls.parse(f"{TRANSPORTS[0]}{text[len(RELAY) :]}", allow_port_zero=allow_port_zero)
            return cls(RELAY, same.host, same.port)
        return parse_endpoint(text, 0, len(text), allow_port_zero)

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

    @property
    def is_single_host(self) -> bool:
        """
        Whether it can be dialled and one machine can be there, whoever says so.

        False for names, which may stand for any address at any time, for what is reserved, and for addresses of IPv6
        that a gateway turns into another one of IPv4 (6to4, Teredo, NAT64): ask this of addresses told by strangers.
        """
        return self.ip is not None and self.is_dialable and is_unicast(self.ip) and not is_translated(self.ip)

    def with_port(self, port: int) -> Endpoint:
        """The same with another port: what a listener on port 0 really got."""
        return Endpoint(self.transport, self.host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"

    def __reduce__(self) -> tuple[object, ...]:
        return (Endpoint, (self.transport, self.host, self.port))


def _parse_host(text: str, start: int, end: int) -> tuple[str, IPAddress | None]:
    """Read ``text[start:end]`` as an IP address or DNS name, in canonical form."""
    host = text[start:end]
    known = _plain_ip(host)
    if known is not None:
        return known
    if not host:
        raise fail("endpoint: the host is missing", text, start)
    for index, character in enumerate(host, start):
        if not character.isascii() or not character.isprintable():
            hint = "write an international name as xn--…"
            raise fail(f"endpoint: {quoted(character)} is not allowed in a host; {hint}", text, index)
    try:
        ip = parse_ip(host)
    except ValueError:
        return _parse_name(text, start, end), None
    scope = ip.scope_id if isinstance(ip, ipaddress.IPv6Address) else None
    if scope is not None and not (ip.is_link_local and _SCOPE.fullmatch(scope)):
        message = "endpoint: %… must name an interface, and belongs to link-local addresses (fe80::) only"
        raise fail(message, text, start + host.index("%"))
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
        raise fail("endpoint: this is neither an IP address nor a host name", text, start)
    name = host[:-1] if host.endswith(".") else host
    if len(name) > 253:
        raise fail("endpoint: a host name has at most 253 characters", text, start + 253)
    position = start
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            message = "endpoint: a host name has parts of 1 to 63 letters, digits and inner hyphens, joined by dots"
            raise fail(message, text, position)
        position += len(label) + 1
    if _NUMBER_LIKE.fullmatch(labels[-1]):  # resolvers read 127.1 and 0x7f000001 as addresses; nobody else does
        raise fail("endpoint: this looks like an IPv4 address but is none; write four numbers 0 to 255", text, start)
    return name


def parse_endpoint(text: str, start: int, end: int, allow_port_zero: bool) -> Endpoint:
    """Read ``text[start:end]``; columns in errors count from the start of ``text``."""
    separator = text.find("://", start, end)
    transport = text[start:separator].lower() if separator >= 0 else ""
    if transport not in TRANSPORTS:
        raise fail("endpoint: expected tcp://host:port or utp://host:port", text, start)
    host_start = separator + 3
    if text.startswith("[", host_start, end):
        bracket = text.find("]", host_start, end)
        if bracket < 0:
            raise fail("endpoint: the closing ] is missing", text, host_start)
        host_start, host_end, colon = host_start + 1, bracket, bracket + 1
        if ":" not in text[host_start:host_end]:
            raise fail("endpoint: only an IPv6 address stands in brackets", text, host_start)
        if not text.startswith(":", colon, end):
            raise fail("endpoint: expected :port after ]", text, colon)
    else:
        colon = text.rfind(":", host_start, end)
        host_end = colon
        if colon < 0:
            raise fail("endpoint: the port is missing, expected host:port", text, end)
        if ":" in text[host_start:colon]:
            raise fail("endpoint: an IPv6 address needs brackets, as in tcp://[::1]:5483", text, host_start)
    port_text = text[colon + 1 : end]
    if not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        raise fail("endpoint: the port must be a number from 1 to 65535 and nothing may follow it", text, colon + 1)
    port = int(port_text)
    if port == 0 and not allow_port_zero:
        raise fail("endpoint: port 0 (any free port) is for listening only", text, colon + 1)
    host, _ = _parse_host(text, host_start, host_end)
    return Endpoint(transport, host, port)
