"""This machine's side: its interfaces, which of them leads out, and which are VPNs."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable

from ...findings import InterfaceFinding, InterfaceKind
from ...runtime.interfaces import InterfaceAddress

__all__ = ["describe_interfaces", "kind_of"]

_SYSTEM = "/sys/class/net"
_NAMES = (
    # What systems and programs call their interfaces; the first that fits counts.
    (InterfaceKind.CONTAINER, ("docker*", "veth*", "br-*", "virbr*", "vmnet*", "vboxnet*", "lxc*", "cni*", "podman*")),
    (InterfaceKind.VPN, ("tun*", "tap*", "wg*", "utun*", "tailscale*", "zt*", "nordlynx*", "proton*", "ipsec*")),
    (InterfaceKind.MOBILE, ("wwan*", "wwp*", "rmnet*", "ppp*", "pdp_ip*")),
    (InterfaceKind.WIRELESS, ("wl*", "ath*", "awdl*", "Wi-Fi*")),
    (InterfaceKind.ETHERNET, ("eth*", "en*", "em*", "Ethernet*", "Local Area*")),
)


def kind_of(name: str) -> InterfaceKind:
    """What an interface is, by its name and what Linux says of it."""
    if os.path.isdir(os.path.join(_SYSTEM, name, "wireless")):
        return InterfaceKind.WIRELESS
    for kind, patterns in _NAMES:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return kind
    return InterfaceKind.OTHER


def describe_interfaces(addresses: Iterable[InterfaceAddress], ways: Iterable[str]) -> tuple[InterfaceFinding, ...]:
    """
    The interfaces that have an address for more than this machine.

    Args:
        addresses: Of all interfaces.
        ways: Our own addresses on the way to the Internet, one a family.
    """
    by_name: dict[str, list[InterfaceAddress]] = {}
    for address in addresses:
        if not address.is_loopback:
            by_name.setdefault(address.interface, []).append(address)
    leaving = {way.partition("%")[0] for way in ways}
    return tuple(
        InterfaceFinding(
            name,
            kind_of(name),
            tuple(str(each.ip) for each in found),
            any(str(each.ip).partition("%")[0] in leaving for each in found),
            _mtu_of(name),
        )
        for name, found in by_name.items()
    )


def _mtu_of(name: str) -> int | None:
    try:
        with open(os.path.join(_SYSTEM, name, "mtu"), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None  # not Linux
