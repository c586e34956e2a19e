"""Who may talk to us: roles, allow lists, bans before and during everything, and a full house."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Callable

import pytest

import crust
from crust import Contact, Endpoint, Identity, ListenConfig, Service, limits
from crust.peers.race import Candidate
from crust.wire import frames
from crust.wire.handshake import Resume, Role
from tests.support.nodes import LOOPBACK, LOOPBACK_6, Nodes, Pair, config, pair_of_identities, through
from tests.support.puppet import Caller
from tests.support.sockets import silent_listener
from tests.support.threads import Background
from tests.support.trios import SERVES, Trio, hidden
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


def denial(near: Service, far: Service) -> crust.Denied:
    """How ``far`` refuses ``near``."""
    with pytest.raises(crust.Denied) as caught:
        near.connect(far.contact)
    return caught.value


# --- allow lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["node", "client"])
def test_networks_by_role(nodes: Nodes, role: str) -> None:
    """``access.node_networks`` and ``client_networks`` hold for peers of that role only; null is all, [] is none."""
    other = "client" if role == "node" else "node"
    near, unaffected = nodes.start(config(network__role=role)), nodes.start(config(network__role=other))
    for networks, welcome in (((), False), (("192.0.2.0/24",), False), (("127.0.0.0/8",), True), (None, True)):
        far = nodes.start(config(**{f"access__{role}_networks": networks}))
        if welcome:
            assert near.connect(far.contact).id == far.id
        else:
            assert denial(near, far).reason == "role"
            assert nodes.heard(far).of(crust.ConnectSuccess) == []
        assert unaffected.connect(far.contact).id == far.id


def test_allowed_peers(nodes: Nodes) -> None:
    """``access.allow_peers`` names who may call; whom we call ourselves is our affair."""
    near, stranger = nodes.start(), nodes.start()
    far = nodes.start(config(access__allow_peers=(str(near.id),)))
    assert near.connect(far.contact).id == far.id
    refused = denial(stranger, far)
    assert (refused.reason, refused.alternates) == ("role", ())
    assert "list" in str(refused)
    assert far.connect(stranger.contact).id == stranger.id


@pytest.mark.parametrize("controller", ["near", "far"])
@pytest.mark.parametrize("key", ["access__allow_peers", "access__node_networks"])
def test_whom_we_called_may_call_back_after_a_cut(nodes: Nodes, controller: str, key: str) -> None:
    """The lists are about callers: who goes on with a session that we began is not refused, or it would be over."""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
    near = nodes.start(config(**{key: ()}), identity=ours)
    far = nodes.start(contacts=[near.contact], identity=theirs)
    pair = Pair(nodes, near, far, nodes.proxy(far))
    pair.suspend()
    pair.to_near.send(b"there")
    pair.to_far.send(b"back")
    assert pair.far_heard.wait(crust.PeerResumed, timeout=PATIENCE).path.inbound is False
    assert (pair.to_far.recv(PATIENCE), pair.to_near.recv(PATIENCE)) == (b"there", b"back")
    pair.to_near.disconnect()
    pair.near_heard.wait(crust.LostPeer)
    assert denial(far, near).reason == "role"  # a session that he begins is another matter


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_call_from_elsewhere_ends_no_session(nodes: Nodes, controller: str) -> None:
    """From an address that is on no list it does not go on, and waits for one that is."""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
    both = ListenConfig(addresses=(LOOPBACK, LOOPBACK_6))
    near = nodes.start(identity=ours)
    far = nodes.start(config(access__node_networks=("127.0.0.0/8",), listen=both), identity=theirs)
    proxy = nodes.proxy(far)
    to_far = near.connect(through(proxy, far))
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    proxy.refuse()
    proxy.cut()
    nodes.heard(near).wait(crust.PeerSuspended)
    before = far.stats().gate.admitted
    elsewhere = near.dial(Contact(far.id, far.addresses[1:]))
    wait_until(lambda: far.stats().gate.admitted > before and not far.stats().gate.current, PATIENCE, "that call")
    to_far.send(b"still here")
    proxy.heal()
    assert to_near.recv(PATIENCE) == b"still here"
    elsewhere.result(PATIENCE)
    assert all(nodes.heard(each).of(crust.LostPeer) == [] for each in (near, far))


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
@pytest.mark.parametrize("controls", [True, False])
def test_a_session_goes_on_by_the_list_of_the_role_that_it_began_in(nodes: Nodes, controls: bool) -> None:
    """Who says in a later call that it is something else has another list, but the same session."""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controls else (lesser, greater)
    node = nodes.start(config(access__node_networks=("127.0.0.1/32",)), identity=ours)
    run = os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, theirs, incarnation=run) as first:
        resume = Resume(first.begin().session_id, 0)
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        elsewhere = Caller(node, theirs, incarnation=run, resume=resume, source="127.0.0.5", introduce=False)
        with elsewhere:
            elsewhere.introduction = dataclasses.replace(elsewhere.introduction, role=Role.CLIENT)
            elsewhere.sock.sendall(elsewhere.handshake.start())
            elsewhere.answer()
            elsewhere.introduce()
            assert elsewhere.rest() == []
        first.send(frames.Batch(0, 0, 1, [b"still here"]))
        assert peer.recv(PATIENCE) == b"still here"
        assert (peer.role, nodes.heard(node).of(crust.PathChanged, crust.LostPeer)) == ("node", [])


def test_whom_we_called_and_banned_does_not_come_back(nodes: Nodes) -> None:
    """Bans hold for sessions that we began, too, whoever brings them back."""
    near = nodes.start(config(access__allow_peers=()))
    far = nodes.start(contacts=[near.contact])
    pair = Pair(nodes, near, far, nodes.proxy(far))
    near.ban(far.id)
    assert pair.far_heard.wait(crust.LostPeer).reason == "banned"
    assert denial(far, near).reason == "banned"


def listening_elsewhere(nodes: Nodes, controller: str, *, known: bool = False) -> Pair:
    """``near`` calls from 127.0.0.1, the only address that ``far`` lists, and listens at another: is it known there?"""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
    near = nodes.start(config(listen__addresses=("tcp://127.0.0.5:0",)), identity=ours)
    far = nodes.start(
        config(access__node_networks=("127.0.0.1/32",)), identity=theirs, contacts=[near.contact] if known else []
    )
    return Pair(nodes, near, far, nodes.proxy(far))


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
@pytest.mark.parametrize("controller", ["near", "far"])
def test_who_called_us_is_not_called_where_it_may_begin_nothing(nodes: Nodes, controller: str) -> None:
    """By ourselves; it would go on from an address that is on no list. ``connect`` goes where it is told to."""
    pair = listening_elsewhere(nodes, controller, known=True)
    near, far = pair.near, pair.far
    tried: list[crust.PathAttempted] = []
    far.on(crust.PathAttempted, tried.append)
    pair.suspend()
    pair.to_far.send(b"still here")
    wait_until(lambda: any("on no list" in each.attempt.error for each in tried), PATIENCE, "an attempt")
    assert nodes.heard(far).of(crust.PeerResumed) == []
    assert far.connect(near.contact, timeout=PATIENCE) is pair.to_near
    assert pair.to_near.recv(PATIENCE) == b"still here"


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
@pytest.mark.parametrize("controller", ["near", "far"])
def test_where_connect_has_led_a_session_it_comes_back(nodes: Nodes, controller: str) -> None:
    """A cut there is a cut as any other, though its peer could begin nothing from there."""
    pair = listening_elsewhere(nodes, controller)
    near, far = pair.near, pair.far
    pair.suspend()
    assert far.connect(near.contact, timeout=PATIENCE) is pair.to_near
    pair.to_near._conversation.link.connection.abort()
    pair.far_heard.wait(crust.PeerSuspended, 2)
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(PATIENCE) == b"still here"
    assert pair.far_heard.of(crust.LostPeer) == []


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
@pytest.mark.parametrize("controller", ["near", "far"])
def test_who_called_us_is_not_moved_where_it_may_begin_nothing(nodes: Nodes, controller: str) -> None:
    """A better way that its peer names is none there, but where a list has it."""
    near = hidden(listen__addresses=("tcp://127.0.0.5:0", "tcp://127.0.0.1:0"))
    trio = Trio(nodes, near=near, far=hidden(access__node_networks=("127.0.0.1/32",)), controller=controller)
    _, to_near = trio.meet()  # the introducer sees it at 127.0.0.1
    tried: list[crust.PathAttempted] = []
    trio.far.on(crust.PathAttempted, tried.append)
    trio.near.start_listening()
    elsewhere, listed = trio.near.addresses
    node = trio.far._node
    assert node is not None
    assert not node.dialer.pursue(to_near._conversation, Candidate(elsewhere))
    wait_until(lambda: any("on no list" in each.attempt.error for each in tried), PATIENCE, "the attempt")
    node.dialer.pursue(to_near._conversation, Candidate(listed))
    wait_until(lambda: (path := to_near.path) is not None and path.path_class == "direct-tcp", PATIENCE, "the move")
    assert to_near.path is not None and "127.0.0.1" in to_near.path.remote


@pytest.mark.skipif(sys.platform != "linux", reason="loopback may have only one address here")
@pytest.mark.parametrize("controller", ["near", "far"])
def test_who_called_us_is_not_called_through_others_where_it_may_begin_nothing(nodes: Nodes, controller: str) -> None:
    """The lists hold for where the introducer sees it, whichever side opens the circuit; ``connect`` opens it."""
    lesser, greater = pair_of_identities()
    ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
    relay = nodes.start(SERVES)
    near = nodes.start(hidden(listen__addresses=("tcp://127.0.0.5:0",)), identity=ours)
    far = nodes.start(hidden(access__node_networks=("127.0.0.1/32",)), identity=theirs)
    pair = Pair(nodes, near, far, nodes.proxy(far))  # that calls from 127.0.0.1
    far.connect(relay.contact)
    relay.connect(near.contact)  # so it sees it at 127.0.0.5
    for each in (near, far):
        each.stop_listening()
    tried: list[crust.PathAttempted] = []
    far.on(crust.PathAttempted, tried.append)
    pair.suspend()
    pair.to_far.send(b"still here")
    wait_until(lambda: any("on no list" in each.attempt.error for each in tried), PATIENCE, "an attempt")
    assert pair.far_heard.of(crust.PeerResumed, crust.LostPeer) == []
    assert far.connect(near.id, timeout=PATIENCE) is pair.to_near
    assert pair.to_near.recv(PATIENCE) == b"still here"


def test_a_denied_call_is_an_event_at_the_caller_only(nodes: Nodes) -> None:
    """Nobody is bothered with callers who were refused."""
    near, far = nodes.start(), nodes.start(config(access__allow_peers=()))
    error = denial(near, far)
    failure = nodes.heard(near).wait(crust.ConnectFailure)
    assert (failure.error, failure.peer_id) == (error, far.id)
    assert [attempt.verdict for attempt in failure.attempts] == ["denied"]
    nodes.heard(far).wait(crust.AddressesChanged)
    assert nodes.heard(far).names() == ["ListenerStarted", "AddressesChanged"]


# --- bans -------------------------------------------------------------------------------------------------------------


def test_a_ban_ends_the_session_at_once(nodes: Nodes) -> None:
    """Both sides hear LostPeer(banned); what was not acknowledged is told; a new call is denied until unban."""
    pair = nodes.pair()
    assert pair.far.ban(pair.near.id) == 1
    assert pair.far_heard.wait(crust.LostPeer).reason == "banned"
    assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
    with pytest.raises(crust.PeerLost) as caught:
        pair.to_far.send(b"x")
    assert caught.value.reason == "banned"
    assert denial(pair.near, pair.far).reason == "banned"
    assert pair.far.unban(pair.near.id) == 1
    assert pair.far.unban(pair.near.id) == 0
    assert pair.near.connect(pair.far.contact).state == "connected"


@pytest.mark.parametrize(
    "who",
    [
        lambda service: service.id,
        lambda service: str(service.id),
        lambda service: service.contact,
        lambda service: str(service.contact),
        lambda service: service.prepare_connection_info(),
        lambda service: "127.0.0.1",
        lambda service: "127.0.0.0/8",
        lambda service: ipaddress.ip_address("127.0.0.1"),
        lambda service: ipaddress.ip_network("127.0.0.0/30"),
    ],
)
def test_everything_that_can_be_banned(nodes: Nodes, who: Callable[[Service], crust.PeerId]) -> None:
    """Ids, contacts, addresses and networks, as objects and as text: the session ends, and calls fail."""
    pair = nodes.pair()
    assert pair.far.ban(who(pair.near)) == 1
    assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
    with pytest.raises(crust.ConnectError):
        pair.near.connect(pair.far.contact)
    assert pair.far.unban(who(pair.near)) == 1
    assert pair.near.connect(pair.far.contact).id == pair.far.id


def test_bans_en_masse(nodes: Nodes) -> None:
    """One call bans many; only their sessions end."""
    hub = nodes.start()
    others = [nodes.start() for _ in range(6)]
    for other in others:
        other.connect(hub.contact)
    wait_until(lambda: len(hub.peers) == 6, what="six peers")
    banned, kept = others[:4], others[4:]
    strangers = [Identity.generate().peer_id for _ in range(500)]
    assert hub.ban(*strangers, *(other.id for other in banned), banned[0].id) == 504
    for other in banned:
        assert nodes.heard(other).wait(crust.LostPeer).reason == "banned"
        assert denial(other, hub).reason == "banned"
    assert {peer.id for peer in hub.peers} == {other.id for other in kept}
    for other in kept:
        other.peers[0].send(b"still here")
    for peer in hub.peers:
        assert peer.recv(PATIENCE) == b"still here"
    assert hub.unban(*strangers, *(other.id for other in banned)) == 504


def test_a_ban_with_an_end(nodes: Nodes) -> None:
    """After its seconds, and not before, the peer is welcome again."""
    pair = nodes.pair()
    began = time.monotonic()
    pair.far.ban(pair.near.id, seconds=0.3)
    pair.near_heard.wait(crust.LostPeer)

    def welcome() -> bool:
        try:
            return pair.near.connect(pair.far.contact).state == "connected"
        except crust.Denied:
            return False

    wait_until(welcome, what="the end of the ban")
    assert time.monotonic() - began >= 0.3


def test_a_ban_that_makes_no_sense_bans_nobody(nodes: Nodes) -> None:
    """One bad entry, and nothing is done."""
    pair = nodes.pair()
    for wrong in ("nonsense", 7, None):
        with pytest.raises((crust.ContactSyntaxError, TypeError, ValueError)):
            pair.far.ban(pair.near.id, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        pair.far.ban(pair.near.id, seconds=0)
    pair.to_far.send(b"x")
    assert pair.to_near.recv(PATIENCE) == b"x"


def test_configured_bans(nodes: Nodes) -> None:
    """``access.ban`` holds from the start."""
    near = nodes.start()
    far = nodes.start(config(access__ban__peers=(str(near.id),)))
    assert denial(near, far).reason == "banned"
    assert nodes.start().connect(far.contact).id == far.id
    walled = nodes.start(config(access__ban__networks=("127.0.0.1",)))
    with pytest.raises(crust.ConnectError):
        near.connect(walled.contact)


def test_a_banned_address_gets_no_byte(nodes: Nodes) -> None:
    """Its connections are closed before anything is read or written."""
    far = nodes.start()
    far.ban("127.0.0.1")
    with socket.create_connection(("127.0.0.1", far.addresses[0].port)) as sock:
        sock.settimeout(PATIENCE)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    assert far.stats().gate.admitted == 0


def test_we_do_not_call_whom_we_banned(nodes: Nodes) -> None:
    """A ban holds whoever calls: by id nothing is dialled, and addresses that are banned are left out."""
    near, far = nodes.start(), nodes.start()
    near.ban(far.id)
    for call in (near.connect, lambda contact: near.bootstrap(contacts=[contact])):
        with pytest.raises(crust.ConnectError, match="banned"):
            call(far.contact)
    assert far.stats().gate.admitted == 0
    near.unban(far.id)
    near.ban("127.0.0.1")
    with pytest.raises(crust.ConnectError, match="banned"):
        near.connect(far.contact)
    assert far.stats().gate.admitted == 0
    near.unban("127.0.0.1")
    assert near.connect(far.contact).id == far.id


def test_a_ban_ends_a_dial(nodes: Nodes) -> None:
    """Who is banned while we dial it is given up."""
    sockets, port = silent_listener()
    try:
        near = nodes.start()
        contact = Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", port),))
        dialling = Background(near.connect, contact)
        wait_until(lambda: dials(near), what="a dial")
        near.ban(contact.peer_id)
        with pytest.raises(crust.ConnectError, match="banned"):
            dialling.result()
        wait_until(lambda: not dials(near), what="the end of the dial")
    finally:
        for sock in sockets:
            sock.close()


def dials(service: Service) -> list[str]:
    assert service._node is not None
    return [name for name in service._node.threads.alive() if name.startswith("crust-dial")]


def test_a_ban_ends_a_handshake(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of a banned address end at once, however far they had come."""
    monkeypatch.setattr(limits, "FIRST_MESSAGE_TIMEOUT", 600.0)
    far = nodes.start()
    with socket.create_connection(("127.0.0.1", far.addresses[0].port)) as sock:
        wait_until(lambda: far.stats().gate.current == 1, what="a handshake under way")
        far.ban("127.0.0.0/8")
        sock.settimeout(PATIENCE)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
        wait_until(lambda: far.stats().gate.current == 0, what="the free slot")


def suspended_pair(nodes: Nodes, controller: str = "") -> Pair:
    """Two nodes whose link is cut and cannot come back."""
    pair = nodes.proxied(controller=controller)
    pair.suspend()
    return pair


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_ban_ends_a_detached_session(nodes: Nodes, controller: str) -> None:
    """Without a link as well; the other side learns of it when it comes back, at once and not by a timeout."""
    pair = suspended_pair(nodes, controller)
    number = pair.to_near.send(b"x")
    pair.far.ban(pair.near.id)
    lost = pair.far_heard.wait(crust.LostPeer)
    assert (lost.reason, lost.unacknowledged) == ("banned", (number,))
    assert pair.far.peers == []
    pair.wire.heal()
    assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
    assert pair.near.peers == []


def test_the_one_who_bans_does_not_redial(nodes: Nodes) -> None:
    """A session that is looking for a link stops looking when its peer is banned."""
    pair = suspended_pair(nodes)
    pair.near.ban(pair.far.id)
    assert pair.near_heard.wait(crust.LostPeer).reason == "banned"
    before = pair.wire.connections
    pair.wire.heal()
    wait_until(lambda: not dials(pair.near), what="the end of the dials")
    assert pair.wire.connections - before <= 1  # one may have been on its way
    assert pair.near.peers == []


def test_a_ban_in_the_callback_of_the_session(nodes: Nodes) -> None:
    """An application that bans whoever connects ends that session, and the next call is denied."""
    far = nodes.make()
    far.on(crust.ConnectSuccess, lambda event: far.ban(event.peer.id))
    far.start()
    near = nodes.start()
    near.dial(far.contact)
    assert nodes.heard(near).wait(crust.LostPeer).reason == "banned"
    assert denial(near, far).reason == "banned"


# --- a full house -----------------------------------------------------------------------------------------------------


def test_a_full_node_is_busy(nodes: Nodes) -> None:
    """``limits.max_peers`` refuses further callers with the reason, until somebody leaves."""
    far = nodes.start(config(limits__max_peers=2))
    first, second, third = nodes.start(), nodes.start(), nodes.start()
    peer = first.connect(far.contact)
    second.connect(far.contact)
    nodes.heard(far).wait(crust.ConnectSuccess, 2)
    assert denial(third, far).reason == "busy"
    peer.disconnect()
    nodes.heard(far).wait(crust.LostPeer)
    assert third.connect(far.contact).id == far.id
    assert second.is_connected(far.id)


def test_one_address_does_not_fill_a_node(nodes: Nodes) -> None:
    """``limits.peers_per_address``: whatever keys it calls with, it gets no more; others do, and whom we call."""
    far = nodes.start(config(limits__peers_per_address=2))
    third = nodes.start()
    peers = [nodes.start().connect(far.contact) for _ in range(2)]
    nodes.heard(far).wait(crust.ConnectSuccess, 2)
    assert denial(third, far).reason == "busy"
    assert far.stats().refusals["limits.peers_per_address"] == 1
    assert far.connect(third.contact).id == third.id
    peers[0].disconnect()
    nodes.heard(far).wait(crust.LostPeer)
    assert denial(nodes.start(), far).reason == "busy"
    peers[1].disconnect()
    nodes.heard(far).wait(crust.LostPeer, 2)
    assert nodes.start().connect(far.contact).id == far.id


def test_a_full_node_takes_its_peers_back(nodes: Nodes) -> None:
    """A suspended peer keeps its place: it resumes, and nobody else gets in meanwhile."""
    pair = nodes.proxied(far=config(limits__max_peers=1))
    pair.suspend()
    assert denial(nodes.start(), pair.far).reason == "busy"
    pair.wire.heal()
    pair.near_heard.wait(crust.PeerResumed)


def test_many_callers_at_once_do_not_overfill_a_node(nodes: Nodes) -> None:
    """However the calls meet, and whoever is whose controller, there are never more sessions than places."""
    far = nodes.start(config(limits__max_peers=3))
    proxy = nodes.proxy(far)
    proxy.delay(0.02)  # all are in the middle of their handshakes at the same time
    callers = [nodes.start(heard=False) for _ in range(12)]
    futures = [caller.dial(through(proxy, far)) for caller in callers]
    outcomes = [future.exception(PATIENCE) for future in futures]
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) >= 9
    wait_until(lambda: far.stats().gate.current == 0, what="the end of the handshakes")
    assert len(far.peers) <= 3
    assert len(nodes.heard(far).of(crust.ConnectSuccess)) <= 3
    for outcome in refused:
        assert isinstance(outcome, crust.Denied)
        assert outcome.reason == "busy"
