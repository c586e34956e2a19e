"""A connection that floods its hub with packets of no use: others lose nothing, and it goes on slowly."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports import udp
from crust.transports.contract import Connection
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from crust.transports.utp.transport import UtpTransport
from tests.support.pairs import Pair, RecordingSink
from tests.support.threads import Crew
from tests.support.waiting import wait_until


class Flooder:
    """A raw socket that has a connection to a listener, and an honest pair on the same one."""

    def __init__(self, crew: Crew, utp: UtpTransport) -> None:
        self.told: Counter[tuple[str, str]] = Counter()
        utp.on_limit = lambda limit, host, count: self.told.update({(limit, host): count})
        listener = utp.listen(Endpoint("utp", "127.0.0.1", 0))
        self.hub = listener.hub
        accepted: list[Connection] = []
        crew.spawn("crust-listener", listener.run, accepted.append)
        near = utp.dial(listener.endpoint, 5.0)
        wait_until(lambda: accepted, what="accepting")
        self.honest = Pair(crew, near, accepted[0]).start()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", listener.endpoint.port))
        self.sock.settimeout(10)
        self.sock.send(build_packet(Packet(PacketType.SYN, 500, 1, 0, 1 << 20, 7, 0)))
        self.ack = parse_packet_untrusted(self.sock.recv(2000)).sequence - 1 & 0xFFFF
        self.sent = 0
        self.say(b"begun" * 20)
        wait_until(lambda: len(accepted) == 2, what="accepting the flooder")
        self.sink = RecordingSink()
        self.stream = accepted[1]
        self.stream.start(self.sink, crew.spawn)
        self.listener = listener

    def say(self, data: bytes) -> None:
        """The next packet of its stream."""
        self.number = 8 + self.sent & 0xFFFF
        self.sent += 1
        self.last = build_packet(Packet(PacketType.DATA, 501, 1, 0, 1 << 20, self.number, self.ack, payload=data))
        self.sock.send(self.last)

    def flood(self, count: int = 100) -> bool:
        """Packets that bring nothing."""
        state = build_packet(Packet(PacketType.STATE, 501, 1, 0, 1 << 20, self.number + 1 & 0xFFFF, self.ack))
        for _ in range(count):
            self.sock.send(state)
        return True

    @property
    def is_member(self) -> bool:
        """Whether a sieve lets all of it through."""
        return any(number == 501 for _, _, number in self.hub._origins(600))

    def close(self) -> None:
        self.stream.abort()
        self.honest.end()
        self.listener.close()
        self.sock.close()


@pytest.fixture
def flooder(crew: Crew, utp: UtpTransport, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flooder]:
    monkeypatch.setattr(limits, "UTP_USELESS_PER_SECOND", 20.0)
    monkeypatch.setattr(limits, "UTP_USELESS_BEGUN", 100.0)
    monkeypatch.setattr(limits, "UTP_USELESS_BURST", 100.0)
    monkeypatch.setattr(limits, "UTP_NOISY_SECONDS", 1.0)
    monkeypatch.setattr(limits, "SIEVE_LINGERS", 1.0)
    monkeypatch.setattr(limits, "SIEVE_FROM", 40.0)
    monkeypatch.setattr(limits, "SIEVE_UNTIL", 4.0)
    monkeypatch.setattr(limits, "SIEVE_PASS", 20.0)
    flooder = Flooder(crew, utp)
    yield flooder
    flooder.close()


def noisy_and_back(flooder: Flooder, sieved: bool) -> None:
    wait_until(lambda: flooder.flood() and flooder.told["UTP_USELESS_PER_SECOND", "127.0.0.1"] > 200, what="told")
    wait_until(
        lambda: flooder.flood() and not flooder.is_member and flooder.hub._sieve.closed is sieved, what="being noisy"
    )
    data, before = bytes(range(256)) * 2000, len(flooder.honest.far_sink.received)
    sent = 0

    def send_more() -> bool:
        nonlocal sent
        flooder.flood(10)
        sent += flooder.honest.near.send(memoryview(data)[sent:])
        return sent == len(data)

    wait_until(send_more, what="sending")
    wait_until(lambda: len(flooder.honest.far_sink.received) == before + len(data), what="what the others send")
    assert flooder.honest.far_sink.received.endswith(data)
    flooder.say(b"still here" * 10)  # however few get in, it is heard
    wait_until(lambda: flooder.sock.send(flooder.last) and len(flooder.sink.received) == 200, what="being heard")
    assert flooder.told["SIEVE_FROM", "127.0.0.1"] == 0 and bool(flooder.told["SIEVE_FROM", ""]) is sieved
    if sieved:
        wait_until(lambda: not flooder.hub._sieve.closed, what="the sieve's end")
    tried = flooder.hub.io.now()

    def is_as_others() -> bool:
        nonlocal tried
        now = flooder.hub.io.now()
        if now - tried > 1.5 * limits.UTP_NOISY_SECONDS:
            tried = now
            flooder.flood(1)  # without a sieve nobody looks but when something comes
        return flooder.is_member

    wait_until(is_as_others, what="being as others")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filters")
def test_a_noisy_connection_is_held_back_in_the_kernel(flooder: Flooder) -> None:
    """Others on the socket lose nothing meanwhile; it is heard still, and soon after its end it is as they are."""
    noisy_and_back(flooder, True)


def test_or_where_there_is_no_sieve_by_the_hub(flooder: Flooder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr(udp, "attach", lambda sock, code: False)
    noisy_and_back(flooder, False)
