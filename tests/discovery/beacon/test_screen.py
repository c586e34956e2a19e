"""What the kernel keeps from a beacon's sockets: loopback delivers before ``sendto`` returns."""

from __future__ import annotations

import socket
import sys

import pytest

from crust import limits
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import ANSWER_SIZE
from crust.discovery.beacon.screen import for_queries, keep_away
from crust.discovery.beacon.sockets import BeaconSockets
from tests.support.sockets import reserved_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filters")

HERE, ELSEWHERE = "127.0.0.9", "127.0.7.9"
TO_ALL, OTHER_LINK = "127.0.0.255", "127.0.1.255"


@pytest.fixture
def port() -> int:
    return reserved_port()


def a_link(host: str) -> Link:
    """A part of loopback, taken for a link of its own."""
    return Link("lo", socket.if_nametoindex("lo"), host, 24)


def taken(sockets: BeaconSockets, source: str, to: tuple[str, int], size: int) -> list[int]:
    """Send that; the sizes of what a beacon's sockets have to read then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(bytes(size), to)
    sizes = []
    for each in sockets.all:
        while True:
            try:
                sizes.append(len(each.recv(2000)))
            except BlockingIOError:
                break
    return sizes


def test_what_is_no_query_is_not_read(port: int) -> None:
    """A short one, one from elsewhere, one that went to this machine alone; links that come and go are followed."""
    size = limits.BEACON_QUERY_SIZE
    sockets = BeaconSockets(port, port, lambda sock: None)
    try:
        one, two = a_link("127.0.0.1"), a_link("127.0.1.1")
        assert sockets.follow(frozenset({one}), hear=True) == []
        assert taken(sockets, HERE, (TO_ALL, port), size) == [size]
        for source, to, wrong in (
            *((HERE, TO_ALL, size - 1), (HERE, TO_ALL, size + 1), (HERE, TO_ALL, 0)),
            *((ELSEWHERE, TO_ALL, size), (HERE, "127.0.0.1", size), ("127.0.1.9", OTHER_LINK, size)),
        ):
            assert taken(sockets, source, (to, port), wrong) == [], (source, to, wrong)
        assert sockets.follow(frozenset({one, two}), hear=True) == []
        assert taken(sockets, HERE, (TO_ALL, port), size) == taken(sockets, "127.0.1.9", (OTHER_LINK, port), size)
        assert taken(sockets, HERE, (OTHER_LINK, port), size) == []
        assert sockets.follow(frozenset({two}), hear=True) == []
        assert taken(sockets, HERE, (TO_ALL, port), size) == []
        assert taken(sockets, "127.0.1.9", (OTHER_LINK, port), size) == [size]
    finally:
        sockets.close()


def test_what_is_no_answer_is_not_read() -> None:
    """As with queries, at the port that was asked from."""
    sockets = BeaconSockets(1, 1, lambda sock: None)
    try:
        link = a_link("127.0.0.1")
        assert sockets.follow(frozenset({link}), hear=False) == []
        place = ("127.0.0.1", sockets.ports[link])
        assert taken(sockets, HERE, place, ANSWER_SIZE) == [ANSWER_SIZE]
        assert taken(sockets, HERE, place, ANSWER_SIZE - 1) == taken(sockets, ELSEWHERE, place, ANSWER_SIZE) == []
    finally:
        sockets.close()


def test_too_many_links_for_a_program(port: int) -> None:
    """Everything is looked at, as on a system without filters, and no older program is left."""
    size = limits.BEACON_QUERY_SIZE
    sockets = BeaconSockets(port, port, lambda sock: None)
    try:
        assert sockets.follow(frozenset({a_link("127.0.0.1")}), hear=True) == []
        crowd = [Link("x", 9, f"10.{number >> 8}.{number & 255}.1", 24) for number in range(1000)]
        keep_away(sockets._hearing[4], for_queries(crowd))
        assert taken(sockets, ELSEWHERE, (TO_ALL, port), size - 1) == [size - 1]
    finally:
        sockets.close()
