"""A connection on a hub: exceptions that strike a sender from outside, and what is left of those that have ended."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.contract import Connection
from crust.transports.udp import UdpHub
from crust.transports.utp.connection import UtpConnection
from crust.transports.utp.packet import Packet, PacketType
from crust.transports.utp.sender import Sender
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport
from tests.support.pairs import Pair
from tests.support.threads import Crew
from tests.support.waiting import wait_until

SOON = 5.0  # seconds: less than the keepalive, whose timer looks at every connection


@pytest.fixture
def pair(crew: Crew, utp: UtpTransport) -> Iterator[Pair]:
    listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
    accepted: list[Connection] = []
    crew.spawn("crust-listener", listener.run, accepted.append)
    near = utp.dial(listener.endpoint, 5.0)
    wait_until(lambda: accepted, what="accepting")
    listener.close()
    pair = Pair(crew, near, accepted[0]).start()
    yield pair
    pair.end()


def interrupted(stream: UtpStream, monkeypatch: pytest.MonkeyPatch, place: type, name: str) -> None:
    """Send something, and be struck in that method of the state machine, as by Ctrl-C."""
    whole = getattr(place, name)
    own = stream.core if place is UtpConnection else stream.core.sender

    def struck(self: object, *args: object, **named: object) -> object:
        if self is own:
            raise KeyboardInterrupt
        return whole(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, struck)
        with pytest.raises(KeyboardInterrupt):
            stream.send(b"half of it")


def send(stream: UtpStream) -> None:
    with pytest.raises(OSError, match="interrupted"):
        stream.send(b"more")


@pytest.mark.parametrize("then", [send, UtpStream.close, UtpStream.finish, UtpStream.abort])
@pytest.mark.parametrize(("place", "name"), [(Sender, "push"), (UtpConnection, "get_timer")])
def test_whoever_comes_after_an_interrupted_sender_ends_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, place: type, name: str, then: Callable[[UtpStream], None]
) -> None:
    """Its state cannot be relied upon: both sides hear of an end soon, and the other one that it was none in order."""
    near = pair.near
    assert isinstance(near, UtpStream)
    interrupted(near, monkeypatch, place, name)
    then(near)
    wait_until(lambda: pair.near_sink.lost and pair.far_sink.lost, SOON, "the end on both sides")
    assert isinstance(pair.far_sink.lost[0], ConnectionResetError)


def test_callers_that_were_thrown_out_leave_nothing(
    utp: UtpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of calls in the time that each may take: no more is kept in memory than has a place."""
    monkeypatch.setattr(limits, "UTP_HALF_OPEN_SECONDS", 60.0)
    monkeypatch.setattr(limits, "UTP_SYNS_AT_ONCE", 2000)
    monkeypatch.setattr(UdpHub, "transmit", lambda *args: True)  # those addresses are invented
    streams: weakref.WeakSet[UtpStream] = weakref.WeakSet()
    accepted = utp.accepted

    def remembering(*args: Any) -> UtpStream | None:
        stream = accepted(*args)
        assert stream is not None
        streams.add(stream)
        return stream

    monkeypatch.setattr(utp, "accepted", remembering)
    listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
    for number in range(2000):
        caller = (f"20.{number >> 8}.{number & 255}.1", 5000)
        listener.called(Packet(PacketType.SYN, 7, 1, 0, 0, 5, 0), caller, None, utp.io.now())
    wait_until(lambda: len(streams) <= limits.UTP_HALF_OPEN_MAX, SOON, "forgetting those without a place")
    assert len(listener._hub._members) == len(streams) == limits.UTP_HALF_OPEN_MAX
    listener.close()
    wait_until(lambda: not len(streams), SOON, "forgetting all")


def test_what_was_kept_comes_before_what_comes_and_gives_its_room_back(crew: Crew, pair: Pair) -> None:
    """Packets that arrive between the resuming of a sink and its first call."""
    far = pair.far
    assert isinstance(far, UtpStream)
    pair.far.pause()
    pair.near.send(b"kept,")
    wait_until(lambda: far.core.receiver.held, what="the first bytes")
    entered, gate = threading.Event(), threading.Event()
    crew.io.call_soon(lambda: (entered.set(), gate.wait(10)))  # the thread that would hand them over
    try:
        assert entered.wait(5)
        pair.far.resume()
        pair.near.send(b"come")
        wait_until(lambda: pair.far_sink.received or far.core.receiver.held == 9, what="the others")
    finally:
        gate.set()
    wait_until(lambda: pair.far_sink.received == b"kept,come", what="all of them, in order")
    assert far.core.receiver.held == 0


def test_what_an_ended_one_kept_is_free_again(pair: Pair) -> None:
    """Of what all of them may keep together."""
    far = pair.far
    assert isinstance(far, UtpStream)
    share = far.core._settings.share
    assert share is not None and share.fits(3 * limits.UTP_RECEIVE_WINDOW_BEGUN)
    reserve = share._reserve
    assert reserve.used == 2 * limits.UTP_RECEIVE_WINDOW_BEGUN
    pair.near.abort()
    wait_until(lambda: not reserve.used, what="its end")


def test_packets_are_counted_for_whoever_asks(pair: Pair) -> None:
    """By those that brought something new."""
    far = pair.far
    assert isinstance(far, UtpStream)
    before = far.packets
    for number in range(1, 11):
        pair.near.send(b"x")
        wait_until(lambda number=number: len(pair.far_sink.received) == number, what="the byte")
    assert far.packets == before + 10
