"""
What the kernel keeps from a beacon's sockets: all that cannot be a query, or an answer, on one of the links, by its
length and its addresses. So who is not on the link cannot use up what is read of it, nor can short datagrams.

A classic BPF program, as of :mod:`crust.transports.udp_sieve`. Where the system has no such filters all is looked at.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Collection

from ... import limits
from ...transports.udp_sieve import attach
from .links import Link
from .packet import ANSWER_SIZE

__all__ = ["for_answers", "for_queries", "keep_away"]

# Classic BPF, Linux' linux/bpf_common.h and linux/filter.h.
_LOAD_WORD, _LOAD_LENGTH, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x80, 0x54, 0x15, 0x06
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF
_UDP_HEADER = 8  # a UDP socket's datagrams begin with it
_PASS, _DROP = (_RETURN, 0, 0, 0x40000), (_RETURN, 0, 0, 0)
_Step = tuple[int, int, int, int]


def for_queries(links: Collection[Link]) -> bytes | None:
    """The program for a socket that hears what is sent to all of these links, which are of one family; None: none."""
    if sys.platform != "linux":
        return None
    routes = dict.fromkeys((each.to_all, _network(each)) for each in links)  # IPv6: one for all links
    return _program(limits.BEACON_QUERY_SIZE, [[*_to(to_all), *_from(*network)] for to_all, network in routes])


def for_answers(link: Link) -> bytes | None:
    """The program for the socket that asks on this link; None: none."""
    return _program(ANSWER_SIZE, [_from(*_network(link))]) if sys.platform == "linux" else None


def keep_away(sock: socket.socket, program: bytes | None) -> None:
    """Have the kernel throw away what that program does not let through. None, or too long a one: nothing."""
    if program is not None and not attach(sock, program):
        attach(sock, None)


def _network(link: Link) -> tuple[int, int, int]:
    """Where the first word of a source address is in its header; its mask, and what is there on the link."""
    if link.family == 6:
        return _NETWORK_HEADER + 8, 0xFFC00000, 0xFE800000  # link-local: RFC 4291, 2.5.6
    mask = 0xFFFFFFFF << 32 - link.prefix & 0xFFFFFFFF
    return _NETWORK_HEADER + 12, mask, int(ipaddress.IPv4Address(link.host)) & mask


def _from(place: int, mask: int, network: int) -> list[_Step]:
    return [(_LOAD_WORD, 0, 0, place), (_AND, 0, 0, mask), (_JUMP_EQUAL, 0, 0, network)]


def _to(address: str) -> list[_Step]:
    ip = ipaddress.ip_address(address)
    place, bits = _NETWORK_HEADER + (24 if ip.version == 6 else 16), ip.max_prefixlen
    steps = []
    for start in range(0, bits, 32):
        word = int(ip) >> bits - start - 32 & 0xFFFFFFFF
        steps += [(_LOAD_WORD, 0, 0, place + start // 8), (_JUMP_EQUAL, 0, 0, word)]
    return steps


def _program(size: int, ways: list[list[_Step]]) -> bytes:
    """Datagrams of that size for which all comparisons of one of these ways hold: each goes on to the next if not."""
    code: list[_Step] = [(_LOAD_LENGTH, 0, 0, 0), (_JUMP_EQUAL, 1, 0, size + _UDP_HEADER), _DROP]
    for way in ways:
        for index, (kind, _, _, value) in enumerate(way):
            code.append((kind, 0, len(way) - index if kind == _JUMP_EQUAL else 0, value))
        code.append(_PASS)
    return b"".join(struct.pack("=HBBI", *step) for step in [*code, _DROP])
