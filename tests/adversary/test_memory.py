"""A peer that fills memory: by what sessions leave behind, by what never ends, and by mere comings and goings."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import crust
import crust.testing
from crust import Identity, Service, limits
from crust.addresses import network_id
from crust.crypto.keys import hash32
from crust.crypto.proofs import Numbers, Signatory
from crust.peers.transfer import first_number
from crust.peers.unfinished import Unfinished
from crust.wire import frames
from crust.wire.handshake import Capability
from crust.wire.proofs import MessageStatement
from crust.wire.transfer import End, FileData, Offer, build_transfer
from tests.support.nodes import Nodes, config
from tests.support.puppet import Callee, Caller
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 30.0
TOTAL = 300_000
SMALL = {"session__max_message_size": 20_000, "session__receive_buffer": 90_000, "limits__total_buffers": TOTAL}
FULL = 4_000_000
BIG = {"session__max_message_size": 1_000_000, "session__receive_buffer": 4_500_000, "limits__total_buffers": FULL}
ONE_READ = 300_000  # bytes that may come to each link before it is seen that they are too many


class Doorkeeper:
    """A callback that waits, as applications' do, until the test lets it go on; what it has been given."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.given: list[object] = []
        self.is_inside = False

    def __call__(self, event: object) -> None:
        self.is_inside = True
        self.opened.wait(PATIENCE)
        self.given.append(event)


@pytest.fixture
def door() -> Iterator[Doorkeeper]:
    keeper = Doorkeeper()
    yield keeper
    keeper.opened.set()


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing that is signed is verified before this is set."""
    opened = threading.Event()
    open_message = Signatory.open_message

    def slowly(signatory: Signatory, sender: bytes, signed: bytes) -> MessageStatement:
        opened.wait(PATIENCE)
        return open_message(signatory, sender, signed)

    monkeypatch.setattr(Signatory, "open_message", slowly)
    yield opened
    opened.set()


def is_let_in(caller: Caller) -> bool:
    """Whether it has a session now; False: it was refused as busy."""
    first = caller.expect(frames.Frame)
    if isinstance(first, frames.Denied):
        assert first.code.name == "BUSY"
        return False
    if caller.controller:
        caller.send(frames.Use(1))
    return True


def come_fill_and_go(node: Service, identity: Identity, kind: int = frames.Kind.MESSAGE) -> bool:
    """One session that brings 80 messages of 1,000 bytes, and ends; False if it was refused as busy."""
    held, others = node.stats().buffered_bytes, len(node.peers)
    with Caller(node, identity) as caller:
        if not is_let_in(caller):
            return False
        message = bytes(936) if kind != frames.Kind.FILE else word_of_a_file(caller, 936)
        for number in range(0, 80, 40):
            caller.send_plaintext(frames.build_batch(number, kind, 1, [message] * 40))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        wait_until(lambda: node.stats().buffered_bytes >= held + 80_000, PATIENCE, "the messages")
        wait_until(
            lambda: len(node.peers) <= others or node.stats().buffered_bytes > TOTAL, PATIENCE, "the session's end"
        )
    return True


def fill_up(node: Service, kind: int = frames.Kind.MESSAGE, identity: Identity | None = None) -> int:
    """Sessions of that key, or of ever new ones, come and go until the node is busy; how many there were."""
    came = 0
    while come_fill_and_go(node, identity or Identity.generate(), kind):
        came += 1
        assert came <= TOTAL // 80_000 + 1
    assert TOTAL < node.stats().buffered_bytes <= TOTAL + 90_000
    return came


def word_of_a_file(caller: Caller, size: int) -> bytes:
    """Of a file that nobody has offered, in so many bytes."""
    number = first_number(caller.controller)
    around = len(build_transfer(FileData(number, 0, b"x"))) - 1
    return build_transfer(FileData(number, 0, bytes(size - around)))


@pytest.mark.parametrize("consumer", ["callback", "stream"])
@pytest.mark.parametrize("many", [False, True], ids=["one key", "new keys"])
def test_sessions_that_end_give_no_room_for_more(
    nodes: Nodes, door: Doorkeeper, consumer: str, many: bool
) -> None:
    """What they leave counts until the application takes it. Nothing of it is lost, and then there is room again."""
    node = nodes.make(config(**SMALL))
    if consumer == "callback":
        node.on(crust.NewMessage, door)
    node.start()
    stream = node.events(crust.NewMessage) if consumer == "stream" else None
    identity = Identity.generate()
    came = fill_up(node, identity=None if many else identity)
    assert node.stats().refusals["limits.total_buffers"] >= 1
    door.opened.set()
    if stream is not None:
        door.given = [stream.get(PATIENCE) for _ in range(80 * came)]
    wait_until(lambda: len(door.given) == 80 * came, PATIENCE, "every message")
    wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")
    with Caller(node, identity) as caller:
        caller.begin()


def test_what_is_left_to_be_verified_counts_whoever_takes_messages(nodes: Nodes, verifying: threading.Event) -> None:
    """It has not come to any inbox yet, and whoever signs, or seems to, is quicker than who verifies."""
    node = nodes.start(config(signing__require_signed=True, **SMALL))
    fill_up(node, frames.Kind.SIGNED)
    verifying.set()
    wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")
    with Caller(node, Identity.generate()) as caller:
        caller.begin()


def test_what_is_left_in_inboxes_goes_with_the_peer(nodes: Nodes) -> None:
    """The application has a ``Peer``, or lets go of it: it is not the node that holds that."""
    node = nodes.start(config(**SMALL))
    for _ in range(2 * TOTAL // 80_000):
        assert come_fill_and_go_unseen(node)
    kept = nodes.heard(node).of(crust.ConnectSuccess)[-1].peer
    assert [len(kept.recv(PATIENCE)) for _ in range(80)] == [936] * 80
    assert node.stats().buffered_bytes == 0


def come_fill_and_go_unseen(node: Service) -> bool:
    """The same where nobody takes messages: the accounts are even at once."""
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        for number in range(0, 80, 40):
            caller.send_plaintext(frames.build_batch(number, 0, 1, [bytes(936)] * 40))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        caller.rest()
    wait_until(lambda: not node.peers, PATIENCE, "the session's end")
    wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")
    return True


@pytest.mark.parametrize("event", [crust.ConnectSuccess, crust.LostPeer])
def test_what_is_left_in_inboxes_counts_until_callbacks_have_heard(
    nodes: Nodes, door: Doorkeeper, event: type[crust.Event]
) -> None:
    """As long as events wait that bring the ``Peer``, it is the node that holds that, and what is in its inbox."""
    node = nodes.make(config(**SMALL), heard=False)
    node.on(event, door)
    node.start()
    fill_up(node)
    assert node.stats().refusals["limits.total_buffers"] >= 1
    door.opened.set()
    wait_until(lambda: node.stats().buffered_bytes <= 90_000, PATIENCE, "room")  # what has no link may live on
    with Caller(node, Identity.generate()) as caller:
        caller.begin()


def test_what_is_verified_after_the_end_counts_until_callbacks_have_heard(
    nodes: Nodes, door: Doorkeeper, verifying: threading.Event
) -> None:
    """It comes into the inbox only then: one message that is signed keeps all others there that come behind it."""
    node, identity = nodes.make(config(**SMALL), heard=False), Identity.generate()
    node.on(crust.LostPeer, door)
    node.start()
    told = node.events(crust.LostPeer)
    with Caller(node, identity) as caller:
        number = Numbers(caller.begin().session_id, os.urandom).next(1)
        signed = Signatory(identity, network_id(None)).sign_message(node.id.public_key, number, 1, b"slow")
        caller.send(frames.Batch(0, frames.Kind.SIGNED, 1, [signed]))
        for number in (1, 41):
            caller.send_plaintext(frames.build_batch(number, 0, 1, [bytes(936)] * 40))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        caller.rest()
    verifying.set()
    peer = told.get(PATIENCE).peer
    assert node.stats().buffered_bytes == 80 * 1000 + len(b"slow") + limits.MESSAGE_OVERHEAD
    assert sum(1 for _ in messages_of(peer)) == 81
    door.opened.set()
    wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")


def test_what_the_thread_that_writes_files_has_not_come_to_counts(
    nodes: Nodes, door: Doorkeeper, tmp_path: Path
) -> None:
    """It is busy with a file of another peer, and keeps each session of which it has had a word, with what is left."""
    node = nodes.start(config(**SMALL), heard=False)
    node.accept_files(tmp_path, progress=door)
    with Caller(node, Identity.generate()) as slow:
        slow.begin()
        number = first_number(slow.controller)
        words = (Offer(number, 1, "slow"), FileData(number, 0, b"x"), End(number, hash32(b"x")))
        slow.send(frames.Batch(0, frames.Kind.FILE, 1, [build_transfer(each) for each in words]))
        wait_until(lambda: door.is_inside, PATIENCE, "the busy thread")
        fill_up(node, frames.Kind.FILE)
        door.opened.set()
        wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")


@pytest.mark.parametrize("consumer", ["nobody", "a group that refuses", "nobody, and it names ports"])
def test_what_is_left_in_inboxes_goes_at_once(nodes: Nodes, consumer: str) -> None:
    """
    Of sessions that nobody holds (but that a thread which waits may have the last one in hand): neither their timers
    do, which may be due in minutes, nor groups that are to remember for ten whom they refused. What new keys brought
    meanwhile counted nowhere.
    """
    node = nodes.start(config(session__heartbeat_interval=1000.0, session__resume_timeout=2000.0), heard=False)
    left: list[weakref.ref[crust.Peer]] = []

    def refuse(peer: crust.Peer) -> bool:
        left.append(weakref.ref(peer))
        return False

    if consumer == "a group that refuses":
        node.group("choosy", 1, offer=refuse)
    for number in range(1, 4):
        caller = Caller(node, Identity.generate(), capabilities=Capability.TRAVERSAL)
        with caller, contextlib.suppress(ConnectionError):  # it may be quicker
            caller.begin()
            if consumer == "nobody, and it names ports" and number == 1:  # of others' are those that live remembered
                caller.send(frames.EchoPorts((2000,), (3000,)))
            caller.send_plaintext(frames.build_batch(0, 0, 1, [bytes(936)] * 40))
            if consumer != "a group that refuses":
                wait_until(lambda: node.peers, PATIENCE, "the session")
                left.append(weakref.ref(node.peers[0]))
                caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
            caller.rest()
        wait_until(lambda count=number: len(left) == count and not node.peers, PATIENCE, "the session's end")
    wait_until(lambda: gc.collect() >= 0 and not any(each() for each in left[:-1]), 5.0, "nothing left of them")


def test_a_callback_that_is_cancelled_leaves_even_accounts(nodes: Nodes, door: Doorkeeper) -> None:
    """What it has not had of a session that is over goes into its inbox, which is the application's."""
    node = nodes.make(config(**SMALL))
    subscription = node.on(crust.NewMessage, door)
    assert isinstance(subscription, crust.Subscription)
    node.start()
    assert come_fill_and_go(node, Identity.generate())
    subscription.cancel()
    door.opened.set()
    wait_until(lambda: node.stats().buffered_bytes == 0, PATIENCE, "even accounts")
    peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
    assert len(door.given) + sum(1 for _ in messages_of(peer)) == 80


def messages_of(peer: crust.Peer) -> Iterator[bytes]:
    with contextlib.suppress(crust.PeerLost, crust.Timeout):
        while True:
            yield peer.recv(0)


# --- what does not come to an end -------------------------------------------------------------------------------------


def begin_messages(caller: Caller, size: int = 950_000) -> None:
    """Four messages of which the last piece never comes."""
    number = 0
    for slot in range(4):
        for offset in range(0, size - 50_000, 50_000):
            piece = frames.build_piece(number, 0, 1, slot, offset == 0, False, size, bytes(50_000))
            caller.send_plaintext(piece)
            number += 1


def test_messages_that_do_not_end_are_bounded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count, have half of the memory, and whoever keeps others waiting loses the session: theirs all arrive."""
    node = nodes.start(config(**BIG))
    heard = nodes.heard(node)
    honest = nodes.start()
    to_node = honest.connect(node.contact)
    from_honest = heard.wait(crust.ConnectSuccess).peer
    with contextlib.ExitStack() as stack:
        jobs = []
        for number in range(8):
            caller = stack.enter_context(Caller(node, Identity.generate()))
            caller.begin()
            heard.wait(crust.ConnectSuccess, number + 2)
            jobs.append(Background(begin_messages, caller))
        wait_until(lambda: node.stats().refusals["limits.total_buffers"] > 0, PATIENCE, "a pause")
        assert node.stats().buffered_bytes < FULL + 8 * ONE_READ
        to_node.send(b"small ones go on")
        assert from_honest.recv(PATIENCE) == b"small ones go on"
        monkeypatch.setattr(limits, "UNFINISHED_SECONDS", 0.2)
        for _ in range(5):
            to_node.send(bytes(900_000), timeout=PATIENCE)
            assert len(from_honest.recv(PATIENCE)) == 900_000
        assert node.stats().buffered_bytes < FULL + 8 * ONE_READ
        wait_until(lambda: node.stats().refusals["UNFINISHED_SECONDS"] > 0, PATIENCE, "the end of one")
        assert heard.wait(crust.LostPeer).reason == "overloaded"
        for job in jobs:
            with contextlib.suppress(OSError):
                job.result(PATIENCE)
    for peer in node.peers:  # those that were cut, and might come back
        if peer is not from_honest:
            peer.disconnect()
    assert node.stats().buffered_bytes == 0
    assert from_honest.state == "connected"


def test_small_messages_do_not_make_up_for_one_that_does_not_end(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who took turns in sending one, with another byte of what does not end, had all the memory for good."""
    turns: list[bool] = []
    note = Unfinished.note

    def noted(unfinished: Unfinished[object], who: object, place: object, size: int, finished: bool) -> None:
        turns.append(finished)
        note(unfinished, who, place, size, finished)  # type: ignore[arg-type]

    monkeypatch.setattr(Unfinished, "note", noted)
    node = nodes.start(config(**BIG))
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        number = 0

        def send(slot: int, first: bool, last: bool, total: int) -> None:
            nonlocal number
            caller.send_plaintext(frames.build_piece(number, 0, 1, slot, first, last, total, b"x"))
            number += 1

        send(0, True, False, 900_000)
        send(1, True, False, 2)
        send(1, False, True, 2)
        caller.send_plaintext(
            frames.build_piece(number, 0, 1, 0, False, False, 900_000, b"x")
            + frames.build_batch(number + 1, 0, 1, [b"small"])
        )
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        assert [peer.recv(PATIENCE), peer.recv(PATIENCE)] == [b"xx", b"small"]
        assert turns and not any(turns)
        for chunk, size in enumerate([60_000] * 14 + [59_998], number + 2):
            caller.send_plaintext(
                frames.build_piece(chunk, 0, 1, 0, False, size < 60_000, 900_000, bytes(size))
            )
        assert len(peer.recv(PATIENCE)) == 900_000 and turns[-1]


# --- comings and goings -----------------------------------------------------------------------------------------------


def come_and_go(node: Service, identity: Identity) -> bool:
    """A session that begins and ends; False if it was refused as busy."""
    with Caller(node, identity) as caller:
        if not is_let_in(caller):
            return False
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        caller.rest()
    return True


def test_events_that_wait_for_callbacks_are_bounded(
    nodes: Nodes, door: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a callback blocks, others can only come and go so often; once it returns it hears of all of them."""
    monkeypatch.setattr(limits, "EVENTS_WAITING_MAX", 20)
    node = nodes.make(config(), heard=False)
    node.on(crust.ConnectSuccess, door)
    lost: list[crust.LostPeer] = []
    node.on(crust.LostPeer, lost.append)
    node.start()
    came = 0
    while come_and_go(node, Identity.generate()):
        came += 1
        assert came <= 20
    assert node.stats().refusals["EVENTS_WAITING_MAX"] == 1
    door.opened.set()
    wait_until(lambda: len(door.given) == len(lost) == came, PATIENCE, "all events")
    assert come_and_go(node, Identity.generate())


def test_a_session_is_resumed_when_callbacks_have_caught_up(
    nodes: Nodes, door: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cuts its links again and again brings events, too. The session waits, and loses nothing."""
    pair = nodes.proxied()
    pair.far.on(crust.PeerSuspended, door)
    monkeypatch.setattr(limits, "EVENTS_WAITING_RESUMED", 1)
    pair.cut()  # the callback has the first event; those of the session's return wait behind it
    wait_until(pair.wire.cut, what="a link to cut")
    pair.to_far.send(b"waits")
    wait_until(lambda: pair.far.stats().refusals["EVENTS_WAITING_RESUMED"] > 0, PATIENCE, "a refusal")
    assert pair.to_near.state == "suspended"
    door.opened.set()
    assert pair.to_near.recv(PATIENCE) == b"waits"


def test_no_file_is_taken_while_callbacks_are_behind(
    nodes: Nodes, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each brings an event, too."""
    pair = nodes.pair()
    pair.far.accept_files(str(tmp_path))
    monkeypatch.setattr(limits, "EVENTS_WAITING_MAX", 0)
    with pytest.raises(crust.FileRefused, match="try again later"):
        pair.to_far.send_file(__file__)
    assert pair.far.stats().refusals["EVENTS_WAITING_MAX"] == 1


# --- what nobody but crust keeps --------------------------------------------------------------------------------------


@pytest.fixture
def no_search_for_circles() -> Iterator[None]:
    """As in a program with a large heap, or one that has switched it off: what keeps each other stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left_with(peer: crust.Peer) -> weakref.ref[crust.Peer]:
    """A peer, once its session is over and callbacks have heard so, as long as somebody keeps it."""
    wait_until(lambda: peer._conversation._end_heard, PATIENCE, "the end to be heard of")
    return weakref.ref(peer)


@pytest.mark.usefixtures("no_search_for_circles")
def test_an_inbox_goes_at_once_when_callbacks_have_heard_of_the_end(nodes: Nodes) -> None:
    """It is not counted any more: new keys that fill theirs and go filled the memory until Python searched it."""
    node = nodes.make(config(**SMALL), heard=False)
    peers: list[weakref.ref[crust.Peer]] = []
    node.on(crust.ConnectSuccess, lambda event: peers.append(weakref.ref(event.peer)))
    node.start()
    callers = []
    for _ in range(3):
        caller = Caller(node, Identity.generate())
        callers.append(caller)  # its link lingers, and keeps the session, but not what that has brought
        caller.begin()
        caller.send_plaintext(frames.build_batch(0, 0, 1, [bytes(936)] * 40))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
    wait_until(lambda: len(peers) == 3, PATIENCE, "the sessions")
    wait_until(lambda: not any(peer() for peer in peers), PATIENCE, "the inboxes to go")
    for caller in callers:
        caller.sock.close()


@pytest.mark.usefixtures("no_search_for_circles")
def test_an_inbox_goes_with_a_peer_that_was_dialled(nodes: Nodes) -> None:
    """Neither the attempt nor its time limit keeps it."""
    node = nodes.start(config(), heard=False)
    with Callee(Identity.generate()) as callee:
        future = node.dial(callee.contact, timeout=3600.0)
        wire, _ = callee.welcome()
        peer = future.result(PATIENCE)
        wire.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        left = left_with(peer)
        del future, peer
        wait_until(lambda: left() is None, PATIENCE, "the inbox to go")


@pytest.mark.usefixtures("no_search_for_circles")
def test_an_inbox_goes_though_a_file_was_being_sent(nodes: Nodes, tmp_path: Path) -> None:
    """A program offers callers a file, and they answer with what they have to say, and go."""
    node = nodes.start(config(**SMALL), heard=False)
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with Caller(node, Identity.generate(), capabilities=int(Capability.FILES)) as caller:
        caller.begin()
        wait_until(lambda: node.peers, PATIENCE, "the session")
        peer = node.peers[0]
        sending = Background(offer_in_vain, peer, path)
        caller.expect(frames.Batch)
        caller.send_plaintext(frames.build_batch(0, 0, 1, [bytes(936)] * 40))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        sending.result()
        left = left_with(peer)
        del peer, sending
        wait_until(lambda: left() is None, PATIENCE, "the inbox to go")


def offer_in_vain(peer: crust.Peer, path: Path) -> None:
    with contextlib.suppress(crust.PeerLost):
        peer.send_file(path, timeout=PATIENCE)


@pytest.mark.usefixtures("no_search_for_circles")
def test_a_peer_that_the_application_has_stays_itself(nodes: Nodes) -> None:
    """With its inbox, also for what is said of it afterwards; of one that it has not there is another, and empty."""
    node = nodes.make(config(), heard=False)
    has: list[crust.Peer] = []
    node.on(crust.ConnectSuccess, lambda event: has.append(event.peer))
    node.start()
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        caller.send_plaintext(frames.build_batch(0, 0, 1, [b"the last word"]))
        caller.send(frames.Goodbye(frames.GoodbyeCode.CLOSED))
        wait_until(lambda: has and has[0].state == "lost", PATIENCE, "the end")
    left, conversation = left_with(has[0]), has[0]._conversation
    assert conversation.peer is has[0]
    assert conversation.peer.recv(0) == b"the last word"
    has.clear()
    wait_until(lambda: left() is None, PATIENCE, "the inbox to go")
    assert conversation.peer.state == "lost"
    with pytest.raises(crust.PeerLost):
        conversation.peer.recv(0)


# --- an application that is behind for long ---------------------------------------------------------------------------


def test_who_is_not_read_for_long_is_not_lost_for_it() -> None:
    """A full node pauses links for as long as it takes, far longer than a peer may be silent: the silence is ours."""
    with crust.testing.network() as net:
        node = net.service(crust.Config().replace(limits={"total_buffers": 1_000_000}))
        other = net.service()
        to_node = other.connect(node.contact)
        net.settle()
        (peer,) = node.peers
        fill(lambda: to_node.send(bytes(100_000), timeout=0), net)
        assert node.stats().buffered_bytes > 1_000_000
        net.advance(5 * limits.RESUME_TIMEOUT)
        assert (peer.state, to_node.state) == ("connected", "connected")
        while node.stats().buffered_bytes:
            peer.recv(0)
            net.settle()
        assert net.close()


def fill(send: Callable[[], object], net: crust.testing.Network) -> None:
    with contextlib.suppress(crust.WouldBlock):
        while True:
            send()
            net.settle()


def test_all_keys_of_an_ipv6_network_have_one_share_of_what_is_unfinished() -> None:
    """Each with an address of its own there, 256 of them left others less than half a MiB before they had to wait."""
    with crust.testing.network() as net:
        hub = net.service()
        for address in ("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"):
            net.connect(net.service(address=address), hub)
        inner = hub._running()
        for size, shares in ((1000, [1000, 2000]), (0, [])):
            for conversation in inner.registry.all():
                with conversation.lock:
                    conversation.session.inbox.begun = size
                    conversation._count_unfinished_locked()
            assert sorted(inner.brake.unfinished._places.values()) == shares
