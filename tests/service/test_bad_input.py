"""Strangers, and whatever else is not a peer: they hear nothing, and nothing else is disturbed by them."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

import crust
from crust import Contact, Identity, PeerId, Service, limits
from crust.crypto.handshake import Initiator, Secret, derive_secret
from crust.wire import frames
from crust.wire.handshake import DenialCode, Purpose, Resume
from tests.support.nodes import Nodes, Pair, config, pair_of_identities
from tests.support.proxy import DOWN, UP
from tests.support.puppet import Caller, handshake_config, read_until_end
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine

CLIENT_HELLO = bytes.fromhex(
    "16030100f8010000f40303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7"
    "20e0b06b9b3b7d6e1a9a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071"
) + bytes(200)

STRANGERS = {
    "nothing": b"",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "text": b"hello? is anybody there?\r\n" * 100,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n",
    "tls": CLIENT_HELLO,
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "noise": os.urandom(70_000),
}


class Scene:
    """A node with an honest peer, who must notice nothing of what strangers do."""

    def __init__(self, nodes: Nodes, **changes: object) -> None:
        self.node = nodes.start(config(session__handshake_timeout=2.0, **changes))
        self.heard = nodes.heard(self.node)
        self.honest = nodes.start()
        self.to_node = self.honest.connect(self.node.contact)
        self.to_honest = self.heard.wait(crust.ConnectSuccess).peer
        self._before = self.heard.names()

    @property
    def address(self) -> tuple[str, int]:
        endpoint = self.node.addresses[0]
        return endpoint.host, endpoint.port

    def call(self) -> socket.socket:
        return socket.create_connection(self.address)

    def check_undisturbed(self) -> None:
        """The honest peer's session works; nothing was told to the application; no slot is taken."""
        self.to_node.send(b"still there?")
        assert self.to_honest.recv(PATIENCE) == b"still there?"
        self.to_honest.send(b"yes")
        assert self.to_node.recv(PATIENCE) == b"yes"
        assert self.heard.names() == self._before
        wait_until(lambda: self.node.stats().gate.current == 0, what="the free slots")
        assert self.node.stats().crashes == 0


@pytest.fixture
def scene(nodes: Nodes) -> Scene:
    return Scene(nodes)


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("half_closed", [False, True])
def test_strangers_get_no_byte(scene: Scene, opening: bytes, half_closed: bool) -> None:
    """Whatever they say, and whether they wait or end: the connection is closed, and not a byte comes back."""
    with scene.call() as sock:
        say(sock, opening, ends=half_closed)
        assert read_until_end(sock) == b""
    scene.check_undisturbed()


def say(sock: socket.socket, data: bytes, ends: bool = False) -> None:
    """Send as far as the node still listens, and perhaps end our half."""
    with contextlib.suppress(OSError):
        sock.sendall(data)
        if ends:
            sock.shutdown(socket.SHUT_WR)


def probe(scene: Scene, responder: PeerId | None = None, secrets: tuple[Secret, ...] = ()) -> bytes:
    """A message 1 to our node, or to another key, or under a secret."""
    return Initiator(handshake_config(Identity.generate(), secrets=secrets), responder or scene.node.id).start()


def test_a_prober_without_the_key_gets_no_byte(scene: Scene) -> None:
    """A perfect message 1 for another key is noise here."""
    with scene.call() as sock:
        say(sock, probe(scene, responder=Identity.generate().peer_id))
        assert read_until_end(sock) == b""
    scene.check_undisturbed()


def test_a_prober_with_a_secret_too_many_gets_no_byte(scene: Scene) -> None:
    """Who knows the key, but believes in a closed network, is a stranger too."""
    with scene.call() as sock:
        say(sock, probe(scene, secrets=(derive_secret(bytes(32)),)))
        assert read_until_end(sock) == b""
    scene.check_undisturbed()


def test_a_replayed_message_gets_no_byte(scene: Scene) -> None:
    """A message 1 that was answered once is not answered again, nor while the first is under way."""
    hello = probe(scene)
    with scene.call() as first, scene.call() as second:
        first.sendall(hello)
        first.settimeout(PATIENCE)
        assert len(first.recv(65536)) > 50
        say(second, hello)
        assert read_until_end(second) == b""
    with scene.call() as third:
        say(third, hello)
        assert read_until_end(third) == b""
    scene.check_undisturbed()


@pytest.mark.parametrize("position", [0, 8, 16, 17, 20, 40, 60, -1])
def test_a_changed_message_gets_no_byte(scene: Scene, position: int) -> None:
    """One bit changed on the way, in the salt, the length, the key or the ciphertext."""
    hello = bytearray(probe(scene))
    hello[position] ^= 0x01
    with scene.call() as sock:
        say(sock, bytes(hello), ends=True)
        assert read_until_end(sock) == b""
    scene.check_undisturbed()


@pytest.mark.parametrize("length", [1, 15, 16, 17, 18, 40, 66])
def test_a_cut_off_message_gets_no_byte(scene: Scene, length: int) -> None:
    """A message 1 that stops in the middle is closed at its deadline, or when the caller ends."""
    hello = probe(scene)
    for ends in (True, False):
        with scene.call() as sock:
            say(sock, hello[:length], ends)
            assert read_until_end(sock) == b""
    scene.check_undisturbed()


def test_a_message_with_more_behind_it_gets_no_byte(scene: Scene) -> None:
    """The caller has to wait for the answer: who does not is none of ours."""
    with scene.call() as sock:
        say(sock, probe(scene) + b"x")
        assert read_until_end(sock) == b""
    scene.check_undisturbed()


def test_a_message_in_single_bytes_is_answered(scene: Scene) -> None:
    """How the network cuts it does not matter."""
    hello = probe(scene)
    with scene.call() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello:
            sock.sendall(bytes((byte,)))
        sock.settimeout(PATIENCE)
        assert len(sock.recv(65536)) > 0


def test_trickling_extends_no_deadline(scene: Scene) -> None:
    """A byte now and then does not keep a handshake open."""
    hello = probe(scene)
    sent = 0
    with scene.call() as sock:
        sock.settimeout(0.02)
        try:
            while True:
                sock.sendall(hello[sent : sent + 1])
                sent += 1
                assert sent < len(hello), "the whole message went through"
                try:
                    assert sock.recv(1) == b""
                    break
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
    scene.check_undisturbed()


def test_a_caller_that_stalls_after_our_answer(scene: Scene) -> None:
    """Who shows that it knows us, and then says nothing, is closed at the handshake's deadline."""
    with Caller(scene.node, Identity.generate(), introduce=False) as caller:
        caller.sock.sendall(caller.handshake.start())
        caller.answer()
        assert read_until_end(caller.sock) == b""
    scene.check_undisturbed()


def test_garbage_instead_of_an_introduction(scene: Scene) -> None:
    """Message 3 is checked like message 1."""
    for garbage in (bytes(200), os.urandom(2000)):
        with Caller(scene.node, Identity.generate(), introduce=False) as caller:
            caller.sock.sendall(caller.handshake.start())
            caller.answer()
            say(caller.sock, garbage)
            assert read_until_end(caller.sock) == b""
    scene.check_undisturbed()


def test_a_caller_that_claims_to_be_somebody_else(scene: Scene) -> None:
    """The id in message 3 must be that of the key: an honest peer's name is of no use to others."""
    for victim in (scene.honest.id, Identity.generate().peer_id, scene.node.id):
        with Caller(scene.node, Identity.generate(), claimed=victim.public_key) as caller:
            assert read_until_end(caller.sock) == b""
    scene.check_undisturbed()


def test_a_caller_with_our_own_key(scene: Scene) -> None:
    """It is told so, and has no session."""
    identity = Identity.generate()
    node_like = Service(config(), identity=identity).start()
    try:
        with Caller(node_like, identity) as caller:
            denied = caller.expect(frames.Denied)
            assert isinstance(denied, frames.Denied)
            assert denied.code is DenialCode.SELF
        assert node_like.peers == []
    finally:
        node_like.close()


def test_a_caller_that_hangs_up_after_its_introduction(scene: Scene) -> None:
    """If the decision is its own, there is no session before it has decided."""
    lesser, greater = pair_of_identities()
    node = Service(config(session__handshake_timeout=2.0), identity=lesser)
    events: list[object] = []
    node.on(crust.Event, events.append)
    with node.start():
        with Caller(node, greater) as caller:
            assert isinstance(caller.expect(frames.Welcome), frames.Welcome)
        with Caller(node, greater) as caller:
            caller.expect(frames.Welcome)
            assert caller.rest() == []  # closed at the deadline
        assert node.peers == []
    assert [type(event).__name__ for event in events] == ["ListenerStarted", "AddressesChanged"]


@pytest.mark.parametrize(
    "early",
    [
        frames.Batch(0, 0, 1, [b"too early"]),
        frames.Ack(0, 1000),
        frames.Ping(1),
        frames.Goodbye(frames.GoodbyeCode.CLOSED),
        frames.Retire(),
        frames.Denied(DenialCode.BANNED),
        frames.EchoRequest(1, frames.EchoTransport.TCP, 5483, bytes(12)),
        frames.EchoReply(1, frames.EchoOutcome.SENT),
    ],
)
def test_data_before_the_decision(nodes: Nodes, early: frames.Frame) -> None:
    """Nothing but Use may come on a link whose session waits for it: it is closed, without an event."""
    lesser, greater = pair_of_identities()
    node = nodes.start(identity=lesser)
    with Caller(node, greater) as caller:
        caller.expect(frames.Welcome)
        caller.send(early)
        assert caller.rest() == []
    assert node.peers == []
    nodes.heard(node).wait(crust.AddressesChanged)
    assert nodes.heard(node).names() == ["ListenerStarted", "AddressesChanged"]


def test_bootstrapping_without_being_asked(scene: Scene) -> None:
    """A bootstrap call to a node that accepts none is denied with the reason."""
    with Caller(scene.node, Identity.generate(), purpose=Purpose.BOOTSTRAP) as caller:
        denied = caller.expect(frames.Denied)
        assert isinstance(denied, frames.Denied)
        assert denied.code is DenialCode.NOT_ACCEPTING
    scene.check_undisturbed()


def test_resuming_a_session_that_is_not_ours(scene: Scene) -> None:
    """Another's session id, or an invented one, is gone, whatever the rest says; the session itself goes on."""
    session_id = scene.to_honest._conversation.session_id
    for claimed in (session_id, os.urandom(16)):
        with Caller(scene.node, Identity.generate(), resume=Resume(claimed, 0)) as caller:
            welcome = caller.expect(frames.Welcome)
            assert isinstance(welcome, frames.Welcome)
            assert welcome.outcome is frames.Outcome.GONE
            assert caller.rest() == []
    scene.check_undisturbed()


# --- floods -----------------------------------------------------------------------------------------------------------


def test_a_flood_of_silent_callers(nodes: Nodes) -> None:
    """Half-open connections are bounded, with threads and slots; the oldest make room, and honest peers get in."""
    node = nodes.start(config(limits__half_open=16, limits__half_open_per_address=16))
    sockets = []
    try:
        for _ in range(150):
            sockets.append(socket.create_connection((node.addresses[0].host, node.addresses[0].port)))
            assert node.stats().gate.current <= 16
        wait_until(lambda: node.stats().gate.admitted == 150, what="every caller's turn")
        gate = node.stats().gate
        assert (gate.current, gate.evicted) == (12, 138)  # a quarter is kept for addresses of peers
        assert node._node is not None
        wait_until(lambda: len(links(node)) <= 17, what="few threads")
        for number in range(1, 4):
            nodes.start().connect(node.contact).send(b"honest")
            assert nodes.heard(node).wait(crust.ConnectSuccess, number).peer.recv(PATIENCE) == b"honest"
        assert read_until_end(sockets[0]) == b""
    finally:
        for sock in sockets:
            sock.close()
    wait_until(lambda: node.stats().gate.current == 0, what="the free slots")


def links(node: Service) -> list[str]:
    assert node._node is not None
    return [name for name in node._node.threads.alive() if name.startswith("crust-link")]


def test_a_flood_of_callers_that_know_us(nodes: Nodes) -> None:
    """An address that has taken all slots with valid first messages makes room for others at once."""
    node = nodes.start(config(limits__half_open=8, limits__half_open_per_address=8))
    callers = []
    try:
        for _ in range(6):  # a quarter is kept for addresses of peers
            caller = Caller(node, Identity.generate(), introduce=False, source="127.0.0.2")
            callers.append(caller)
            caller.sock.sendall(caller.handshake.start())
            caller.answer()
        assert node.stats().gate.evicted == 0
        assert nodes.start().connect(node.contact).id == node.id
        assert node.stats().gate.evicted == 1
        assert read_until_end(callers[0].sock) == b""
    finally:
        for caller in callers:
            caller.sock.close()


def test_who_is_put_off_holds_no_slot(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor until it has hung up: those slots nobody else could have, who introduced himself makes no room."""
    node = nodes.start(config(limits__half_open=4, limits__half_open_per_address=4))
    inner = node._node
    assert inner is not None
    monkeypatch.setattr(inner.acceptor, "may_begin", lambda link, peer_id, begins: False)
    monkeypatch.setattr(limits, "CLOSE_LINGER", 600.0)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            caller = Caller(node, Identity.generate())
            stack.callback(caller.sock.close)
            denied = caller.expect(frames.Denied)
            assert isinstance(denied, frames.Denied) and "too often" in denied.text
            assert node.stats().gate.current == 0


def test_a_flood_of_beginnings(nodes: Nodes) -> None:
    """An address may begin so many handshakes a second; more are closed without a byte, sessions go on."""
    node = nodes.start(config(limits__starts_per_address_per_second=5))
    pair = Pair(nodes, nodes.start(), node)
    for _ in range(30):
        with socket.create_connection((node.addresses[0].host, node.addresses[0].port)):
            pass
    wait_until(lambda: node.stats().gate.refused_by_rate >= 20, what="refusals")
    pair.to_far.send(b"still there")
    assert pair.to_near.recv(PATIENCE) == b"still there"


# --- on the path ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_corrupted_record(nodes: Nodes, direction: str) -> None:
    """One changed byte closes the link; the session resumes, nothing is lost, and nobody is blamed."""
    pair = nodes.proxied()
    proxy = pair.wire
    sender, receiver = (pair.to_far, pair.to_near) if direction == UP else (pair.to_near, pair.to_far)
    sender.send(bytes(200_000))
    assert len(receiver.recv(PATIENCE)) == 200_000
    proxy.corrupt(direction, proxy.forwarded[direction] + 5000)
    sent = [b"%d" % number + bytes(1000) for number in range(100)]
    for data in sent:
        sender.send(data)
    assert [receiver.recv(PATIENCE) for _ in sent] == sent
    pair.near_heard.wait(crust.PeerResumed)
    for heard in (pair.near_heard, pair.far_heard):
        assert heard.of(crust.PeerMisbehaved) == []
        assert heard.of(crust.LostPeer) == []
    hurt = pair.far_heard if direction == UP else pair.near_heard
    assert hurt.wait(crust.PeerSuspended).reason


@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("offset", [0, 20, 60, 150, 700])
def test_a_corrupted_handshake(nodes: Nodes, direction: str, offset: int) -> None:
    """A byte changed anywhere before the first message: nobody is taken for somebody else, and a later call works."""
    far = nodes.start(config(session__handshake_timeout=2.0))
    proxy = nodes.proxy(far)
    near = nodes.start(config(session__handshake_timeout=2.0))
    contact = Contact(far.id, (crust.Endpoint.parse(proxy.endpoint),))
    proxy.corrupt(direction, offset)
    first = near.dial(contact, timeout=PATIENCE)
    try:
        first.result(PATIENCE)
    except (crust.ConnectError, crust.Timeout):
        pass
    proxy.heal()
    got: list[bytes] = []
    far.on(crust.NewMessage, lambda message: got.append(message.data))
    try:
        peer = near.connect(contact)
        peer.send(b"x")
        peer.flush()
    except crust.PeerLost as error:  # the decision to use the link was what got lost: the other side knows of nothing
        assert error.reason == "gone"
        near.connect(contact).send(b"x")
    wait_until(lambda: got == [b"x"], what="the message")
    for service in (near, far):
        assert nodes.heard(service).of(crust.PeerMisbehaved) == []
