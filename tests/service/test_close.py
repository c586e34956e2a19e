"""``close``: prompt, bounded, from anywhere; whoever waits is told; nothing starts afterwards."""

from __future__ import annotations

import functools
import logging
import pathlib
import queue
import threading
import time
from collections.abc import Callable

import pytest

import crust
from crust import Contact, Endpoint, Identity, limits
from crust.peers.conversation import Conversation
from crust.transports.udp import UdpHub
from crust.wire import frames
from tests.support.nodes import Nodes, Pair, at, call, config
from tests.support.proxy import UP
from tests.support.puppet import Caller
from tests.support.sockets import silent_listener
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


def small_buffers(**changes: object) -> crust.Config:
    """A node that fills up with a few messages."""
    return config(session__max_message_size=1000, session__send_buffer__messages=8, **changes)


def test_a_caller_that_is_welcome_already_hears_goodbye(nodes: Nodes) -> None:
    """It may take its session for begun: without a word it would look for this node for two minutes."""
    node = nodes.start()
    identity = Identity.generate()
    while identity.peer_id < node.id:
        identity = Identity.generate()
    with Caller(node, identity) as caller:
        caller.expect(frames.Welcome)
        closing = Background(node.close)
        goodbye = caller.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye) and goodbye.code is frames.GoodbyeCode.CLOSED
    assert closing.result(PATIENCE * 3)


def fill(peer: crust.Peer) -> None:
    """Send until the buffer is full."""
    with pytest.raises(crust.WouldBlock):
        while True:
            peer.send(b"x", timeout=0)


def stalled_pair(nodes: Nodes) -> Pair:
    """Two nodes that are connected, while nothing that the near one writes arrives any more."""
    pair = nodes.proxied(near=small_buffers())
    pair.wire.stall(UP)
    return pair


@pytest.fixture
def gracious(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short is the time for the other side: our own threads may need more to end on a busy machine."""
    monkeypatch.setattr(limits, "CLOSE_GRACE", 20.0)


class Unheard:
    """``UdpHub.transmit``, which loses what comes from one port."""

    def __init__(self, transmit: Callable[..., bool], port: int) -> None:
        self.lost = 0
        self._transmit = transmit
        self._port = port

    def __get__(self, hub: UdpHub, owner: type[UdpHub]) -> Callable[..., bool]:
        return functools.partial(self, hub)

    def __call__(self, hub: UdpHub, *arguments: object) -> bool:
        if hub.port != self._port:
            return self._transmit(hub, *arguments)
        self.lost += 1
        return True


def test_close_is_idempotent(nodes: Nodes) -> None:
    """Every further call answers the same."""
    service = nodes.start()
    assert [service.close() for _ in range(3)] == [True, True, True]


def test_everybody_may_close_at_once(nodes: Nodes) -> None:
    """Calls from several threads all return True when it is over."""
    pair = nodes.pair()
    closing = [Background(pair.near.close) for _ in range(4)]
    assert [each.result() for each in closing] == [True] * 4
    assert pair.near.wait(0)


def test_close_takes_no_time_without_work(nodes: Nodes) -> None:
    """A node with a peer that answers closes at once, not at its timeout."""
    pair = nodes.pair()
    began = time.monotonic()
    assert pair.near.close(timeout=60.0)
    assert time.monotonic() - began < PATIENCE * busy()


def test_close_waits_for_ever_if_asked(nodes: Nodes) -> None:
    """``timeout=None`` is no limit, and needs none."""
    pair = nodes.pair()
    pair.to_far.send(b"x")
    assert pair.near.close(timeout=None)


def test_what_was_sent_is_delivered_before_the_goodbye(nodes: Nodes) -> None:
    """``close`` lets the other side acknowledge what was queued: nothing accepted is lost by it."""
    pair = nodes.pair()
    messages = [b"%d" % number for number in range(3000)]
    pair.to_far.send_many(messages)
    assert pair.near.close()
    assert [pair.to_near.recv(PATIENCE) for _ in messages] == messages
    assert pair.near_heard.wait(crust.LostPeer).unacknowledged == ()


@pytest.mark.usefixtures("gracious")
def test_close_is_bounded_when_the_other_side_is_deaf(nodes: Nodes) -> None:
    """With data that nobody acknowledges it ends near its timeout, cleanly, and names what may not have arrived."""
    pair = stalled_pair(nodes)
    number = pair.to_far.send(b"into the void")
    began = time.monotonic()
    assert pair.near.close(timeout=0.5)
    assert time.monotonic() - began < (0.5 + PATIENCE) * busy()
    lost = pair.near_heard.wait(crust.LostPeer)
    assert (lost.reason, lost.unacknowledged) == ("service_closed", (number,))


def test_close_with_unread_data(nodes: Nodes) -> None:
    """Messages that nobody has read hold nothing up, and can still be read; then the end is told."""
    pair = nodes.pair()
    pair.to_far.send_many([b"a", b"b"])
    pair.to_far.flush()
    assert pair.far.close()
    assert [pair.to_near.recv(0), pair.to_near.recv(0)] == [b"a", b"b"]
    for _ in range(2):
        with pytest.raises(crust.ServiceClosed):
            pair.to_near.recv(0)


def test_close_with_a_full_receive_buffer(nodes: Nodes) -> None:
    """Neither does a sender that is held up by it."""
    small = config(session__max_message_size=1000, session__receive_buffer=70_000)
    pair = nodes.pair(small, small)
    with pytest.raises(crust.Timeout):
        while True:
            pair.to_far.send(b"x" * 1000, timeout=0.1)
    began = time.monotonic()
    assert pair.far.close()
    assert pair.near.close()
    assert time.monotonic() - began < PATIENCE * busy()
    assert pair.near_heard.wait(crust.LostPeer).unacknowledged != ()


@pytest.mark.usefixtures("gracious")
def test_close_cuts_what_lingers(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A µTP connection of a session that is over, whose last packets nobody acknowledges: no thread and socket stay."""
    near, far = (nodes.start(config(listen__addresses=("utp://127.0.0.1:0",))) for _ in range(2))
    near.connect(far.contact)
    nodes.heard(far).wait(crust.ConnectSuccess)
    monkeypatch.setattr(limits, "CLOSE_LINGER", 600.0)
    monkeypatch.setattr(UdpHub, "transmit", unheard := Unheard(UdpHub.transmit, near.addresses[0].port))
    assert far.disconnect(near.id)
    nodes.heard(near).wait(crust.LostPeer)
    wait_until(lambda: unheard.lost, what="what nobody hears")
    assert near._node is not None
    near._node._links.clear()  # as when the collector has been there: nobody else keeps a link that is over
    began = time.monotonic()
    assert near.close(timeout=1.0)
    assert far.close(timeout=1.0)
    assert time.monotonic() - began < (2 + PATIENCE) * busy()


def test_close_while_suspended(nodes: Nodes) -> None:
    """A session without a link is ended too."""
    pair = nodes.proxied()
    pair.suspend()
    number = pair.to_far.send(b"later")
    assert pair.near.close()
    assert pair.near_heard.wait(crust.LostPeer).unacknowledged == (number,)


# --- waiters ----------------------------------------------------------------------------------------------------------


def waits_in_send(pair: Pair) -> Callable[[], object]:
    fill(pair.to_far)
    return lambda: pair.to_far.send(b"x", timeout=None)


def waits_in_send_many(pair: Pair) -> Callable[[], object]:
    fill(pair.to_far)
    return lambda: pair.to_far.send_many([b"x"] * 100, timeout=60)


def waits_in_flush(pair: Pair) -> Callable[[], object]:
    pair.to_far.send(b"x")
    return lambda: pair.to_far.flush(timeout=None)


def waits_in_recv(pair: Pair) -> Callable[[], object]:
    return lambda: pair.to_far.recv()


def waits_in_iteration(pair: Pair) -> Callable[[], object]:
    return lambda: list(pair.to_far)


def waits_in_recv_message(pair: Pair) -> Callable[[], object]:
    return lambda: pair.to_far.recv_message(60)


def waits_in_events(pair: Pair) -> Callable[[], object]:
    stream = pair.near.events(crust.SendReady)

    def get() -> object:
        with stream:
            return stream.get()

    return get


WAITERS = [
    waits_in_send,
    waits_in_send_many,
    waits_in_flush,
    waits_in_recv,
    waits_in_iteration,
    waits_in_recv_message,
    waits_in_events,
]


@pytest.mark.usefixtures("gracious")
@pytest.mark.parametrize("prepare", WAITERS)
def test_waiters_get_service_closed(nodes: Nodes, prepare: Callable[[Pair], Callable[[], object]]) -> None:
    """Whoever waits for room, acknowledgements, messages or events hears at once that the node was closed."""
    pair = stalled_pair(nodes)
    wait = prepare(pair)
    entered = threading.Event()

    def enter() -> object:
        entered.set()
        return wait()

    waiting = Background(enter)
    assert entered.wait(PATIENCE)
    assert pair.near.close(timeout=0.2)
    with pytest.raises(crust.ServiceClosed):
        waiting.result()


@pytest.mark.usefixtures("gracious")
@pytest.mark.parametrize("prepare", WAITERS)
def test_those_who_come_later_get_it_too(nodes: Nodes, prepare: Callable[[Pair], Callable[[], object]]) -> None:
    """The same call after the end raises the same error at once."""
    pair = stalled_pair(nodes)
    wait = prepare(pair)
    assert pair.near.close(timeout=0.1)
    with pytest.raises(crust.ServiceClosed):
        wait()


def test_iterating_over_events_ends(nodes: Nodes) -> None:
    """A loop over a stream is left, after the last event, when the node is closed."""
    pair = nodes.pair()
    with pair.near.events(crust.PeerSuspended, crust.LostPeer) as stream:
        reading = Background(lambda: [type(event).__name__ for event in stream])
        pair.near.close()
        assert reading.result() == ["LostPeer"]


def deaf_contact(port: int) -> Contact:
    return Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", port),))


@pytest.mark.parametrize(
    "reach",
    [
        lambda node, contact: node.connect(contact, timeout=60),
        lambda node, contact: node.connect(contact, timeout=None),
        lambda node, contact: node.dial(contact).result(60),
        lambda node, contact: node.bootstrap(contacts=[contact], timeout=60),
    ],
)
def test_close_during_a_dial(nodes: Nodes, reach: Callable[[crust.Service, Contact], object]) -> None:
    """Whoever waits for an address that swallows everything hears at once that the node was closed."""
    sockets, port = silent_listener()
    try:
        service = nodes.start()
        waiting = Background(reach, service, deaf_contact(port))
        wait_until(lambda: service._node is not None and service._node.dialer._efforts, what="a dial under way")
        began = time.monotonic()
        assert service.close()
        with pytest.raises(crust.ServiceClosed):
            waiting.result()
        assert time.monotonic() - began < PATIENCE * busy()
    finally:
        for sock in sockets:
            sock.close()


def test_close_during_a_handshake(nodes: Nodes) -> None:
    """The same when the other side accepts and then says nothing."""
    far = nodes.start()
    proxy = nodes.proxy(far)
    proxy.swallow()
    service = nodes.start()
    waiting = Background(lambda: service.connect(at(far, proxy.endpoint), timeout=60))
    wait_until(lambda: proxy.connections, what="a connection")
    assert service.close()
    with pytest.raises(crust.ServiceClosed):
        waiting.result()


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_close_from_a_callback(nodes: Nodes) -> None:
    """It returns False at once, the callback goes on, and the node ends after it."""
    answers: list[bool] = []
    near, far = nodes.start(), nodes.start()
    nodes.release(far)

    def close(event: crust.ConnectSuccess) -> None:
        answers.append(far.close())
        answers.append(far.closed)

    far.on(crust.ConnectSuccess, close)
    near.connect(far.contact)
    assert far.wait(PATIENCE)
    assert answers == [False, True]
    assert far.close()
    assert nodes.heard(near).wait(crust.LostPeer).reason == "closed"


def judged(pair: Pair, close: Callable[[], bool], _folder: pathlib.Path) -> None:
    """The function of a ban closes the node."""
    pair.to_far.disconnect()
    pair.far_heard.wait(crust.LostPeer)
    pair.far.ban(lambda peer: close())
    call(lambda: pair.near.connect(pair.far.contact))  # there may be a session for a moment


def taking(pair: Pair, folder: pathlib.Path, **how: Callable[..., bool]) -> None:
    """The far node takes a file so."""
    inbox, file = folder / "inbox", folder / "file"
    inbox.mkdir()
    file.write_bytes(bytes(2_000_000))
    pair.far.accept_files(inbox, **how)
    call(lambda: pair.to_far.send_file(file))  # it may have come by then


def decided(pair: Pair, close: Callable[[], bool], folder: pathlib.Path) -> None:
    """``decide`` closes the node."""
    taking(pair, folder, decide=lambda offer: close())


def progressing(pair: Pair, close: Callable[[], bool], folder: pathlib.Path) -> None:
    """``progress`` closes the node."""
    taking(pair, folder, progress=lambda *_: close())


@pytest.mark.parametrize("code", [judged, decided, progressing])
def test_close_from_code_that_other_threads_of_the_node_run(
    nodes: Nodes, tmp_path: pathlib.Path, code: Callable[[Pair, Callable[[], bool], pathlib.Path], None]
) -> None:
    """As from a callback, whatever time it has: it would wait for itself."""
    answers: queue.Queue[bool] = queue.Queue()
    pair = nodes.pair()
    nodes.release(pair.far)

    def close() -> bool:
        answers.put(pair.far.close(timeout=None))
        return False

    code(pair, close, tmp_path)
    assert answers.get(timeout=PATIENCE) is False
    assert pair.far.wait(PATIENCE)
    assert pair.far.close()


def test_the_peers_of_a_node_closed_in_a_callback_are_lost(nodes: Nodes) -> None:
    """Its own LostPeer events are still heard: they end before ``wait`` returns."""
    pair = nodes.pair()
    pair.far.on(crust.NewMessage, lambda message: pair.far.close())
    pair.to_far.send(b"close yourself")
    assert pair.far.wait(PATIENCE)
    assert [event.reason for event in pair.far_heard.of(crust.LostPeer)] == ["service_closed"]


def test_callbacks_that_wait_run_before_close_returns(nodes: Nodes) -> None:
    """What had arrived is handed over first."""
    pair = nodes.pair()
    first, go = threading.Event(), threading.Event()
    seen: list[bytes] = []

    def slow(message: crust.NewMessage) -> None:
        first.set()
        assert go.wait(PATIENCE)
        seen.append(message.data)

    pair.far.on(crust.NewMessage, slow)
    for number in range(20):
        pair.to_far.send(b"%d" % number)
    pair.to_far.flush()
    assert first.wait(PATIENCE)
    closing = Background(pair.far.close)
    wait_until(lambda: pair.far.closed, what="the beginning of close()")
    go.set()
    assert closing.result() is True
    assert seen == [b"%d" % number for number in range(20)]


class Stuck:
    """A callback that does not return until it is let go; counts its calls."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def __call__(self, event: object) -> None:
        self.calls += 1
        self.entered.set()
        self.i_am_stuck_here()

    def i_am_stuck_here(self) -> None:
        self.go.wait(60)


def test_a_stuck_callback_is_left_behind(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    """``close`` returns False near its timeout, and the log shows where the callback hangs."""
    pair = nodes.pair()
    nodes.release(pair.far)
    stuck = Stuck()
    pair.far.on(crust.NewMessage, stuck)
    pair.to_far.send(b"x")
    assert stuck.entered.wait(PATIENCE)
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "crust"):
        assert pair.far.close(timeout=0.2) is False
    assert time.monotonic() - began < (0.2 + PATIENCE) * busy()
    assert "i_am_stuck_here" in caplog.text
    assert pair.far.close(timeout=0.1) is False
    assert pair.near_heard.wait(crust.LostPeer).reason == "closed"
    stuck.go.set()


def test_no_callback_starts_after_close_has_returned(nodes: Nodes) -> None:
    """A stuck callback that comes back later is the last: not the next message, not the next subscriber, runs."""
    pair = nodes.pair()
    nodes.release(pair.far)
    stuck = Stuck()
    others: list[object] = []
    pair.far.on(crust.NewMessage, stuck)
    pair.far.on(crust.NewMessage, others.append)
    pair.far.on(crust.LostPeer, others.append)
    pair.to_far.send_many([b"x"] * 50)
    pair.to_far.flush()
    assert stuck.entered.wait(PATIENCE)
    assert pair.far.close(timeout=0.05) is False
    stuck.go.set()
    wait_until(lambda: not dispatcher_lives(pair.far), what="the dispatcher's end")
    assert (stuck.calls, others) == (1, [])


def test_no_state_callback_starts_after_close_has_returned(nodes: Nodes) -> None:
    """The same between two subscribers of one state event."""
    near, far = nodes.start(), nodes.start(heard=False)
    nodes.release(far)
    stuck = Stuck()
    others: list[object] = []
    far.on(crust.ConnectSuccess, stuck)
    far.on(crust.ConnectSuccess, others.append)
    near.connect(far.contact)
    assert stuck.entered.wait(PATIENCE)
    assert far.close(timeout=0.05) is False
    stuck.go.set()
    wait_until(lambda: not dispatcher_lives(far), what="the dispatcher's end")
    assert (stuck.calls, others) == (1, [])


def dispatcher_lives(service: crust.Service) -> bool:
    assert service._node is not None
    return "crust-dispatcher" in service._node.threads.alive()


def test_a_stuck_callback_does_not_keep_waiters(nodes: Nodes) -> None:
    """Whoever waits elsewhere is told all the same."""
    pair = nodes.pair()
    nodes.release(pair.far)
    stuck = Stuck()
    pair.far.on(crust.SendReady, print)
    stream = pair.far.events(crust.SendReady)
    pair.far.on(crust.NewMessage, stuck)
    pair.to_far.send(b"x")
    assert stuck.entered.wait(PATIENCE)
    waiting = Background(stream.get)
    assert pair.far.close(timeout=0.1) is False
    with pytest.raises(crust.ServiceClosed):
        waiting.result()
    stuck.go.set()
    stream.close()


def test_listening_cannot_begin_while_closing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts to listen at the very moment of ``close`` leaves no listener behind."""
    service = nodes.start()
    service.stop_listening()
    assert service._network is not None
    listeners = service._network.listeners
    really_open = listeners.open
    entered, go = threading.Event(), threading.Event()

    def open_late() -> list[Endpoint]:
        entered.set()
        assert go.wait(PATIENCE)
        return really_open()

    monkeypatch.setattr(listeners, "open", open_late)
    starting = Background(service.start_listening)
    assert entered.wait(PATIENCE)
    assert service.close()
    go.set()
    with pytest.raises(crust.ServiceClosed):
        starting.result()
    assert listeners.endpoints() == ()


def test_an_end_that_another_thread_is_about_to_tell(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side says goodbye just now: whoever closes meanwhile hears of it all the same."""
    pair = nodes.pair()
    node = pair.far._node
    assert node is not None
    began, stopped = threading.Event(), threading.Event()
    lost, stop = node.dialer.session_lost, node.dispatcher.stop

    def slow(conversation: Conversation) -> None:
        began.set()
        stopped.wait(0.3)
        lost(conversation)

    def stopping() -> None:
        stopped.set()
        stop()

    monkeypatch.setattr(node.dialer, "session_lost", slow)
    monkeypatch.setattr(node.dispatcher, "stop", stopping)
    closing = Background(pair.near.close)
    assert began.wait(PATIENCE * busy())
    assert pair.far.close()
    assert [each.reason for each in pair.far_heard.of(crust.LostPeer)] == ["closed"]
    assert closing.result()


def test_an_end_is_told_whatever_fails(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the node that fails when a session ends is a bug, counted as such: the application hears of the end."""
    pair = nodes.pair()
    nodes.release(pair.far)
    node = pair.far._node
    assert node is not None

    def failing(conversation: Conversation) -> None:
        raise MemoryError

    monkeypatch.setattr(node.dialer, "session_lost", failing)
    pair.near.disconnect(pair.to_far)
    assert pair.far_heard.wait(crust.LostPeer).reason == "disconnected"
    wait_until(lambda: node.crashes == 1, what="the failure")
    monkeypatch.undo()
    assert pair.far.close()
