"""Messages between two nodes: what is accepted, in what order it arrives, and what happens when buffers are full."""

from __future__ import annotations

import random
import threading
import time

import pytest

import crust
from tests.support.nodes import Nodes, config, through
from tests.support.proxy import DOWN, UP
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine


def few(messages: int, **changes: object) -> crust.Config:
    """A node that holds so many messages for a peer."""
    return config(session__max_message_size=1000, session__send_buffer__messages=messages, **changes)


def sleepers(peer: crust.Peer) -> int:
    """Threads that wait for room or for acknowledgements."""
    return len(peer._conversation._sleepers)


# --- what is accepted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 61_000, 61_500, 65_280, 65_281, 200_000, 2 * 1024 * 1024])
def test_messages_of_every_size(nodes: Nodes, size: int) -> None:
    """Nothing, one byte, around the limits of a record, and the largest: whole, in both directions."""
    pair = nodes.pair()
    data = random.Random(size).randbytes(size)
    pair.to_far.send(data)
    pair.to_near.send(data[::-1])
    assert pair.to_near.recv(PATIENCE) == data
    assert pair.to_far.recv(PATIENCE) == data[::-1]


def test_a_message_that_is_too_large(nodes: Nodes) -> None:
    """It is refused before anything is queued; the text names the limit."""
    pair = nodes.pair(config(session__max_message_size=1000), config(session__max_message_size=1000))
    assert pair.to_far.max_message_size == 1000
    for send in (pair.to_far.send, lambda data: pair.to_far.send_many([b"first", data])):
        with pytest.raises(crust.MessageTooLarge, match="1001 bytes is too large: at most 1000"):
            send(bytes(1001))
    assert pair.to_far.send(bytes(1000)) == 0
    assert pair.to_near.recv(PATIENCE) == bytes(1000)
    with pytest.raises(crust.Timeout):
        pair.to_near.recv(0.05)


def test_the_smaller_limit_counts(nodes: Nodes) -> None:
    """A node never sends more than its peer takes."""
    pair = nodes.pair(far=config(session__max_message_size=1000))
    assert pair.to_far.max_message_size == pair.to_near.max_message_size == 1000
    with pytest.raises(ValueError):
        pair.to_far.send(bytes(1001))
    pair.to_far.send(bytes(1000))
    assert len(pair.to_near.recv(PATIENCE)) == 1000


@pytest.mark.parametrize("data", ["text", 7, None, [1, 2], 1.0])
def test_only_bytes_are_messages(nodes: Nodes, data: object) -> None:
    """A str is refused with the advice to encode it; so is everything else that is not bytes."""
    pair = nodes.pair()
    with pytest.raises(TypeError, match="encode" if isinstance(data, str) else "bytes"):
        pair.to_far.send(data)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pair.to_far.send_many([b"fine", data])  # type: ignore[list-item]
    assert pair.to_far.stats().messages_sent == 0


def test_views_and_arrays_are_copied(nodes: Nodes) -> None:
    """What the application does with its buffer afterwards changes nothing."""
    pair = nodes.pair()
    buffer = bytearray(b"before")
    pair.to_far.send(buffer)
    pair.to_far.send(memoryview(buffer)[2:4])
    buffer[:] = b"after!"
    assert pair.to_near.recv(PATIENCE) == b"before"
    assert pair.to_near.recv(PATIENCE) == b"fo"


@pytest.mark.parametrize("priority", [-1, 256])
def test_a_priority_out_of_range(nodes: Nodes, priority: int) -> None:
    """0 to 255 are allowed."""
    pair = nodes.pair()
    with pytest.raises(ValueError, match="priority"):
        pair.to_far.send(b"x", priority=priority)
    with pytest.raises(ValueError, match="priority"):
        pair.to_far.send_many([b"x"], priority=priority)


def test_messages_are_numbered(nodes: Nodes) -> None:
    """From 0 in each session and direction, one after the other; ``send_many`` returns the last one's."""
    pair = nodes.pair()
    assert [pair.to_far.send(b"x") for _ in range(3)] == [0, 1, 2]
    assert pair.to_far.send_many([b"x"] * 5) == 7
    assert pair.to_far.send_many([]) == -1
    assert pair.to_far.send(b"x", priority=200) == 8
    assert pair.to_near.send(b"x") == 0
    pair.to_far.disconnect()
    assert pair.near.connect(pair.far.contact).send(b"x") == 0


# --- receiving --------------------------------------------------------------------------------------------------------


def test_receiving(nodes: Nodes) -> None:
    """``recv`` and ``recv_message`` take turns at the same inbox, with and without a timeout."""
    pair = nodes.pair()
    for timeout in (0, 0.01):
        with pytest.raises(crust.Timeout):
            pair.to_near.recv(timeout)
    waiting = Background(pair.to_near.recv)
    pair.to_far.send(b"a")
    assert waiting.result() == b"a"
    pair.to_far.send(b"b", priority=0)
    pair.to_far.flush()
    pair.to_far.send(b"c", priority=7)
    message = pair.to_near.recv_message(PATIENCE)
    assert (message.peer, message.data, message.priority, message.proof) == (pair.to_near, b"b", 0, None)
    assert pair.to_near.recv_message(PATIENCE).priority == 7


def test_iteration_ends_with_the_goodbye(nodes: Nodes) -> None:
    """A loop over a peer gets every message and is left when the other side disconnects, or closes, in order."""
    for end in ("disconnect", "close"):
        pair = nodes.pair()
        reading = Background(lambda peer=pair.to_near: list(peer))
        pair.to_far.send_many([b"a", b"b", b"c"])
        pair.to_far.flush()
        assert pair.to_far.disconnect() if end == "disconnect" else pair.near.close()
        assert reading.result() == [b"a", b"b", b"c"]


def test_readers_that_begin_together_share_what_they_hold(nodes: Nodes) -> None:
    """The second one does not put something new in the place of what the first one waits with."""
    peer = nodes.pair().to_near
    assert peer._hold() is peer._hold()


def test_several_readers_share_an_inbox(nodes: Nodes) -> None:
    """Each message goes to one of them, and all hear of the end."""
    pair = nodes.pair()
    readers = [Background(lambda: list(pair.to_near)) for _ in range(4)]
    sent = [b"%d" % number for number in range(200)]
    pair.to_far.send_many(sent)
    pair.to_far.flush()
    pair.to_far.disconnect()
    got = [data for reader in readers for data in reader.result()]  # type: ignore[attr-defined]
    assert sorted(got) == sorted(sent)


def test_many_senders_at_once(nodes: Nodes) -> None:
    """Threads that send to one peer together: nothing is lost, and each one's messages keep their order."""
    pair = nodes.pair()

    def send(name: int) -> list[int]:
        return [pair.to_far.send(b"%d %d" % (name, number)) for number in range(500)]

    senders = [Background(send, name) for name in range(4)]
    numbers = [number for sender in senders for number in sender.result()]  # type: ignore[attr-defined]
    assert sorted(numbers) == list(range(2000))
    got = [tuple(map(int, pair.to_near.recv(PATIENCE).split())) for _ in range(2000)]
    for name in range(4):
        assert [number for who, number in got if who == name] == list(range(500))


def test_counters(nodes: Nodes) -> None:
    """What a peer's statistics say."""
    pair = nodes.pair()
    pair.to_far.send_many([bytes(100)] * 10)
    pair.to_far.flush()
    out, into = pair.to_far.stats(), pair.to_near.stats()
    assert (out.messages_sent, out.unacknowledged_messages, out.unacknowledged_bytes) == (10, 0, 0)
    assert (into.messages_received, into.unread_bytes) == (10, 10 * (100 + 64))
    assert out.bytes_sent > 1000 and into.bytes_received > 1000
    for _ in range(10):
        pair.to_near.recv(0)
    assert pair.to_near.stats().unread_bytes == 0
    assert pair.far.stats().buffered_bytes == 0
    wait_until(lambda: pair.near.stats().buffered_bytes == 0, what="the end of buffering")


# --- order and priority -----------------------------------------------------------------------------------------------


def test_order_within_a_priority(nodes: Nodes) -> None:
    """Large and small messages of one priority arrive as they were sent, whatever goes on beside them."""
    pair = nodes.pair()
    got: dict[int, list[bytes]] = {0: [], 3: [], 9: []}
    pair.far.on(crust.NewMessage, lambda message: got[message.priority].append(message.data))
    sizes = random.Random(11)
    sent: dict[int, list[bytes]] = {0: [], 3: [], 9: []}
    for number in range(400):
        priority = sizes.choice((0, 3, 9))
        data = b"%d:" % number + bytes(sizes.choice((0, 10, 1000, 70_000)))
        pair.to_far.send(data, priority=priority)
        sent[priority].append(data)
    pair.to_far.flush(timeout=60)
    wait_until(lambda: sum(map(len, got.values())) == 400, PATIENCE, "the last message")
    assert got == sent


def test_urgent_messages_overtake(nodes: Nodes) -> None:
    """What has not yet been handed to the network goes out by urgency, not by age."""
    roomy = config(session__send_buffer__bytes=64 * 1024 * 1024)
    pair = nodes.proxied(near=roomy)
    order: list[bytes] = []
    pair.far.on(crust.NewMessage, lambda message: order.append(message.data[:6]))
    pair.wire.stall(UP)
    for _ in range(30):
        pair.to_far.send(b"patient" + bytes(1_000_000), priority=1)
    pair.to_far.send(b"urgent", priority=0)
    pair.to_far.send(b"slower", priority=2)
    pair.wire.heal()
    wait_until(lambda: len(order) == 32, 60.0, "all messages")
    assert order.index(b"urgent") < 20
    assert order[-1] == b"slower"


def test_urgent_messages_pass_a_receiver_that_is_full(nodes: Nodes) -> None:
    """Large messages leave room for small ones: an application that reads slowly does not hold back what is urgent."""
    pair = nodes.pair(far=config(session__max_message_size=100_000, session__receive_buffer=300_000))
    for _ in range(4):
        pair.to_far.send(bytes(100_000), priority=1)
    wait_until(lambda: pair.to_near.stats().messages_received == 2, what="two messages, and no room for a third")
    began = time.monotonic()
    pair.to_far.send(b"urgent", priority=0)
    wait_until(lambda: pair.to_near.stats().messages_received == 3, what="the urgent one")
    assert time.monotonic() - began < PATIENCE * busy()
    assert [len(pair.to_near.recv(PATIENCE)) for _ in range(5)] == [100_000, 100_000, 6, 100_000, 100_000]


# --- full buffers -----------------------------------------------------------------------------------------------------


def test_a_full_buffer(nodes: Nodes) -> None:
    """Without a wait WouldBlock, with one Timeout, each with nothing queued; and SendReady when there is room."""
    pair = nodes.proxied(near=few(10))
    pair.wire.stall()
    assert [pair.to_far.send(b"%d" % number, timeout=0) for number in range(10)] == list(range(10))
    began = time.monotonic()
    with pytest.raises(crust.WouldBlock, match="SendReady"):
        pair.to_far.send(b"too much", timeout=0)
    assert time.monotonic() - began < PATIENCE * busy()
    with pytest.raises(crust.Timeout, match="nothing was queued"):
        pair.to_far.send(b"too much", timeout=0.1)
    assert time.monotonic() - began >= 0.1
    assert pair.to_far.stats().messages_sent == 10
    assert pair.near_heard.of(crust.SendReady) == []
    pair.wire.heal()
    assert pair.near_heard.wait(crust.SendReady).peer is pair.to_far
    assert pair.to_far.send(b"10", timeout=0) == 10
    assert [pair.to_near.recv(PATIENCE) for _ in range(11)] == [b"%d" % number for number in range(11)]
    assert len(pair.near_heard.of(crust.SendReady)) == 1


def test_bytes_fill_a_buffer_too(nodes: Nodes) -> None:
    """Each message counts its length and 64 bytes; one always fits."""
    near = config(session__max_message_size=1000, session__send_buffer__bytes=2000)
    pair = nodes.proxied(near=near)
    pair.wire.stall()
    pair.to_far.send(bytes(1000), timeout=0)
    with pytest.raises(crust.WouldBlock):
        pair.to_far.send(bytes(1000), timeout=0)
    pair.to_far.send(bytes(2000 - 1064 - 64), timeout=0)
    with pytest.raises(crust.WouldBlock):
        pair.to_far.send(b"", timeout=0)


def test_the_configured_timeout(nodes: Nodes) -> None:
    """``session.send_timeout`` is the default: a time, 0 for none, or null for ever."""
    for seconds, error in ((0.05, crust.Timeout), (0, crust.WouldBlock)):
        pair = nodes.proxied(near=few(2, session__send_timeout=seconds))
        pair.wire.stall()
        pair.to_far.send_many([b"x", b"x"])
        for send in (pair.to_far.send, lambda data, pair=pair: pair.near.send(pair.far.id, data)):
            with pytest.raises(error):
                send(b"x")
        with pytest.raises(error):
            pair.to_far.send_many([b"x"])
        assert pair.to_far.stats().messages_sent == 2
    pair = nodes.proxied(near=few(2, session__send_timeout=None))
    pair.wire.stall()
    pair.to_far.send_many([b"x", b"x"])
    waiting = Background(pair.to_far.send, b"x")
    wait_until(lambda: sleepers(pair.to_far) == 1, what="a sender that waits")
    pair.wire.heal()
    assert waiting.result() == 2


def test_senders_that_wait_go_on(nodes: Nodes) -> None:
    """Many threads wait for the room of one peer; all get it, and each message arrives once."""
    pair = nodes.proxied(near=few(4))
    pair.wire.stall()
    pair.to_far.send_many([b"x"] * 4)
    senders = [Background(lambda n=n: pair.to_far.send(b"%d" % n, timeout=60)) for n in range(20)]
    wait_until(lambda: sleepers(pair.to_far) == 20, what="twenty senders that wait")
    pair.wire.heal()
    assert sorted(sender.result() for sender in senders) == list(range(4, 24))  # type: ignore[type-var]
    got = [pair.to_near.recv(PATIENCE) for _ in range(24)]
    assert sorted(got[4:], key=int) == [b"%d" % number for number in range(20)]


def test_send_many_keeps_what_was_queued(nodes: Nodes) -> None:
    """If the time runs out in the middle, those before have been queued and arrive."""
    pair = nodes.proxied(near=few(5))
    pair.wire.stall()
    with pytest.raises(crust.Timeout):
        pair.to_far.send_many([b"%d" % number for number in range(8)], timeout=0.05)
    pair.wire.heal()
    assert [pair.to_near.recv(PATIENCE) for _ in range(5)] == [b"%d" % number for number in range(5)]
    with pytest.raises(crust.Timeout):
        pair.to_near.recv(0.05)


def test_a_callback_never_waits_for_room(nodes: Nodes) -> None:
    """On the dispatcher thread a full buffer is WouldBlock, whatever the timeout."""
    pair = nodes.proxied(near=few(3))
    pair.wire.stall()
    pair.to_far.send_many([b"x"] * 3)
    caught: list[object] = []
    done = threading.Event()

    def send_all(event: object) -> None:
        for timeout in (None, 60.0, crust.CONFIG, 0):
            try:
                pair.to_far.send(b"x", timeout=timeout)
            except crust.WouldBlock as error:
                caught.append(type(error))
        try:
            pair.to_far.send_many([b"x", b"x"], timeout=60)
        except crust.WouldBlock as error:
            caught.append(type(error))
        done.set()

    pair.near.on(crust.ConnectionInfoPrepared, send_all)
    pair.near.prepare_connection_info()
    assert done.wait(PATIENCE)
    assert caught == [crust.WouldBlock] * 5


def test_a_slow_reader_stops_the_sender_and_nothing_else(nodes: Nodes) -> None:
    """Without room at the receiver messages wait at the sender; heartbeats and the other direction go on."""
    small = config(
        session__max_message_size=1000,
        session__receive_buffer=70_000,
        session__heartbeat_interval=0.2,
        session__resume_timeout=3.0,
    )
    pair = nodes.pair(small, small)
    sent = 0
    with pytest.raises(crust.Timeout):
        while True:
            pair.to_far.send(b"%d" % sent + bytes(990), timeout=4.0)  # longer than a session without a word lasts
            sent += 1
    assert pair.to_near.stats().unread_bytes <= 70_000
    assert pair.near_heard.names(pair.far.id) == ["ConnectSuccess"]
    pair.to_near.send(b"the other way")
    assert pair.to_far.recv(PATIENCE) == b"the other way"
    for number in range(sent):
        assert pair.to_near.recv(PATIENCE) == b"%d" % number + bytes(990)


def test_all_peers_together_are_bounded(nodes: Nodes) -> None:
    """``limits.total_buffers``: a node whose application does not read holds no more, and loses nothing."""
    limit = 1_000_000
    hub = nodes.start(config(limits__total_buffers=limit))
    senders = [nodes.start(heard=False) for _ in range(3)]
    peers = [sender.connect(hub.contact) for sender in senders]
    jobs = [Background(lambda peer=peer: [peer.send(bytes(50_000), timeout=60) for _ in range(40)]) for peer in peers]
    wait_until(lambda: hub.stats().buffered_bytes > limit, PATIENCE, "a full node")
    nodes.heard(hub).wait(crust.ConnectSuccess, 3)
    highest = 0

    def read(peer: crust.Peer) -> int:
        nonlocal highest
        got = 0
        for _ in range(40):
            got += len(peer.recv(PATIENCE))
            highest = max(highest, hub.stats().buffered_bytes)
        return got

    readers = [Background(read, peer) for peer in hub.peers]
    assert [reader.result(60.0) for reader in readers] == [2_000_000] * 3
    for job in jobs:
        job.result()
    assert highest < limit + 3 * 400_000
    assert hub.stats().buffered_bytes == 0


def test_what_waits_for_all_peers_together_is_bounded(nodes: Nodes) -> None:
    """The same for messages that cannot be sent: one peer's backlog is another's full buffer, until it is gone."""
    limit = 500_000
    hub = nodes.start(config(limits__total_buffers=limit))
    far = [nodes.start(), nodes.start()]
    proxies = [nodes.proxy(each) for each in far]
    one, other = (hub.connect(through(proxy, each)) for proxy, each in zip(proxies, far, strict=True))
    for proxy in proxies:
        proxy.stall()
    with pytest.raises(crust.WouldBlock):
        while True:
            one.send(bytes(50_000), timeout=0)
    other.send(b"one always fits")
    with pytest.raises(crust.WouldBlock):
        while True:
            other.send(bytes(50_000), timeout=0)
    assert hub.stats().buffered_bytes < limit + 3 * 50_000
    for proxy in proxies:
        proxy.heal()
    nodes.heard(hub).wait(crust.SendReady, 2)
    one.flush(PATIENCE)
    other.flush(PATIENCE)
    other.send(bytes(50_000), timeout=0)


# --- giving up --------------------------------------------------------------------------------------------------------

DROPPING = {"session__drop__max_age": 0.2, "session__drop__min_priority": 2}


def test_old_messages_are_dropped_and_reported(nodes: Nodes) -> None:
    """Those of low priority that waited too long; the others arrive when they can."""
    pair = nodes.proxied(near=config(**DROPPING))
    pair.suspend()
    kept = [pair.to_far.send(b"urgent", priority=0), pair.to_far.send(b"normal", priority=1)]
    stale = pair.to_far.send_many([b"news"] * 3, priority=2)
    older = pair.to_far.send(b"more news", priority=200)
    events = [pair.near_heard.wait(crust.MessagesDropped, count) for count in (1, 2)]
    assert [(event.peer, event.numbers, event.priority) for event in events] == [
        (pair.to_far, (stale - 2, stale - 1, stale), 2),
        (pair.to_far, (older,), 200),
    ]
    assert pair.to_far.stats().unacknowledged_messages == len(kept)
    pair.wire.heal()
    assert [pair.to_near.recv(PATIENCE), pair.to_near.recv(PATIENCE)] == [b"urgent", b"normal"]
    pair.to_far.flush(PATIENCE)
    with pytest.raises(crust.Timeout):
        pair.to_near.recv(0)


def test_dropped_messages_are_not_told_twice(nodes: Nodes) -> None:
    """They are not among those that LostPeer names."""
    pair = nodes.proxied(near=config(**DROPPING))
    pair.suspend()
    kept = pair.to_far.send(b"kept", priority=1)
    pair.to_far.send(b"dropped", priority=2)
    pair.near_heard.wait(crust.MessagesDropped)
    pair.to_far.disconnect()
    assert pair.near_heard.wait(crust.LostPeer).unacknowledged == (kept,)


def test_dropping_makes_room(nodes: Nodes) -> None:
    """Whoever waits for it goes on."""
    pair = nodes.proxied(near=few(3, **DROPPING))
    pair.suspend()
    pair.to_far.send_many([b"x"] * 3, priority=2)
    with pytest.raises(crust.WouldBlock):
        pair.to_far.send(b"y", timeout=0)
    assert pair.to_far.send(b"y", timeout=60) == 3
    pair.near_heard.wait(crust.SendReady)


def test_nothing_is_dropped_if_so_configured(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """``session.drop: null``."""
    monkeypatch.setattr(crust.limits, "DROP_MAX_AGE", 0.05)
    pair = nodes.proxied(near=config(session__drop=None))
    pair.suspend()
    pair.to_far.send(b"late", priority=255)
    end = time.monotonic() + 0.3
    wait_until(lambda: time.monotonic() > end, what="a while")
    pair.wire.heal()
    assert pair.to_near.recv(PATIENCE) == b"late"
    assert pair.near_heard.of(crust.MessagesDropped) == []


def test_what_is_on_its_way_is_never_dropped(nodes: Nodes) -> None:
    """Sent and unacknowledged messages arrive, however long that takes."""
    pair = nodes.proxied(near=config(**DROPPING))
    pair.wire.stall(DOWN)
    pair.to_far.send(b"on its way", priority=9)
    assert pair.to_near.recv(PATIENCE) == b"on its way"
    end = time.monotonic() + 0.4
    wait_until(lambda: time.monotonic() > end, what="a while")
    assert pair.near_heard.of(crust.MessagesDropped) == []
    pair.wire.heal()
    pair.to_far.flush(PATIENCE)


# --- flush ------------------------------------------------------------------------------------------------------------


def test_flush_means_stored(nodes: Nodes) -> None:
    """When it returns, the other node has everything, read or not."""
    pair = nodes.pair()
    for size in (1, 1000, 300_000):
        pair.to_far.send_many([bytes(size)] * 5)
        pair.to_far.flush()
        assert pair.to_near.stats().messages_received % 5 == 0
    assert pair.to_near.stats().messages_received == 15
    pair.to_near.flush()  # nothing was sent: at once


def test_flush_has_a_timeout(nodes: Nodes) -> None:
    """Then the messages stay queued."""
    pair = nodes.proxied()
    pair.wire.stall()
    pair.to_far.send(b"x")
    began = time.monotonic()
    with pytest.raises(crust.Timeout, match="stay queued"):
        pair.to_far.flush(timeout=0.1)
    assert 0.1 <= time.monotonic() - began < PATIENCE * busy()
    pair.wire.heal()
    pair.to_far.flush()
    assert pair.to_near.recv(0) == b"x"


def test_flush_waits_for_what_was_sent_before_it(nodes: Nodes) -> None:
    """A flood that goes on meanwhile does not keep it waiting for ever."""
    pair = nodes.pair()
    pair.far.on(crust.NewMessage, lambda message: None)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            pair.to_far.send(bytes(1000), timeout=60)

    flooding = Background(flood)
    for _ in range(5):
        pair.to_far.flush(timeout=PATIENCE)
    stop.set()
    flooding.result()


def test_flush_in_a_callback_is_refused(nodes: Nodes) -> None:
    """It could wait for itself."""
    pair = nodes.pair()
    caught: list[BaseException] = []

    def flush(message: crust.NewMessage) -> None:
        try:
            message.peer.flush()
        except crust.LocalProtocolError as error:
            caught.append(error)

    pair.far.on(crust.NewMessage, flush)
    pair.to_far.send(b"x")
    wait_until(lambda: caught, what="the error")
    assert "SendReady" in str(caught[0])
