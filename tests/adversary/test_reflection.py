"""
Promise: nobody can have a node send somebody else more than he has sent himself.

Whatever answers datagrams answers where they came from, and that may be forged. So for every such thing, the bytes that
come back are no more than those that went there, or at most what is said here; an answer is one datagram, and is not
repeated when nobody takes it. A socket of the test is the victim: what it gets is what a forged source would get.

| who answers | asked by | bound |
|---|---|---|
| µTP: STATE | a SYN | as many bytes |
| µTP: RESET | a packet of no connection | as many bytes, 100 a second in all |
| STUN: where you are | a request of whom it answers (peers' addresses, or all) | 12 bytes more; IPv6: 24 |
| STUN: 420 | a request with attributes that are not understood | 12 bytes more |
| beacon: an answer | a question, from a source on the link | 130 bytes for 480 |

Probes of punches are answered three times at most where nothing has been proven, and only to those that hold a key made
for that one attempt: tests/nat/punch/test_punch_udp.py. What a peer can have a node send to third parties, which is
dials, echoes and searches: tests/natlab/test_hostile_peers.py, tests/nat/punch/test_allowance.py,
tests/service/test_echo.py, tests/service/finding/gossip/test_gossiping_hostile.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from crust import Endpoint, ListenConfig, limits
from crust.addresses import network_id
from crust.discovery.beacon.packet import (
    AskingKey,
    NetworkKey,
    open_answer_untrusted,
    seal_query,
    unwrap_answer_untrusted,
)
from crust.nat.stun.message import Class, Message, build_stun
from crust.transports.utp.connection import Settings, UtpConnection
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from tests.support.nodes import Nodes, config
from tests.support.sockets import has_ipv6, reserved_port
from tests.support.stun import request

PATIENCE = 10.0
MARK = 0xABCD
STRAY = build_packet(Packet(PacketType.STATE, MARK, 1, 0, 0, 5, 6))
"""Gets a RESET, behind all answers to what was sent before."""


class Victim:
    """Whose address the attacker writes on his datagrams; counts what comes of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((endpoint.host, 0))
        self.sock.connect((endpoint.host, endpoint.port))
        self.sock.settimeout(PATIENCE)

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def gets(self, data: bytes) -> list[bytes]:
        """What comes back for one datagram."""
        self.sock.send(data)
        self.sock.send(STRAY)
        answers = []
        while (answer := self.sock.recv(65536))[2:4] != MARK.to_bytes(2, "big") or answer[0] >> 4 != PacketType.RESET:
            answers.append(answer)
        return answers


@pytest.fixture(params=["127.0.0.1", "[::1]"])
def victim(nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[Victim]:
    if ":" in request.param and not has_ipv6():
        pytest.skip("this machine has no ::1")
    listen = ListenConfig(addresses=(f"utp://{request.param}:0",))
    node = nodes.start(config(listen=listen, nat__serve_stun=True))
    with Victim(node.addresses[0]) as victim:
        yield victim


def syn(largest: int = 0, payload: bytes = b"") -> bytes:
    chance = int.from_bytes(os.urandom(2), "big")
    return build_packet(Packet(PacketType.SYN, chance, 1, 0, 0, 1, 0, b"", payload, largest))


PACKETS = {
    "SYN": syn(),
    "SYN of another crust": syn(65_507),
    "SYN with more": syn(0, bytes(100)),
    "DATA": build_packet(Packet(PacketType.DATA, 77, 1, 0, 0, 5, 6)),
    "DATA with a byte": build_packet(Packet(PacketType.DATA, 77, 1, 0, 0, 5, 6, b"", b"x")),
    "STATE with bits": build_packet(Packet(PacketType.STATE, 77, 1, 0, 0, 5, 6, b"\xff" * 32)),
    "FIN": build_packet(Packet(PacketType.FIN, 77, 1, 0, 0, 5, 6)),
}


@pytest.mark.parametrize("name", PACKETS)
def test_utp(victim: Victim, name: str) -> None:
    """One datagram for one, and not a byte more."""
    (answer,) = victim.gets(PACKETS[name])
    assert len(answer) <= len(PACKETS[name])


def test_a_syn_sent_again(victim: Victim) -> None:
    """The answer comes again, once for each."""
    for _ in range(5):
        (answer,) = victim.gets(PACKETS["SYN"])
        assert parse_packet_untrusted(answer).type is PacketType.STATE
        assert len(answer) <= len(PACKETS["SYN"])


def test_an_answer_that_nobody_takes(victim: Victim) -> None:
    """It is never repeated by itself; after three seconds the caller is forgotten. On a clock that the test turns."""
    packet = parse_packet_untrusted(syn())
    core = UtpConnection.accept(packet, 5, Settings(window=65_536), 0.0)
    sent = 0
    now = 0.0
    while now < 60.0:
        sent += sum(burst.count for burst in core.packets_to_send(now))
        due = core.get_timer()
        if due == float("inf"):
            break
        now = max(now, due)
        core.handle_timer(now)
    assert sent == 1 and now == limits.UTP_HALF_OPEN_SECONDS


QUESTIONS = {
    "STUN": (build_stun(request()), {4: 12, 6: 24}),
    "STUN with a fingerprint": (build_stun(request(fingerprint=True)), {4: 12, 6: 24}),
    "STUN from elsewhere": (build_stun(request(change_ip=True)), {4: 12, 6: 12}),
    "STUN to elsewhere": (build_stun(request(response_port=53)), {4: 12, 6: 12}),
    "an answer": (build_stun(Message(Class.SUCCESS, os.urandom(12), xor_mapped=("192.0.2.7", 5))), {4: 0, 6: 0}),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_stun(victim: Victim, name: str) -> None:
    """An address longer than the question, at most; and always to where the question came from."""
    question, more = QUESTIONS[name]
    answers = victim.gets(question)
    assert len(answers) <= 1
    assert sum(map(len, answers)) <= len(question) + more[6 if victim.sock.family == socket.AF_INET6 else 4]


def test_the_beacon(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of 480 bytes gets one answer of 130; what only looks like one, and another network's, gets none."""
    monkeypatch.setenv("CRUST_LAN", "loopback")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        port = reserved_port()
        node = nodes.start(config(lan__seek="bootstrap", lan__port=port, lan__announce=True))
        here = sock.getsockname()
        ours, theirs = (AskingKey(NetworkKey(network_id(name), None), os.urandom) for name in (None, "another"))
        elsewhere = seal_query(ours, ("127.0.0.1", 9), [], os.urandom)  # recorded there, and sent again from here
        question = seal_query(ours, here, [], os.urandom)
        others = (os.urandom(480), elsewhere, seal_query(theirs, here, [], os.urandom), question[:-1], question + b"x")
        assert nodes.start(config(lan__seek="bootstrap", lan__port=port)).has_peers_on_lan(PATIENCE)  # it listens
        for data in (*others, question):
            sock.sendto(data, ("127.255.255.255", port))
        answer, source = sock.recvfrom(65536)
        assert len(question) == 480 and len(answer) == 130
        unwrapped = unwrap_answer_untrusted(ours, (source, here), answer)
        assert open_answer_untrusted(ours, unwrapped).peer_id == node.id
