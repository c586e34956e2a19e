"""A connection that both ends have dialled: one of them becomes the callee, whatever comes on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from crust import ConnectSuccess, Contact, PeerId, PeerMisbehaved, Service
from crust.addresses import Endpoint
from crust.crypto.agreement import HandshakeConfig, derive_secret
from crust.crypto.handshake import Initiator, Responder, SaltMemory, end_of_hello
from crust.crypto.identity import KeyPair
from crust.crypto.keys import supported_aeads
from crust.exceptions import MalformedMessage
from crust.peers.link import Link
from crust.peers.meeting import candidate_for, is_salt_of, salt_for
from crust.transports.contract import Connection, Sink
from crust.transports.tcp import TcpTransport
from crust.wire.handshake import Manner
from tests.support.crossing import crossed_pair
from tests.support.nodes import LOOPBACK, Nodes, config, pair_of_identities
from tests.support.waiting import wait_until

KEYS = bytes(range(32)), bytes(range(32, 64))


# --- salts ------------------------------------------------------------------------------------------------------------


def test_a_salt_is_recognised_by_its_receiver_alone() -> None:
    """Not by the sender's own key, nor with one bit changed."""
    for _ in range(64):
        salt = salt_for(KEYS[0])
        assert len(salt) == 16 and is_salt_of(KEYS[0], salt) and not is_salt_of(KEYS[1], salt)
        assert not is_salt_of(KEYS[0], bytes([salt[0] ^ 1]) + salt[1:])


def test_no_salt_looks_like_a_request_of_stun() -> None:
    """It would be answered as one: another one is drawn."""
    nonces = [bytes.fromhex("000100002112a442"), b"another!"]
    assert salt_for(KEYS[0], lambda size: nonces.pop(0))[:8] == b"another!"


# --- where a message 1 ends -------------------------------------------------------------------------------------------


def keys_of(pair: KeyPair, *secrets: bytes) -> HandshakeConfig:
    return HandshakeConfig(pair, bytes(32), tuple(derive_secret(each) for each in secrets), supported_aeads())


def hello(caller: HandshakeConfig, callee: PeerId, salt: bytes | None = None, secret_index: int = 0) -> bytes:
    return Initiator(caller, callee, secret_index=secret_index, salt=salt).start()


@pytest.mark.parametrize("secret_index", [None, 0, 1])
def test_the_end_of_a_message_1_is_found(secret_index: int | None) -> None:
    """Whatever its padding, at each number of bytes that have come, under each secret, and with more behind it."""
    secrets = () if secret_index is None else (bytes(32), bytes(range(32)))
    one, other = (keys_of(KeyPair.generate(), *secrets) for _ in range(2))
    data = hello(one, other.key_pair.peer_id, secret_index=secret_index or 0)
    for length in range(0, len(data), 7):
        try:
            assert end_of_hello(other, data[:length]) is None
        except MalformedMessage:  # under a wrong secret it may seem to be a shorter one, but not instead of a right one
            raise AssertionError(f"{length} of {len(data)} bytes are taken for all") from None
    assert end_of_hello(other, data) == len(data)
    assert end_of_hello(other, data + b"message 2") == len(data)
    with pytest.raises(MalformedMessage):
        end_of_hello(one, data + bytes(1100))  # it is for the other one


# --- one end, and whatever comes --------------------------------------------------------------------------------------


class Wire:
    """A connection of which the test is the other end."""

    transport = "tcp"
    local = Endpoint("tcp", "192.0.2.1", 1)
    remote = Endpoint("tcp", "192.0.2.2", 2)

    def __init__(self) -> None:
        self.sent = b""
        self.sink: Sink | None = None
        self.aborted = self.closed = 0
        self.room = 10_000

    def start(self, sink: Sink, spawn: object) -> None:
        self.sink = sink

    def run(self, sink: Sink) -> None:
        self.sink = sink

    def send(self, data: bytes | bytearray | memoryview) -> int:
        size = min(len(data), self.room - len(self.sent))
        self.sent += bytes(data[:size])
        return size

    def when_writable(self, callback: object) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None:
        self.closed += 1

    def abort(self) -> None:
        self.aborted += 1

    def receive(self, data: bytes, piece: int = 0) -> None:
        assert self.sink is not None
        for start in range(0, len(data), piece or len(data)):
            self.sink.data_received(memoryview(data[start : start + (piece or len(data))]))

    def end(self, error: OSError | None = None) -> None:
        assert self.sink is not None
        self.sink.connection_lost(error)


class Sinking:
    """What was accepted as a call."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.received = b""
        self.lost: list[OSError | None] = []
        self.takes = True

    def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)
        if self.takes:
            connection.start(self, lambda *args: pytest.fail("there is a reader already"))
        else:
            connection.abort()

    def data_received(self, data: memoryview) -> None:
        self.received += bytes(data)

    def connection_lost(self, error: OSError | None) -> None:
        self.lost.append(error)


class End:
    """One end, whose link calls the other one."""

    def __init__(self, *, leads: bool, room: int = 10_000) -> None:
        self.wire = Wire()
        self.wire.room = room
        self.accepted = Sinking()
        self.events: list[str] = []
        self.config, self.other = keys_of(KeyPair.generate()), keys_of(KeyPair.generate())
        candidate = candidate_for(
            self.wire, KEYS, leads, self.config, self.accepted, Manner.PUNCHED, "punch-tcp"
        )
        assert candidate.prepare is not None
        self.dialling = candidate.prepare(5.0)
        self.again = candidate.prepare(5.0)
        meeting = self.dialling.run()
        handshake = Initiator(self.config, self.other.key_pair.peer_id, salt=candidate.salt)
        self.link = Link(meeting, handshake, self, self._report, lambda: 0.0, peer_id=self.other.key_pair.peer_id)  # type: ignore[arg-type]
        self.link.begin()
        meeting.run(self.link)

    def _report(self, error: BaseException) -> None:
        raise error

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("link_"):
            raise AttributeError(name)
        return lambda *args: self.events.append(name)

    def their_call(self) -> bytes:
        """The other end's message 1."""
        return hello(self.other, self.config.key_pair.peer_id, salt_for(KEYS[1]))

    def their_answer(self) -> bytes:
        """The other end's message 2 to our message 1."""
        responder = Responder(self.other, salts=SaltMemory(4))
        responder.receive(self.wire.sent)
        return responder.answer(None)


PIECES = [0, 1, 17]


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("piece", PIECES)
def test_where_one_end_dialled_nothing_is_different(leads: bool, piece: int) -> None:
    """A message 2 goes to the link, however it comes."""
    end = End(leads=leads)
    end.wire.receive(end.their_answer(), piece)
    assert end.events == ["link_answered"] and not end.accepted.connections
    end.wire.end()
    assert end.events == ["link_answered", "link_lost"] and end.link.verdict == "failed"


@pytest.mark.parametrize("piece", PIECES)
def test_the_greater_id_skips_the_other_call(piece: int) -> None:
    """And goes on as caller."""
    end = End(leads=True)
    end.wire.receive(end.their_call() + end.their_answer(), piece)
    assert end.events == ["link_answered"] and not end.accepted.connections and not end.wire.aborted


@pytest.mark.parametrize("piece", PIECES)
def test_the_lesser_id_takes_the_other_call(piece: int) -> None:
    """Its own attempt ends as one that lost a race, and the stream is accepted, with all that came; it goes on."""
    end = End(leads=False)
    call = end.their_call()
    end.wire.receive(call, piece)
    assert end.events == ["link_lost"] and end.link.verdict == "lost_race"
    assert end.accepted.received == call and not end.wire.aborted
    end.wire.receive(b"message 3")
    assert end.accepted.received == call + b"message 3"
    before = len(end.wire.sent)
    assert end.accepted.connections[0].send(b"message 2") == 9 and end.wire.sent[before:] == b"message 2"
    end.link.fail("cancelled", "too late")  # the caller's link has no say any more
    with pytest.raises(OSError):
        end.link.connection.send(b"?")
    assert not end.wire.aborted
    end.wire.end(OSError(5, "broken"))
    assert [str(error) for error in end.accepted.lost] == ["[Errno 5] broken"] and end.events == ["link_lost"]


def test_a_call_that_is_not_accepted_ends_the_stream() -> None:
    """The gate may be full."""
    end = End(leads=False)
    end.accepted.takes = False
    end.wire.receive(end.their_call() + b"more")
    assert end.wire.aborted and not end.accepted.received
    end.wire.end()
    assert end.events == ["link_lost"] and not end.accepted.lost


def test_half_a_call_of_ours_is_in_the_way() -> None:
    """An answer would come in the midst of it: the stream ends."""
    end = End(leads=False, room=20)
    end.wire.receive(end.their_call())
    assert end.wire.aborted and not end.accepted.connections and end.link.verdict == "lost_race"


def test_who_has_given_up_does_not_accept() -> None:
    """The attempt was cancelled just before the other end's call came."""
    end = End(leads=False)
    end.link.fail("cancelled", "given up")
    end.wire.receive(end.their_call())
    end.wire.end()
    assert end.wire.aborted and not end.accepted.connections
    assert end.events == ["link_lost"] and end.link.verdict == "cancelled"


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("kept", [0, 5, 15, 16, 17, 40])
def test_a_stream_that_ends_early_ends_the_attempt(leads: bool, kept: int) -> None:
    """Once, for whoever has it then."""
    end = End(leads=leads)
    if kept:
        end.wire.receive(end.their_call()[:kept])
    end.wire.end()
    yielded = not leads and kept >= 16
    assert end.events == ["link_lost"] and end.link.verdict == ("lost_race" if yielded else "failed")
    assert end.accepted.lost == ([None] if yielded else [])


def test_a_call_for_somebody_else_ends_the_attempt() -> None:
    """The salt is right and what follows is not: only somebody on the way can have done that."""
    end = End(leads=True)
    data = bytearray(end.their_call())
    data[60] ^= 1
    end.wire.receive(bytes(data) + bytes(1100))
    assert end.wire.aborted and (end.link.verdict, end.accepted.connections) == ("failed", [])
    assert "both ends called" in end.link.error


@pytest.mark.parametrize("leads", [True, False])
def test_noise_is_no_call(leads: bool) -> None:
    """Nor is our own message 1, reflected."""
    for noise in (os.urandom(2000), b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40):
        end = End(leads=leads)
        end.wire.receive(noise, 100)
        end.wire.end()
        assert end.link.verdict == "failed" and not end.accepted.connections
    end = End(leads=leads)
    end.wire.receive(end.wire.sent)
    assert not end.accepted.connections


def test_a_stream_is_used_once() -> None:
    """A second attempt under another secret, and a cancellation after the first, change nothing."""
    end = End(leads=True)
    with pytest.raises(OSError):
        end.again.run()
    end.again.cancel()
    assert not end.wire.aborted


def test_what_is_cancelled_before_it_began_is_closed() -> None:
    """The connection stands already."""
    wire = Wire()
    candidate = candidate_for(wire, KEYS, True, keys_of(KeyPair.generate()), print, Manner.PUNCHED, "punch-tcp")
    assert candidate.prepare is not None
    dialling = candidate.prepare(5.0)
    dialling.cancel()
    assert wire.aborted
    with pytest.raises(OSError):
        dialling.run()


# --- two nodes --------------------------------------------------------------------------------------------------------


def pursue(service: Service, other: Service, sock: socket.socket, keys: tuple[bytes, bytes]) -> None:
    """Have a node call another one on a connection that both have dialled."""
    node = service._node
    assert node is not None
    transport = node.transports["tcp"]
    assert isinstance(transport, TcpTransport)
    conversation = node.registry.get(other.id)
    assert conversation is not None
    leads = service.id > other.id
    candidate = candidate_for(
        transport.adopt(sock), keys, leads, node.handshake, node.acceptor.accepted, Manner.DIRECT, "punch-tcp"
    )
    assert node.dialer.pursue(conversation, candidate)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as nodes:
        yield nodes


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("controller", ["near", "far"])
def test_two_nodes_that_have_called_each_other(nodes: Nodes, controller: str, family: int) -> None:
    """Their session moves to the connection that both dialled; nothing is lost, and nobody misbehaved."""
    both = pair_of_identities()
    near_id, far_id = both if controller == "far" else both[::-1]
    listens = config(listen__addresses=(LOOPBACK, "utp://127.0.0.1:0"))
    near, far = nodes.start(listens, identity=near_id), nodes.start(listens, identity=far_id)
    utp = Contact(far.id, tuple(each for each in far.addresses if each.transport == "utp"))
    to_far = near.connect(utp)
    to_near = nodes.heard(far).wait(ConnectSuccess).peer
    to_far.send(b"before")
    assert to_near.recv(5.0) == b"before"
    assert to_far.path.transport == "utp"
    one, other = crossed_pair(family)
    pursue(near, far, one, KEYS)
    pursue(far, near, other, KEYS[::-1])
    for peer in (to_far, to_near):
        wait_until(lambda peer=peer: peer.path.transport == "tcp", what="the session to move")  # type: ignore[misc]
    to_far.send(b"after")
    to_near.send(b"all")
    assert (to_near.recv(5.0), to_far.recv(5.0)) == (b"after", b"all")
    lesser = (near, far) if near.id < far.id else (far, near)
    assert nodes.heard(lesser[0]).of(PeerMisbehaved) == nodes.heard(lesser[1]).of(PeerMisbehaved) == []
    assert (to_far if near.id < far.id else to_near).path.inbound


@pytest.mark.parametrize("controller", ["near", "far"])
def test_only_one_has_dialled(nodes: Nodes, controller: str) -> None:
    """The other one's listener took the connection: it is a call like any other."""
    both = pair_of_identities()
    near_id, far_id = both if controller == "far" else both[::-1]
    listens = config(listen__addresses=(LOOPBACK, "utp://127.0.0.1:0"))
    near, far = nodes.start(listens, identity=near_id), nodes.start(listens, identity=far_id)
    to_far = near.connect(Contact(far.id, tuple(each for each in far.addresses if each.transport == "utp")))
    port = next(each.port for each in far.addresses if each.transport == "tcp")
    pursue(near, far, socket.create_connection(("127.0.0.1", port)), KEYS)
    wait_until(lambda: to_far.path.transport == "tcp", what="the session to move")
    assert not to_far.path.inbound
