"""Sessions outlive their links: cuts, silence, restarts, and the end of patience."""

from __future__ import annotations

import concurrent.futures
import functools
import random
import time
from collections.abc import Callable

import pytest

import crust
from crust import Contact, Endpoint, Service, limits
from crust.wire.handshake import Purpose
from tests.support.nodes import Nodes, Pair, config, pair_of_identities, through
from tests.support.proxy import DOWN, UP
from tests.support.sockets import unused_port
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine
IMPATIENT = {"session__heartbeat_interval": 0.1, "session__resume_timeout": 0.6}


def messages(seed: int, count: int) -> list[bytes]:
    """Numbered messages from nothing to several records long."""
    sizes = random.Random(seed)
    made = []
    for number in range(count):
        size = sizes.choice((0, 1, 100, 1000, 20_000)) if number % 20 else sizes.randrange(100_000, 400_000)
        made.append(b"%d:" % number + sizes.randbytes(size))
    return made


# --- cuts -------------------------------------------------------------------------------------------------------------


def is_as_long(some: list[bytes], others: list[bytes]) -> bool:
    return len(some) >= len(others)


@pytest.mark.parametrize("controller", ["near", "far"])
@pytest.mark.parametrize("direction", ["there", "back", "both"])
def test_cuts_in_the_middle_of_a_transfer(nodes: Nodes, controller: str, direction: str) -> None:
    """Five cuts: everything arrives once and in order, both sides say that they were suspended and resumed."""
    pair = nodes.proxied(controller=controller)
    senders = {"there": [pair.to_far], "back": [pair.to_near], "both": [pair.to_far, pair.to_near]}[direction]
    sent = messages(1, 300)
    got: dict[crust.PeerId, list[bytes]] = {pair.near.id: [], pair.far.id: []}
    cuts = {30, 31, 100, 170, 260}

    def take(message: crust.NewMessage) -> None:
        received = got[message.peer.id]
        received.append(message.data)
        if message.peer.id == (pair.near.id if pair.to_far in senders else pair.far.id) and len(received) in cuts:
            pair.wire.cut()

    for service in (pair.near, pair.far):
        service.on(crust.NewMessage, take)
    sending = [Background(lambda peer=peer: [peer.send(data, timeout=60) for data in sent]) for peer in senders]
    for job in sending:
        assert job.result(60.0) == list(range(len(sent)))
    for peer in senders:
        peer.flush(timeout=60)
    for peer, sender in ((pair.to_far, pair.near.id), (pair.to_near, pair.far.id)):
        expected = sent if peer in senders else []
        wait_until(functools.partial(is_as_long, got[sender], expected), PATIENCE, "the last message")
        assert got[sender] == expected
    for heard, peer_id in ((pair.near_heard, pair.far.id), (pair.far_heard, pair.near.id)):
        heard.wait(crust.PeerResumed, len(heard.of(crust.PeerSuspended)))
        assert heard.of(crust.LostPeer) == []
        words = [name for name in heard.names(peer_id) if name != "PathChanged"]
        assert words == ["ConnectSuccess"] + ["PeerSuspended", "PeerResumed"] * (len(words) // 2)
    assert pair.near_heard.of(crust.PeerResumed)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_cut_inside_a_record(nodes: Nodes, direction: str) -> None:
    """Half a record is no record: it comes again, whole, on the next link."""
    pair = nodes.proxied()
    peer, other = (pair.to_far, pair.to_near) if direction == UP else (pair.to_near, pair.to_far)
    proxy = pair.wire
    proxy.cut_after(direction, proxy.forwarded[direction] + 100_001)
    sent = [random.Random(7).randbytes(1_000_000), b"after"]
    peer.send_many(sent)
    pair.near_heard.wait(crust.PeerSuspended)
    proxy.heal()
    assert [other.recv(PATIENCE), other.recv(PATIENCE)] == sent


def test_what_a_cut_looks_like(nodes: Nodes) -> None:
    """The events, the state, the path and the peer's identity on both sides."""
    pair = nodes.proxied()
    before = pair.to_far.path
    pair.suspend()
    assert before is not None
    for heard, peer, service in ((pair.near_heard, pair.to_far, pair.near), (pair.far_heard, pair.to_near, pair.far)):
        event = heard.wait(crust.PeerSuspended)
        assert (event.peer, bool(event.reason)) == (peer, True)
        assert (peer.state, peer in service.peers, service.is_connected(peer.id)) == ("suspended", True, False)
        assert peer.path is not None
        assert (service.stats().peers_connected, service.stats().peers_suspended) == (0, 1)
    pair.wire.heal()
    for heard, peer in ((pair.near_heard, pair.to_far), (pair.far_heard, pair.to_near)):
        resumed = heard.wait(crust.PeerResumed, timeout=PATIENCE)
        assert (resumed.peer, peer.state) == (peer, "connected")
        assert resumed.path.since >= before.since
    changed = pair.near_heard.wait(crust.PathChanged)
    assert changed.old is not None
    assert (changed.peer, changed.old.remote, changed.new.remote) == (pair.to_far, before.remote, before.remote)
    assert changed.old.local != changed.new.local
    assert pair.near.peers == [pair.to_far]


def test_messages_wait_for_the_return(nodes: Nodes) -> None:
    """What is sent while suspended, from both sides, arrives after it."""
    pair = nodes.proxied()
    pair.suspend()
    for peer in (pair.to_far, pair.to_near):
        peer.send(b"first")
        peer.send(b"second")
    with pytest.raises(crust.Timeout):
        pair.to_far.flush(timeout=0.05)
    pair.wire.heal()
    for peer in (pair.to_far, pair.to_near):
        assert [peer.recv(PATIENCE), peer.recv(PATIENCE)] == [b"first", b"second"]
        peer.flush(PATIENCE)


def test_counters_go_on_after_a_cut(nodes: Nodes) -> None:
    """What a session has carried is counted over all its links: the figures never fall."""
    pair = nodes.proxied()
    pair.to_far.send(bytes(50_000))
    pair.to_far.flush(PATIENCE)
    before = pair.to_far.stats()
    pair.wire.cut()
    nodes.heard(pair.near).wait(crust.PeerResumed)
    pair.to_far.send(bytes(30_000))
    pair.to_far.flush(PATIENCE)
    after, arrived = pair.to_far.stats(), pair.to_near.stats()
    assert before.bytes_sent > 50_000 and after.bytes_sent - before.bytes_sent > 30_000
    assert arrived.bytes_received > 80_000 and arrived.messages_received == after.messages_sent == 2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_flush_lasts_over_a_cut(nodes: Nodes, direction: str) -> None:
    """It returns at once when the other side has stored everything, also when a resume is what tells us so."""
    pair = nodes.proxied()
    pair.wire.stall(direction)
    pair.to_far.send(b"x")
    flushing = Background(lambda: pair.to_far.flush(timeout=60))
    if direction == DOWN:
        wait_until(lambda: pair.to_near.stats().messages_received, PATIENCE, "the message")
    pair.wire.cut()
    pair.wire.heal()
    flushing.result(PATIENCE)
    assert pair.to_near.recv(0) == b"x"


def test_a_resume_makes_room(nodes: Nodes) -> None:
    """What it acknowledges lets waiting senders go on, and raises SendReady where one was turned away."""
    small = config(session__max_message_size=100, session__send_buffer__messages=4)
    pair = nodes.proxied(near=small)
    pair.wire.stall(DOWN)
    with pytest.raises(crust.WouldBlock):
        while True:
            pair.to_far.send(b"x", timeout=0)
    wait_until(lambda: pair.to_near.stats().messages_received == 4, PATIENCE, "four messages")
    waiting = Background(lambda: pair.to_far.send(b"y", timeout=60))
    pair.wire.cut()
    pair.wire.heal()
    assert waiting.result(PATIENCE) == 4
    pair.near_heard.wait(crust.SendReady)


def test_the_dialler_tries_until_it_gets_through(nodes: Nodes) -> None:
    """One redial at once, and more after growing pauses."""
    pair = nodes.proxied()
    proxy = pair.wire
    before = proxy.connections
    pair.suspend()
    wait_until(lambda: proxy.connections - before >= 3, PATIENCE, "three redials")
    proxy.heal()
    pair.near_heard.wait(crust.PeerResumed, timeout=PATIENCE)
    assert pair.near_heard.of(crust.ConnectFailure) == []


def test_the_dialled_side_redials_where_it_knows_an_address(nodes: Nodes) -> None:
    """If the first dialler cannot come back, the other goes."""
    near = nodes.start()
    far = nodes.start(contacts=[near.contact])
    pair = Pair(nodes, near, far, nodes.proxy(far))
    pair.suspend()
    resumed = pair.far_heard.wait(crust.PeerResumed, timeout=PATIENCE)
    assert (resumed.path.inbound, resumed.path.remote) == (False, str(near.addresses[0]))
    pair.to_far.send(b"x")
    assert pair.to_near.recv(PATIENCE) == b"x"


def test_connect_waits_for_a_suspended_peer(nodes: Nodes) -> None:
    """It returns the same peer when the session is back."""
    pair = nodes.proxied()
    pair.suspend()
    with pytest.raises(crust.Timeout):
        pair.near.connect(pair.far.id, timeout=0.05)
    waiting = Background(lambda: pair.near.connect(through(pair.wire, pair.far)))
    pair.wire.heal()
    assert waiting.result(PATIENCE) is pair.to_far
    assert len(pair.near_heard.of(crust.ConnectSuccess)) == 1


@pytest.mark.parametrize("gives_up", [False, True])
def test_connect_in_the_moment_in_which_a_link_ends(nodes: Nodes, gives_up: bool) -> None:
    """Before it is dialled again: that is what ``connect`` waits for; and it goes on if nobody waits any more."""
    pair = nodes.proxied()
    assert pair.near._node is not None
    dialled: list[concurrent.futures.Future[crust.Peer]] = []
    hooks = pair.near._node.on_detached
    hooks.insert(0, lambda conversation: dialled.append(pair.near.dial(pair.far.id)))
    pair.suspend()
    wait_until(lambda: dialled, PATIENCE, "the dial")
    if gives_up:
        assert dialled[0].cancel()
    pair.wire.heal()
    pair.near_heard.wait(crust.PeerResumed, timeout=PATIENCE)
    assert gives_up or dialled[0].result(PATIENCE) is pair.to_far
    assert len(pair.near_heard.of(crust.ConnectSuccess)) == 1


def test_connect_brings_a_suspended_session_back_another_way(nodes: Nodes) -> None:
    """Addresses given to ``connect`` are tried for the session that waits, from either side."""
    for caller in ("near", "far"):
        pair = nodes.proxied()
        pair.suspend()
        service, other = (pair.near, pair.far) if caller == "near" else (pair.far, pair.near)
        expected = pair.to_far if caller == "near" else pair.to_near
        assert service.connect(other.contact) is expected
        pair.to_far.send(b"x")
        assert pair.to_near.recv(PATIENCE) == b"x"


def test_who_wants_a_peer_whose_session_is_over_is_not_given_up_with_it(nodes: Nodes) -> None:
    """The end may come just before a session is to be resumed, so that it is looked for in vain meanwhile."""
    pair = nodes.proxied()
    pair.suspend()
    gone = pair.to_far._conversation
    assert pair.near.disconnect(pair.far.id)
    pair.near_heard.wait(crust.LostPeer)
    dialer = pair.near._node.dialer  # type: ignore[union-attr]
    dead = Endpoint("tcp", "127.0.0.1", unused_port())
    told: list[crust.CrustError | None] = []
    with dialer._lock:  # both before the first address is known to be dead
        dialer.redial(gone, [dead])
        dialer.dial(pair.far.id, [dead], Purpose.CONNECT, 10.0, lambda _, error: told.append(error))
    wait_until(lambda: told, PATIENCE, "the end")
    assert isinstance(told[0], crust.ConnectError) and "refused" in str(told[0])


def test_disconnecting_a_suspended_peer(nodes: Nodes) -> None:
    """It is lost at once here, with what was not acknowledged; the other side hears of it when it comes back."""
    pair = nodes.proxied()
    pair.suspend()
    number = pair.to_far.send(b"never")
    assert pair.near.disconnect(pair.far.id)
    lost = pair.near_heard.wait(crust.LostPeer)
    assert (lost.reason, lost.unacknowledged) == ("disconnected", (number,))
    pair.wire.heal()
    peer = pair.near.connect(through(pair.wire, pair.far))
    peer.send(b"new")
    assert pair.far_heard.wait(crust.LostPeer, timeout=PATIENCE).reason in ("gone", "replaced")
    assert pair.far_heard.wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"new"


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_new_session_after_a_silent_end(nodes: Nodes, controller: str) -> None:
    """A node whose goodbye was swallowed by the network can connect anew soon, though its peer saw nothing."""
    pair = nodes.proxied(controller=controller)
    pair.wire.swallow()
    pair.to_far.disconnect()
    began = time.monotonic()
    peer = pair.near.connect(pair.far.contact, timeout=60)
    assert time.monotonic() - began < PATIENCE * busy()
    peer.send(b"new")
    assert pair.far_heard.wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"new"
    assert pair.far_heard.wait(crust.LostPeer).peer is pair.to_near


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_silent_link_is_left_for_another(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With something unacknowledged and nothing heard, other addresses are tried at once; nothing is lost."""
    monkeypatch.setattr(limits, "SUSPICION_MIN", 0.05)
    far = nodes.start()
    first, second = nodes.proxy(far), nodes.proxy(far)
    near = nodes.start()
    contact = Contact(far.id, (Endpoint.parse(first.endpoint), Endpoint.parse(second.endpoint)))
    peer = near.connect(contact)
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    assert peer.address == first.endpoint
    first.swallow()
    peer.send(b"x")
    assert to_near.recv(PATIENCE) == b"x"
    changed = nodes.heard(near).wait(crust.PathChanged, timeout=PATIENCE)
    assert changed.new.remote == second.endpoint
    assert (peer.address, peer.state) == (second.endpoint, "connected")
    to_near.send(b"y")
    assert peer.recv(PATIENCE) == b"y"
    assert nodes.heard(near).of(crust.LostPeer) == nodes.heard(far).of(crust.LostPeer) == []


def test_heartbeats_keep_an_idle_link(nodes: Nodes) -> None:
    """A link without traffic outlives the timeout several times over."""
    pair = nodes.pair(config(**IMPATIENT), config(**IMPATIENT))
    end = time.monotonic() + 3 * 0.6
    wait_until(lambda: time.monotonic() > end, PATIENCE, "the time of three timeouts")
    assert pair.near_heard.names(pair.far.id) == pair.far_heard.names(pair.near.id) == ["ConnectSuccess"]
    assert (pair.to_far.state, pair.to_near.state) == ("connected", "connected")
    rtt = pair.to_far.stats().rtt
    assert rtt is not None and 0 < rtt < PATIENCE


def test_one_sides_heartbeats_are_enough(nodes: Nodes) -> None:
    """The answers to them tell the silent side that we live, and us that it does."""
    patient = config(session__heartbeat_interval=30.0, session__resume_timeout=60.0)
    pair = nodes.pair(config(**IMPATIENT), patient)
    end = time.monotonic() + 2 * 0.6
    wait_until(lambda: time.monotonic() > end, PATIENCE, "the time of two timeouts")
    assert pair.near_heard.names(pair.far.id) == ["ConnectSuccess"]


def test_silence_ends_the_session(nodes: Nodes) -> None:
    """A link that swallows everything: LostPeer(timeout) on both sides, with what was not acknowledged."""
    pair = nodes.proxied(near=config(**IMPATIENT), far=config(**IMPATIENT))
    pair.wire.swallow()
    numbers = tuple(pair.to_far.send(b"x") for _ in range(3))
    began = time.monotonic()
    for heard, expected in ((pair.near_heard, numbers), (pair.far_heard, ())):
        lost = heard.wait(crust.LostPeer, timeout=PATIENCE)
        assert (lost.reason, lost.unacknowledged) == ("timeout", expected)
    assert time.monotonic() - began >= 0.3
    assert (pair.near.peers, pair.far.peers) == ([], [])
    with pytest.raises(crust.PeerLost) as caught:
        pair.to_far.send(b"x")
    assert caught.value.reason == "timeout"


def test_the_time_without_a_link_counts(nodes: Nodes) -> None:
    """``session.resume_timeout`` after the last sign of life a suspended session is lost; acknowledged is not told."""
    pair = nodes.proxied(near=config(**IMPATIENT), far=config(**IMPATIENT))
    pair.to_far.send(b"arrived")
    pair.to_far.flush()
    pair.suspend()
    numbers = (pair.to_far.send(b"a"), pair.to_far.send(b"b", priority=9))
    for heard, expected in ((pair.near_heard, numbers), (pair.far_heard, ())):
        lost = heard.wait(crust.LostPeer, timeout=PATIENCE)
        assert (lost.reason, lost.unacknowledged) == ("timeout", expected)
    assert pair.to_near.recv(0) == b"arrived"
    with pytest.raises(crust.PeerLost):
        pair.to_near.recv(0)
    before = pair.wire.connections
    pair.wire.heal()
    wait_until(lambda: not dials(pair.near), PATIENCE, "the end of redialling")
    assert pair.wire.connections - before <= 1


def dials(service: Service) -> list[str]:
    assert service._node is not None
    return [name for name in service._node.threads.alive() if name.startswith("crust-dial")]


def test_iteration_over_a_vanished_peer_raises(nodes: Nodes) -> None:
    """Messages first, then PeerLost: the end was none in order."""
    pair = nodes.proxied(near=config(**IMPATIENT), far=config(**IMPATIENT))
    pair.to_far.send_many([b"a", b"b"])
    pair.to_far.flush()
    pair.suspend()
    got = []
    with pytest.raises(crust.PeerLost) as caught:
        for data in pair.to_near:
            got.append(data)
    assert (got, caught.value.reason) == ([b"a", b"b"], "timeout")


def test_a_sender_that_waits_hears_of_the_loss(nodes: Nodes) -> None:
    """Whoever waits for room or for acknowledgements gets PeerLost."""
    small = config(session__max_message_size=100, session__send_buffer__messages=2, **IMPATIENT)
    pair = nodes.proxied(near=small, far=config(**IMPATIENT))
    pair.suspend()
    pair.to_far.send(b"x")
    pair.to_far.send(b"x")
    waiting: list[Callable[[], object]] = [
        lambda: pair.to_far.send(b"x", timeout=None),
        lambda: pair.to_far.flush(timeout=None),
        lambda: pair.to_far.recv(),
    ]
    for job in [Background(wait) for wait in waiting]:
        with pytest.raises(crust.PeerLost):
            job.result(PATIENCE)


# --- restarts ---------------------------------------------------------------------------------------------------------


class Killed:
    """A pair whose far node is gone without a word, and comes back with the same identity and no memory."""

    def __init__(self, nodes: Nodes, controller: str) -> None:
        lesser, greater = pair_of_identities()
        ours, self.identity = (greater, lesser) if controller == "near" else (lesser, greater)
        far = nodes.start(identity=self.identity)
        self.pair = Pair(nodes, nodes.start(identity=ours), far, nodes.proxy(far))
        self.proxy = self.pair.wire
        self._nodes = nodes

    def kill(self) -> None:
        self.pair.suspend()
        self.pair.far.close()

    def restart(self) -> Service:
        service = self._nodes.start(identity=self.identity)
        self.proxy.target = service.addresses[0].port
        return service


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_restarted_peer_is_gone(nodes: Nodes, controller: str) -> None:
    """Our redial finds a program that knows nothing: LostPeer(gone), loudly, and only we begin a new session."""
    killed = Killed(nodes, controller)
    pair = killed.pair
    killed.kill()
    number = pair.to_far.send(b"to the old one")
    again = killed.restart()
    killed.proxy.heal()
    lost = pair.near_heard.wait(crust.LostPeer, timeout=PATIENCE)
    assert (lost.peer, lost.reason, lost.unacknowledged) == (pair.to_far, "gone", (number,))
    assert nodes.heard(again).names(pair.near.id) == []
    peer = pair.near.connect(again.contact)
    assert peer is not pair.to_far
    peer.send(b"to the new one")
    assert nodes.heard(again).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"to the new one"
    assert pair.near_heard.names(again.id) == ["ConnectSuccess", "PeerSuspended", "LostPeer", "ConnectSuccess"]


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_restarted_peer_that_calls_us(nodes: Nodes, controller: str) -> None:
    """Its call shows that it is another run: LostPeer(restarted), and then its new session."""
    killed = Killed(nodes, controller)
    pair = killed.pair
    killed.kill()
    number = pair.to_far.send(b"to the old one")
    again = killed.restart()
    peer = again.connect(pair.near.contact)
    lost = pair.near_heard.wait(crust.LostPeer)
    assert (lost.peer, lost.reason, lost.unacknowledged) == (pair.to_far, "restarted", (number,))
    new = pair.near_heard.wait(crust.ConnectSuccess, 2)
    assert new.inbound
    new.peer.send(b"hello again")
    assert peer.recv(PATIENCE) == b"hello again"
    assert pair.near_heard.names(again.id) == ["ConnectSuccess", "PeerSuspended", "LostPeer", "ConnectSuccess"]


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_restart_that_we_did_not_notice(nodes: Nodes, controller: str) -> None:
    """The same while our link still looks well."""
    killed = Killed(nodes, controller)
    pair = killed.pair
    killed.proxy.swallow()
    pair.far.close(timeout=0.1)
    again = killed.restart()
    peer = again.connect(pair.near.contact)
    assert pair.near_heard.wait(crust.LostPeer).reason == "restarted"
    peer.send(b"hello again")
    assert pair.near_heard.wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"hello again"


def test_connect_to_a_restarted_peer(nodes: Nodes) -> None:
    """Who waits for a suspended peer that turns out to be another run gets the new session, after LostPeer."""
    killed = Killed(nodes, "")
    pair = killed.pair
    killed.kill()
    again = killed.restart()
    waiting = Background(lambda: pair.near.connect(through(killed.proxy, again)))
    assert pair.near._node is not None
    wait_until(lambda: waits(pair.near), PATIENCE, "a waiter")
    killed.proxy.heal()
    peer = waiting.result(PATIENCE)
    assert isinstance(peer, crust.Peer)
    assert peer is not pair.to_far
    peer.send(b"x")
    assert nodes.heard(again).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"x"
    assert pair.near_heard.wait(crust.LostPeer).reason == "gone"


def waits(service: Service) -> bool:
    """Whether somebody waits for an effort of this node's dialer."""
    assert service._node is not None
    return any(effort.waiters for effort in service._node.dialer._efforts.values())


def test_a_stranger_at_the_old_address_does_not_end_the_session(nodes: Nodes) -> None:
    """Only who holds the key can say that a session is gone."""
    killed = Killed(nodes, "")
    pair = killed.pair
    pair.suspend()
    stranger = nodes.start()
    right = killed.proxy.target
    killed.proxy.target = stranger.addresses[0].port
    before = killed.proxy.connections
    killed.proxy.refuse(False)
    wait_until(lambda: killed.proxy.connections - before >= 2, PATIENCE, "redials that met the stranger")
    assert pair.near_heard.of(crust.LostPeer) == []
    killed.proxy.target = right
    pair.near_heard.wait(crust.PeerResumed, timeout=PATIENCE)
    assert stranger.peers == []


def test_a_peer_that_closes_while_we_are_away(nodes: Nodes) -> None:
    """Its goodbye could not reach us: the redial finds nobody, until patience ends."""
    pair = nodes.proxied(near=config(**IMPATIENT))
    pair.suspend()
    pair.far.close()
    pair.wire.heal()
    assert pair.near_heard.wait(crust.LostPeer, timeout=PATIENCE).reason == "timeout"


# --- bounds -----------------------------------------------------------------------------------------------------------


def has_detached(service: Service, count: int) -> bool:
    assert service._node is not None
    return len(service._node.registry._detached) == count


def test_the_number_of_detached_sessions_is_bounded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those longest without a link are given up first, with LostPeer(overloaded)."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 2)
    hub = nodes.start()
    proxies, others = [], []
    for number in range(1, 4):
        proxy = nodes.proxy(hub)
        other = nodes.start(heard=False)
        other.connect(through(proxy, hub))
        nodes.heard(hub).wait(crust.ConnectSuccess, number)
        proxies.append(proxy)
        others.append(other)
    for number, proxy in enumerate(proxies, 1):
        proxy.refuse()
        proxy.cut()
        wait_until(functools.partial(has_detached, hub, min(number, 2)), PATIENCE, "a detached session")
    lost = nodes.heard(hub).wait(crust.LostPeer)
    assert hub.stats().refusals["DETACHED_SESSIONS_MAX"] == 1
    assert (lost.peer.id, lost.reason) == (others[0].id, "overloaded")
    assert {peer.id for peer in hub.peers} == {others[1].id, others[2].id}


def test_the_data_of_detached_sessions_is_bounded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together hold so many bytes at most."""
    monkeypatch.setattr(limits, "DETACHED_BYTES_MAX", 250_000)
    far = nodes.start()
    pair = Pair(nodes, nodes.start(), far, nodes.proxy(far))
    pair.wire.stall(UP)
    numbers = tuple(pair.to_far.send(bytes(100_000)) for _ in range(3))
    pair.suspend()
    lost = pair.near_heard.wait(crust.LostPeer)
    assert (lost.reason, lost.unacknowledged) == ("overloaded", numbers)
    assert pair.near.stats().refusals["DETACHED_BYTES_MAX"] == 1


def test_a_resumed_session_is_not_detached_any_more(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the cut and the return overlap, a session that has a link does not count against the bound."""
    monkeypatch.setattr(limits, "DETACHED_SESSIONS_MAX", 1)
    pair = nodes.proxied()
    for _ in range(10):
        pair.cut()
    other = nodes.proxied()
    other.suspend()
    assert pair.near_heard.of(crust.LostPeer) == pair.far_heard.of(crust.LostPeer) == []


def test_suspended_and_resumed_alternate(nodes: Nodes) -> None:
    """The events of many quick cuts come in the order in which things happened, on both sides."""
    pair = nodes.proxied()
    for _ in range(30):
        pair.cut()
    pair.to_far.send(b"x")
    assert pair.to_near.recv(PATIENCE) == b"x"
    for heard, peer_id in ((pair.near_heard, pair.far.id), (pair.far_heard, pair.near.id)):
        heard.wait(crust.PeerResumed, len(heard.of(crust.PeerSuspended)))
        words = [name for name in heard.names(peer_id) if name != "PathChanged"][1:]
        assert words == ["PeerSuspended", "PeerResumed"] * (len(words) // 2)
