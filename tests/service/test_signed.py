"""Signed messages and files between two nodes: what arrives with a proof, what is refused, and what each side hears."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import crust
from crust import Identity, limits
from crust.addresses import network_id
from crust.crypto.proofs import Numbers, Signatory
from crust.peers.accounts import Account
from crust.peers.conversation import Conversation
from crust.wire import frames
from crust.wire.frames import Kind
from crust.wire.handshake import Capability
from tests.support.nodes import Nodes, Pair, config
from tests.support.puppet import Caller
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine
STRICT = {"signing__require_signed": True}


def check(message: crust.NewMessage, sender: crust.Service, receiver: crust.Service) -> crust.Proof:
    """The proof of a message fits it."""
    assert message.proof is not None
    proof = crust.verify_proof(message.proof)
    assert (proof.kind, proof.data, proof.size) == ("message", message.data, len(message.data))
    assert (proof.sender, proof.receiver) == (sender.id, receiver.id)
    return proof


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 61_000, 61_300, 65_280, 200_000, 2 * 1024 * 1024 - 156])
def test_signed_messages_of_every_size(nodes: Nodes, size: int) -> None:
    """Whole, with their proof; also the longest."""
    pair = nodes.pair()
    data = os.urandom(size)
    pair.to_far.send(data, sign=True)
    message = pair.to_near.recv_message(PATIENCE)
    assert message.data == data
    check(message, pair.near, pair.far)


def test_a_message_is_too_large_with_its_signature(nodes: Nodes) -> None:
    """The text says how much there is room for; nothing was queued."""
    pair = nodes.pair(config(session__max_message_size=1000), config(session__max_message_size=1000))
    for send in (pair.to_far.send, lambda data, sign: pair.to_far.send_many([b"first", data], sign=sign)):
        with pytest.raises(crust.MessageTooLarge, match="845 bytes is too large: at most 844 are allowed when signed"):
            send(bytes(845), sign=True)
    pair.to_far.send(bytes(844), sign=True)
    assert len(pair.to_near.recv(PATIENCE)) == 844


def test_when_and_how_urgently_a_message_was_signed(nodes: Nodes) -> None:
    """The proof has the sender's clock, in seconds; there are only so many priorities."""
    pair = nodes.pair()
    for priority in (-1, limits.PRIORITY_MAX + 1):
        with pytest.raises(ValueError, match="priority must be"):
            pair.to_far.send(b"x", sign=True, priority=priority)
    pair.to_far.send(b"x", sign=True, priority=limits.PRIORITY_MAX)
    message = pair.to_near.recv_message(PATIENCE)
    assert message.priority == limits.PRIORITY_MAX
    assert abs(check(message, pair.near, pair.far).time - time.time()) < 3600


def test_signed_messages_and_others_keep_their_order(nodes: Nodes) -> None:
    """Within a priority; each is what it was sent as. No two ids are the same."""
    pair = nodes.pair()
    for number in range(200):
        pair.to_far.send(b"%d" % number, sign=number % 3 == 0)
    pair.to_far.send_many([b"200", b"201"], sign=True)
    messages = [pair.to_near.recv_message(PATIENCE) for _ in range(202)]
    assert [message.data for message in messages] == [b"%d" % number for number in range(202)]
    assert [message.proof is not None for message in messages] == [n % 3 == 0 or n >= 200 for n in range(202)]
    proofs = [check(message, pair.near, pair.far) for message in messages if message.proof is not None]
    assert len({proof.id for proof in proofs}) == len(proofs)


def test_numbers_count_signed_messages_too(nodes: Nodes) -> None:
    """``send`` returns the number in the session, and ``accepted`` counts, as for others."""
    pair = nodes.pair()
    assert [pair.to_far.send(b"x", sign=sign) for sign in (False, True, True)] == [0, 1, 2]
    assert pair.to_far.send_many([b"a", b"b"], sign=True) == 4
    assert pair.to_far.send_many([], sign=True) == -1
    assert (pair.to_far.accepted, pair.to_far.last_number) == (5, 4)
    assert pair.near.send(pair.far.id, b"by id", sign=True) == 5
    pair.to_far.flush(PATIENCE)


def test_priorities_and_many_threads(nodes: Nodes) -> None:
    """Whoever sends, and however urgently: every message is taken, in the order of its priority and thread."""
    pair = nodes.pair()
    count = 60

    def send(sender: int) -> None:
        for number in range(count):
            pair.to_far.send(b"%d %d" % (sender, number), sign=True, priority=sender % 2)

    for job in [Background(send, sender) for sender in range(4)]:
        job.result(PATIENCE)
    arrived: dict[int, list[int]] = {}
    for _ in range(4 * count):
        message = pair.to_near.recv_message(PATIENCE)
        sender, number = map(int, message.data.split())
        assert message.proof is not None and message.priority == sender % 2
        arrived.setdefault(sender, []).append(number)
    assert arrived == {sender: list(range(count)) for sender in range(4)}
    assert pair.far_heard.of(crust.PeerMisbehaved) == []


def test_every_consumer_gets_the_proof(nodes: Nodes) -> None:
    """Callbacks and streams; ``recv`` gives the bytes alone."""
    pair = nodes.pair()
    pair.to_far.send(b"for recv", sign=True)
    assert pair.to_near.recv(PATIENCE) == b"for recv"
    heard: list[crust.NewMessage] = []
    pair.to_far.send(b"waits in the inbox", sign=True)
    wait_until(lambda: pair.to_near._has_unread)
    subscription = pair.far.on(crust.NewMessage, heard.append)
    pair.to_far.send(b"for a callback", sign=True)
    wait_until(lambda: len(heard) == 2)
    assert [check(message, pair.near, pair.far).data for message in heard] == [b"waits in the inbox", b"for a callback"]
    subscription.cancel()
    with pair.far.events(crust.NewMessage) as stream:
        pair.to_far.send(b"for a stream", sign=True)
        assert check(stream.get(PATIENCE), pair.near, pair.far).data == b"for a stream"


def test_with_sign_all_everything_is_signed(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """send, send_many, and files; the other side need not do the same."""
    pair = nodes.pair(near=config(signing__sign_all=True))
    (tmp_path / "letter").write_bytes(b"hello")
    (tmp_path / "inbox").mkdir()
    received: list[crust.FileReceived] = []
    pair.far.on(crust.FileReceived, received.append)
    pair.far.accept_files(tmp_path / "inbox")
    pair.to_far.send(b"one")
    pair.to_far.send_many([b"two", bytearray(b"three")])
    pair.to_far.send_file(tmp_path / "letter")
    for data in (b"one", b"two", b"three"):
        assert check(pair.to_near.recv_message(PATIENCE), pair.near, pair.far).data == data
    wait_until(lambda: received)
    assert received[0].proof is not None
    pair.to_near.send(b"back")
    assert pair.to_far.recv_message(PATIENCE).proof is None


def test_what_waited_for_a_link_is_signed_once(nodes: Nodes) -> None:
    """Messages that are sent while there is none, and those that are repeated on the next one."""
    pair = nodes.proxied()
    pair.to_far.send(b"before", sign=True)
    pair.suspend()
    for number in range(50):
        pair.to_far.send(b"%d" % number, sign=True)
    pair.wire.heal()
    expected = [b"before", *(b"%d" % number for number in range(50))]
    messages = [pair.to_near.recv_message(PATIENCE) for _ in expected]
    assert [check(message, pair.near, pair.far).data for message in messages] == expected


def test_a_full_buffer(nodes: Nodes) -> None:
    """As for other messages: WouldBlock or Timeout and nothing is queued, or it waits until there is room."""
    small = config(session__max_message_size=1000, session__send_buffer__messages=4)
    pair = nodes.proxied(near=small)
    pair.suspend()
    for _ in range(4):
        pair.to_far.send(b"x", sign=True)
    with pytest.raises(crust.WouldBlock):
        pair.to_far.send(b"x", sign=True, timeout=0)
    with pytest.raises(crust.Timeout, match="nothing was queued"):
        pair.to_far.send(b"x", sign=True, timeout=0.01)
    late = Background(lambda: pair.to_far.send(b"late", sign=True, timeout=None))
    wait_until(lambda: pair.to_far._conversation._sleepers)
    assert pair.to_far.accepted == 4
    pair.wire.heal()
    assert late.result(PATIENCE) == 4
    assert [pair.to_near.recv(PATIENCE) for _ in range(5)] == [b"x"] * 4 + [b"late"]
    pair.near_heard.wait(crust.SendReady)


def test_a_full_buffer_without_a_word_about_time(nodes: Nodes) -> None:
    """A callback never waits; whoever else sends does for as long as the configuration says."""
    small = config(session__max_message_size=1000, session__send_buffer__messages=4, session__send_timeout=0.01)
    pair = nodes.proxied(near=small)
    pair.suspend()
    for _ in range(4):
        pair.to_far.send(b"x", sign=True)
    with pytest.raises(crust.Timeout, match="within 0.01 s"):
        pair.to_far.send(b"x", sign=True)
    raised: list[crust.WouldBlock] = []

    def send(_: object) -> None:
        with pytest.raises(crust.WouldBlock) as caught:
            pair.to_far.send(b"x", sign=True, timeout=2 * PATIENCE)
        raised.append(caught.value)

    pair.near.on(crust.ConnectionInfoPrepared, send)
    pair.near.prepare_connection_info()
    wait_until(lambda: raised, PATIENCE, "the error in the callback")
    pair.wire.heal()
    pair.to_far.flush(PATIENCE)


def test_a_slow_receiver_stops_the_sender(nodes: Nodes) -> None:
    """Signed messages hold credit until they are taken, and give all of it back."""
    small = config(session__max_message_size=1000, session__receive_buffer=70_000)
    pair = nodes.pair(far=small)
    with pytest.raises(crust.Timeout):
        while True:
            pair.to_far.send(bytes(800), sign=True, timeout=0.3)
    sent = pair.to_far.accepted
    assert pair.to_near.stats().unread_bytes <= 70_000
    for _ in range(sent):
        assert pair.to_near.recv_message(PATIENCE).proof is not None
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0)
    pair.to_far.send(b"on", sign=True)
    assert pair.to_near.recv(PATIENCE) == b"on"
    node = pair.far._node
    assert node is not None
    wait_until(lambda: node.budget.used == 0, what="the budget to be given back")


def test_the_end_comes_after_the_last_message(nodes: Nodes) -> None:
    """A sender that goes at once has been heard: LostPeer waits until all is verified."""
    pair = nodes.pair()
    order: list[object] = []
    done = threading.Event()
    pair.far.on(crust.NewMessage, lambda message: order.append(message.data))
    pair.far.on(crust.LostPeer, lambda event: (order.append(event), done.set()))
    for number in range(300):
        pair.to_far.send(b"%d" % number, sign=True)
    pair.to_far.flush(PATIENCE)
    pair.near.close()
    assert done.wait(PATIENCE)
    assert order[:-1] == [b"%d" % number for number in range(300)]
    assert isinstance(order[-1], crust.LostPeer)


def test_what_has_arrived_can_be_read_after_the_end(nodes: Nodes) -> None:
    """From the inbox, and then PeerLost."""
    pair = nodes.pair()
    pair.to_far.send_many([b"%d" % number for number in range(300)], sign=True)
    pair.to_far.flush(PATIENCE)
    pair.to_far.disconnect()
    assert [pair.to_near.recv(PATIENCE) for _ in range(300)] == [b"%d" % number for number in range(300)]
    with pytest.raises(crust.PeerLost):
        pair.to_near.recv(PATIENCE)


def test_a_node_that_closes_verifies_what_is_there(nodes: Nodes) -> None:
    """As far as there is time; no thread is left, and every session has its end."""
    pair = nodes.pair()
    pair.to_far.send_many([b"x"] * 300, sign=True)
    pair.to_far.flush(PATIENCE)
    assert pair.far.close()
    assert [pair.to_near.recv(PATIENCE) for _ in range(300)] == [b"x"] * 300
    assert len(pair.far_heard.of(crust.LostPeer)) == 1


def test_after_the_end_nothing_is_signed(nodes: Nodes) -> None:
    """PeerLost and ServiceClosed, as for other messages."""
    pair = nodes.pair()
    pair.to_far.disconnect()
    with pytest.raises(crust.PeerLost):
        pair.to_far.send(b"x", sign=True)
    pair.near.close()
    with pytest.raises(crust.ServiceClosed):
        pair.near.send(pair.far.id, b"x", sign=True)


# --- peers that cannot, or must ---------------------------------------------------------------------------------------


def old(pair: Pair) -> crust.Peer:
    """The peer as if its program were older."""
    pair.to_far._conversation.capabilities &= ~Capability.SIGNED
    return pair.to_far


def test_a_peer_that_takes_nothing_signed(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """An error at once, and nothing goes out: an older program would end the session."""
    pair = nodes.pair()
    (tmp_path / "letter").write_bytes(b"hello")
    peer = old(pair)
    calls: list[Callable[[], Any]] = [
        lambda: peer.send(b"x", sign=True),
        lambda: peer.send_many([b"x"], sign=True),
        lambda: peer.send_file(tmp_path / "letter", sign=True),
    ]
    for call in calls:
        with pytest.raises(crust.LocalProtocolError, match="takes no signed"):
            call()
    peer.send(b"plain")
    assert pair.to_near.recv(PATIENCE) == b"plain"


def test_a_peer_that_takes_only_what_is_signed(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Who sends something else to it is told at once, before anything goes out; what is signed gets through."""
    pair = nodes.pair(far=config(**STRICT))
    (tmp_path / "letter").write_bytes(b"hello")
    (tmp_path / "inbox").mkdir()
    pair.far.accept_files(tmp_path / "inbox")
    calls: list[Callable[[], Any]] = [
        lambda: pair.to_far.send(b""),
        lambda: pair.to_far.send(b"x"),
        lambda: pair.to_far.send_many([b"x"]),
        lambda: pair.to_far.send_file(tmp_path / "letter"),
    ]
    for call in calls:
        with pytest.raises(crust.LocalProtocolError, match="takes only .* that are signed: send with sign=True"):
            call()
    assert pair.to_far.accepted == 0
    pair.to_far.send(b"signed", sign=True)
    assert check(pair.to_near.recv_message(PATIENCE), pair.near, pair.far).data == b"signed"
    assert pair.to_far.send_file(tmp_path / "letter", sign=True).size == 5
    assert pair.far_heard.of(crust.PeerMisbehaved, crust.MessageRefused) == []


def force(peer: crust.Peer) -> crust.Peer:
    """A sender that does not care what the other side takes."""
    peer._conversation.capabilities &= ~Capability.SIGNED_ONLY
    peer._plain_max = peer.max_message_size
    return peer


def test_what_is_not_signed_is_refused_and_told(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """Nobody gets it, its credit is given back, one event counts many; what is signed in between arrives."""
    pair = nodes.pair(far=config(**STRICT))
    (tmp_path / "letter").write_bytes(b"hello")
    (tmp_path / "inbox").mkdir()
    pair.far.accept_files(tmp_path / "inbox")
    peer = force(pair.to_far)
    peer.send_many([b"unsigned"] * 50)
    peer.send(bytes(100_000))
    peer.send(b"signed", sign=True)
    assert pair.to_near.recv(PATIENCE) == b"signed"
    refused = pair.far_heard.wait(crust.MessageRefused)
    assert refused.peer is pair.to_near and 1 <= refused.count <= 51
    told = pair.far_heard.wait(crust.PeerMisbehaved)
    assert (told.kind, told.attributable) == ("unsigned", True)
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0)
    with pytest.raises(crust.FileRefused, match="takes only files that are signed"):
        peer.send_file(tmp_path / "letter")
    assert os.listdir(tmp_path / "inbox") == []
    assert len(pair.far_heard.of(crust.MessageRefused)) == 1


def test_what_is_not_signed_is_not_free(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its credit comes back at once, so nothing else would bound what such a peer costs."""
    pair = nodes.pair(far=config(**STRICT))
    peer = force(pair.to_far)
    spent: list[float] = []
    monkeypatch.setattr(Account, "spend", lambda account, burden, cost: spent.append(cost))
    peer.send_many([bytes(50_000)] * 50)
    wait_until(lambda: pair.to_near.stats().messages_received == 50 and pair.to_near.stats().unread_bytes == 0)
    assert sum(spent) >= 50 * (limits.COST_RECORD + 50_000 * limits.COST_BYTE)


def test_what_is_refused_is_charged_and_counted(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """By parts and bytes; once in a while an event has all since the last."""
    pair = nodes.pair(far=config(**STRICT))
    node = pair.far._running()
    [conversation] = node.registry.all()
    charged: list[float] = []
    monkeypatch.setattr(Conversation, "wasted", lambda self, burden, cost: charged.append(cost))
    node.signed.refused(conversation, 3, 10, 2)
    assert charged == [2 * limits.COST_RECORD + 10 * limits.COST_BYTE]
    assert pair.far_heard.wait(crust.MessageRefused).count == 3
    desk = conversation.desk
    assert desk is not None and desk.tell_at > node.clock.now() and desk.refused == 0
    desk.tell_at = float("inf")
    for count in (2, 4):
        node.signed.refused(conversation, count)
    assert desk.refused == 6
    desk.tell_at = node.clock.now()
    node.signed.refused(conversation, 1)
    assert pair.far_heard.wait(crust.MessageRefused, 2).count == 7


# --- forgers ----------------------------------------------------------------------------------------------------------


class Forger:
    """A peer that signs what the test wants."""

    def __init__(self, nodes: Nodes, **changes: Any) -> None:
        self.identity = Identity.generate()
        self.node = nodes.start(config(**changes))
        self.heard = nodes.heard(self.node)
        self.caller = Caller(self.node, self.identity, capabilities=int(Capability.SIGNED))
        self.session_id = self.caller.begin().session_id
        self.peer = self.heard.wait(crust.ConnectSuccess).peer
        self.numbers = Numbers(self.session_id, os.urandom)
        self.sent = 0

    def __enter__(self) -> Forger:
        return self

    def __exit__(self, *_: object) -> None:
        self.caller.sock.close()

    def signed(
        self,
        *,
        identity: Identity | None = None,
        receiver: bytes | None = None,
        number: bytes | None = None,
        network: str | None = None,
        data: bytes = b"x",
    ) -> bytes:
        signatory = Signatory(identity or self.identity, network_id(network))
        to = receiver or self.node.id.public_key
        return signatory.sign_message(to, number or self.numbers.next(1), 1, data)

    def send(self, *messages: bytes, kind: int = Kind.SIGNED) -> None:
        self.caller.send(frames.Batch(self.sent, kind, 1, list(messages)))
        self.sent += len(messages)


FORGERIES: dict[str, Callable[[Forger], bytes]] = {
    "of another key": lambda forger: forger.signed(identity=Identity.generate()),
    "for somebody else": lambda forger: forger.signed(receiver=bytes(32)),
    "in another network": lambda forger: forger.signed(network="elsewhere"),
    "of another session": lambda forger: forger.signed(number=Numbers(bytes(16), os.urandom).next(1)),
    "of another priority": lambda forger: forger.signed(number=forger.numbers.next(2)),
    "with a payload that was changed": lambda forger: forger.signed()[:-65] + b"y" + forger.signed()[-64:],
    "with another signature": lambda forger: forger.signed()[:-64] + forger.signed(data=b"y")[-64:],
    "cut short": lambda forger: forger.signed()[:-1],
    "with more behind it": lambda forger: forger.signed() + b"x",
    "empty": lambda forger: b"",
    "of nothing but a signature": lambda forger: bytes(64),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_message_ends_the_session(nodes: Nodes, forgery: Callable[[Forger], bytes]) -> None:
    """Only the peer can have sent it. What came before arrives, it and what comes behind it do not."""
    with Forger(nodes) as forger:
        forger.send(forger.signed(data=b"right"), forgery(forger), forger.signed(data=b"late"))
        assert forger.heard.wait(crust.PeerMisbehaved).kind == "protocol"
        lost = forger.heard.wait(crust.LostPeer)
        assert (lost.peer, lost.reason) == (forger.peer, "protocol")
        assert forger.peer.recv(PATIENCE) == b"right"
        with pytest.raises(crust.PeerLost):
            forger.peer.recv(PATIENCE)
        goodbye = forger.caller.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye) and goodbye.code == frames.GoodbyeCode.PROTOCOL


def test_a_message_is_not_said_twice(nodes: Nodes) -> None:
    """Whoever repeats a message has it refused, however many were in between."""
    with Forger(nodes) as forger:
        first = forger.signed(data=b"pay 7")
        forger.send(first, *(forger.signed() for _ in range(40)))
        assert [forger.peer.recv(PATIENCE) for _ in range(41)] == [b"pay 7", *([b"x"] * 40)]
        forger.send(first)
        assert "repeats" in forger.heard.wait(crust.PeerMisbehaved).detail
        forger.heard.wait(crust.LostPeer)


def test_others_do_not_wait_for_a_flood(nodes: Nodes) -> None:
    """Much that is signed by one peer; an honest one's messages get through in between, signed or not."""
    with Forger(nodes) as forger:
        to_node = nodes.start().connect(forger.node.contact)
        honest = forger.heard.wait(crust.ConnectSuccess, 2).peer
        flood = [forger.signed() for _ in range(300)]
        for start in range(0, 300, 100):
            forger.send(*flood[start : start + 100])
        to_node.send(b"signed", sign=True)
        to_node.send(b"plain")
        assert [honest.recv(PATIENCE) for _ in range(2)] == [b"signed", b"plain"]
        assert [forger.peer.recv(PATIENCE) for _ in range(300)] == [b"x"] * 300


def test_what_waits_is_bounded(nodes: Nodes) -> None:
    """Messages that are being verified hold credit: a peer that sends more than the window ends its session."""
    with Forger(nodes, session__max_message_size=1000, session__receive_buffer=70_000) as forger:
        message = forger.signed(data=bytes(800))
        node = forger.node._node
        assert node is not None
        for _ in range(70):
            try:
                forger.send(message)
            except ConnectionError:
                break
        forger.heard.wait(crust.LostPeer)
        wait_until(lambda: node.budget.used == 0)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 3 * limits.FILE_CHUNK])
def test_a_signed_file(nodes: Nodes, tmp_path: pathlib.Path, size: int) -> None:
    """The event has its proof: size, digest, and the name that the sender gave it."""
    pair = nodes.pair(far=config(**STRICT))
    (tmp_path / "letter").write_bytes(bytes(size))
    (tmp_path / "inbox").mkdir()
    received: list[crust.FileReceived] = []
    pair.far.on(crust.FileReceived, received.append)
    pair.far.accept_files(tmp_path / "inbox", decide=lambda offer: offer.signed)
    sent = pair.to_far.send_file(tmp_path / "letter", name="../évil", sign=True)
    wait_until(lambda: received)
    proof = received[0].proof
    assert proof is not None
    told = crust.verify_proof(proof)
    assert (told.kind, told.size, told.digest, told.name) == ("file", size, sent.digest, "../évil")
    assert (told.sender, told.receiver, told.data) == (pair.near.id, pair.far.id, None)
    assert received[0].digest == told.digest
