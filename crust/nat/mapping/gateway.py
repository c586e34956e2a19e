"""
The routers that this machine's packets to the Internet go to.

Linux tells in ``/proc/net``, which costs nothing; other systems by a command that prints their table of routes.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence

from ... import limits
from ...values import dataclass

__all__ = [
    "SWITCH",
    "Gateway",
    "default_gateways",
    "is_switched_off",
    "parse_linux_routes",
    "parse_linux_routes_6",
    "parse_netstat",
    "parse_route_print",
    "routers",
]

SWITCH = "CRUST_PORT_MAPPING"
"""Environment variable: ``off`` keeps every node of a process, whatever its configuration, from asking a router."""

_UP_AND_GATEWAY = 0x3  # RTF_UP, RTF_GATEWAY
_COMMAND_SECONDS = 3.0
_NETSTAT = re.compile(r"^default\s+(\S+)\s+(\S+)(?:\s+\S+)*?\s+([a-z]+[0-9]+)\s*(?:\S+\s*)?$", re.ASCII)


@dataclass(frozen=True)
class Gateway:
    """A router, and how we reach it."""

    address: str
    """Its IP address on our network; a link-local IPv6 address with its ``%interface``."""

    interface: str
    """Name of the interface that leads there; empty if the system does not say."""

    local: str
    """Our own address towards it."""

    port: int = limits.MAPPING_PORT
    """Where it answers PCP and NAT-PMP."""

    search_port: int = limits.SSDP_PORT
    """Where it, and the group of its kind, hears who searches for UPnP."""


def is_switched_off() -> bool:
    """Whether the environment forbids to ask routers."""
    return os.environ.get(SWITCH, "") == "off"


def default_gateways(family: int = 4) -> list[Gateway]:
    """
    The default gateways, the one that the system prefers first; none if there is none, or if ``CRUST_PORT_MAPPING`` is
    ``off``.

    Blocks on systems other than Linux, where a command is run.

    Args:
        family: 4 or 6.

    Raises:
        OSError: The system does not tell now: there are no descriptors for it, or its command takes too long.
    """
    if is_switched_off():
        return []
    try:
        routes = _routes(family)
    except (FileNotFoundError, PermissionError, ValueError):  # a system of another kind, or one that tells nobody
        return []
    found = []
    for address, interface in dict.fromkeys(routes):
        local = _local_towards(address, family)
        if local:
            found.append(Gateway(address, interface, local))
    return found


def routers(family: int) -> list[str]:
    """
    The default gateways with their interfaces, without a question to anybody, whatever the environment says; none where
    the system tells only by a command.
    """
    if not sys.platform.startswith("linux"):
        return []
    try:
        return [f"{address} {interface}" for address, interface in _routes(family)]
    except (OSError, ValueError):
        return []


def _routes(family: int) -> list[tuple[str, str]]:
    if sys.platform.startswith("linux"):
        name = "/proc/net/route" if family == 4 else "/proc/net/ipv6_route"
        with open(name, encoding="ascii") as file:
            lines = file.read().splitlines()
        return parse_linux_routes(lines) if family == 4 else parse_linux_routes_6(lines)
    if sys.platform == "win32":
        return parse_route_print(_output("route", "print", f"-{family}"), family)
    return parse_netstat(_output("netstat", "-rn", "-f", "inet" if family == 4 else "inet6"), family)


def _output(*command: str) -> list[str]:
    import subprocess  # for systems that tell in no other way

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.SubprocessError as error:
        raise OSError(f"{command[0]} does not tell: {error}") from error
    return done.stdout.decode("ascii", "replace").splitlines()


def _local_towards(address: str, family: int) -> str:
    """Our address on packets to ``address``; the system tells when a datagram socket is connected: nothing is sent."""
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            if family == 4:
                sock.connect((address, 9))
            else:
                host, _, scope = address.partition("%")
                sock.connect((host, 9, 0, socket.if_nametoindex(scope) if scope else 0))
        except OSError:
            return ""
        return str(sock.getsockname()[0])


def parse_linux_routes(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Address and interface of the default routes in ``/proc/net/route``, the lowest metric first."""
    found = []
    for line in lines[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[1] != "00000000" or fields[7] != "00000000":
            continue
        if int(fields[3], 16) & _UP_AND_GATEWAY != _UP_AND_GATEWAY:
            continue
        raw = bytes.fromhex(fields[2])  # as the number stands in this machine's memory
        address = ipaddress.IPv4Address(raw[::-1] if sys.byteorder == "little" else raw)
        found.append((int(fields[6]), str(address), fields[0]))
    return _by_metric(found)


def parse_linux_routes_6(lines: Sequence[str]) -> list[tuple[str, str]]:
    """The same of ``/proc/net/ipv6_route``."""
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) < 10 or fields[0].strip("0") or fields[1] != "00" or not fields[4].strip("0"):
            continue
        if int(fields[8], 16) & _UP_AND_GATEWAY != _UP_AND_GATEWAY:
            continue
        address = ipaddress.IPv6Address(bytes.fromhex(fields[4]))
        scope = f"%{fields[9]}" if address.is_link_local else ""
        found.append((int(fields[5], 16), f"{address}{scope}", fields[9]))
    return _by_metric(found)


def parse_netstat(lines: Iterable[str], family: int) -> list[tuple[str, str]]:
    """The same of ``netstat -rn`` on macOS and the BSDs, whose order is the system's."""
    found = []
    for line in lines:
        match = _NETSTAT.match(line)
        if match is None or "G" not in match[2]:
            continue
        address = _address(match[1], family)
        if address:
            found.append((address, match[3]))
    return found


def parse_route_print(lines: Iterable[str], family: int) -> list[tuple[str, str]]:
    """The same of ``route print`` on Windows."""
    found = []
    for line in lines:
        fields = line.split()
        if family == 4 and len(fields) == 5 and fields[:2] == ["0.0.0.0", "0.0.0.0"]:
            metric, gateway = fields[4], fields[2]
        elif family == 6 and len(fields) == 4 and fields[2] == "::/0":
            metric, gateway = fields[1], fields[3]
        else:
            continue
        address = _address(gateway, family)
        if address and metric.isdigit():
            found.append((int(metric), address, ""))
    return _by_metric(found)


def _address(text: str, family: int) -> str:
    """The text if it is an address of that family (not ``On-link``, ``link#4``), else empty."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return text if ip.version == family else ""


def _by_metric(found: list[tuple[int, str, str]]) -> list[tuple[str, str]]:
    return [(address, interface) for _, address, interface in sorted(found, key=lambda route: route[0])]
