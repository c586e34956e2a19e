"""
Promise: who does not know a node's id, and the network's secret if there is one, gets no byte out of it.

The prober is as good as can be: he has crust's own code, the node's address, in a closed network its id as well, and
speaks to the installed ``crust node``. By TCP nothing comes back, whatever he says. By UDP the port of µTP shows that
there is µTP, as that of any BitTorrent client would: a SYN is answered by STATE and a packet of no connection by RESET,
20 bytes without a payload; and that is all, also to those who complete a connection of µTP.

More openings, deadlines and half-closed streams: tests/service/test_bad_input.py; STUN: tests/service/test_stun.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from crust import Contact, Identity, PeerId
from crust.crypto.handshake import Initiator, Secret, derive_secret
from crust.nat.stun.message import build_stun
from crust.transports.blocking import BlockingStream
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport
from tests.cli.processes import node
from tests.support.puppet import handshake_config, read_until_end
from tests.support.stun import request
from tests.support.threads import Crew

PATIENCE = 20.0
SECRET = "a" * 52
MEMBERS = (derive_secret(bytes(32)),)  # what that is in bytes
OTHERS = (derive_secret(b"\1" * 32),)
CONFIG = """\
session: {handshake_timeout: 0.3}
bootstrap: {links: 0, cache: {max_peers: 0}}
nat: {port_mapping: []}
limits: {starts_per_address_per_second: 1000, half_open_per_address: 100}
"""  # so that no stranger is refused because of those before it


class Target:
    """An installed node of a closed network, and what the prober knows of it."""

    def __init__(self, contact: Contact) -> None:
        self.id: PeerId = contact.peer_id
        self.endpoints = {each.transport: each for each in contact.endpoints}

    def address(self, transport: str) -> tuple[str, int]:
        endpoint = self.endpoints[transport]
        return endpoint.host, endpoint.port

    def hello(self, to: PeerId | None = None, secrets: tuple[Secret, ...] = MEMBERS) -> bytes:
        """A first message as nodes make it."""
        return Initiator(handshake_config(Identity.generate(), secrets), to or self.id).start()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("node")
    for name, text in (("secret", SECRET + "\n"), ("crust.yaml", CONFIG)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    files = ("--config", str(folder / "crust.yaml"), "--network-secret-file", str(folder / "secret"))
    with node(folder, "--listen", "utp://127.0.0.1:0", *files) as process:
        yield Target(Contact.parse(process.told(event="started")["contact"]))


def twin(peer_id: PeerId) -> PeerId:
    """The other id with the same X25519 key."""
    key = peer_id.public_key
    return PeerId(key[:31] + bytes((key[31] ^ 0x80,)))


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


OPENINGS: dict[str, Callable[[Target], bytes]] = {
    "nothing": lambda target: b"",
    "http": lambda target: b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "tls": lambda target: bytes.fromhex("16030100c8010000c40303") + bytes(193),
    "ssh": lambda target: b"SSH-2.0-OpenSSH_9.6\r\n",
    "bittorrent": lambda target: b"\x13BitTorrent protocol" + bytes(48),
    "rdp": lambda target: bytes.fromhex("0300001300e000000000000100080003000000"),
    "stun": lambda target: build_stun(request()),
    "zeros": lambda target: bytes(4000),
    "noise": lambda target: os.urandom(4000),
    "for another node": lambda target: target.hello(to=Identity.generate().peer_id),
    "for its twin": lambda target: target.hello(to=twin(target.id)),
    "without the secret": lambda target: target.hello(secrets=()),
    "with another secret": lambda target: target.hello(secrets=OTHERS),
    "with another bit": lambda target: changed(target.hello()),
}


def test_a_member_is_answered(target: Target) -> None:
    """So that the silence below says something."""
    with socket.create_connection(target.address("tcp"), timeout=PATIENCE) as sock:
        sock.sendall(target.hello())
        assert len(sock.recv(65536)) > 50


@pytest.mark.parametrize("opening", OPENINGS)
def test_tcp(target: Target, opening: str) -> None:
    """The stream is closed, and nothing has come."""
    with socket.create_connection(target.address("tcp"), timeout=PATIENCE) as sock:
        with contextlib.suppress(OSError):  # it may be closed from there already
            sock.sendall(OPENINGS[opening](target))
            sock.shutdown(socket.SHUT_WR)
        assert read_until_end(sock, PATIENCE) == b""


def standing(transport: UtpTransport, target: Target) -> UtpStream:
    """A connection to it. On a busy machine the time of one may be over before we see that it stands."""
    for _ in range(50):
        with contextlib.suppress(ConnectionResetError):
            return transport.dial(target.endpoints["utp"], PATIENCE)
    raise AssertionError("it resets them all")


def test_utp(target: Target) -> None:
    """The same over a connection of µTP, which strangers can have: it carries not a byte from there."""
    with Crew() as crew:
        transport = UtpTransport(crew.io, crew.spawn, crew.crashed)
        streams = []
        for opening in OPENINGS.values():
            streams.append(BlockingStream(standing(transport, target), crew.spawn))
            with contextlib.suppress(OSError):  # it may be closed from there already
                streams[-1].sendall(opening(target), PATIENCE)
        for stream in streams:
            with contextlib.suppress(OSError):  # reset, or ended in order: it is over
                assert stream.recv(65536, PATIENCE) == b""
            stream.abort()
        transport.close()


# --- single datagrams -------------------------------------------------------------------------------------------------

STRAY = build_packet(Packet(PacketType.STATE, 4711, 1, 0, 0, 5, 6))
"""Gets a RESET, which shows that what was sent before it has been read."""

SILENT = {
    "nothing": b"",
    "a RESET": build_packet(Packet(PacketType.RESET, 77, 1, 0, 0, 5, 6)),
    "µTP of another version": b"\x42" + bytes(19),
    "stun": build_stun(request()),
    "dns": bytes.fromhex("abcd01000001000000000000076578616d706c65036f72670000010001"),
    "ntp": b"\x23" + bytes(47),
    "quic": b"\xc3\0\0\0\1\x08" + bytes(1194),
    "dtls": bytes.fromhex("16feff000000000000000000") + bytes(60),
    "ssdp": b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\r\n",
    "like a probe of a punch": b"\x9c" + os.urandom(60),
    "like a beacon's question": b"\x9c" + os.urandom(479),
    "a first message": b"\x9c" + os.urandom(150),
}


@pytest.fixture
def udp(target: Target) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(target.address("utp"))
        sock.settimeout(PATIENCE)
        yield sock


def heard(sock: socket.socket) -> list[Packet]:
    """All that has come before the answer to ``STRAY``."""
    sock.send(STRAY)
    packets = []
    while (packet := parse_packet_untrusted(sock.recv(65536))).connection_id != 4711:
        packets.append(packet)
    assert packet.type is PacketType.RESET
    return packets


@pytest.mark.parametrize("name", SILENT)
def test_datagrams_without_an_answer(udp: socket.socket, name: str) -> None:
    """STUN of strangers among them, as long as nobody has said otherwise."""
    udp.send(SILENT[name])
    assert heard(udp) == []


@pytest.mark.parametrize("kind", PacketType)
def test_what_shows_that_there_is_utp(udp: socket.socket, kind: PacketType) -> None:
    """Packets of no connection are answered as BEP 29 has it, without a byte of payload; a RESET is not."""
    udp.send(build_packet(Packet(kind, 77, 1, 0, 0, 5, 6)))
    answers = heard(udp)
    expected = {PacketType.SYN: [PacketType.STATE], PacketType.RESET: []}.get(kind, [PacketType.RESET])
    assert [each.type for each in answers] == expected
    assert all(not each.payload and each.largest == 0 and each.ack == 5 for each in answers)
