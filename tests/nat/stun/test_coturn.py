"""STUN against coturn, both ways: its server answers our questions, and its clients ask our nodes."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import crust
from crust import ListenConfig
from crust.nat.stun.message import Address, Class, build_stun, parse_stun_untrusted
from tests.natlab import needs
from tests.support.nodes import Nodes, config
from tests.support.sockets import reserved_port
from tests.support.stun import ask_udp, read_message, request
from tests.support.waiting import wait_until

HOSTS = ("127.0.0.1", "127.0.0.2")
PATIENCE = 20.0


class Coturn:
    """Where it answers."""

    def __init__(self, port: int, other: int) -> None:
        self.address: Address = (HOSTS[0], port)
        self.other: Address = (HOSTS[1], other)


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    """turnserver on loopback, with a second address and port (RFC 5780)."""
    needs.require_programs("turnserver")
    folder: Path = tmp_path_factory.mktemp("coturn")
    port, other = reserved_port(*HOSTS), reserved_port(*HOSTS)
    words = ["turnserver", "-n", "--stun-only", "--no-auth", "--no-cli", "--no-tls", "--no-dtls", "-m", "1"]
    words += [word for host in HOSTS for word in ("-L", host)]
    words += ["-p", str(port), "--alt-listening-port", str(other), "--log-file", "stdout", "--simple-log"]
    words += ["--pidfile", str(folder / "pid"), "--userdb", str(folder / "db")]
    server = Coturn(port, other)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(server), PATIENCE, "coturn's first answer")
            yield server
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _answers(server: Coturn) -> bool:
    try:
        with bound() as sock:
            ask_udp(sock, server.address, request(), timeout=0.2)
        with socket.create_connection(server.address, timeout=1):
            return True
    except OSError:
        return False


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOSTS[0], 0))
    return sock


# --- its server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fingerprint", [False, True])
def test_it_answers_by_udp(coturn: Coturn, fingerprint: bool) -> None:
    """With where we are, where it is, and where else it is."""
    with bound() as sock:
        question = request(fingerprint=fingerprint, software="crust")
        answer = ask_udp(sock, coturn.address, question)
        assert (answer.class_, answer.transaction) == (Class.SUCCESS, question.transaction)
        assert answer.reflexive == answer.xor_mapped == sock.getsockname()
        assert answer.other == coturn.other
        assert answer.origin == coturn.address
        assert answer.unknown == ()


def test_it_answers_by_tcp(coturn: Coturn) -> None:
    """Several questions on one connection, which only their lengths separate."""
    with socket.create_connection(coturn.address, timeout=5) as sock:
        questions = [request(), request(software="x"), request(fingerprint=True)]
        sock.sendall(b"".join(map(build_stun, questions)))
        for question in questions:
            answer = parse_stun_untrusted(read_message(sock))
            assert (answer.transaction, answer.reflexive) == (question.transaction, sock.getsockname())


@pytest.mark.parametrize(("change_ip", "change_port"), [(True, True), (False, True), (True, False)])
def test_it_answers_from_elsewhere(coturn: Coturn, change_ip: bool, change_port: bool) -> None:
    """CHANGE-REQUEST of RFC 5780 is understood as we say it."""
    with bound() as sock:
        sock.settimeout(5)
        sock.sendto(build_stun(request(change_ip=change_ip, change_port=change_port)), coturn.address)
        data, source = sock.recvfrom(2000)
        host = coturn.other[0] if change_ip else coturn.address[0]
        port = coturn.other[1] if change_port else coturn.address[1]
        assert source == (host, port)
        assert parse_stun_untrusted(data).origin == (host, port)


def test_it_answers_to_another_port(coturn: Coturn) -> None:
    """RESPONSE-PORT of RFC 5780."""
    with bound() as asker, bound() as hearer:
        question = request(response_port=hearer.getsockname()[1])
        asker.sendto(build_stun(question), coturn.address)
        hearer.settimeout(5)
        answer = parse_stun_untrusted(hearer.recv(2000))
        assert (answer.transaction, answer.reflexive) == (question.transaction, asker.getsockname())


def test_it_takes_our_padding(coturn: Coturn) -> None:
    """PADDING of RFC 5780, and an attribute that may be passed over."""
    with bound() as sock:
        assert ask_udp(sock, coturn.address, request(padding=1200)).reflexive == sock.getsockname()


def test_it_refuses_what_it_does_not_know(coturn: Coturn) -> None:
    """And we understand its refusal."""
    with bound() as sock:
        answer = ask_udp(sock, coturn.address, request(unknown=(0x7ABC,)))
        assert answer.class_ is Class.ERROR
        assert answer.error is not None
        assert answer.error[0] == 420
        assert answer.unknown == (0x7ABC,)


def test_it_tells_a_node_where_it_is(coturn: Coturn, nodes: Nodes) -> None:
    """By UDP and by TCP, from the ports that listen; the node asks again without being refused its own port."""
    listen = ListenConfig(addresses=("tcp://127.0.0.1:0", "utp://127.0.0.1:0"))
    host, port = coturn.address
    node = nodes.start(config(listen=listen, nat__stun_servers=[f"{host}:{port}"]))
    assert node._network is not None
    about = node._network.reflection
    wait_until(lambda: len(about.reflexive()) == 2, PATIENCE, "both answers")
    assert about.reflexive() == {each: (each,) for each in node.addresses}


# --- its clients ------------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def serving(nodes: Nodes) -> crust.Service:
    """A node that answers everybody."""
    return nodes.start(config(listen=ListenConfig(addresses=("utp://127.0.0.1:0",)), nat__serve_stun=True))


def test_its_client_is_answered(serving: crust.Service) -> None:
    """It finds its own address in what our node says."""
    needs.require_programs("turnutils_stunclient")
    said = run("turnutils_stunclient", "-p", str(serving.addresses[0].port), "127.0.0.1")
    assert re.search(r"UDP reflexive addr: 127\.0\.0\.1:\d+", said), said


def test_its_discovery_is_answered(serving: crust.Service) -> None:
    """Which then wants a second address, that our node does not have."""
    needs.require_programs("turnutils_natdiscovery")
    said = run("turnutils_natdiscovery", "-m", "-p", str(serving.addresses[0].port), "127.0.0.1")
    assert re.search(r"UDP reflexive addr: 127\.0\.0\.1:\d+", said), said


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Real nodes on loopback, closed and checked at the end of the test."""
    with Nodes() as made:
        yield made
