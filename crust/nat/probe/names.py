"""Names of STUN servers: read, and looked up all at once."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
from collections.abc import Iterable

from ... import limits
from ...addresses import Endpoint
from ...exceptions import ContactSyntaxError
from ...runtime.clock import Clock
from ...transports.resolving import Answers, Resolver
from .classes import Address
from .servers import Server

__all__ = ["NamedServer", "find_servers", "read_server"]

_PRIVATE_NAMES = ("arpa", "corp", "home", "internal", "lan", "local", "localdomain", "test")  # not the Internet's


class NamedServer:
    """A server as it was given; its addresses come later."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self.endpoint = endpoint
        self.addresses: list[Address] = []
        self.error = ""

    def of_family(self, family: int) -> Server | None:
        """The first address of that family."""
        for address in self.addresses:
            if (":" in address[0]) == (family == 6):
                return Server(self.name, address)
        return None

    @property
    def lies(self) -> bool:
        """A public name has an address that is none: a captive portal's, or a filter's, name server."""
        host = self.endpoint.host
        if self.endpoint.is_ip or "." not in host or host.rpartition(".")[2] in _PRIVATE_NAMES:
            return False
        return any(not ipaddress.ip_address(ip).is_global for ip, _ in self.addresses)


def read_server(text: str) -> NamedServer:
    """
    ``host``, ``host:port``, ``[IPv6]:port`` or an address alone.

    Raises:
        ValueError: It is none of these.
    """
    given = text.strip()
    with contextlib.suppress(ValueError):
        given = f"[{ipaddress.IPv6Address(given)}]"
    if given.endswith("]") or ":" not in given:
        given = f"{given}:{limits.STUN_PORT}"
    try:
        return NamedServer(text.strip(), Endpoint.parse(f"utp://{given}"))
    except ContactSyntaxError as error:
        raise ValueError(f"{text!r} is no STUN server: write it as HOST, HOST:PORT or [IPV6]:PORT") from error


def find_servers(servers: Iterable[NamedServer], clock: Clock, timeout: float) -> None:
    """Look all names up at once, and note their addresses, or why there are none. Blocks at most for ``timeout``."""
    resolver = Resolver()
    waiting: list[tuple[NamedServer, Answers]] = []
    for server in servers:
        if server.endpoint.is_ip:
            server.addresses = [(server.endpoint.host, server.endpoint.port)]
            continue
        answers: Answers = queue.SimpleQueue()
        try:
            resolver.begin(server.endpoint, answers)
        except OSError as error:
            server.error = str(error)
            continue
        waiting.append((server, answers))
    deadline = clock.now() + timeout
    for server, answers in waiting:
        try:
            found = answers.get(timeout=max(0.0, deadline - clock.now()))
        except queue.Empty:
            server.error = f"its name could not be looked up within {timeout:g} s"
            continue
        if isinstance(found, Exception):
            server.error = f"its name could not be looked up: {getattr(found, 'strerror', None) or found}"
            continue
        server.addresses = [entry[4][:2] for entry in found][: limits.PROBE_ADDRESSES_MAX]
