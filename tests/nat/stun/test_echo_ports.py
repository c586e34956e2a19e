"""More ports that answer STUN, by UDP and TCP, on one thread."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from crust import limits
from crust.nat.stun.echo_ports import EchoSockets
from crust.nat.stun.message import build_stun, parse_stun_untrusted
from crust.nat.stun.responder import Responder
from tests.support.sockets import has_ipv6
from tests.support.stun import ask_udp, read_message, request
from tests.support.threads import Crew
from tests.support.waiting import busy, wait_until

HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


MET: list[tuple[str, str]] = []
"""Limits, and whom they have bitten."""


@contextlib.contextmanager
def echo_sockets(host: str = "127.0.0.1", *, everybody: bool = True) -> Iterator[EchoSockets]:
    """Running ones, closed at the end."""
    with Crew(io=False) as crew:
        responder = Responder(lambda host: False, everybody=everybody)
        responder.on_limit = lambda limit, host: MET.append((limit, host))
        sockets = EchoSockets(host, responder, time.monotonic)
        sockets.start(crew.spawn)
        try:
            yield sockets
        finally:
            sockets.close()


@pytest.mark.parametrize("host", HOSTS)
def test_all_ports_answer(host: str) -> None:
    """Each with the address that the question came from; all of them are different."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with echo_sockets(host) as sockets:
        assert len({*sockets.udp}) == limits.ECHO_PORTS_UDP
        assert len({*sockets.tcp}) == limits.ECHO_PORTS_TCP
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            for port in sockets.udp:
                assert ask_udp(sock, (host, port), request()).xor_mapped == sock.getsockname()[:2]
        for port in sockets.tcp:
            with socket.create_connection((host, port), timeout=5) as sock:
                for _ in range(2):
                    question = request()
                    sock.sendall(build_stun(question))
                    answer = parse_stun_untrusted(read_message(sock))
                    assert (answer.transaction, answer.xor_mapped) == (question.transaction, sock.getsockname()[:2])


def test_strangers_get_nothing() -> None:
    """By UDP silence, by TCP the end; and neither does whatever is no question."""
    with echo_sockets(everybody=False) as sockets, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(build_stun(request()), ("127.0.0.1", sockets.udp[0]))
        for _ in range(2):  # when the second has been let go, the thread has done all that came before
            with socket.create_connection(("127.0.0.1", sockets.tcp[0]), timeout=5) as caller:
                with contextlib.suppress(ConnectionResetError):
                    assert caller.recv(1) == b""
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)
    with echo_sockets() as sockets:
        with socket.create_connection(("127.0.0.1", sockets.tcp[0]), timeout=5) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(b"whatever", ("127.0.0.1", sockets.udp[0]))
            assert ask_udp(sock, ("127.0.0.1", sockets.udp[0]), request()).xor_mapped == sock.getsockname()


def test_callers_are_few_and_their_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is let go at once; one who says nothing in the end."""
    monkeypatch.setattr(limits, "ECHO_CALLERS_MAX", 2)
    monkeypatch.setattr(limits, "ECHO_CALLER_SECONDS", 3.0)
    MET.clear()
    with echo_sockets() as sockets, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", sockets.tcp[0])
        callers = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(3)]
        began = time.monotonic()
        for caller in reversed(callers):
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
            if caller is callers[2]:
                assert time.monotonic() - began < 2.5 * busy()
        assert time.monotonic() - began > 0.5
        assert MET == [("ECHO_CALLERS_MAX", "127.0.0.1")]
        with socket.create_connection(address, timeout=5) as later:
            later.sendall(build_stun(request()))
            assert read_message(later)


def test_the_end() -> None:
    """Of those that run, of those that never did, and when no thread is to be had: nothing is left."""
    with echo_sockets() as sockets:
        sockets.close()
        sockets.close()
        wait_until(lambda: sockets.closed and not _answers(sockets.tcp[0]), what="the end")
    idle = EchoSockets("127.0.0.1", Responder(lambda host: True), time.monotonic)
    assert _answers(idle.tcp[0])  # the kernel takes callers
    idle.close()
    assert not _answers(idle.tcp[0])

    def no_thread(*_: object) -> object:
        raise RuntimeError("can't start new thread")

    poor = EchoSockets("127.0.0.1", Responder(lambda host: True), time.monotonic)
    with pytest.raises(RuntimeError):
        poor.start(no_thread)  # type: ignore[arg-type]
    assert poor.closed and not _answers(poor.tcp[0])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_an_address_that_is_not_ours() -> None:
    """That is an error, and leaves nothing open."""
    with pytest.raises(OSError):
        EchoSockets("192.0.2.1", Responder(lambda host: True), time.monotonic)
