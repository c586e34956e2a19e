"""A UDP port that strangers can reach: what they send costs little, no more comes back, and live connections go on."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.blocking import BlockingStream
from crust.transports.contract import Connection
from crust.transports.utp.connection import Settings, UtpConnection
from crust.transports.utp.listener import UtpListener
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from crust.transports.utp.states import State
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

LOCAL = "127.0.0.1"
ANY = Endpoint("utp", LOCAL, 0)


class Port:
    """A node's UDP port, with one live connection over it."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.transport = UtpTransport(crew.io, crew.spawn, crew.crashed)
        self.listener: UtpListener = self.transport.listen(ANY)
        self.accepted: list[Connection] = []
        self._job = Background(self.listener.run, self.accepted.append)
        self.caller = self.transport.dial(self.listener.endpoint, 5.0)
        self.near = BlockingStream(self.caller, crew.spawn)
        self.far = BlockingStream(self.next_accepted(), crew.spawn)

    @property
    def address(self) -> tuple[str, int]:
        return LOCAL, self.listener.endpoint.port

    def next_accepted(self) -> Connection:
        wait_until(lambda: self.accepted, what="accepting")
        return self.accepted.pop()

    def works(self, size: int = 100_000) -> None:
        """The live connection carries bytes both ways."""
        data = random.Random(size).randbytes(size)
        for one, other in ((self.near, self.far), (self.far, self.near)):
            job = Background(one.sendall, data, 20.0)
            assert other.recv_exactly(size, 20.0) == data
            job.result()

    @property
    def half_open(self) -> int:
        return len(self.listener._half_open)

    @property
    def members(self) -> int:
        return len(self.listener._hub._members)

    def close(self) -> None:
        for stream in (self.near, self.far):
            stream.abort()
        self.listener.close()
        self._job.result()
        for connection in self.accepted:
            connection.abort()


@pytest.fixture
def port() -> Iterator[Port]:
    with Crew() as crew:
        port = Port(crew)
        yield port
        port.close()
        wait_until(lambda: not [name for name in crew.threads.alive() if "udp" in name], 10.0, "the end of its sockets")


class Stranger:
    """A plain UDP socket that counts what it sends and what it gets."""

    def __init__(self, target: tuple[str, int], host: str = LOCAL) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.connect(target)
        self._sock.setblocking(False)
        self.sent = 0
        self.answers: list[bytes] = []

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._sock.send(data)
            self.sent += len(data)

    def hear(self) -> list[bytes]:
        """What has come since, too."""
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                self.answers.append(self._sock.recv(65536))
        return self.answers

    def answer(self) -> Packet:
        """The next packet that comes."""
        self.answers.clear()
        wait_until(self.hear, what="an answer")
        return parse_packet_untrusted(self.answers[0])

    @property
    def got(self) -> int:
        return sum(map(len, self.hear()))


def settled(port: Port, strangers: list[Stranger]) -> None:
    """Everything sent has been read and answered: a connection through the same socket has done a round trip."""
    port.works(1000)
    for stranger in strangers:
        stranger.hear()


# --- noise ------------------------------------------------------------------------------------------------------------


def noise(chance: random.Random) -> bytes:
    """Of everything: nothing, random bytes, packets of no connection, broken ones."""
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(chance.randrange(60))
    packet = Packet(
        chance.choice([PacketType.DATA, PacketType.FIN, PacketType.STATE, PacketType.RESET]),
        *(chance.getrandbits(bits) for bits in (16, 32, 32, 32, 16, 16)),
        chance.choice([b"", b"\xff" * 4, b"\0" * 252]),
        chance.randbytes(chance.choice([0, 3, 1400])),
    )
    data = bytearray(build_packet(packet))
    if kind == 1:
        for _ in range(3):
            data[chance.randrange(20)] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))] if kind == 2 else data)


def test_noise_disturbs_nobody(port: Port) -> None:
    """Thousands of random datagrams, and the live connection works meanwhile; no more comes back than was sent."""
    chance = random.Random(1)
    with Stranger(port.address) as stranger:
        for _ in range(20):
            for _ in range(200):
                stranger.send(noise(chance))
            port.works(20_000)
        settled(port, [stranger])
        assert stranger.got <= stranger.sent
        assert all(parse_packet_untrusted(answer).type is PacketType.RESET for answer in stranger.answers)
        assert port.half_open == 0 and port.members == 1


def test_resets_are_rationed(port: Port) -> None:
    """A packet of an unknown connection gets one, no larger than itself; a flood of them gets a hundred a second."""
    with Stranger(port.address) as stranger:
        stray = build_packet(Packet(PacketType.STATE, 77, 1, 0, 0, 5, 6))
        stranger.send(stray)
        answer = stranger.answer()
        assert (answer.type, answer.connection_id, answer.ack) == (PacketType.RESET, 77, 5)
        began = time.monotonic()
        stranger.answers.clear()
        for _ in range(3000):
            stranger.send(stray)
        settled(port, [stranger])
        most = limits.UTP_RESETS_PER_SECOND * (time.monotonic() - began + 1) + 1
        assert 0 < len(stranger.answers) <= most


@pytest.mark.parametrize("data", [build_packet(Packet(PacketType.RESET, 77, 1, 0, 0, 5, 6)), b"", b"\x41" * 19])
def test_what_gets_no_answer(port: Port, data: bytes) -> None:
    """A RESET is not answered by a RESET, nor is what is no packet: two nodes would go on for ever."""
    with Stranger(port.address) as stranger:
        stranger.send(data)
        settled(port, [stranger])
        assert stranger.answers == []


# --- forgeries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PacketType.RESET, PacketType.FIN, PacketType.STATE, PacketType.DATA])
def test_the_right_numbers_from_the_wrong_address(port: Port, kind: PacketType) -> None:
    """Ids and numbers of a live connection, from another port than its own: it does not notice."""
    core = port.caller.core
    with Stranger(port.address) as stranger:
        for connection_id in (core.receive_id, core.send_id):
            for offset in (-1, 0, 1):
                number, ack = core.sender.next + offset, core.receiver.next - 1
                payload = b"forged" if kind is PacketType.DATA else b""
                for first, second in ((number, ack), (ack, number)):
                    forged = Packet(
                        kind, connection_id, 1, 0, 0, first & 0xFFFF, second & 0xFFFF, b"", payload
                    )
                    stranger.send(build_packet(forged))
        settled(port, [stranger])
        port.works()


# --- callers that are none --------------------------------------------------------------------------------------------


def syn(connection_id: int, number: int = 1) -> bytes:
    return build_packet(Packet(PacketType.SYN, connection_id & 0xFFFF, 1, 0, 0, number & 0xFFFF, 0))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a whole network of loopback addresses")
def test_a_flood_of_calls_from_everywhere(port: Port) -> None:
    """Few are kept, few of one network, for seconds; no more is sent than came; others work and can still call."""
    with contextlib.ExitStack() as stack:
        strangers = [
            stack.enter_context(Stranger(port.address, f"127.{1 + network // 200}.{network % 200}.1"))
            for network in range(400)
        ]
        for round_number in range(4):
            for stranger in strangers:
                for call in range(4):
                    stranger.send(syn(1000 * round_number + 10 * call))
            assert port.half_open <= limits.UTP_HALF_OPEN_MAX
            networks = port.listener._half_open._networks.values()
            assert all(len(waiting) <= limits.UTP_HALF_OPEN_PER_NETWORK for waiting in networks)
            port.works(20_000)
        settled(port, strangers)
        assert sum(stranger.got for stranger in strangers) <= sum(stranger.sent for stranger in strangers)
        for stranger in strangers:
            assert stranger.got <= stranger.sent
        with BlockingStream(port.transport.dial(port.listener.endpoint, 10.0), port.crew.spawn) as late:
            late.sendall(b"a real one", 5.0)
            with BlockingStream(port.next_accepted(), port.crew.spawn) as other:
                assert other.recv_exactly(10, 5.0) == b"a real one"
        wait_until(lambda: port.half_open == 0, limits.UTP_HALF_OPEN_SECONDS + 5.0, "forgetting them")
        wait_until(lambda: port.members <= 2, what="forgetting their ids")
        assert not port.listener._half_open._networks


def test_one_network_gets_few_places(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand calls from one address: some are kept, and answered; the rest is not."""
    monkeypatch.setattr(limits, "UTP_HALF_OPEN_LEAST_SECONDS", 60.0)
    with Stranger(port.address) as stranger:
        for number in range(1000):
            stranger.send(syn(7 * number))
        settled(port, [stranger])
        assert 0 < len(stranger.answers) <= limits.UTP_HALF_OPEN_PER_NETWORK
        assert port.half_open <= limits.UTP_HALF_OPEN_PER_NETWORK
        assert stranger.got <= stranger.sent


def test_a_call_that_is_repeated_is_answered_again(port: Port) -> None:
    """With the same packet, for one place; nothing more than came goes out."""
    with Stranger(port.address) as stranger:
        stranger.send(syn(500))
        first = stranger.answer()
        for _ in range(10):
            stranger.send(syn(500))
            again = stranger.answer()
            assert (again.type, again.sequence, again.ack) == (PacketType.STATE, first.sequence, 1)
        assert port.half_open == 1


def test_a_caller_must_know_our_number(port: Port) -> None:
    """Who guesses it is not accepted, and gets no byte; who knows it is."""
    with Stranger(port.address) as stranger:
        stranger.send(syn(500))
        number = stranger.answer().sequence
        for guess in (number, number + 1, number - 2, 0, number ^ 0x8000):
            packet = Packet(PacketType.DATA, 501, 1, 0, 1 << 20, 2, guess & 0xFFFF, b"", b"hello")
            stranger.send(build_packet(packet))
        settled(port, [stranger])
        assert port.accepted == [] and port.half_open == 1
        right = Packet(PacketType.DATA, 501, 1, 0, 1 << 20, 2, number - 1 & 0xFFFF, b"", b"hello")
        stranger.send(build_packet(right))
        with BlockingStream(port.next_accepted(), port.crew.spawn) as stream:
            assert stream.recv_exactly(5, 5.0) == b"hello"


# --- peers that misbehave ---------------------------------------------------------------------------------------------


class Puppet:
    """A peer made of a plain socket and a state machine: it does what a test wants."""

    def __init__(self, port: Port) -> None:
        self.stranger = Stranger(port.address)
        self.core = UtpConnection.dial(700, 100, Settings(), time.monotonic())
        self.turn()
        wait_until(self.turn_until(State.ESTABLISHED), what="the answer")
        self.turn()
        self.stream: UtpStream = port.next_accepted()  # type: ignore[assignment]

    def turn(self) -> None:
        """Take what came, send what is due."""
        now = time.monotonic()
        for data in self.stranger.hear():
            self.core.receive_datagram(data, now)
        self.stranger.answers.clear()
        self.core.events_received()
        if now >= self.core.get_timer():
            self.core.handle_timer(now)
        for burst in self.core.packets_to_send(now):
            for data in burst.datagrams():
                self.stranger.send(data)

    def turn_until(self, state: State) -> object:
        def look() -> bool:
            self.turn()
            return self.core.state is state

        return look

    def hostile(self, chance: random.Random) -> bytes:
        """A packet for this connection that may say anything."""
        core = self.core
        packet = Packet(
            chance.choice([PacketType.DATA, PacketType.STATE, PacketType.DATA]),
            core.send_id,
            chance.getrandbits(32),
            chance.getrandbits(32),
            chance.choice([0, 1, 2**32 - 1]),
            core.sender.next + chance.choice([0, 1, 2, 100, 2015, 2016, 0x7FFF, 0x8000]) & 0xFFFF,
            core.receiver.next + chance.choice([-1, -1, 0, 1, 500, 0x4000, 0x8000]) & 0xFFFF,
            chance.choice([b"", b"\xff" * 252, b"\0\0\0\x80"]),
            chance.randbytes(chance.choice([0, 1, 1400])),
        )
        return build_packet(packet)


def test_a_peer_without_manners_harms_only_itself(port: Port) -> None:
    """Absurd windows, acknowledgements, masks and numbers on its own connection: the others work, nothing crashes."""
    chance = random.Random(2)
    puppet = Puppet(port)
    with puppet.stranger, BlockingStream(puppet.stream, port.crew.spawn) as stream:
        Background(_send_quietly, stream, bytes(2_000_000))
        for _ in range(10):
            for _ in range(200):
                puppet.stranger.send(puppet.hostile(chance))
            puppet.stranger.hear()
            puppet.stranger.answers.clear()
            port.works(20_000)
            receiver = puppet.stream.core.receiver
            assert receiver.held + receiver._early_bytes <= receiver.window_size
            assert len(receiver.chunks) <= 1 + receiver.window_size // 512
        stream.abort()


def test_a_stranger_who_says_nothing_fills_no_memory(port: Port) -> None:
    """What comes behind a packet that never does is kept, but little of it while the application has heard nothing."""
    puppet = Puppet(port)
    core = puppet.stream.core
    with puppet.stranger:
        for number in range(1, 65):
            puppet.stranger.send(
                build_packet(
                    Packet(
                        PacketType.DATA,
                        puppet.core.send_id,
                        1,
                        0,
                        1 << 20,
                        core.receiver.next + number & 0xFFFF,
                        core.sender.next - 1 & 0xFFFF,
                        b"",
                        bytes(40_000),
                    )
                )
            )
            port.works(1000)
        assert 40_000 <= core.receiver._early_bytes <= limits.UTP_RECEIVE_WINDOW_BEGUN
        assert core.receiver.window_size == limits.UTP_RECEIVE_WINDOW_BEGUN
        puppet.stream.abort()


def _send_quietly(stream: BlockingStream, data: bytes) -> None:
    with contextlib.suppress(OSError):
        stream.sendall(data, 60.0)


def test_a_peer_that_vanishes_half_way(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in the middle of a transfer: after the time for that the connection ends with a timeout."""
    monkeypatch.setattr(limits, "UTP_SILENCE_MAX", 1.0)
    puppet = Puppet(port)
    with puppet.stranger, BlockingStream(puppet.stream, port.crew.spawn) as stream:
        job = Background(stream.sendall, bytes(2_000_000), 20.0)
        wait_until(lambda: puppet.stream.core.sender.outstanding, what="sending")
        with pytest.raises(TimeoutError) as caught:
            job.result()
        assert caught.value.errno == errno.ETIMEDOUT
        assert stream.wait_lost(5.0)
        monkeypatch.undo()  # an honest pair may be silent for longer on a busy machine
        port.works()
    wait_until(lambda: port.members == 1, what="forgetting it")


def test_a_peer_that_vanishes_while_nothing_is_sent(port: Port) -> None:
    """Closing such a connection ends it all the same, and leaves nothing."""
    puppet = Puppet(port)
    with puppet.stranger:
        stream = BlockingStream(puppet.stream, port.crew.spawn)
        stream.close()
        assert stream.wait_lost(limits.CLOSE_LINGER + 5.0)
        wait_until(lambda: port.members == 1, limits.CLOSE_LINGER + 5.0, "forgetting it")
