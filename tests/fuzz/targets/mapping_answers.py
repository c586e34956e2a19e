"""What a router, or somebody on the LAN in its name, answers by PCP and NAT-PMP: the packets, and the plan they reach.

A packet parses or is MalformedMessage, and what was parsed builds the same bytes again, but for padding. The plan takes
any answers in any order: it comes to rest at every moment, claims only outer ports and addresses that can be, and ends
soon when it is told to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from crust.nat.mapping import natpmp, pcp
from crust.nat.mapping.natpmp import parse_natpmp_untrusted
from crust.nat.mapping.pcp import parse_pcp_untrusted
from crust.nat.mapping.ways import Wanted
from tests.fuzz.codecs import parsed
from tests.fuzz.source import Source, noise
from tests.nat.mapping.simulated import Bench

ROUNDS = 60
SIZE_MAX = 1024

_LISTENERS = (Wanted("tcp", 4711), Wanted("udp", 4711))
_BYTES = bytes(range(12))  # the nonce that the plan draws


def run(data: bytes) -> None:
    _packet(data)
    source = Source(data)
    bench = Bench(protocols=source.pick((("pcp",), ("natpmp",), ("pcp", "natpmp", "igd"))))
    bench.lossy = lambda data: True  # what answers is what comes below
    bench.want(*_LISTENERS[: source.number(1, 2)])
    for _ in range(30):
        if not source:
            break
        step = source.number(0, 5)
        if step <= 2 and bench.sent:
            bench.mapper.receive(_answer(source, bench.sent[-1][1]), bench.now)
        elif step == 3:
            bench.mapper.receive(source.some(80), bench.now)
        elif step == 4:
            bench.run(source.pick((0.3, 3.0, 700.0)))
        else:
            bench.mapper.unreachable(bench.now)
        bench.settle()
        for address, port, _ in bench.held().values():
            assert 0 < port <= 65535
            assert not address or ipaddress.ip_address(address)
    bench.mapper.close(bench.now)
    bench.run(5.0)


def _packet(data: bytes) -> None:
    by_pcp = parsed(parse_pcp_untrusted, data)
    if by_pcp is not None:
        assert parse_pcp_untrusted(pcp.build_pcp(by_pcp)) == by_pcp
    by_natpmp = parsed(parse_natpmp_untrusted, data)
    if by_natpmp is not None:
        assert parse_natpmp_untrusted(natpmp.build_natpmp(by_natpmp)) == by_natpmp


def _answer(source: Source, question: bytes) -> bytes:
    """To what was asked last, right but for a few changes."""
    result = source.pick((0, 0, 0, 1, 2, 3, 8, 11, 13))
    epoch, lifetime = source.number(0, 100_000), source.pick((0, 1, 120, 3600, 0xFFFFFFFF))
    external = source.pick((0, 1, 4711, 40_000))
    if question[:1] == b"\x02":
        asked = parsed(parse_pcp_untrusted, question)
        if isinstance(asked, pcp.MapRequest):
            address = source.pick(("203.0.113.9", "0.0.0.0", "100.64.0.1", "255.255.255.255"))
            answer = pcp.MapResponse(
                result, lifetime, epoch, asked.nonce, asked.protocol, asked.internal, external, address
            )
            return source.damaged(pcp.build_pcp(answer))
        return source.damaged(pcp.build_pcp(pcp.AnnounceResponse(result, epoch)))
    head = b"\0" + bytes((question[1] | 0x80,)) + result.to_bytes(2, "big") + epoch.to_bytes(4, "big")
    if question[1] == natpmp.ADDRESS:
        return source.damaged(head + source.pick((b"\xcb\x00\x71\x09", bytes(4), b"\xff" * 4)))
    return source.damaged(head + question[4:6] + external.to_bytes(2, "big") + lifetime.to_bytes(4, "big"))


def seeds() -> Iterable[bytes]:
    protocol = pcp.Protocol.TCP
    yield pcp.build_pcp(pcp.MapRequest("192.168.1.10", 3600, _BYTES, protocol, 4711, 0))
    yield pcp.build_pcp(pcp.MapResponse(0, 3600, 9, _BYTES, protocol, 4711, 4711, "203.0.113.9"))
    yield pcp.build_pcp(pcp.AnnounceResponse(0, 9))
    yield natpmp.build_natpmp(natpmp.MapRequest("tcp", 4711, 0, 3600))
    yield bytes((0, 129, 0, 0)) + bytes(4) + b"\x12\x67\x12\x67" + bytes(4)
    yield from noise(12, 120)
