"""Dialling and listening over sockets that are open already, such as one that has punched a hole."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from crust.exceptions import ListenError
from crust.transports.blocking import BlockingStream
from crust.transports.udp import UdpHub
from crust.transports.utp.transport import UtpTransport
from tests.support.sockets import has_ipv6, loopback
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

FAMILIES = [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


def punched(utp: UtpTransport, family: int = 4) -> UdpHub:
    """A silent hub of a socket that somebody else has opened."""
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((loopback(family), 0))
    return utp.adopt(sock, silent=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_use_what_is_open(crew: Crew, utp: UtpTransport, family: int) -> None:
    """The connection goes from the one port to the other, and holds the sockets when all others have let go."""
    near, far = punched(utp, family), punched(utp, family)
    accepted: list[Any] = []
    listener = utp.listen_over(far)
    crew.spawn("crust-listener", listener.run, accepted.append)
    assert listener.endpoint.port == far.port
    stream = utp.dialling_over(near, far.name[:2], 5.0).run()
    wait_until(lambda: accepted, what="the call")
    assert (stream.local.port, accepted[0].remote.port) == (near.port, near.port)
    listener.close()
    near.release()
    far.release()
    ends = [BlockingStream(each, crew.spawn) for each in (stream, accepted[0])]
    ends[0].sendall(b"through", 5.0)
    assert ends[1].recv_exactly(7, 5.0) == b"through"
    for end in ends:
        end.abort()
        assert end.wait_lost(5.0)
    wait_until(lambda: near.closed and far.closed, what="the end of the sockets")


def test_a_silent_socket_takes_no_call_before_it_listens(crew: Crew, utp: UtpTransport) -> None:
    """Nor says that it does not; the same caller gets through as soon as it does."""
    near, far = punched(utp), utp.read(punched(utp))
    dial = Background(utp.dialling_over(near, far.name, 10.0).run)
    wait_until(lambda: far.strays, what="the first SYN")
    accepted: list[Any] = []
    listener = utp.listen_over(far)
    crew.spawn("crust-listener", listener.run, accepted.append)
    stream: Any = dial.result()
    wait_until(lambda: accepted, what="the call")
    listener.close()
    for each in (stream, accepted[0]):
        each.abort()
    near.release()
    far.release()


def test_a_socket_has_one_listener(crew: Crew, utp: UtpTransport) -> None:
    """A second one is an error; when the first has closed there may be another."""
    hub = punched(utp)
    first = utp.listen_over(hub)
    with pytest.raises(ListenError):
        utp.listen_over(hub)
    first.close()
    second = utp.listen_over(hub)
    second.close()
    hub.release()
    with pytest.raises(ListenError):
        utp.listen_over(hub)


def test_a_dial_holds_its_socket_until_it_ends(crew: Crew, utp: UtpTransport) -> None:
    """Whether it is cancelled before or while it runs, or fails by itself."""
    target = punched(utp)
    for end in ("before", "while", "itself"):
        hub = punched(utp)
        dialling = utp.dialling_over(hub, target.name, 0.05 if end == "itself" else 10.0)
        hub.release()
        assert not hub.closed
        if end == "before":
            dialling.cancel()
        job = Background(dialling.run)
        if end == "while":
            wait_until(lambda hub=hub: hub.population, what="the SYN")
            dialling.cancel()
        with pytest.raises(OSError) as caught:
            job.result()
        assert caught.value.errno == (errno.ETIMEDOUT if end == "itself" else errno.ECANCELED)
        wait_until(lambda hub=hub: hub.closed, what="the end of the socket")
    target.release()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_a_socket_of_the_other_family_is_refused(crew: Crew, utp: UtpTransport) -> None:
    hub = punched(utp, 4)
    with pytest.raises(OSError, match="other family"):
        utp.dialling_over(hub, ("::1", 9), 5.0).run()
    hub.release()
    assert hub.closed


def test_a_socket_that_has_closed_is_refused(crew: Crew, utp: UtpTransport) -> None:
    """By then, or between making the dial and running it."""
    hub = punched(utp)
    late = utp.dialling_over(hub, ("127.0.0.1", 9), 5.0)
    hub.close()
    for dialling in (late, utp.dialling_over(hub, ("127.0.0.1", 9), 5.0)):
        with pytest.raises(OSError, match="closed"):
            dialling.run()


def test_the_end_of_the_transport_ends_them(crew: Crew, utp: UtpTransport) -> None:
    """A dial under way, and a listener."""
    near, far, mute = punched(utp), punched(utp), punched(utp)
    listener = utp.listen_over(far)
    running = Background(listener.run, lambda connection: None)
    dial = Background(utp.dialling_over(near, mute.name, 30.0).run)
    wait_until(lambda: near.population, what="the SYN")
    utp.close()
    running.result()
    with pytest.raises(OSError):
        dial.result()
