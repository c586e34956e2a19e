"""Peers that are who they say, and break the rules: loud on both sides, and harmless to all others."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import pytest

import crust
from crust import Identity, limits
from crust.peers.messages import NewMessage
from crust.wire import frames
from crust.wire.handshake import DenialCode, Resume
from tests.support.nodes import Nodes, Pair, config, pair_of_identities
from tests.support.puppet import Callee, Caller, Wire
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


# --- peers that break the rules ---------------------------------------------------------------------------------------


def oversized_batch() -> list[bytes]:
    return [frames.build_batch(0, 0, 1, [bytes(2000)])]


def too_much() -> Iterator[bytes]:
    for number in range(200):
        yield frames.build_batch(number, 0, 1, [bytes(1000)])


VIOLATIONS: dict[str, Callable[[], object]] = {
    "a gap in the numbers": lambda: [frames.build_batch(1, 0, 1, [b"second"])],
    "a gap before a piece": lambda: [frames.build_piece(3, 0, 1, 0, True, False, 900, b"x")],
    "more than the window": too_much,
    "a message too large": oversized_batch,
    "a large message too large": lambda: [frames.build_piece(0, 0, 1, 0, True, False, 2000, b"x")],
    "a piece of nothing": lambda: [frames.build_piece(0, 0, 1, 2, False, False, 900, b"x")],
    "a slot used twice": lambda: [
        frames.build_piece(0, 0, 1, 0, True, False, 900, b"x"),
        frames.build_piece(1, 0, 1, 0, True, False, 900, b"x"),
    ],
    "pieces that are too many": lambda: [
        frames.build_piece(0, 0, 1, 0, True, False, 10, b"12345678"),
        frames.build_piece(1, 0, 1, 0, False, True, 10, b"12345678"),
    ],
    "an acknowledgement of what was not sent": lambda: [frames.build_ack(1000, 1000)],
    "an unknown frame": lambda: [b"\x7f\x00\x00"],
    "a frame cut short": lambda: [frames.build_ack(0, 0)[:-1]],
    "trailing bytes": lambda: [frames.build_ack(0, 0) + b"\x01"],
    "padding that is not zero": lambda: [frames.build_ack(0, 0) + b"\x00\x01"],
    "only padding": lambda: [bytes(10)],
    "a second welcome": lambda: [
        frames.build_record([frames.Denied(DenialCode.BANNED, "", ())]),
    ],
    "a second decision": lambda: [frames.build_record([frames.Use(7)])],
    "too many pings at once": lambda: [frames.build_record([frames.Ping(number) for number in range(40)])],
    "a goodbye among data": lambda: [
        frames.build_batch(0, 0, 1, [b"x"]) + frames.build_record([frames.Goodbye(frames.GoodbyeCode.CLOSED)]),
    ],
    "a flag that is not known": lambda: [bytes_with_flags()],
    "a signed message that is none": lambda: [frames.build_batch(0, 2, 1, [b"x"])],
    "a file message that is none": lambda: [frames.build_batch(0, 1, 1, [b"\xff\xff\xff"])],
    "an empty batch": lambda: [frames.build_batch(0, 0, 1, [b"x"])[:11] + struct.pack(">H", 0)],
}


def bytes_with_flags() -> bytes:
    """A batch with a bit set that means nothing."""
    plain = bytearray(frames.build_batch(0, 0, 1, [b"x"]))
    other = frames.build_batch(0, 1, 1, [b"x"])
    kind_at = next(index for index, (a, b) in enumerate(zip(plain, other, strict=True)) if a != b)
    plain[kind_at + 1] |= 1
    return bytes(plain)


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS.keys())
@pytest.mark.parametrize("controller", ["node", "puppet"])
def test_a_peer_that_breaks_the_rules(nodes: Nodes, controller: str, violation: Callable[[], list[bytes]]) -> None:
    """PeerMisbehaved says who, where from and what; LostPeer(protocol) follows; it is told; others are undisturbed."""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "node" else (lesser, greater)
    node = nodes.start(config(session__max_message_size=1000, session__receive_buffer=70_000), identity=ours)
    honest = Pair(nodes, nodes.start(), node)
    with Caller(node, theirs) as caller:
        caller.begin()
        heard = nodes.heard(node)
        began = heard.wait(crust.ConnectSuccess, 2)
        assert began.peer.id == theirs.peer_id
        number = began.peer.send(b"never acknowledged")
        for plaintext in violation():
            try:
                caller.send_plaintext(plaintext)
            except ConnectionError:
                break  # it has had enough
        misbehaved = heard.wait(crust.PeerMisbehaved)
        assert (misbehaved.peer, misbehaved.kind) == (began.peer, "protocol")
        assert misbehaved.address == began.path.remote
        assert misbehaved.detail
        lost = heard.wait(crust.LostPeer)
        assert (lost.peer, lost.reason, lost.unacknowledged) == (began.peer, "protocol", (number,))
    assert heard.names(theirs.peer_id) == ["ConnectSuccess", "PeerMisbehaved", "LostPeer"]
    assert node.stats().crashes == 0
    honest.to_far.send(b"undisturbed")
    assert honest.to_near.recv(PATIENCE) == b"undisturbed"
    with pytest.raises(crust.PeerLost):
        began.peer.send(b"x")


def test_violators_of_one_address_are_reported_together(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One event in 10 seconds, with the number of those since the last; every session's end is told all the same."""
    node = nodes.start()
    heard = nodes.heard(node)
    for number in range(1, 5):
        if number == 4:
            monkeypatch.setattr(limits, "MISBEHAVIOUR_INTERVAL", 0.0)  # time goes by
        with Caller(node, Identity.generate()) as caller:
            caller.begin()
            caller.send_plaintext(b"\x7f\x00\x00")
            lost = heard.wait(crust.LostPeer, number)
            assert lost.reason == "protocol"
        expected = [1] if number < 4 else [1, 3]
        assert [event.count for event in heard.of(crust.PeerMisbehaved)] == expected
    assert all(event.attributable for event in heard.of(crust.PeerMisbehaved))
    assert heard.of(crust.PeerMisbehaved)[-1].peer is lost.peer


def test_a_violator_is_told(nodes: Nodes) -> None:
    """The goodbye names the rule; the peer may connect again."""
    node = nodes.start()
    identity = Identity.generate()
    with Caller(node, identity) as caller:
        caller.begin()
        caller.send(frames.Batch(5, 0, 1, [b"x"]))
        goodbye = caller.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye)
        assert goodbye.code is frames.GoodbyeCode.PROTOCOL
        assert "skipped" in goodbye.text
    nodes.heard(node).wait(crust.LostPeer)
    with Caller(node, identity) as caller:
        assert caller.begin().outcome is frames.Outcome.FRESH


def test_repetitions_are_no_violation(nodes: Nodes) -> None:
    """What a session repeats after a resume is passed over: every message arrives once."""
    node = nodes.start()
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        for first, messages in ((0, [b"0", b"1"]), (0, [b"0", b"1"]), (1, [b"1", b"2"]), (0, [b"0", b"1", b"2", b"3"])):
            caller.send(frames.Batch(first, 0, 1, messages))
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        assert [peer.recv(PATIENCE) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        with pytest.raises(crust.Timeout):
            peer.recv(0.02)


def test_a_ping_is_answered_at_once(nodes: Nodes) -> None:
    """With its token, and an acknowledgement."""
    node = nodes.start()
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        caller.send(frames.Batch(0, 0, 1, [b"x"]))
        caller.send(frames.Ping(4711))
        pong = caller.expect(frames.Pong)
        assert isinstance(pong, frames.Pong)
        assert pong.token == 4711


def test_a_key_update_in_the_wrong_place(nodes: Nodes) -> None:
    """A record sealed with the key that was given up cannot be read: the link ends, and the session may resume."""
    node = nodes.start()
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        nodes.heard(node).wait(crust.ConnectSuccess)
        caller.send(frames.KeyUpdate())
        caller.send(frames.Batch(0, 0, 1, [b"old key"]))
        caller.rest()
    suspended = nodes.heard(node).wait(crust.PeerSuspended)
    assert suspended.reason
    assert nodes.heard(node).of(crust.PeerMisbehaved) == []


def test_a_key_update_before_the_session_has_a_link(nodes: Nodes) -> None:
    """The controller's first record is its decision: until then nothing is metered, so one update is taken, no more."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    with Caller(node, greater) as caller:
        caller.expect(frames.Welcome)
        for _ in range(2):
            caller.send(frames.KeyUpdate())
            caller.sealer.update_key()
        assert caller.rest() == []
    assert node.peers == []


def test_a_key_update_at_the_right_time(nodes: Nodes) -> None:
    """The next record uses the next key."""
    node = nodes.start()
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        for number in range(5):
            caller.send(frames.KeyUpdate())
            caller.sealer.update_key()
            caller.send(frames.Batch(number, 0, 1, [b"new key"]))
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        assert [peer.recv(PATIENCE) for _ in range(5)] == [b"new key"] * 5


def test_resuming_from_a_number_that_was_never_reached(nodes: Nodes) -> None:
    """A peer that comes back and claims to have received the future has a session that is gone."""
    node = nodes.start()
    identity = Identity.generate()
    with Caller(node, identity) as caller:
        welcome = caller.begin()
        nodes.heard(node).wait(crust.ConnectSuccess)
        incarnation = caller.introduction.incarnation
    nodes.heard(node).wait(crust.PeerSuspended)
    resume = Resume(welcome.session_id, 1000)
    with Caller(node, identity, resume=resume, incarnation=incarnation) as caller:
        answer = caller.expect(frames.Welcome)
        assert isinstance(answer, frames.Welcome)
        assert answer.outcome is frames.Outcome.GONE
    with Caller(node, identity, resume=Resume(welcome.session_id, 0), incarnation=incarnation) as caller:
        answer = caller.expect(frames.Welcome)
        assert isinstance(answer, frames.Welcome)
        assert answer.outcome in (frames.Outcome.GONE, frames.Outcome.RESUMED)


def test_a_hand_made_resume(nodes: Nodes) -> None:
    """Both sides go on from the numbers that they tell each other: here written out frame by frame."""
    lesser, greater = pair_of_identities()
    node = nodes.start(identity=greater)
    with Caller(node, lesser) as caller:
        welcome = caller.begin()
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        peer.send(b"first")
        batch = caller.expect(frames.Batch)
        assert isinstance(batch, frames.Batch)
        assert (batch.first, batch.messages) == (0, [b"first"])
        caller.send(frames.Batch(0, 0, 1, [b"one"]))
        assert peer.recv(PATIENCE) == b"one"
        incarnation = caller.introduction.incarnation
    nodes.heard(node).wait(crust.PeerSuspended)
    peer.send(b"second")
    with Caller(node, lesser, resume=Resume(welcome.session_id, 0), incarnation=incarnation) as caller:
        answer = caller.begin()
        assert (answer.outcome, answer.next, answer.session_id) == (frames.Outcome.RESUMED, 1, welcome.session_id)
        assert answer.use == 2
        again: list[bytes] = []
        while len(again) < 2:
            batch = caller.expect(frames.Batch)
            assert isinstance(batch, frames.Batch)
            again += batch.messages
        assert again == [b"first", b"second"]
        caller.send(frames.Batch(0, 0, 1, [b"one", b"two"]))
        assert peer.recv(PATIENCE) == b"two"
        caller.send(frames.Ack(2, limits.RECEIVE_BUFFER))
        peer.flush(PATIENCE)
    nodes.heard(node).wait(crust.PeerResumed)


# --- callees that break the rules -------------------------------------------------------------------------------------


@pytest.fixture
def callee() -> Iterator[Callee]:
    with Callee(Identity.generate()) as callee:
        yield callee


def close_at_once(wire: Wire) -> None:
    wire.sock.close()


def say_garbage(wire: Wire) -> None:
    wire.sock.sendall(os.urandom(3000))


def say_http(wire: Wire) -> None:
    wire.sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 10)


def say_nothing(wire: Wire) -> None:
    pass


@pytest.mark.parametrize(
    ("behave", "verdicts"),
    [
        (close_at_once, {"failed"}),
        (say_garbage, {"failed", "timeout"}),
        (say_http, {"failed", "timeout"}),
        (say_nothing, {"timeout"}),
    ],
)
def test_somebody_else_answers(
    nodes: Nodes, callee: Callee, behave: Callable[[Wire], None], verdicts: set[str]
) -> None:
    """Who is called and is no node of that key: the attempt says what happened, within the handshake's time."""
    near = nodes.start(config(session__handshake_timeout=2.0))
    dialling = Background(near.connect, callee.contact)
    behave(callee.accept())
    with pytest.raises(crust.ConnectError) as caught:
        dialling.result()
    [attempt] = caught.value.attempts
    assert attempt.verdict in verdicts
    assert attempt.error
    assert nodes.heard(near).wait(crust.ConnectFailure).attempts == (attempt,)


def test_a_denial_with_a_hostile_text(nodes: Nodes, callee: Callee) -> None:
    """What a stranger says is shown without the power to move the cursor or to look like our own words."""
    near = nodes.start()
    dialling = Background(near.connect, callee.contact)
    callee.deny(DenialCode.BANNED, "go away\x1b[2J\x1b[31m\r\nTraceback: you were hacked\u202e", ("\x1b]0;ask me\x07",))
    with pytest.raises(crust.Denied, match="go away") as caught:
        dialling.result()
    assert len(caught.value.alternates) == 1
    said = (str(caught.value), *caught.value.alternates)
    for text in (*said, *(attempt.error for attempt in caught.value.attempts)):
        assert text.isprintable()


def test_a_busy_denial_with_bad_alternates(nodes: Nodes, callee: Callee) -> None:
    """Advice that is no contact is passed on as text and harms nobody."""
    near = nodes.start()
    bootstrapping = Background(lambda: near.bootstrap(contacts=[callee.contact]))
    for _ in range(2):  # who has no better advice is asked once more
        callee.deny(DenialCode.BUSY, "", ("nonsense", "tcp://127.0.0.1:1", str(near.contact)))
    with pytest.raises(crust.ConnectError, match="busy"):
        bootstrapping.result()


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": frames.Outcome.RESUMED, "next": 7},
        {"outcome": frames.Outcome.RESUMED},
        {"outcome": frames.Outcome.GONE},
    ],
)
def test_a_welcome_that_answers_nothing_we_asked(nodes: Nodes, callee: Callee, changes: dict[str, object]) -> None:
    """A resumed session that we never had is none."""
    near = nodes.start()
    dialling = Background(lambda: near.connect(callee.contact, timeout=PATIENCE))
    callee.welcome(**changes)
    with pytest.raises(crust.ConnectError):
        dialling.result(2 * PATIENCE)
    assert near.peers == []
    assert nodes.heard(near).of(crust.ConnectSuccess, crust.LostPeer) == []


def test_a_peer_that_takes_no_messages(nodes: Nodes, callee: Callee) -> None:
    """Its limits hold for us: no message but the empty one fits, and no window lets even that out."""
    near = nodes.start()
    dialling = Background(near.connect, callee.contact)
    callee.welcome(max_message=0, window=0)
    peer = dialling.result()
    assert isinstance(peer, crust.Peer)
    with pytest.raises(crust.MessageTooLarge):
        peer.send(b"x")
    peer.send(b"")
    with pytest.raises(crust.Timeout):
        peer.flush(timeout=0.05)
    peer.disconnect()


def test_a_callee_that_breaks_the_rules(nodes: Nodes, callee: Callee) -> None:
    """As with a caller."""
    near = nodes.start()
    dialling = Background(near.connect, callee.contact)
    wire, _ = callee.welcome()
    peer = dialling.result()
    wire.send(frames.Batch(9, 0, 1, [b"x"]))
    assert nodes.heard(near).wait(crust.PeerMisbehaved).peer is peer
    assert nodes.heard(near).wait(crust.LostPeer).reason == "protocol"


def test_a_message_is_what_its_sender_says(nodes: Nodes) -> None:
    """Bytes of the application are never looked at: frames inside them are bytes."""
    pair = nodes.pair()
    got: list[NewMessage] = []
    pair.far.on(crust.NewMessage, got.append)
    evil = [frames.build_record([frames.Goodbye(frames.GoodbyeCode.BANNED)]), frames.build_ack(99, 99), bytes(70_000)]
    pair.to_far.send_many(evil)
    wait_until(lambda: len(got) == 3, what="three messages")
    assert [message.data for message in got] == evil
