"""How a UPnP router is looked for: the questions, and what is taken of the answers. Text, and never trusted."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

from ... import limits
from ...values import dataclass

__all__ = ["SearchAnswer", "questions", "read_answer", "with_host"]

_TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "upnp:rootdevice",  # for those that answer by other names
)
_URL_MAX = 512
_OK = re.compile(rb"HTTP/1\.[01] +200\b")
_NAME_MAX = 64


@dataclass(frozen=True)
class SearchAnswer:
    """A device that may be a router."""

    url: str
    """Of its description: http, with an IPv4 address and a port."""
    server: str
    """What it calls itself; printable ASCII, perhaps empty."""
    is_router: bool = False
    """Whether it says that it is one: other devices answer as well."""


def questions(host: str = limits.SSDP_GROUP, port: int = limits.SSDP_PORT) -> list[bytes]:
    """The datagrams that ask every router there to answer."""
    return [
        (
            f"M-SEARCH * HTTP/1.1\r\nHOST: {host}:{port}\r\n"
            f'ST: {target}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n\r\n'
        ).encode("ascii")
        for target in _TARGETS
    ]


def read_answer(data: bytes, source: str, gateway: str) -> SearchAnswer | None:
    """
    What a datagram tells, or None if it is no answer that can be used.

    The description must be at the address of whoever answered, or the gateway's: otherwise anybody on the network could
    make us speak to a third party. An answer that names another host is taken to mean its sender's (some routers name
    an address of theirs that we cannot reach).

    Args:
        source: IP address that it came from.
        gateway: Our router's.
    """
    if len(data) > limits.SSDP_ANSWER_MAX or not _OK.match(data) or not _is_near(source, gateway):
        return None
    fields: dict[str, str] = {}
    for line in data.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    url = fields.get("location", "")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or not parts.hostname or len(url) > _URL_MAX or port == 0:
        return None
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    if parts.hostname not in (source, gateway):
        url = with_host(url, source)
    server = "".join(c for c in fields.get("server", "") if c.isascii() and c.isprintable())
    kinds = fields.get("st", "") + fields.get("usn", "")
    return SearchAnswer(url, server[:_NAME_MAX], ":InternetGatewayDevice:" in kinds)


def with_host(url: str, host: str) -> str:
    """The same URL at another host."""
    parts = urllib.parse.urlsplit(url)
    port = f":{parts.port}" if parts.port is not None else ""
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{host}{port}"))


def _is_near(source: str, gateway: str) -> bool:
    """Whether an answer may come from there: the gateway, or an address of a home network."""
    if source == gateway:
        return True
    try:
        ip = ipaddress.IPv4Address(source)
    except ValueError:
        return False
    return not ip.is_global and not ip.is_multicast and not ip.is_unspecified
