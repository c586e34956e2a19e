"""Connecting: whom, what comes of it, dial, listening."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crust
from crust import Contact, Endpoint, Identity, ListenConfig, PeerId, Service
from crust.peers.registry import Registry
from crust.transports.tcp import TcpTransport
from crust.transports.utp.transport import UtpTransport
from tests.support.nodes import LOOPBACK, LOOPBACK_6, Nodes, at, config, dials, pair_of_identities, through
from tests.support.sockets import has_ipv6, silent_listener, unused_port
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 that swallows dials."""
    sockets, port = silent_listener()
    yield port
    for sock in sockets:
        sock.close()


def listening(*addresses: str) -> crust.Config:
    return config(listen=ListenConfig(addresses=addresses))


# --- the ways to say whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        lambda far: far.contact,
        lambda far: str(far.contact),
        lambda far: far.prepare_connection_info(),
        lambda far: str(far.prepare_connection_info()),
    ],
)
def test_every_word_for_a_peer_leads_to_it(nodes: Nodes, word: Callable[[Service], object]) -> None:
    """A contact and a connection info, as object and as text."""
    near, far = nodes.start(), nodes.start()
    peer = near.connect(word(far))  # type: ignore[arg-type]
    assert (peer.id, peer.state, near.is_connected(far.id)) == (far.id, "connected", True)


@pytest.mark.parametrize("word", [lambda far: far.id, lambda far: str(far.id), lambda far: Contact(far.id)])
def test_a_bare_id_is_enough_if_its_address_is_known(nodes: Nodes, word: Callable[[Service], object]) -> None:
    """From the constructor's contacts, or from the configured ones."""
    far = nodes.start()
    for near in (
        nodes.start(contacts=[far.contact]),
        nodes.start(config(bootstrap__contacts=(str(far.contact),))),
    ):
        assert near.connect(word(far)).id == far.id  # type: ignore[arg-type]


def test_a_bare_id_without_an_address_has_no_route(nodes: Nodes) -> None:
    """The error says what to use instead, and the event has it too."""
    near = nodes.start()
    stranger = Identity.generate().peer_id
    with pytest.raises(crust.NoRoute, match="no address is known"):
        near.connect(stranger)
    failure = nodes.heard(near).wait(crust.ConnectFailure)
    assert (failure.peer_id, failure.attempts, type(failure.error)) == (stranger, (), crust.NoRoute)


@pytest.mark.parametrize("word", ["tcp://127.0.0.1:4000", "127.0.0.1:4000", "", "nobody"])
def test_an_address_without_a_key_is_refused_with_the_reason(nodes: Nodes, word: str) -> None:
    """crust connects to keys: without one anybody could answer."""
    near = nodes.start()
    uses: list[Callable[[str], object]] = [
        near.connect,
        near.dial,
        lambda text: near.bootstrap(contacts=[text]),
        lambda text: Service(contacts=[text]),
    ]
    for use in uses:
        with pytest.raises(crust.ContactSyntaxError):
            use(word)
    with pytest.raises(crust.ContactSyntaxError, match="key"):
        near.connect("tcp://127.0.0.1:4000")


def test_other_types_are_refused(nodes: Nodes) -> None:
    """Bytes, numbers and tuples are no contacts."""
    near = nodes.start()
    for word in (b"bytes", 7, ("127.0.0.1", 4000), None):
        with pytest.raises(TypeError, match="contact"):
            near.connect(word)  # type: ignore[arg-type]


def test_ipv6(nodes: Nodes) -> None:
    """A node that listens on ::1 is reached there."""
    assert has_ipv6()
    near, far = nodes.start(), nodes.start(listening(LOOPBACK_6))
    peer = near.connect(far.contact)
    assert peer.path is not None
    assert peer.path.remote == str(far.addresses[0])
    assert peer.path.remote.startswith("tcp://[::1]:")


def test_both_families_on_one_port(nodes: Nodes) -> None:
    """Two listeners with port 0 share one random port, and both take calls."""
    far = nodes.start(listening(LOOPBACK, LOOPBACK_6))
    ports = {endpoint.port for endpoint in far.addresses}
    assert (len(far.addresses), len(ports)) == (2, 1)
    for endpoint in far.addresses:
        near = nodes.start()
        peer = near.connect(Contact(far.id, (endpoint,)))
        assert peer.address == str(endpoint)


def test_a_name_is_looked_up(nodes: Nodes) -> None:
    """An endpoint may have a name instead of an address."""
    near, far = nodes.start(), nodes.start()
    peer = near.connect(at(far, f"tcp://localhost:{far.addresses[0].port}"))
    assert peer.id == far.id


def test_a_name_that_does_not_exist(nodes: Nodes) -> None:
    """The attempt says so."""
    near = nodes.start()
    with pytest.raises(crust.ConnectError) as caught:
        near.connect(Contact(Identity.generate().peer_id, (Endpoint("tcp", "nowhere.invalid", 1),)))
    [attempt] = caught.value.attempts
    assert attempt.verdict == "unreachable"
    assert "looked up" in attempt.error


# --- what a session is ------------------------------------------------------------------------------------------------


def test_both_sides_of_a_session(nodes: Nodes) -> None:
    """Who it is, who began, what it is, and the way: each side sees the other's, and one event each."""
    pair = nodes.pair(far=config(network__role="client"))
    out, into = pair.near_heard.wait(crust.ConnectSuccess), pair.far_heard.wait(crust.ConnectSuccess)
    assert (out.peer, out.inbound, out.peer.inbound) == (pair.to_far, False, False)
    assert (into.peer, into.inbound, into.peer.inbound) == (pair.to_near, True, True)
    assert (pair.to_far.id, pair.to_near.id) == (pair.far.id, pair.near.id)
    assert (pair.to_far.role, pair.to_near.role) == ("client", "node")
    assert (pair.near.peers, pair.far.peers) == ([pair.to_far], [pair.to_near])
    assert pair.to_far.address == str(pair.far.addresses[0])
    there, back = out.path, into.path
    assert (there.local, there.remote) == (back.remote, back.local)
    assert there.cipher == back.cipher in ("AEGIS-256", "ChaCha20-Poly1305")
    assert (there.path_class, there.transport, there.inbound, back.inbound) == (
        "direct-tcp",
        "tcp",
        False,
        True,
    )
    assert there.since == pytest.approx(time.time(), abs=60)
    assert there.rtt is not None and 0 < there.rtt < PATIENCE
    assert [attempt.verdict for attempt in there.attempts] == ["connected"]
    assert back.attempts == ()
    assert nodes.heard(pair.near).names(pair.far.id) == ["ConnectSuccess"]
    assert nodes.heard(pair.far).names(pair.near.id) == ["ConnectSuccess"]


def test_connecting_again_gives_the_same_peer(nodes: Nodes) -> None:
    """From either side, without a second event."""
    pair = nodes.pair()
    assert pair.near.connect(pair.far.contact) is pair.to_far
    assert pair.near.dial(pair.far.id).result(0) is pair.to_far
    assert pair.far.connect(pair.near.contact) is pair.to_near
    assert len(pair.near_heard.of(crust.ConnectSuccess)) == len(pair.far_heard.of(crust.ConnectSuccess)) == 1


def test_many_calls_at_once_are_one(nodes: Nodes) -> None:
    """Threads that connect to the same peer together get the same session."""
    near, far = nodes.start(), nodes.start()
    calls = [Background(near.connect, far.contact) for _ in range(8)]
    peers = {id(call.result()) for call in calls}
    assert len(peers) == 1
    nodes.heard(far).wait(crust.ConnectSuccess)
    near.connect(far.contact).send(b"x")
    far.peers[0].recv(PATIENCE)
    assert (
        len(nodes.heard(near).of(crust.ConnectSuccess)) == len(nodes.heard(far).of(crust.ConnectSuccess)) == 1
    )


def test_a_peer_is_connected_by_the_time_its_event_is_heard(nodes: Nodes) -> None:
    """In the callback of ConnectSuccess everything works: state, sending, the list of peers."""
    seen: list[object] = []
    done = threading.Event()
    far = nodes.make()

    def look(event: crust.ConnectSuccess) -> None:
        seen.extend((event.peer.state, far.is_connected(event.peer.id), event.peer in far.peers))
        far.send(event.peer.id, b"welcome")
        done.set()

    far.on(crust.ConnectSuccess, look)
    far.start()
    near = nodes.start()
    assert near.connect(far.contact).recv(PATIENCE) == b"welcome"
    assert done.wait(PATIENCE)
    assert seen == ["connected", True, True]


def greet_and_note(service: Service, log: list[str]) -> None:
    def greet(event: crust.ConnectSuccess) -> None:
        log.append("began")
        event.peer.send(b"hi")

    service.on(crust.ConnectSuccess, greet)
    service.on(crust.NewMessage, lambda message: log.append("message"))


@pytest.mark.parametrize("controller", ["near", "far"])
def test_the_event_comes_before_the_first_message(nodes: Nodes, controller: str) -> None:
    """On both sides, for messages sent at the first possible moment, one event a session."""
    logs: list[list[str]] = [[], []]
    both = [nodes.make(heard=False), nodes.make(heard=False)]
    for service, log in zip(both, logs, strict=True):
        greet_and_note(service, log)
        service.start()
    far, near = sorted(both, key=lambda each: each.id, reverse=controller == "far")
    near.connect(far.contact)
    wait_until(lambda: [len(log) for log in logs] == [2, 2], what="a message each way")
    assert logs == [["began", "message"], ["began", "message"]]


@pytest.mark.parametrize("controller", ["near", "far"])
@pytest.mark.parametrize("dropper", ["near", "far"])
def test_a_session_can_be_dropped_in_the_callback(nodes: Nodes, controller: str, dropper: str) -> None:
    """Whoever does not want it disconnects at once; both sides hear that it is over, and nothing resumes it."""
    lesser, greater = pair_of_identities()
    near = nodes.make(identity=greater if controller == "near" else lesser)
    far = nodes.make(identity=lesser if controller == "near" else greater)
    refusing = near if dropper == "near" else far
    other = far if dropper == "near" else near
    refusing.on(crust.ConnectSuccess, lambda event: event.peer.disconnect())
    near.start()
    far.start()
    near.dial(far.contact)
    for service in (refusing, other):
        assert nodes.heard(service).wait(crust.LostPeer).reason == "disconnected"
        assert nodes.heard(service).names(far.id if service is near else near.id) == [
            "ConnectSuccess",
            "LostPeer",
        ]
    assert (near.peers, far.peers) == ([], [])


def test_disconnect_ends_the_session_on_both_sides(nodes: Nodes) -> None:
    """Both hear LostPeer; the peer is dead, and a new ``connect`` makes a new one."""
    pair = nodes.pair()
    assert pair.to_far.disconnect() is True
    assert pair.to_far.disconnect() is False
    for heard, peer in ((pair.near_heard, pair.to_far), (pair.far_heard, pair.to_near)):
        lost = heard.wait(crust.LostPeer)
        assert (lost.peer, lost.reason, lost.unacknowledged) == (peer, "disconnected", ())
    for peer in (pair.to_far, pair.to_near):
        assert peer.state == "lost"
        with pytest.raises(crust.PeerLost, match="disconnected") as caught:
            peer.send(b"x")
        assert caught.value.reason == "disconnected"
        with pytest.raises(crust.PeerLost):
            peer.recv()
        with pytest.raises(crust.PeerLost):
            peer.flush()
        assert list(peer) == []
    again = pair.near.connect(pair.far.contact)
    assert again is not pair.to_far
    again.send(b"new")
    assert pair.far_heard.wait(crust.ConnectSuccess, 2).peer.recv(PATIENCE) == b"new"


@pytest.mark.parametrize("who", [lambda peer: peer, lambda peer: peer.id, lambda peer: str(peer.id)])
def test_the_service_disconnects_by_peer_or_id(nodes: Nodes, who: Callable[[crust.Peer], object]) -> None:
    """True if there was a session."""
    pair = nodes.pair()
    word = who(pair.to_near)
    assert pair.far.disconnect(word) is True  # type: ignore[arg-type]
    assert pair.far.disconnect(word) is False  # type: ignore[arg-type]
    assert pair.near_heard.wait(crust.LostPeer).reason == "disconnected"


@pytest.mark.parametrize("controller", ["near", "far"])
def test_reconnecting_at_once_after_disconnecting(nodes: Nodes, controller: str) -> None:
    """The goodbye and the new call overtake each other in every order; the new session always comes about."""
    pair = nodes.pair(controller=controller)
    peer = pair.to_far
    for round_ in range(10):
        peer.disconnect()
        peer = pair.near.connect(pair.far.contact)
        peer.send(b"%d" % round_)
        began = pair.far_heard.wait(crust.ConnectSuccess, round_ + 2)
        assert began.peer.recv(PATIENCE) == b"%d" % round_
    assert len(pair.far_heard.of(crust.LostPeer)) == len(pair.near_heard.of(crust.LostPeer)) == 10


def test_sending_by_id(nodes: Nodes) -> None:
    """``Service.send`` reaches the session of that id, and says when there is none."""
    pair = nodes.pair()
    assert pair.near.send(pair.far.id, b"a") == 0
    assert pair.near.send(str(pair.far.id), b"b", priority=0) == 1
    assert {pair.to_near.recv(PATIENCE), pair.to_near.recv(PATIENCE)} == {b"a", b"b"}
    with pytest.raises(crust.PeerLost, match=r"connect\(\) first"):
        pair.near.send(Identity.generate().peer_id, b"c")
    assert not pair.near.is_connected(Identity.generate().peer_id)


# --- dial -------------------------------------------------------------------------------------------------------------


def test_dial_gives_a_future(nodes: Nodes) -> None:
    """It never waits; what ``connect`` returns or raises comes through the future."""
    near, far = nodes.start(), nodes.start()
    assert near.dial(far.contact).result(PATIENCE).id == far.id
    error = near.dial(at(far, f"tcp://127.0.0.1:{unused_port()}")).exception(PATIENCE)
    assert error is None  # there is a session: it is not dialled at all
    stranger = Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", unused_port()),))
    assert isinstance(near.dial(stranger).exception(PATIENCE), crust.ConnectError)


def test_the_callbacks_of_a_future_run_on_the_dispatcher(nodes: Nodes) -> None:
    """No application code runs on a thread of input and output, also when the future is done already."""
    near, far = nodes.start(), nodes.start()
    names: list[str] = []
    future = near.dial(far.contact)
    future.add_done_callback(lambda done: names.append(threading.current_thread().name))
    future.result(PATIENCE)
    future.add_done_callback(lambda done: names.append(done.result().id.short))
    wait_until(lambda: len(names) == 2, what="two callbacks")
    assert names == ["crust-dispatcher", far.id.short]


def test_a_callback_of_a_future_that_raises_is_the_applications_fault(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted like any callback, and is no failure inside crust."""
    near, far = nodes.start(), nodes.start()

    def fail(future: object) -> None:
        raise ZeroDivisionError

    near.dial(far.contact).add_done_callback(fail)
    wait_until(lambda: "fail raised" in caplog.text, what="a line in the log")
    assert near.stats().callback_errors == 1
    assert near.stats().crashes == 0


def test_dial_in_a_callback(nodes: Nodes) -> None:
    """A callback may dial on, and go on when the future is done."""
    first, second, third = nodes.start(), nodes.start(), nodes.start()
    arrived = threading.Event()

    def go_on(event: crust.ConnectSuccess) -> None:
        if event.peer.id == second.id:
            first.dial(third.contact).add_done_callback(lambda future: arrived.set())

    first.on(crust.ConnectSuccess, go_on)
    first.dial(second.contact)
    assert arrived.wait(PATIENCE)
    assert first.is_connected(third.id)


def test_cancelling_a_future_gives_the_attempt_up(nodes: Nodes, silent_port: int) -> None:
    """The dial ends; nobody is told of a failure."""
    near = nodes.start()
    future = near.dial(Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", silent_port),)))
    assert near._node is not None
    wait_until(lambda: dials(near), what="a dial")
    assert future.cancel()
    wait_until(lambda: not dials(near), what="the end of the dial")
    assert nodes.heard(near).of(crust.ConnectFailure) == []


def test_a_dial_has_a_timeout(nodes: Nodes, silent_port: int) -> None:
    """The future gets Timeout, the event comes, and the dial ends."""
    near = nodes.start()
    future = near.dial(
        Contact(Identity.generate().peer_id, (Endpoint("tcp", "127.0.0.1", silent_port),)), timeout=0.1
    )
    assert isinstance(future.exception(PATIENCE), crust.Timeout)
    assert [each.verdict for each in nodes.heard(near).wait(crust.ConnectFailure).attempts] == ["timeout"]
    wait_until(lambda: not dials(near), what="the end of the dial")


# --- listening --------------------------------------------------------------------------------------------------------


def test_an_occupied_port_is_an_error(nodes: Nodes) -> None:
    """``start`` names the address and what to do; the event comes; nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        service = nodes.make(listening(address))
        with pytest.raises(crust.ListenError, match="another program listens there") as caught:
            service.start()
        assert address in str(caught.value)
    failed = nodes.heard(service).wait(crust.ListenerFailed)
    assert (str(failed.endpoint), address in failed.error) == (address, True)
    assert service.closed


def test_a_port_occupied_by_another_node_is_an_error(nodes: Nodes) -> None:
    """Though listeners and dials of one node share a port, two nodes do not."""
    first = nodes.start()
    with pytest.raises(crust.ListenError):
        nodes.make(listening(str(first.addresses[0]))).start()
    assert nodes.start().connect(first.contact).id == first.id


def test_one_bad_address_of_several_stops_the_start(nodes: Nodes) -> None:
    """None of the others stays open then."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        good = f"tcp://127.0.0.1:{unused_port()}"
        with pytest.raises(crust.ListenError):
            nodes.make(listening(good, f"tcp://127.0.0.1:{taken.getsockname()[1]}")).start()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", Endpoint.parse(good).port))


def test_an_address_that_this_machine_lacks(nodes: Nodes) -> None:
    """A configured one is an error that says so."""
    with pytest.raises(crust.ListenError, match="does not have that address"):
        nodes.make(listening("tcp://192.0.2.1:0")).start()


def test_a_default_address_that_this_machine_lacks_is_skipped(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without IPv6 listens on IPv4 alone, with one line in the log for each address that is left out."""
    for kind in (TcpTransport, UtpTransport):

        def no_ipv6(self: Any, endpoint: Endpoint, listen: Any = kind.listen) -> Any:
            if endpoint.family == 6:
                raise crust.ListenError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return listen(self, endpoint)

        monkeypatch.setattr(kind, "listen", no_ipv6)
    caplog.set_level("INFO", "crust")
    service = nodes.start(config(listen=ListenConfig()))
    nodes.heard(service).wait(crust.AddressesChanged)
    started = [event.endpoint for event in nodes.heard(service).of(crust.ListenerStarted)]
    assert [(each.transport, each.family) for each in started] == [("tcp", 4), ("utp", 4)]
    assert caplog.text.count("which this machine lacks") == 2


def test_a_node_that_only_dials(nodes: Nodes) -> None:
    """``listen.addresses: []`` is outbound only: no address, and everything else works."""
    near, far = nodes.start(listening()), nodes.start()
    assert (near.addresses, near.contact.endpoints) == ((), ())
    near.connect(far.contact).send(b"x")
    assert nodes.heard(far).wait(crust.ConnectSuccess).peer.recv(PATIENCE) == b"x"


def test_listening_off_and_on(nodes: Nodes) -> None:
    """Sessions stay; new calls are refused meanwhile, and welcome again afterwards. Both calls are idempotent."""
    pair = nodes.pair()
    port = pair.far.addresses[0].port
    assert pair.near.addresses != pair.far.addresses
    pair.far.stop_listening()
    pair.far.stop_listening()
    assert not pair.far.addresses
    assert pair.far_heard.wait(crust.AddressesChanged, 2).addresses == ()
    with pytest.raises(crust.ConnectError, match="refused"):
        nodes.start().connect(at(pair.far, f"tcp://127.0.0.1:{port}"))
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(PATIENCE) == b"still here"
    pair.far.start_listening()
    pair.far.start_listening()
    assert pair.far_heard.wait(crust.ListenerStarted, 2).endpoint == pair.far.addresses[0]
    assert nodes.start().connect(pair.far.contact).id == pair.far.id
    assert len(pair.far_heard.of(crust.ListenerStarted)) == 2


def test_advertised_addresses_come_first(nodes: Nodes) -> None:
    """``listen.advertise`` is part of the contact: what was forwarded by hand."""
    advertised = "tcp://192.0.2.7:5483"
    service = nodes.start(config(listen=ListenConfig(addresses=(LOOPBACK,), advertise=(advertised,))))
    first, second = service.contact.endpoints
    assert (str(first), second.host) == (advertised, "127.0.0.1")


def test_a_proxy_between_two_nodes(nodes: Nodes) -> None:
    """The address where a peer was dialled is the one in the path."""
    far = nodes.start()
    proxy = nodes.proxy(far)
    peer = nodes.start().connect(through(proxy, far))
    assert peer.address == proxy.endpoint


def test_many_peers(nodes: Nodes) -> None:
    """A node with 20 peers keeps them apart: each gets its own messages, and losing one disturbs none."""
    hub = nodes.start()
    others = [nodes.start(heard=False) for _ in range(20)]
    futures = [other.dial(hub.contact) for other in others]
    peers: dict[PeerId, crust.Peer] = {}
    for other, future in zip(others, futures, strict=True):
        peers[other.id] = future.result(PATIENCE)
    for other in others:
        peers[other.id].send(str(other.id).encode())
    wait_until(lambda: len(hub.peers) == 20, what="20 peers")
    assert hub.stats().peers_connected == 20
    for peer in hub.peers:
        assert peer.recv(PATIENCE) == str(peer.id).encode()
    gone = hub.peers[7]
    gone.disconnect()
    for peer in hub.peers:
        peer.send(b"and you?")
    assert len(hub.peers) == 19
    for other in others:
        if other.id != gone.id:
            assert peers[other.id].recv(PATIENCE) == b"and you?"


def test_a_callback_that_is_quick_finds_the_path(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run before the link has been given to the session."""
    seen: list[tuple[str | None, str]] = []
    began = threading.Event()
    attach = Registry._attach

    def late(*arguments: Any) -> None:
        began.wait(10)
        attach(*arguments)

    def look(event: crust.ConnectSuccess) -> None:
        seen.append((event.peer.address, event.path.remote))
        began.set()

    monkeypatch.setattr(Registry, "_attach", late)
    near, far = nodes.start(), nodes.start()
    near.on(crust.ConnectSuccess, look)
    far.on(crust.ConnectSuccess, look)
    near.connect(far.contact)
    wait_until(lambda: len(seen) == 2, what="both to hear of it")
    assert all(of_peer == of_event for of_peer, of_event in seen)
