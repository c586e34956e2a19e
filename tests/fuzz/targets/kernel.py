"""What the kernel says of the machine's network, cut and damaged: NETLINK messages, and tables of routes.

NETLINK never raises and always ends; of tables of routes come addresses, or ValueError, which their reader expects.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from crust.nat.mapping import gateway
from crust.runtime.network_news import LinkStates

ROUNDS = 300
TOKENS = [b"00000000\t", b"0003\t", b"UG", b"default", b"0.0.0.0", b"::/0"]


def run(data: bytes) -> None:
    states = LinkStates()
    assert states.receive(data) in (False, True)
    assert states.receive(data) in (False, True)
    lines = data.decode("utf-8", "replace").splitlines()
    for parse, family in (
        (gateway.parse_linux_routes, 4),
        (gateway.parse_linux_routes_6, 6),
        (lambda lines: gateway.parse_netstat(lines, 4), 4),
        (lambda lines: gateway.parse_route_print(lines, 6), 6),
    ):
        try:
            routes = parse(lines)
        except (ValueError, ipaddress.AddressValueError):
            continue
        for address, _ in routes:
            assert ipaddress.ip_address(address.partition("%")[0]).version == family


def seeds() -> Iterable[bytes]:
    for kind, flags in ((16, 0x40), (16, 0), (17, 0)):
        yield struct.pack("=IHHII", 32, kind, 0, 1, 0) + struct.pack("=BBHiII", 0, 0, 1, 2, flags, 0)
    yield b"Iface\tDestination\tGateway\n" + b"eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\n"
    yield b"0" * 32 + b" 00 " + b"0" * 32 + b" 00 fe80" + b"0" * 27 + b"1 00000400 00000001 00000000 00000003 eth0\n"
    yield b"default 192.168.1.1 UGSc en0\n"
    yield b" 17 266 ::/0 fe80::1\n"
