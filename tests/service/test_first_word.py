"""A link is cut when the word that begins its session is on the way: who has said it goes on with that session."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest

import crust
from crust import limits
from crust.peers.conversation import Conversation
from crust.service.connecting import Dialled
from crust.wire import frames
from crust.wire.handshake import Resume
from tests.support.nodes import Nodes, config, pair_of_identities, through
from tests.support.proxy import UP
from tests.support.puppet import PATIENCE, Callee, Caller, answered
from tests.support.threads import Background
from tests.support.waiting import wait_until


def outcome(caller: Caller) -> frames.Outcome:
    welcome = caller.expect(frames.Welcome)
    assert isinstance(welcome, frames.Welcome)
    return welcome.outcome


def agreed(node: crust.Service, identity: crust.Identity, run: bytes, source: str = "") -> bytes:
    """The id of a session whose controller's decision was lost with its link."""
    with Caller(node, identity, incarnation=run, source=source) as caller:
        welcome = caller.expect(frames.Welcome)
        assert isinstance(welcome, frames.Welcome)
        return welcome.session_id


def greater_than(less: crust.Identity) -> crust.Identity:
    """Another one who decides."""
    while (other := crust.Identity.generate()).peer_id < less.peer_id:
        pass
    return other


def test_nothing_is_lost_with_the_first_word(nodes: Nodes) -> None:
    """``connect`` has returned, and messages have been taken."""
    lesser, greater = pair_of_identities()
    far, near = nodes.start(identity=lesser), nodes.start(identity=greater)
    near.stop_listening()
    wire = nodes.proxy(far)
    pieces: list[bytes] = []

    def how(number: int, data: bytes) -> bytes:
        """Messages 1 and 3 of the first connection pass."""
        if number == 1:
            pieces.append(data)
        if number != 1 or len(pieces) < 3:
            return data
        threading.Thread(target=wire.cut, daemon=True).start()
        return b""

    wire.change(UP, how)
    to_far = near.connect(through(wire, far))
    to_far.send(b"one")
    to_far.send(b"two")
    peer = nodes.heard(far).wait(crust.ConnectSuccess).peer
    assert [peer.recv(PATIENCE), peer.recv(PATIENCE)] == [b"one", b"two"]
    to_far.flush(PATIENCE)
    assert nodes.heard(near).of(crust.LostPeer) == []
    assert len(nodes.heard(far).of(crust.ConnectSuccess)) == 1


def test_a_later_word_counts(nodes: Nodes) -> None:
    """The link that was cut may not have ended here: what comes on it then is stale."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, greater, incarnation=run) as first:
        welcome = first.expect(frames.Welcome)
        assert isinstance(welcome, frames.Welcome)
        with Caller(node, greater, incarnation=run, resume=Resume(welcome.session_id, 0)) as again:
            assert outcome(again) is frames.Outcome.RESUMED
            again.send(frames.Use(2))
            again.send(frames.Batch(0, 0, 1, [b"here"]))
            assert nodes.heard(node).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"here"
            first.send(frames.Use(1))
            assert first.rest() == []
            again.send(frames.Batch(1, 0, 1, [b"still"]))
            assert node.peers[0].recv(PATIENCE) == b"still"
    assert len(nodes.heard(node).of(crust.ConnectSuccess)) == 1


def goes_on(node: crust.Service, identity: crust.Identity, run: bytes, session_id: bytes) -> None:
    """Its caller resumes it, and what it has sent arrives."""
    got: list[bytes] = []
    node.on(crust.NewMessage, lambda event: got.append(event.data))
    with Caller(node, identity, incarnation=run, resume=Resume(session_id, 0)) as again:
        assert outcome(again) is frames.Outcome.RESUMED
        again.send(frames.Use(2))
        again.send(frames.Batch(0, 0, 1, [b"here"]))
        wait_until(lambda: got == [b"here"], what="the message")


@pytest.mark.parametrize("calls", [1, limits.AGREED_SESSIONS_OF_ONE])
def test_calls_that_were_held_up_do_not_displace_it(nodes: Nodes, calls: int) -> None:
    """Their caller has given them up; what it said in them comes after the call that counts."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with contextlib.ExitStack() as stack:
        held_up = [stack.enter_context(answered(node, greater, run)) for _ in range(calls)]
        with Caller(node, greater, incarnation=run) as caller:
            welcome = caller.expect(frames.Welcome)
            assert isinstance(welcome, frames.Welcome)
            for each in held_up:
                each.introduce()
                assert outcome(each) is frames.Outcome.FRESH
    goes_on(node, greater, run, welcome.session_id)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_nor_does_a_session_that_begins_late(nodes: Nodes, cut: bool, restarted: bool) -> None:
    """The first word of its caller, who has let go of it since, or was restarted, was held up."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, greater, incarnation=os.urandom(limits.INCARNATION_SIZE) if restarted else run) as first:
        first.expect(frames.Welcome)
        with Caller(node, greater, incarnation=run) as caller:
            welcome = caller.expect(frames.Welcome)
            assert isinstance(welcome, frames.Welcome)
            first.send(frames.Use(1))
            nodes.heard(node).wait(crust.ConnectSuccess)
            if not cut:
                caller.send(frames.Use(1))
                assert caller.rest() == []
    goes_on(node, greater, run, welcome.session_id)
    assert [each.reason for each in nodes.heard(node).of(crust.LostPeer)] == ["replaced"]


def test_a_call_from_elsewhere_does_not_end_it(nodes: Nodes) -> None:
    """Its address is on no list; the next one may come from where the session was agreed to."""
    less, greater = pair_of_identities()
    node = nodes.start(config(access__node_networks=("127.0.0.1",)), identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)
    with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0), source="127.0.0.3") as elsewhere:
        assert elsewhere.rest() == []
    goes_on(node, greater, run, session_id)


def test_nor_does_a_function_that_fails(nodes: Nodes) -> None:
    """It could tell that the caller was welcome, and may be able to again."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    asked: list[crust.PeerView] = []

    def fails_once(view: crust.PeerView) -> bool:
        asked.append(view)
        if len(asked) == 2:
            raise ValueError("out of order")
        return False

    node.ban(fails_once)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)
    with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as caller:
        assert caller.rest() == []
    goes_on(node, greater, run, session_id)
    assert len(asked) == 3


def test_it_waits_for_a_place_that_its_own_call_takes(nodes: Nodes) -> None:
    """The link of that has not ended here."""
    less, greater = pair_of_identities()
    node = nodes.start(config(limits__max_peers=1), identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, greater, incarnation=run) as caller:
        welcome = caller.expect(frames.Welcome)
        assert isinstance(welcome, frames.Welcome)
        with Caller(node, greater, incarnation=run, resume=Resume(welcome.session_id, 0)) as again:
            assert again.rest() == []
    wait_until(lambda: not node._node.registry._whereabouts._promised, what="the end of the link")  # type: ignore[union-attr]
    goes_on(node, greater, run, welcome.session_id)


@pytest.mark.parametrize("other", ["run", "number", "peer"])
def test_only_its_caller_goes_on_with_it(nodes: Nodes, other: str) -> None:
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    resume = Resume(agreed(node, greater, run), 1 if other == "number" else 0)
    identity = greater_than(less) if other == "peer" else greater
    later = os.urandom(limits.INCARNATION_SIZE) if other == "run" else run
    with Caller(node, identity, incarnation=later, resume=resume) as again:
        assert outcome(again) is frames.Outcome.GONE


def test_it_needs_room_like_any_that_begins(nodes: Nodes) -> None:
    less, greater = pair_of_identities()
    node = nodes.start(config(limits__max_peers=1), identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)
    wait_until(lambda: not any("crust-link-" in each.name for each in threading.enumerate()), what="its end")
    with Caller(node, crust.Identity.generate()) as another:
        another.begin()
        nodes.heard(node).wait(crust.ConnectSuccess)
        with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as again:
            assert outcome(again) is frames.Outcome.GONE


def test_the_function_of_a_ban_is_asked_before(nodes: Nodes) -> None:
    """Such a one has been made since the call."""
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)
    node.ban(lambda peer: peer.id == greater.peer_id)
    with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as again:
        denied = again.expect(frames.Denied)
        assert isinstance(denied, frames.Denied)
    assert nodes.heard(node).of(crust.ConnectSuccess) == []


def test_it_is_forgotten_as_who_called_would(nodes: Nodes) -> None:
    """After the time for which a controller tries to resume it; and there are never many."""
    less, greater = pair_of_identities()
    node = nodes.start(config(session__heartbeat_interval=0.1, session__resume_timeout=0.5), identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)

    def is_gone() -> bool:
        with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as again:
            return outcome(again) is frames.Outcome.GONE

    wait_until(is_gone, what="the end of its time")


@pytest.mark.parametrize(("source", "is_kept"), [("", False), ("127.0.0.5", True)])
def test_few_are_remembered_and_those_at_one_address_displace_their_own(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, source: str, is_kept: bool
) -> None:
    """A key costs nothing."""
    monkeypatch.setattr(limits, "AGREED_SESSIONS_KNOWN", 3)
    less, greater = pair_of_identities()
    node = nodes.start(identity=less)
    run = os.urandom(limits.INCARNATION_SIZE)
    session_id = agreed(node, greater, run)
    for _ in range(4):
        agreed(node, greater_than(less), run, source)
    if is_kept:
        goes_on(node, greater, run, session_id)
        return
    with Caller(node, greater, incarnation=run, resume=Resume(session_id, 0)) as again:
        assert outcome(again) is frames.Outcome.GONE


# --- a session that is over before whoever has called wakes up --------------------------------------------------------


def word_and_end(callee: Callee) -> None:
    wire, _ = callee.welcome()
    wire.receive()  # whoever decides has done so
    wire.send_plaintext(frames.build_batch(0, 0, 1, [b"first and last"]))
    wire.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))


@pytest.mark.parametrize("way", ["connect", "bootstrap"])
def test_its_messages_are_there_to_be_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Also if callbacks have heard of the end by then, and nobody has kept the peer."""
    node = nodes.make(config(), heard=False)
    began: list[Conversation] = []
    for kind in (crust.ConnectSuccess, crust.BootstrapConnect):
        node.on(kind, lambda event: began.append(event.peer._conversation))
    node.start()
    begin = Dialled.begin

    def begin_and_oversleep(dialled: Dialled) -> None:
        begin(dialled)
        wait_until(lambda: began and began[0]._end_heard, PATIENCE, "the end")

    monkeypatch.setattr(Dialled, "begin", begin_and_oversleep)
    with Callee(crust.Identity.generate()) as callee:
        other = Background(word_and_end, callee)
        peer = node.connect(callee.contact) if way == "connect" else node.bootstrap(contacts=[callee.contact])
        assert peer.state == "lost"
        assert peer.recv(0) == b"first and last"
        other.result()
