"""Who hears what: callbacks in order, streams that are read, and the one consumer of a message."""

from __future__ import annotations

import dataclasses
import functools
import logging
import select
import threading
from collections.abc import Callable

import pytest

import crust
from crust import Service
from tests.support.nodes import STATE_EVENTS, Nodes, Pair, config
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


def prepare_many(service: Service, count: int) -> list[crust.ConnectionInfo]:
    """So many state events of one kind, told apart by nothing but their order."""
    return [service.prepare_connection_info() for _ in range(count)]


def readable(stream: crust.EventStream) -> bool:
    return bool(select.select([stream], [], [], 0)[0])


# --- events and callbacks ---------------------------------------------------------------------------------------------


def test_events_are_frozen(nodes: Nodes) -> None:
    """Nobody can change what others hear; every event but NewMessage derives from Event."""
    pair = nodes.pair()
    event = pair.near_heard.wait(crust.ConnectSuccess)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.inbound = True  # type: ignore[misc]
    for kind in STATE_EVENTS:
        assert issubclass(kind, crust.Event)
        assert dataclasses.is_dataclass(kind)
    assert issubclass(crust.NewMessage, tuple)


def test_every_kind_of_event_has_its_subscribers(nodes: Nodes) -> None:
    """``on`` of a class hears that class; of ``Event`` everything, messages too; ``on_event`` the same."""
    everything: list[object] = []
    also: list[object] = []
    only: list[object] = []
    far = nodes.make(on_event=everything.append)
    far.on(crust.Event, also.append)
    far.on(crust.ConnectSuccess, only.append)
    far.start()
    peer = nodes.start().connect(far.contact)
    peer.send(b"x")
    wait_until(lambda: len(everything) == len(also) == 4, what="four events")
    names = ["ListenerStarted", "AddressesChanged", "ConnectSuccess", "NewMessage"]
    assert [type(event).__name__ for event in everything] == names
    assert also == everything
    assert [type(event).__name__ for event in only] == ["ConnectSuccess"]


def test_on_is_a_decorator(nodes: Nodes) -> None:
    """Without a callback ``on`` decorates; the function can still be called; what it returns cancels."""
    pair = nodes.pair()
    got: list[bytes] = []

    @pair.far.on(crust.NewMessage)
    def take(message: crust.NewMessage) -> None:
        got.append(message.data)

    pair.to_far.send(b"a")
    wait_until(lambda: got == [b"a"], what="the message")
    take(crust.NewMessage(pair.to_near, b"by hand", 1))
    take.cancel()
    take.cancel()
    pair.to_far.send(b"b")
    assert pair.to_near.recv(PATIENCE) == b"b"
    assert got == [b"a", b"by hand"]


@pytest.mark.parametrize("kind", [int, "NewMessage", crust.Service, None])
def test_only_event_classes_can_be_heard(nodes: Nodes, kind: object) -> None:
    """Anything else is a TypeError at once, for callbacks and streams; so is a callback that cannot be called."""
    service = nodes.start()
    with pytest.raises(TypeError, match="no event class"):
        service.on(kind, print)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no event class"):
        service.events(kind)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        service.on(crust.Event, 7)  # type: ignore[call-overload]


def test_callbacks_run_one_at_a_time_in_order(nodes: Nodes) -> None:
    """On one thread, in the order of the events, and within an event in that of registration."""
    service = nodes.make()
    calls: list[tuple[str, int]] = []
    threads: set[str] = set()

    def note(name: str) -> Callable[[crust.ConnectionInfoPrepared], None]:
        def callback(event: crust.ConnectionInfoPrepared) -> None:
            threads.add(threading.current_thread().name)
            calls.append((name, len(calls) // 2))

        return callback

    service.on(crust.ConnectionInfoPrepared, note("first"))
    service.on(crust.ConnectionInfoPrepared, note("second"))
    service.start()
    prepare_many(service, 50)
    wait_until(lambda: len(calls) == 100, what="all calls")
    assert calls == [(name, number) for number in range(50) for name in ("first", "second")]
    assert threads == {"crust-dispatcher"}


def test_a_cancelled_subscription_hears_no_more(nodes: Nodes) -> None:
    """Not even the event that is being handed round when another callback cancels it."""
    service = nodes.make()
    heard: list[str] = []
    subscriptions: dict[str, crust.Subscription] = {}

    def subscribe(name: str, cancels: str = "") -> None:
        def callback(event: crust.ConnectionInfoPrepared) -> None:
            heard.append(name)
            if cancels:
                subscriptions[cancels].cancel()

        subscriptions[name] = service.on(crust.ConnectionInfoPrepared, callback)

    subscribe("first", cancels="second")
    subscribe("second")
    subscribe("third", cancels="third")
    service.start()
    prepare_many(service, 2)
    wait_until(lambda: len(heard) == 3, what="three calls")
    prepare_many(service, 1)
    wait_until(lambda: len(heard) == 4, what="another")
    assert heard == ["first", "third", "first", "first"]


def test_a_callback_that_raises(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged by name, counted and handed to the hook; the other callbacks and the node go on."""
    hooked: list[tuple[object, BaseException]] = []
    heard: list[object] = []
    far = nodes.make(on_callback_error=lambda event, error: hooked.append((event, error)))

    def stumble(event: object) -> None:
        raise ZeroDivisionError("on purpose")

    for kind in (crust.ConnectSuccess, crust.NewMessage):
        far.on(kind, stumble)
        far.on(kind, heard.append)
    far.start()
    peer = nodes.start().connect(far.contact)
    for _ in range(3):
        peer.send(b"x")
    wait_until(lambda: len(heard) == len(hooked) == 4, what="four events")
    assert [event for event, _ in hooked] == heard
    assert {str(error) for _, error in hooked} == {"on purpose"}
    assert far.stats().callback_errors == 4
    assert far.stats().crashes == 0
    wait_until(lambda: caplog.text.count("stumble raised on") == 4, what="four lines in the log")
    assert "raised on NewMessage" in caplog.text and "ZeroDivisionError" in caplog.text
    peer.flush()


def test_a_hook_that_raises_itself(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """That is logged, and nothing more."""

    def stumble(*arguments: object) -> None:
        raise ZeroDivisionError

    service = nodes.make(on_callback_error=stumble)
    service.on(crust.ConnectionInfoPrepared, stumble)
    service.start()
    prepare_many(service, 2)
    wait_until(lambda: caplog.text.count("hook itself raised") == 2, what="the lines in the log")
    assert service.stats().callback_errors == 2


def test_a_callback_that_ends_the_program_does_not(nodes: Nodes) -> None:
    """SystemExit in a callback is an error like others: the dispatcher lives on."""
    service = nodes.make()
    heard: list[object] = []

    def leave(event: object) -> None:
        raise SystemExit(3)

    service.on(crust.ConnectionInfoPrepared, leave)
    service.on(crust.ConnectionInfoPrepared, heard.append)
    service.start()
    prepare_many(service, 2)
    wait_until(lambda: len(heard) == 2, what="both events")


def test_a_slow_callback_is_named(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """One that takes longer than ``callbacks.warn_after`` is in the log; quick ones are not."""
    pair = nodes.pair(far=config(callbacks__warn_after=1.0))

    def slow_one(message: crust.NewMessage) -> None:
        threading.Event().wait(1.5 if message.data == b"slow" else 0)

    def quick_one(message: crust.NewMessage) -> None:
        pass

    pair.far.on(crust.NewMessage, quick_one)
    pair.far.on(crust.NewMessage, slow_one)
    pair.to_far.send_many([b"quick", b"slow", b"quick"])
    wait_until(lambda: "slow_one took" in caplog.text, what="a line in the log")
    assert "do long work elsewhere" in caplog.text
    assert caplog.text.count("slow_one took") == 1
    assert "quick_one took" not in caplog.text


def test_a_slow_callback_holds_up_no_traffic(nodes: Nodes) -> None:
    """Meanwhile messages are received, acknowledgements and heartbeats go out, and other threads do what they like."""
    quick = config(session__heartbeat_interval=0.2, session__resume_timeout=3.0)
    pair = nodes.pair(quick, quick)
    entered, go = threading.Event(), threading.Event()

    def stick(message: crust.NewMessage) -> None:
        entered.set()
        assert go.wait(60)

    pair.far.on(crust.NewMessage, stick)
    pair.to_far.send(b"x")
    assert entered.wait(PATIENCE)
    for _ in range(7):  # longer than a session without a word lasts
        pair.to_far.send(b"y")
        pair.to_far.flush(PATIENCE)
        pair.to_near.send(b"z")
        assert pair.to_far.recv(PATIENCE) == b"z"
        assert not threading.Event().wait(0.5)
    assert pair.near_heard.names(pair.far.id) == ["ConnectSuccess"]
    assert pair.far.stats().callbacks_waiting >= 5
    go.set()


def test_a_slow_log_handler_holds_up_no_traffic(nodes: Nodes) -> None:
    """Handlers run on the dispatcher: one that hangs freezes neither peers nor those who call methods."""
    entered, go = threading.Event(), threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()
            assert go.wait(60)

    logger = logging.getLogger("crust")
    handler, level = Hanging(), logger.level
    near, far = nodes.start(), nodes.start()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        peer = near.connect(far.contact)
        wait_until(lambda: far.peers, what="the peer")
        assert entered.wait(PATIENCE)
        for number in range(10):
            peer.send(b"%d" % number)
            assert far.peers[0].recv(PATIENCE) == b"%d" % number
        other = nodes.start(heard=False).connect(far.contact)
        other.disconnect()
    finally:
        go.set()
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_callback_may_call_everything(nodes: Nodes) -> None:
    """No method of the node or the peer deadlocks in a callback."""
    pair = nodes.pair()
    done: list[object] = []

    def try_all(message: crust.NewMessage) -> None:
        node, peer = pair.far, message.peer
        node.set_accept_bootstrap(True)
        node.stop_listening()
        node.start_listening()
        node.events(crust.SendReady).close()
        results = [
            node.id,
            node.contact,
            node.addresses,
            node.peers,
            node.stats(),
            node.is_connected(peer.id),
            node.prepare_connection_info(),
            node.ban("192.0.2.1"),
            node.unban("192.0.2.1"),
            node.dial(peer.id),
            node.connect(peer.id),
            node.send(peer.id, b"answer"),
            node.on(crust.LostPeer, done.append),
            peer.stats(),
            peer.path,
            peer.send_many([b"more"]),
            peer.disconnect(),
            node.wait(0),
        ]
        done.append(len(results))

    pair.far.on(crust.NewMessage, try_all)
    pair.to_far.send(b"x")
    wait_until(lambda: done, what="the end of the callback")
    assert done[0] == 18


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_has_the_events_in_order(nodes: Nodes) -> None:
    """``get`` gives them one by one, and Timeout when there is none; other kinds are not in it."""
    near, far = nodes.start(), nodes.start()
    with far.events(crust.ConnectSuccess, crust.LostPeer) as stream:
        for timeout in (0, 0.01):
            with pytest.raises(crust.Timeout):
                stream.get(timeout)
        waiting = Background(stream.get)
        peer = near.connect(far.contact)
        assert isinstance(waiting.result(), crust.ConnectSuccess)
        peer.disconnect()
        lost = stream.get(PATIENCE)
        assert (lost.reason, lost.peer.id) == ("disconnected", near.id)
        with pytest.raises(crust.Timeout):
            stream.get(0)


def test_a_stream_of_everything_leaves_messages_alone(nodes: Nodes) -> None:
    """Without kinds it has every state event; messages stay in the inboxes."""
    pair = nodes.pair()
    with pair.far.events() as stream:
        pair.to_far.send(b"x")
        info = pair.far.prepare_connection_info()
        assert pair.to_near.recv(PATIENCE) == b"x"
        assert stream.get(PATIENCE) == crust.ConnectionInfoPrepared(info)
        with pytest.raises(crust.Timeout):
            stream.get(0)


def test_a_full_stream_drops_its_oldest_events(nodes: Nodes) -> None:
    """EventsLost comes first and says how many; the newest are there."""
    service = nodes.start()
    with service.events(crust.Event, maxsize=3) as stream:
        prepare_many(service, 2)
        service.stop_listening()
        service.start_listening()
        assert stream.get(0) == crust.EventsLost(2)
        assert service.stats().refusals["EVENT_STREAM_SIZE"] == 2
        names = [type(stream.get(0)).__name__ for _ in range(3)]
        assert names == ["AddressesChanged", "ListenerStarted", "AddressesChanged"]
        prepare_many(service, 1)
        assert isinstance(stream.get(0), crust.ConnectionInfoPrepared)
    with pytest.raises(ValueError, match="maxsize"):
        service.events(maxsize=0)


def test_messages_in_a_stream_are_never_dropped(nodes: Nodes) -> None:
    """Credit bounds them: they wait, or their sender does; state events around them may be dropped."""
    pair = nodes.pair(far=config(session__max_message_size=1000, session__receive_buffer=70_000))
    with pair.far.events(crust.NewMessage, crust.ConnectionInfoPrepared, maxsize=2) as stream:
        sending = Background(lambda: pair.to_far.send_many([b"%d" % number for number in range(3000)], timeout=60))
        wait_until(lambda: pair.to_near.stats().unread_bytes > 60_000, what="a full buffer")
        prepare_many(pair.far, 10)
        got: list[bytes] = []
        others: list[object] = []
        while len(got) < 3000:
            event = stream.get(PATIENCE)
            if isinstance(event, crust.NewMessage):
                assert event.peer is pair.to_near
                got.append(event.data)
            else:
                others.append(event)
        assert got == [b"%d" % number for number in range(3000)]
        assert others[0] == crust.EventsLost(8)
        assert len(others) == 3
        sending.result()
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0, what="an empty buffer")


def test_a_stream_can_be_selected(nodes: Nodes) -> None:
    """Its descriptor is readable exactly while something waits, and when it has ended."""
    service = nodes.start()
    with service.events(crust.ConnectionInfoPrepared) as stream:
        assert not readable(stream)
        prepare_many(service, 2)
        assert readable(stream)
        stream.get(0)
        assert readable(stream)
        stream.get(0)
        assert not readable(stream)
        prepare_many(service, 1)
        assert select.select([stream], [], [], PATIENCE)[0] == [stream]
        stream.get(0)
        closing = Background(service.close)
        assert select.select([stream], [], [], PATIENCE)[0] == [stream]
        closing.result()
        with pytest.raises(crust.ServiceClosed):
            stream.get(0)
        assert readable(stream)


def test_the_descriptor_knows_what_came_before_it(nodes: Nodes) -> None:
    """Asked for late, it is readable at once if something waits; a closed stream has none."""
    service = nodes.start()
    stream = service.events(crust.ConnectionInfoPrepared)
    prepare_many(service, 1)
    assert readable(stream)
    stream.close()
    with pytest.raises(crust.ServiceClosed):
        stream.fileno()


def test_a_closed_stream(nodes: Nodes) -> None:
    """It hears nothing more; who waits in it, or asks later, gets ServiceClosed; closing is idempotent."""
    service = nodes.start()
    stream = service.events(crust.ConnectionInfoPrepared)
    waiting = Background(stream.get)
    looping = Background(lambda: list(stream))
    stream.close()
    stream.close()
    with pytest.raises(crust.ServiceClosed):
        waiting.result()
    assert looping.result() == []
    prepare_many(service, 1)
    with pytest.raises(crust.ServiceClosed):
        stream.get(0)


def test_what_waits_can_be_read_after_the_end(nodes: Nodes) -> None:
    """A closed service's stream gives what it has, and then ends."""
    pair = nodes.pair()
    with pair.far.events(crust.NewMessage, crust.LostPeer) as stream:
        pair.to_far.send_many([b"a", b"b"])
        pair.to_far.flush()
        assert pair.far.close()
        assert [event.data for event in stream if isinstance(event, crust.NewMessage)] == [b"a", b"b"]


def test_several_streams_and_callbacks_hear_the_same(nodes: Nodes) -> None:
    """State events go to everybody."""
    service = nodes.start()
    called: list[object] = []
    service.on(crust.ConnectionInfoPrepared, called.append)
    with service.events() as one, service.events(crust.ConnectionInfoPrepared) as other:
        infos = prepare_many(service, 5)
        assert [one.get(0).info for _ in infos] == [other.get(0).info for _ in infos] == infos
        wait_until(lambda: len(called) == 5, what="the callbacks")


# --- one consumer -----------------------------------------------------------------------------------------------------


def test_a_callback_takes_the_messages(nodes: Nodes) -> None:
    """``recv`` then says who does; a stream of messages is refused; so is the other way round."""
    pair = nodes.pair()
    subscription = pair.far.on(crust.NewMessage, lambda message: None)
    for use in (pair.to_near.recv, pair.to_near.recv_message, lambda: list(pair.to_near)):
        with pytest.raises(crust.LocalProtocolError, match="NewMessage callback"):
            use()
    with pytest.raises(crust.LocalProtocolError, match="one consumer"):
        pair.far.events(crust.NewMessage)
    subscription.cancel()
    with pair.far.events(crust.NewMessage):
        with pytest.raises(crust.LocalProtocolError, match="event stream"):
            pair.to_near.recv()
        for kind in (crust.NewMessage, crust.Event):
            with pytest.raises(crust.LocalProtocolError, match="close it before"):
                pair.far.on(kind, print)
        with pytest.raises(crust.LocalProtocolError, match="one consumer"):
            pair.far.events(crust.NewMessage)
        pair.far.on(crust.LostPeer, print)
    pair.to_far.send(b"x")
    assert pair.to_near.recv(PATIENCE) == b"x"


def test_several_callbacks_all_get_every_message(nodes: Nodes) -> None:
    """In order of registration; the buffer is given back after the last."""
    pair = nodes.pair()
    calls: list[tuple[int, bytes]] = []

    def note(name: int) -> Callable[[crust.NewMessage], None]:
        return lambda message: calls.append((name, message.data))

    for name in range(3):
        pair.far.on(crust.NewMessage, note(name))
    pair.to_far.send_many([b"a", b"b"])
    wait_until(lambda: len(calls) == 6, what="six calls")
    assert calls == [(name, data) for data in (b"a", b"b") for name in range(3)]
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0, what="the credit")


@pytest.mark.parametrize("consumer", ["callback", "stream"])
def test_who_comes_later_gets_the_inbox_first(nodes: Nodes, consumer: str) -> None:
    """What arrived before, unread, comes first and in order, then what follows; nothing twice."""
    pair = nodes.pair()
    pair.to_far.send_many([b"%d" % number for number in range(50)])
    pair.to_far.flush()
    assert pair.to_near.recv(PATIENCE) == b"0"
    got: list[bytes] = []
    sending = Background(lambda: [pair.to_far.send(b"%d" % number) for number in range(50, 500)])
    if consumer == "callback":
        pair.far.on(crust.NewMessage, lambda message: got.append(message.data))
        wait_until(lambda: len(got) == 499, what="all messages")
    else:
        with pair.far.events(crust.NewMessage) as stream:
            got += [stream.get(PATIENCE).data for _ in range(499)]
    sending.result()
    assert got == [b"%d" % number for number in range(1, 500)]
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0, what="the credit")


@pytest.mark.parametrize("follower", ["inbox", "stream", "callback"])
def test_who_follows_a_cancelled_callback(nodes: Nodes, follower: str) -> None:
    """A callback cancelled in the middle of a batch hears no more; the next consumer goes on with the next message."""
    pair = nodes.pair()
    first: list[bytes] = []
    entered, go = threading.Event(), threading.Event()

    def take(message: crust.NewMessage) -> None:
        first.append(message.data)
        if len(first) == 10:
            entered.set()
            assert go.wait(60)

    subscription = pair.far.on(crust.NewMessage, take)
    sent = [b"%d" % number for number in range(300)]
    pair.to_far.send_many(sent[:100])
    assert entered.wait(PATIENCE)
    pair.to_far.send_many(sent[100:200])
    pair.to_far.flush()
    subscription.cancel()
    rest: list[bytes] = []
    if follower == "callback":
        pair.far.on(crust.NewMessage, lambda message: rest.append(message.data))
    stream = pair.far.events(crust.NewMessage) if follower == "stream" else None
    pair.to_far.send_many(sent[200:])
    pair.to_far.flush()
    go.set()
    if follower == "callback":
        wait_until(lambda: len(rest) == 290, what="the rest")
    elif stream is not None:
        rest += [stream.get(PATIENCE).data for _ in range(290)]
        stream.close()
    else:
        rest += [pair.to_near.recv(PATIENCE) for _ in range(290)]
    assert first == sent[:10]
    assert rest == sent[10:]
    wait_until(lambda: pair.to_near.stats().unread_bytes == 0, what="the credit")


def test_a_closed_stream_gives_its_unread_messages_buffer_back(nodes: Nodes) -> None:
    """What nobody read from it is gone, and does not hold the sender up."""
    pair = nodes.pair()
    stream = pair.far.events(crust.NewMessage)
    pair.to_far.send_many([bytes(1000)] * 10)
    pair.to_far.flush()
    assert pair.to_near.stats().unread_bytes == 10 * 1064
    stream.close()
    assert pair.to_near.stats().unread_bytes == 0
    pair.to_far.send(b"next")
    assert pair.to_near.recv(PATIENCE) == b"next"


def test_the_inbox_can_be_read_after_the_end(nodes: Nodes) -> None:
    """LostPeer does not take away what had arrived; a consumer that comes then gets it no more, ``recv`` does."""
    pair: Pair = nodes.pair()
    pair.to_far.send_many([b"a", b"b"])
    pair.to_far.flush()
    pair.to_far.disconnect()
    pair.far_heard.wait(crust.LostPeer)
    assert [pair.to_near.recv(0), pair.to_near.recv(0)] == [b"a", b"b"]
    with pytest.raises(crust.PeerLost):
        pair.to_near.recv(0)


def ends_with_lost_peer(log: list[object]) -> bool:
    return bool(log) and isinstance(log[-1], crust.LostPeer)


def test_lost_peer_comes_after_its_messages(nodes: Nodes) -> None:
    """Callbacks and streams hear the end of a session after everything that came in it."""
    for stream_it in (False, True):
        far = nodes.make(heard=False)
        log: list[object] = []
        if not stream_it:
            far.on(crust.Event, log.append)
        far.start()
        stream = far.events(crust.NewMessage, crust.LostPeer) if stream_it else None
        near = nodes.start()
        peer = near.connect(far.contact)
        peer.send_many([b"%d" % number for number in range(200)])
        peer.flush()
        peer.disconnect()
        if stream is not None:
            log += [stream.get(PATIENCE) for _ in range(201)]
            stream.close()
        wait_until(functools.partial(ends_with_lost_peer, log), what="the end")
        words = [type(event).__name__ for event in log if type(event) in (crust.NewMessage, crust.LostPeer)]
        assert words == ["NewMessage"] * 200 + ["LostPeer"]
