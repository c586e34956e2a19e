"""STUN on a node's UDP sockets: between two of them, and against what others send."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from crust.addresses import Endpoint
from crust.nat.stun.message import Class, Message, build_stun, parse_stun_untrusted
from crust.nat.stun.responder import Responder
from crust.nat.stun.udp import Question, UdpStun
from crust.transports.udp import UdpHub
from crust.transports.utp.listener import UtpListener
from crust.transports.utp.transport import UtpTransport
from tests.support.sockets import has_ipv6, loopback
from tests.support.stun import StunServer, ask_udp, request
from tests.support.threads import Crew
from tests.support.waiting import wait_until

FAMILIES = [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


class Side:
    """One node's µTP with STUN on it."""

    def __init__(self, crew: Crew, host: str = "127.0.0.1", *, everybody: bool = True) -> None:
        self.utp = UtpTransport(crew.io, crew.spawn, crew.crashed)
        self.stun = UdpStun(crew.io, Responder(lambda host: False, everybody=everybody))
        self.utp.stun = self.stun.arrived
        self.listener: UtpListener = self.utp.listen(Endpoint("utp", host, 0))
        crew.spawn("crust-listener", self.listener.run, lambda connection: connection.abort())
        self.ended: list[Question] = []

    @property
    def hub(self) -> UdpHub:
        return self.listener.hub

    def ask(self, address: tuple[object, ...]) -> Question:
        return self.stun.ask(self.hub, address, self.ended.append)

    def close(self) -> None:
        self.stun.close()
        self.utp.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.fixture
def side(crew: Crew) -> Iterator[Side]:
    side = Side(crew)
    yield side
    side.close()


@pytest.fixture
def plain() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


@pytest.mark.parametrize("family", FAMILIES)
def test_two_nodes_tell_each_other(crew: Crew, family: int) -> None:
    """The port that is seen is the one that listens."""
    host = loopback(family)
    near, far = Side(crew, host), Side(crew, host)
    question = near.ask(far.hub.name)
    wait_until(lambda: near.ended, what="the answer")
    assert near.ended == [question]
    assert question.transaction.answer is not None
    assert question.transaction.answer.reflexive == near.hub.name[:2]
    assert question.transaction.error == ""
    near.close()
    far.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_the_answer_comes_from_the_address_that_was_asked(crew: Crew, host: str) -> None:
    """A socket on all addresses answers from the one that the question went to."""
    side = Side(crew, "0.0.0.0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.3", 0))
        answer = ask_udp(sock, (host, side.hub.port), request(fingerprint=True))
        assert answer.xor_mapped == sock.getsockname()
        assert answer.fingerprint
    side.close()


def test_strangers_hear_nothing(crew: Crew, plain: socket.socket) -> None:
    """And nobody takes what they send for anything else: there is no RESET either."""
    side = Side(crew, everybody=False)
    for message in (request(), Message(Class.SUCCESS, bytes(12), xor_mapped=("20.0.0.1", 5))):
        plain.sendto(build_stun(message), side.hub.name)
    plain.sendto(b"\x21\x00" + bytes(18), side.hub.name)  # a stray packet of µTP is answered
    assert plain.recv(100)[0] == 0x31  # RESET of the stray packet, or of what resembles one
    side.close()


def test_questions_of_strangers_count_as_strangers(crew: Crew, plain: socket.socket) -> None:
    """As all that is for nobody here does, so that a flood of them is held back; who is answered is no stranger."""
    closed, open_ = Side(crew, everybody=False), Side(crew)
    for _ in range(3):
        plain.sendto(build_stun(request()), closed.hub.name)
        assert ask_udp(plain, open_.hub.name, request()).xor_mapped == plain.getsockname()
    wait_until(lambda: closed.hub.strays == 3)
    plain.sendto(b"\x21\x00" + bytes(18), open_.hub.name)
    assert plain.recv(100)[0] == 0x31  # RESET: all before it has been seen
    assert open_.hub.strays == 1
    closed.close()
    open_.close()


def test_an_answer_counts_only_from_whom_was_asked(side: Side, plain: socket.socket) -> None:
    """By address, socket and transaction; a broken one does not end the question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.1", 0))
        question = side.ask(plain.getsockname())
        asked = parse_stun_untrusted(plain.recv(100))
        lie = build_stun(Message(Class.SUCCESS, asked.transaction, xor_mapped=("20.6.6.6", 6)))
        liar.sendto(lie, side.hub.name)
        broken = build_stun(Message(Class.SUCCESS, asked.transaction, fingerprint=True))
        plain.sendto(broken[:-1] + bytes([broken[-1] ^ 1]), side.hub.name)
        plain.sendto(build_stun(Message(Class.SUCCESS, bytes(12), xor_mapped=("20.6.6.6", 6))), side.hub.name)
        plain.sendto(build_stun(Message(Class.SUCCESS, asked.transaction, xor_mapped=("20.0.0.1", 5))), side.hub.name)
        wait_until(lambda: side.ended, what="the answer")
    assert question.transaction.answer is not None
    assert question.transaction.answer.reflexive == ("20.0.0.1", 5)


def test_an_answer_from_another_socket_does_not_count(crew: Crew, side: Side, plain: socket.socket) -> None:
    """A question belongs to the socket that it left from."""
    other = side.utp.adopt(_bound())
    side.utp.read(other)
    side.ask(plain.getsockname())
    asked = parse_stun_untrusted(plain.recv(100))
    answer = build_stun(Message(Class.SUCCESS, asked.transaction, xor_mapped=("20.0.0.1", 5)))
    plain.sendto(answer, other.name)
    wait_until(lambda: other.strays, what="the stray answer")
    assert side.ended == []
    other.release()


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_silence_is_given_up(side: Side, plain: socket.socket) -> None:
    """After as many questions as the schedule has."""
    question = side.stun.ask(side.hub, plain.getsockname(), side.ended.append, (0.0, 0.05, 0.1), 0.3)
    wait_until(lambda: side.ended, what="the end")
    assert question.transaction.error == "no answer"
    assert question.transaction.sent == 3
    assert len({plain.recv(100) for _ in range(3)}) == 1


def test_what_was_given_up_says_nothing(side: Side) -> None:
    """Neither when the answer comes nor at the end of its time; nothing is asked after the end."""
    with StunServer(mute=True) as server:
        question = side.ask(server.address)
        wait_until(lambda: server.heard, what="the question")
        question.cancel()
        question.cancel()
        side.stun.close()
        after = side.ask(server.address)
        server.mute = False
        assert not question.transaction.finished
        assert not after.transaction.sent
    assert side.ended == []


def test_a_socket_that_closes_ends_its_questions(crew: Crew, side: Side) -> None:
    """At the next time it would be sent."""
    with StunServer(mute=True) as server:
        side.ask(server.address)
        wait_until(lambda: server.heard, what="the question")
        side.listener.close()
        wait_until(lambda: side.ended, what="the end")
    assert side.ended[0].transaction.error != ""
    assert side.ended[0].transaction.answer is None
