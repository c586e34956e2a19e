"""Cables between machines of the laboratory, and what of the beacon passes them."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
from collections.abc import Iterator

from crust import limits
from tests.natlab import names, packets
from tests.natlab.hosts import Machine
from tests.natlab.recorder import _opened

ANSWER_SIZE = 130
_OUTGOING = 4


def plug(one: Machine, interface: str, other: Machine, its_interface: str, network: str) -> None:
    """
    A cable between two machines, with addresses of IPv4 (``.1`` and ``.2``) and link-local ones of IPv6.

    Args:
        network: The first three numbers of the addresses.
    """
    one.configure(f"link add {interface} type veth peer name {its_interface} netns {other.namespace}")
    for machine, name, number in ((one, interface, 1), (other, its_interface, 2)):
        settings = {f"ipv6__conf__{name}__addr_gen_mode": 0, f"ipv6__conf__{name}__accept_dad": 0}
        machine.prepare(**settings)
        machine.configure(f"addr add {network}.{number}/24 brd + dev {name}", f"link set {name} up")


def unplug(one: Machine, interface: str) -> None:
    """Take the cable away, and the interfaces with it."""
    one.configure(f"link del {interface}")


@dataclasses.dataclass(frozen=True)
class Beacon:
    """A datagram of the beacon, by its size."""

    outgoing: bool
    source: str
    destination: str
    hops: int
    data: bytes

    @property
    def is_query(self) -> bool:
        return len(self.data) == limits.BEACON_QUERY_SIZE


class BeaconTap:
    """Takes up what passes an interface."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.seen: list[Beacon] = []

    def take(self) -> list[Beacon]:
        """All so far."""
        while True:
            try:
                data, address = self._socket.recvfrom(65_536)
            except BlockingIOError:
                return self.seen
            found = _beacon(data, address[2] == _OUTGOING)
            if found is not None:
                self.seen.append(found)

    def sent(self, to: str = "") -> list[Beacon]:
        """What left, to that address if one is named."""
        return [each for each in self.take() if each.outgoing and to in ("", each.destination)]


def _beacon(data: bytes, outgoing: bool) -> Beacon | None:
    if len(data) < 28 or packets.protocol(data) != packets.UDP:
        return None
    if data[0] >> 4 == 4:
        offset, hops = 4 * (data[0] & 0xF), data[8]
    else:
        offset, hops = 40, data[7]
    payload = data[offset + 8 : offset + int.from_bytes(data[offset + 4 : offset + 6], "big")]
    if len(payload) not in (limits.BEACON_QUERY_SIZE, ANSWER_SIZE):
        return None
    source, destination = (str(ipaddress.ip_address(each(data))) for each in (packets.source, packets.destination))
    return Beacon(outgoing, source, destination, hops, payload)


@contextlib.contextmanager
def tapped(machine: Machine, interface: str) -> Iterator[BeaconTap]:
    """What passes an interface from now on."""
    with _opened(f"{names.FOLDER}/{machine.namespace}", interface) as sock:
        yield BeaconTap(sock)
