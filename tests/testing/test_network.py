"""Nodes in memory: what a program sees of them is what it would see of real ones, and nothing ever sleeps."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust.testing import Network
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

QUICK = 20.0  # real seconds: far more than any test here takes, far less than what passes on its clock
RESUME_TIMEOUT = crust.Config().session.resume_timeout


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []


@pytest.fixture(autouse=True)
def _nothing_sleeps() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < QUICK * busy()


def config(**changes: object) -> crust.Config:
    return crust.Config().replace(**{name.replace("__", "."): value for name, value in changes.items()})


def names(events: list[crust.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# --- as with real nodes -----------------------------------------------------------------------------------------------


def test_messages_go_both_ways(net: Network) -> None:
    """By recv, by callback, by stream; all there is after settle."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    assert to_bob.send(b"one") == 0
    assert to_alice.recv(timeout=0) == b"one"
    heard: list[bytes] = []
    alice.on(crust.NewMessage, lambda message: heard.append(message.data))
    with bob.events(crust.NewMessage) as stream:
        to_bob.send(b"two")
        assert stream.get(timeout=0).data == b"two"
    to_alice.send_many([b"%d" % number for number in range(100)])
    net.settle()
    assert heard == [b"%d" % number for number in range(100)]
    assert net.now == 0.0


def test_a_node_in_memory_is_a_service(net: Network) -> None:
    """With all of its interface, its events and its addresses."""
    alice = net.service(config(listen__addresses=("tcp://0.0.0.0:4000",)), address="192.0.2.7")
    bob = net.service()
    assert isinstance(alice, crust.Service)
    assert alice.contact.endpoints == (crust.Endpoint("tcp", "192.0.2.7", 4000),)
    assert {endpoint.family for endpoint in bob.contact.endpoints} == {4, 6}
    peer = bob.connect(str(alice.contact))
    assert bob.connect(alice.id) is peer
    assert peer.path is not None and peer.path.remote == "tcp://192.0.2.7:4000"
    assert (peer.state, peer.inbound, bob.is_connected(alice.id)) == ("connected", False, True)
    net.settle()
    assert names(net.heard(alice)) == ["ListenerStarted", "AddressesChanged", "ConnectSuccess"]
    assert net.heard(alice, crust.ConnectSuccess)[0].peer.id == bob.id
    assert alice.stats().peers_connected == 1


def test_no_socket_is_made(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a pair for waking: the tests of an application may forbid them."""

    def forbidden(*args: object, **options: object) -> socket.socket:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "socketpair", forbidden)
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    to_bob.send(b"x")
    assert to_alice.recv(timeout=1) == b"x"
    net.reset()
    net.advance(1)
    assert net.close()


def test_callbacks_may_do_everything(net: Network) -> None:
    """Echo, dial, ban and close from callbacks; settle waits until they have had their effect."""
    alice, bob, carol = net.service(), net.service(), net.service()
    bob.on(crust.NewMessage, lambda message: message.peer.send(message.data[::-1]))
    carol.on(crust.ConnectSuccess, lambda event: event.peer.send(b"welcome"))
    bob.on(crust.ConnectSuccess, lambda event: bob.dial(carol.contact))
    to_bob, _ = net.connect(alice, bob)
    to_bob.send(b"abc")
    assert to_bob.recv(timeout=1) == b"cba"
    (to_carol,) = [peer for peer in bob.peers if peer.id == carol.id]
    carol.on(crust.NewMessage, lambda message: carol.close())
    to_carol.send(b"enough")
    net.settle()
    assert carol.closed
    assert [event.reason for event in net.heard(bob, crust.LostPeer)] == ["closed"]


def test_bulk_is_bounded_by_credit(net: Network) -> None:
    """The sender waits for a reader that does not read: Timeout at once; then everything arrives in order."""
    small = config(session__send_buffer__bytes=1_000_000, session__max_message_size=100_000)
    small = small.replace(**{"session.receive_buffer": 1_000_000})
    alice, bob = net.service(small), net.service(small)
    to_bob, to_alice = net.connect(alice, bob)
    sent = 0
    with pytest.raises(crust.Timeout):
        while sent < 1000:
            to_bob.send(sent.to_bytes(4, "big") * 20_000, timeout=30)
            sent += 1
    assert net.now >= 30.0
    assert 10 < sent < 40
    for number in range(sent):
        assert to_alice.recv(timeout=1)[:4] == number.to_bytes(4, "big")
    to_bob.flush(timeout=1)


def test_files_are_sent(net: Network, tmp_path: pathlib.Path) -> None:
    """The sender's wait lets time pass as far as the transfer needs it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)) * 20_000)
    alice, bob = net.service(), net.service()
    bob.accept_files(tmp_path / "in")
    to_bob, _ = net.connect(alice, bob)
    sent = to_bob.send_file(tmp_path / "photo.jpg", timeout=60)
    assert sent.size == 256 * 20_000
    net.settle()
    assert [event.path for event in net.heard(bob, crust.FileReceived)] == [str(tmp_path / "in" / "photo.jpg")]
    net.partition()
    with pytest.raises(crust.Timeout):
        to_bob.send_file(tmp_path / "photo.jpg", name="again", timeout=60)


def test_bootstrap_takes_the_first_that_accepts(net: Network) -> None:
    """Staggers and refusals included."""
    full, open_, client = net.service(), net.service(config(bootstrap__accept=True)), net.service()
    peer = client.bootstrap(contacts=[full.contact, open_.contact])
    assert peer.id == open_.id
    net.cut()
    lost = net.service()
    with pytest.raises(crust.ConnectError):
        lost.bootstrap(contacts=[full.contact, open_.contact])
    net.partition()
    began = net.now
    with pytest.raises(crust.Timeout):
        lost.bootstrap(contacts=[full.contact, open_.contact], timeout=7)
    assert net.now - began == pytest.approx(7, abs=0.1)


def test_what_is_dialled(net: Network) -> None:
    """A name, another family, loopback, a port that nobody has, a computer that is not there."""
    bob = net.service(config(listen__addresses=("tcp://0.0.0.0:4000", "tcp://[::]:4000")), name="bob.example")
    alice = net.service(config(listen__addresses=()))
    for host in ("bob.example", "10.0.0.1", "[fd00::1]", "127.0.0.1", "[::1]", "localhost"):
        peer = alice.connect(f"{bob.id}@tcp://{host}:4000")
        assert peer.disconnect()
        net.settle()
    for endpoint, verdict in (
        ("tcp://10.0.0.1:4001", "refused"),
        ("tcp://10.0.0.9:4000", "unreachable"),
        ("tcp://nobody.example:4000", "unreachable"),
        ("tcp://[2001:db8::1]:4000", "unreachable"),
    ):
        with pytest.raises(crust.ConnectError) as caught:
            alice.connect(f"{bob.id}@{endpoint}")
        assert [attempt.verdict for attempt in caught.value.attempts] == [verdict]


def test_where_nodes_may_listen(net: Network) -> None:
    """On their own addresses and loopback; not on another's, nor where somebody is."""
    first = net.service(config(listen__addresses=("tcp://127.0.0.1:4000",)))
    assert first.contact.endpoints == (crust.Endpoint("tcp", "127.0.0.1", 4000),)
    for address in ("tcp://127.0.0.1:4000", "tcp://10.0.0.1:5000"):
        with pytest.raises(crust.ListenError, match="cannot listen on"):
            net.service(config(listen__addresses=(address,)))
    same = [net.service(config(listen__addresses=("tcp://0.0.0.0:4001",))) for _ in range(2)]
    assert len({node.contact.endpoints[0].host for node in same}) == 2
    same[0].stop_listening()
    with pytest.raises(crust.ConnectError):
        first.connect(f"{same[0].id}@tcp://{net._hosts(same[0])[0].addresses[0]}:4001")  # type: ignore[index]
    same[0].start_listening()
    assert first.connect(same[0].contact).state == "connected"


def test_addresses_and_names_are_unique(net: Network) -> None:
    """And such as a computer can have."""
    net.service(address="192.0.2.1", name="one.example")
    for place in ({"address": "192.0.2.1"}, {"name": "one.example"}, {"address": "127.0.0.1"}, {"address": "0.0.0.0"}):
        with pytest.raises(ValueError):
            net.service(**place)  # type: ignore[arg-type]
    assert [each.host for each in net.service(address="2001:db8::7").contact.endpoints] == ["2001:db8::7"] * 2


def test_access_lists_see_the_addresses(net: Network) -> None:
    """A ban of a network, and of a peer."""
    alice, mallory, trudy = net.service(), net.service(address="198.51.100.66"), net.service()
    assert net.service(address="198.51.101.66").connect(alice.contact).state == "connected"
    alice.ban("198.51.100.0/24", trudy.id)
    with pytest.raises(crust.ConnectError):
        mallory.connect(alice.contact)
    with pytest.raises(crust.Denied, match="banned"):
        trudy.connect(alice.contact)


def test_interfaces_can_be_left_out(net: Network) -> None:
    """The one interface is mem0; without it a node knows loopback only."""
    node = net.service(config(listen__interfaces__exclude=("mem*",)))
    assert {endpoint.host for endpoint in node.addresses} == {"127.0.0.1", "::1"}


def test_a_node_may_end_a_session_at_once(net: Network) -> None:
    """connect says so, for there is nothing to give back."""
    alice, bob = net.service(), net.service()
    bob.on(crust.ConnectSuccess, lambda event: event.peer.disconnect())
    with pytest.raises(crust.ConnectError, match="already"):
        net.connect(alice, bob)


# --- time -------------------------------------------------------------------------------------------------------------


def test_waits_without_data_end_at_once(net: Network) -> None:
    """Every call with a timeout, in no real time, and the clock says how long it took."""
    alice, bob = net.service(), net.service()
    to_bob, _ = net.connect(alice, bob)
    with alice.events(crust.LostPeer) as stream:
        for wait in (
            lambda: to_bob.recv(timeout=100),
            lambda: to_bob.recv_message(timeout=100),
            lambda: stream.get(timeout=100),
            lambda: net.service().dial(f"{bob.id}@tcp://10.0.0.2:1", timeout=None).result(timeout=100),
        ):
            began = net.now
            with pytest.raises((crust.Timeout, crust.ConnectError)):
                wait()
            assert net.now - began in (0.0, pytest.approx(100.0))
    began = net.now
    assert not alice.wait(timeout=100)
    assert net.now - began == pytest.approx(100.0)
    assert to_bob.state == "connected", "heartbeats went on meanwhile"


def test_waits_for_ever_are_an_error(net: Network) -> None:
    """What would hang a real program fails a test, and says why."""
    alice, bob = net.service(), net.service()
    to_bob, _ = net.connect(alice, bob)
    for wait in (to_bob.recv, alice.wait, lambda: next(iter(to_bob))):
        with pytest.raises(crust.Timeout, match="for ever"):
            wait()


def test_a_message_on_its_way_ends_a_wait_in_time(net: Network) -> None:
    """recv lets pass only what the line needs."""
    quiet = crust.Config().replace(**{"gossip.enabled": False})  # nothing of its own is on the line before a message
    alice, bob = net.service(quiet), net.service(quiet)
    net.delay(alice, bob, seconds=0.25)
    alice.connect(bob.contact).disconnect()
    assert net.now == pytest.approx(1.5)  # connecting, handshake, welcome: a round trip each
    net.advance(1)
    to_bob, to_alice = net.connect(alice, bob)
    assert to_bob.path is not None and to_bob.path.rtt == pytest.approx(0.5)
    began = net.now
    to_bob.send(b"hello")
    net.settle()
    with pytest.raises(crust.Timeout):
        to_alice.recv(timeout=0)
    assert to_alice.recv(timeout=10) == b"hello"
    assert net.now - began == pytest.approx(0.25)
    net.delay(alice, bob, seconds=0)
    net.advance(0.25)  # what the nodes have said to each other meanwhile arrives as late as it would have
    to_alice.send(b"quick")
    assert to_bob.recv(timeout=0) == b"quick"


def test_connect_times_out_in_virtual_time(net: Network) -> None:
    """Its own timeout, or that of every attempt; ``dial`` too."""
    alice, bob = net.service(), net.service()
    net.partition(alice, bob)
    with pytest.raises(crust.Timeout, match="within 5"):
        alice.connect(bob.contact, timeout=5)
    assert net.now == pytest.approx(5.0)
    with pytest.raises(crust.ConnectError) as caught:
        alice.connect(bob.contact)
    assert [attempt.verdict for attempt in caught.value.attempts] == ["timeout"] * 4
    assert 15.0 < net.now < 16.0
    future = alice.dial(bob.contact, timeout=6)
    net.advance(5)
    assert not future.done()
    net.advance(1)
    assert isinstance(future.exception(timeout=0), crust.Timeout)
    with pytest.raises(crust.ConnectError):
        alice.dial(bob.contact).result()
    future = alice.dial(bob.contact)
    assert future.cancel()
    net.heal()
    assert alice.dial(bob.contact).result().id == bob.id


def test_unread_messages_grow_old(net: Network) -> None:
    """session.drop: what could not be sent for a minute is given up and reported."""
    alice, bob = net.service(), net.service()
    to_bob, _ = net.connect(alice, bob)
    net.cut()
    net.settle()
    number = to_bob.send(b"news", priority=7)
    kept = to_bob.send(b"contract", priority=1)
    net.advance(59)
    assert net.heard(alice, crust.MessagesDropped) == []
    net.advance(2)
    assert [event.numbers for event in net.heard(alice, crust.MessagesDropped)] == [(number,)]
    net.heal()
    net.advance(10)
    (to_alice,) = bob.peers
    assert to_alice.recv(timeout=0) == b"contract"
    assert kept == 1


def test_keys_are_renewed(net: Network) -> None:
    """A quarter of an hour and more passes in a moment, and the session is still the same."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    for _ in range(3):
        net.advance(1000)
        to_bob.send(b"x")
        assert to_alice.recv(timeout=0) == b"x"
    assert names(net.heard(alice)).count("PeerSuspended") == 0


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_cut_line_loses_the_peer_in_the_end(net: Network) -> None:
    """Suspended at once, lost after resume_timeout, with what was not acknowledged."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    net.cut(alice, bob)
    net.settle()
    assert (to_bob.state, to_alice.state) == ("suspended", "suspended")
    to_bob.send(b"lost")
    net.advance(RESUME_TIMEOUT - 1)
    assert net.heard(alice, crust.LostPeer) == []
    net.advance(2)
    for node in (alice, bob):
        (lost,) = net.heard(node, crust.LostPeer)
        assert lost.reason == "timeout"
    assert net.heard(alice, crust.LostPeer)[0].unacknowledged == (0,)
    with pytest.raises(crust.PeerLost):
        to_bob.send(b"x")
    with pytest.raises(crust.ConnectError):
        alice.connect(bob.contact)


def test_a_healed_line_brings_the_peer_back(net: Network) -> None:
    """With what was sent meanwhile, once and in order."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    for number in range(3):
        net.cut(alice, bob)
        to_bob.send_many([b"%d" % number, b"%d more" % number])
        net.advance(30)
        assert to_bob.state == "suspended"
        net.heal(alice, bob)
        assert to_alice.recv(timeout=10) == b"%d" % number
        assert to_alice.recv(timeout=0) == b"%d more" % number
    net.settle()
    assert names(net.heard(alice)).count("PeerResumed") == 3
    assert net.heard(alice, crust.LostPeer) == []


def test_a_reset_is_over_at_once(net: Network) -> None:
    """The called side learns it first, the other redials in the same instant; all that is noticed is the events."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    seen: list[str] = []
    bob.on(crust.PeerSuspended, lambda event: seen.append(to_bob.state))
    net.reset(alice, bob)
    assert (seen, to_bob.state) == (["connected"], "connected")
    to_bob.send(b"x")
    assert to_alice.recv(timeout=5) == b"x"
    net.advance(1)
    for node in (alice, bob):
        heard = names(net.heard(node))
        assert (heard.count("PeerSuspended"), heard.count("PeerResumed")) == (1, 1)


def test_a_partition_is_silent(net: Network) -> None:
    """Nobody is told; what was sent arrives when it is over; if it lasts, the peers are lost."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    net.partition(alice, bob)
    to_bob.send(b"patience")
    net.settle()
    assert (to_bob.state, to_alice.state) == ("connected", "connected")
    with pytest.raises(crust.Timeout):
        to_alice.recv(timeout=1)
    net.heal(alice, bob)
    assert to_alice.recv(timeout=0) == b"patience"
    net.partition(alice, bob)
    net.advance(2 * RESUME_TIMEOUT)
    assert [event.reason for node in (alice, bob) for event in net.heard(node, crust.LostPeer)] == ["timeout"] * 2


def test_refusing_keeps_what_is_connected(net: Network) -> None:
    """New attempts are refused, the session goes on."""
    alice, bob, carol = net.service(), net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    net.refuse(bob)
    with pytest.raises(crust.ConnectError) as caught:
        carol.connect(bob.contact)
    assert {attempt.verdict for attempt in caught.value.attempts} == {"refused"}
    to_bob.send(b"still")
    assert to_alice.recv(timeout=0) == b"still"
    net.heal(bob)
    carol.connect(bob.contact)


def test_lines_are_chosen_by_who_is_named(net: Network) -> None:
    """A pair, groups, one with everybody, all with all; the worst setting of a line holds until it is taken back."""
    a, b, c, d = (net.service() for _ in range(4))

    def reaches(caller: crust.Service, callee: crust.Service) -> bool:
        try:
            caller.connect(callee.contact, timeout=1).disconnect()
        except (crust.ConnectError, crust.Timeout):
            return False
        net.advance(1)
        return True

    net.partition([a, b], [c, d])
    assert [reaches(a, b), reaches(c, d), reaches(a, c), reaches(d, b)] == [True, True, False, False]
    net.cut(a)
    net.heal([a, b], [c, d])
    assert [reaches(a, b), reaches(c, a), reaches(c, b)] == [False, False, True]
    net.heal(a)
    net.cut()
    assert [reaches(a, b), reaches(c, d)] == [False, False]
    net.heal()
    assert [reaches(a, b), reaches(c, d), reaches(net.service(), a)] == [True, True, True]
    with crust.testing.network() as other, pytest.raises(ValueError, match="does not belong"):
        net.cut(a, other.service())
    with pytest.raises(ValueError):
        net.delay(seconds=-1)


# --- programs ---------------------------------------------------------------------------------------------------------


def test_a_program_that_makes_its_own_node(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """``crust.Service`` itself can be replaced; the network closes what the program leaves open."""

    class Program:
        def __init__(self, server: str) -> None:
            self.node = crust.Service(crust.Config(), contacts=[server])
            self.heard: list[bytes] = []
            self.node.on(crust.NewMessage, lambda message: self.heard.append(message.data))

        def run(self) -> None:
            self.node.start()
            self.node.connect(next(iter(self.node._fallback))).send(b"here I am")

    server = net.service()
    monkeypatch.setattr(crust, "Service", net.Service)
    program = Program(str(server.contact))
    program.run()
    net.settle()
    (client,) = server.peers
    assert client.recv(timeout=0) == b"here I am"
    client.send(b"welcome")
    net.settle()
    assert program.heard == [b"welcome"]
    assert net.close()
    assert program.node.closed


def test_a_worker_thread_of_the_program(net: Network) -> None:
    """It waits on its own thread, works for a while, and answers: the test's recv waits for that, not for time."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)

    def work() -> None:
        for data in to_alice:
            threading.Event().wait(0.02)
            to_alice.send(data.upper())

    worker = Background(work)
    for word in (b"one", b"two"):
        to_bob.send(word)
        assert to_bob.recv(timeout=5) == word.upper()
    assert net.now == 0.0
    alice.close()
    worker.result()


def test_a_thread_that_answers_after_other_work(net: Network) -> None:
    """What no node knows of is waited for with a condition."""
    alice, bob = net.service(), net.service()
    to_bob, to_alice = net.connect(alice, bob)
    job = Background(lambda: (threading.Event().wait(0.02), to_alice.send(b"done")))
    net.settle(until=lambda: job.done)
    assert to_bob.recv(timeout=0) == b"done"


def test_timeouts_of_other_threads_wait_for_advance(net: Network) -> None:
    """A thread that is not the test's does not move the clock."""
    alice, bob = net.service(), net.service()
    to_bob, _ = net.connect(alice, bob)
    job = Background(lambda: to_bob.recv(timeout=30))
    wait_until(lambda: len(net._clock._waiters) > 0 and any(not each.drives for each in net._clock._waiters))
    net.settle()
    net.advance(29)
    assert not job.done
    net.advance(1)
    with pytest.raises(crust.Timeout):
        job.result()


def test_a_callback_that_does_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """settle names it; close ends after its virtual timeout, with False, and leaves it behind."""
    gate = threading.Event()

    def stuck(message: crust.NewMessage) -> None:
        gate.wait(QUICK)

    with crust.testing.network(patience=0.1) as net:
        alice, bob = net.service(), net.service()
        to_bob, _ = net.connect(alice, bob)
        bob.on(crust.NewMessage, stuck)
        to_bob.send(b"x")
        with pytest.raises(crust.Timeout, match=r"crust-dispatcher still busy.*stuck does not return"):
            net.settle()
        assert not bob.close()
        gate.set()
        alice.close()


def test_callbacks_cannot_move_the_clock(net: Network) -> None:
    """They are part of what settle and advance wait for."""
    errors: list[BaseException] = []
    alice = net.service(on_callback_error=lambda event, error: errors.append(error))
    alice.on(crust.ConnectionInfoPrepared, lambda event: net.advance(1))
    alice.prepare_connection_info()
    net.settle()
    assert isinstance(errors[0], crust.LocalProtocolError)


def test_close_lets_the_other_side_know(net: Network) -> None:
    """Goodbyes arrive; over a partition the close takes its virtual time and no real one."""
    alice, bob, carol = net.service(), net.service(), net.service()
    net.connect(alice, bob)
    net.connect(carol, bob)
    assert alice.close()
    net.settle()
    assert [event.reason for event in net.heard(bob, crust.LostPeer)] == ["closed"]
    net.partition()
    carol.peers[0].send(b"never arrives")
    began = net.now
    assert carol.close()
    assert 0 < net.now - began <= 5.0
    assert carol.close() and carol.closed


def test_many_nodes(net: Network) -> None:
    """Thirty nodes around a hub: an hour of heartbeats, then each says something."""
    hub = net.service()
    leaves = [net.service(config(listen__addresses=())) for _ in range(30)]
    peers = [leaf.connect(hub.contact) for leaf in leaves]
    net.advance(300)
    for number, peer in enumerate(peers):
        peer.send(b"%d" % number)
    net.settle()
    assert sorted(int(peer.recv(timeout=0)) for peer in hub.peers) == list(range(30))


def test_networks_do_not_meet(net: Network) -> None:
    """Each has its own time and addresses."""
    with crust.testing.network() as other:
        alice, bob = net.service(), other.service(address="192.0.2.1")
        with pytest.raises(crust.ConnectError):
            alice.connect(bob.contact)
        other.advance(50)
        assert (net.now, other.now) == (0.0, 50.0)
