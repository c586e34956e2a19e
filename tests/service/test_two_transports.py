"""TCP and µTP side by side, on real sockets: which one is used, moves between them, and one thread for all of µTP."""

from __future__ import annotations

import errno
import functools
import random
import threading

import pytest

import crust
from crust import Contact, Endpoint, Service, limits
from crust.transports.utp.listener import UtpListener
from crust.transports.utp.transport import UtpTransport
from tests.support.nodes import LOOPBACK, Nodes, config, pair_of_identities
from tests.support.proxy import Proxy
from tests.support.threads import Background
from tests.support.waiting import wait_until

PATIENCE = 10.0  # seconds in which what should be at once must have happened, on a busy machine
LOOPBACK_UTP = "utp://127.0.0.1:0"
BOTH = {"listen__addresses": (LOOPBACK, LOOPBACK_UTP)}


def endpoint(service: Service, transport: str) -> Endpoint:
    """Where a node is reached by that transport."""
    return next(each for each in service.addresses if each.transport == transport)


def only(service: Service, transport: str) -> Contact:
    return Contact(service.id, (endpoint(service, transport),))


def with_tcp_through(proxy: Proxy, service: Service) -> Contact:
    """Both transports, TCP by a proxy."""
    return Contact(service.id, (Endpoint.parse(proxy.endpoint), endpoint(service, "utp")))


def transport_of(peer: crust.Peer) -> str:
    path = peer.path
    assert path is not None
    assert path.path_class == f"direct-{path.transport}"
    assert path.local.startswith(path.transport) and path.remote.startswith(path.transport)
    return path.transport


class Couple:
    """Two nodes on both transports; TCP goes through a proxy."""

    def __init__(self, nodes: Nodes, controller: str = "near") -> None:
        lesser, greater = pair_of_identities()
        ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
        self.near = nodes.start(config(**BOTH), identity=ours)
        self.far = nodes.start(config(**BOTH), identity=theirs)
        self.heard = (nodes.heard(self.near), nodes.heard(self.far))
        self.proxy = nodes.proxy(self.far)

    def connect(self) -> None:
        self.to_far = self.near.connect(with_tcp_through(self.proxy, self.far), timeout=PATIENCE)
        self.to_near = self.heard[1].wait(crust.ConnectSuccess).peer
        wait_until(lambda: self.to_near.path, what="a link at the callee, which comes after the event")

    @property
    def transports(self) -> set[str]:
        return {transport_of(peer) for peer in (self.to_far, self.to_near)}

    def await_transport(self, transport: str, timeout: float = PATIENCE) -> None:
        wait_until(lambda: self.transports == {transport}, timeout, f"the move to {transport}")


def test_one_number_for_both(nodes: Nodes) -> None:
    """With port 0 a node has one random port, for TCP and for UDP."""
    service = nodes.start(config(**BOTH))
    assert {each.transport for each in service.addresses} == {"tcp", "utp"}
    assert len({each.port for each in service.addresses}) == 1


def test_a_number_that_is_free_for_tcp_alone(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then another one is taken for both."""
    refused: list[int] = []
    listen = UtpTransport.listen

    def occupied(transport: UtpTransport, wanted: Endpoint) -> UtpListener:
        if not refused:
            refused.append(wanted.port)
            raise crust.ListenError(errno.EADDRINUSE, "taken")
        return listen(transport, wanted)

    monkeypatch.setattr(UtpTransport, "listen", occupied)
    service = nodes.start(config(**BOTH))
    (port,) = {each.port for each in service.addresses}
    assert len(service.addresses) == 2
    assert refused != [port]


def test_a_port_that_is_taken_is_an_error_that_names_it(nodes: Nodes) -> None:
    """Of either transport; nothing stays open."""
    first = nodes.start(config(listen__addresses=(LOOPBACK_UTP,)))
    taken = str(endpoint(first, "utp"))
    with pytest.raises(crust.ListenError, match=taken):
        nodes.make(config(listen__addresses=(LOOPBACK, taken))).start()


def test_with_both_open_a_hundred_connects_end_on_tcp(nodes: Nodes) -> None:
    """Every time, and nobody hears of a move."""
    near, far = nodes.start(config(**BOTH)), nodes.start(config(**BOTH))
    for number in range(1, 101):
        peer = near.connect(far.contact)
        assert transport_of(peer) == "tcp"
        peer.disconnect()
        nodes.heard(far).wait(crust.LostPeer, number)
    for heard in (nodes.heard(near), nodes.heard(far)):
        assert heard.of(crust.PathChanged) == []


@pytest.mark.parametrize("congestion", ["fair", "background"])
def test_everything_goes_over_utp_alone(nodes: Nodes, congestion: str) -> None:
    """Messages of all sizes, both ways, with either way of sharing a line."""
    settings = {"listen__addresses": (LOOPBACK_UTP,), "utp__congestion": congestion}
    near, far = nodes.start(config(**settings)), nodes.start(config(**settings))
    to_far = near.connect(far.contact)
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    wait_until(lambda: to_near.path, what="a link at the callee, which comes after the event")
    assert transport_of(to_far) == transport_of(to_near) == "utp"
    sent = [bytes([size % 251]) * size for size in (0, 1, 1_000, 100_000, 2_000_000)]
    for one, other in ((to_far, to_near), (to_near, to_far)):
        sending = Background(lambda one=one: one.send_many(sent, timeout=60))
        assert [other.recv(60) for _ in sent] == sent
        sending.result(PATIENCE)
    to_far.disconnect()
    assert nodes.heard(far).wait(crust.LostPeer).reason == "disconnected"


def test_bootstrap_over_utp_alone(nodes: Nodes) -> None:
    """Nobody listens for TCP."""
    far = nodes.start(config(listen__addresses=(LOOPBACK_UTP,), bootstrap__accept=True))
    near = nodes.start(config(listen__addresses=()), contacts=[far.contact])
    assert transport_of(near.bootstrap()) == "utp"
    nodes.heard(far).wait(crust.BootstrapAccept)


@pytest.mark.parametrize("controller", ["near", "far"])
def test_a_session_moves_to_tcp_that_comes_late(nodes: Nodes, controller: str) -> None:
    """It begins on µTP at once, and with data under way nothing is lost, doubled or reordered by the move."""
    couple = Couple(nodes, controller)
    couple.proxy.delay(0.3)
    couple.connect()
    assert couple.transports == {"utp"}
    got: dict[crust.PeerId, list[bytes]] = {couple.near.id: [], couple.far.id: []}
    for service in (couple.near, couple.far):
        service.on(crust.NewMessage, lambda message: got[message.peer.id].append(message.data))
    sent: list[bytes] = []
    while couple.transports != {"tcp"}:
        sent.append(b"%d" % len(sent) + bytes(2000))
        for peer in (couple.to_far, couple.to_near):
            peer.send(sent[-1], timeout=PATIENCE)
    couple.proxy.delay(0.0)
    for peer in (couple.to_far, couple.to_near):
        peer.send(b"the last")
        peer.flush(PATIENCE)
    for received in got.values():
        wait_until(functools.partial(received.__contains__, b"the last"), PATIENCE, "the last message")
        assert received == [*sent, b"the last"]
    for heard in couple.heard:
        names = [name for name in heard.names() if name not in ("ListenerStarted", "AddressesChanged")]
        assert names == ["ConnectSuccess", "PathChanged"]
        changed = heard.wait(crust.PathChanged)
        assert changed.old is not None
        assert (changed.old.transport, changed.new.transport) == ("utp", "tcp")


def test_calls_that_cross_and_tcp_that_is_late(nodes: Nodes) -> None:
    """Both call at once, by both transports, TCP with all kinds of delays: one session, which ends up on TCP."""
    lesser, greater = pair_of_identities()
    services = (nodes.start(config(**BOTH), identity=lesser), nodes.start(config(**BOTH), identity=greater))
    proxies = [nodes.proxy(service) for service in services]
    contacts = [with_tcp_through(proxy, service) for proxy, service in zip(proxies, services, strict=True)]
    delays = random.Random(7)
    for number in range(1, 16):
        for proxy in proxies:
            proxy.delay(delays.choice((0.05, 0.1, 0.15, 0.25)))
        futures = [service.dial(contact) for service, contact in zip(services, reversed(contacts), strict=True)]
        peers = [future.result(PATIENCE) for future in futures]
        sent = [b"%d" % each for each in range(50)]
        for peer in peers:
            peer.send_many(sent)
        for peer in peers:
            assert [peer.recv(PATIENCE) for _ in sent] == sent
        wait_until(functools.partial(all_on_tcp, peers), PATIENCE, "TCP")
        peers[number % 2].disconnect()
        for service in services:
            nodes.heard(service).wait(crust.LostPeer, number, PATIENCE)
    for service in services:
        names = [name for name in nodes.heard(service).names() if name in ("ConnectSuccess", "LostPeer")]
        assert names == ["ConnectSuccess", "LostPeer"] * 15
        assert not nodes.heard(service).of(crust.PeerSuspended, crust.ConnectFailure)
        assert nodes.heard(service).of(crust.PathChanged), "TCP was never late"


def all_on_tcp(peers: list[crust.Peer]) -> bool:
    return all(peer.path is not None and peer.path.transport == "tcp" for peer in peers)


@pytest.mark.parametrize("sender", ["near", "far"])
def test_a_session_leaves_tcp_that_falls_silent(nodes: Nodes, sender: str) -> None:
    """Within five seconds, whoever has something to say; the proxy is the firewall."""
    couple = Couple(nodes)
    couple.connect()
    couple.await_transport("tcp")
    one, other = couple.to_far, couple.to_near
    if sender == "far":
        one, other = other, one
    for number in range(20):
        one.send(b"%d" % number)
        assert other.recv(PATIENCE) == b"%d" % number
    couple.proxy.stall()
    one.send(b"by another way")
    assert other.recv(5.0) == b"by another way"
    assert couple.transports == {"utp"}
    for heard in couple.heard:
        assert not heard.of(crust.PeerSuspended, crust.LostPeer)


@pytest.mark.parametrize("sender", ["near", "far", "both"])
def test_full_buffers_move_along(nodes: Nodes, sender: str) -> None:
    """The same with as much under way as fits: it arrives once and in order, over the other transport."""
    couple = Couple(nodes)
    couple.connect()
    couple.await_transport("tcp")
    got: dict[crust.PeerId, list[bytes]] = {couple.near.id: [], couple.far.id: []}
    for service in (couple.near, couple.far):
        service.on(crust.NewMessage, lambda message: got[message.peer.id].append(message.data[:4]))
    flows = {"near": [couple.to_far], "far": [couple.to_near], "both": [couple.to_far, couple.to_near]}[sender]
    count = 1500
    sent = [number.to_bytes(4, "big") for number in range(count)]
    jobs = [
        Background(lambda peer=peer: [peer.send(each + bytes(20_000), timeout=60) for each in sent]) for peer in flows
    ]
    senders = [couple.near.id if peer is couple.to_far else couple.far.id for peer in flows]
    wait_until(lambda: all(len(got[each]) > 100 for each in senders), PATIENCE, "a stream")
    couple.proxy.stall()
    for job in jobs:
        job.result(60.0)
    for peer, received in zip(flows, map(got.__getitem__, senders), strict=True):
        peer.flush(60.0)
        wait_until(functools.partial(has_all, received, count), PATIENCE, "the last message")
        assert received == sent
    assert couple.transports == {"utp"}
    for heard in couple.heard:
        assert not heard.of(crust.PeerSuspended, crust.LostPeer)


def has_all(received: list[bytes], count: int) -> bool:
    return len(received) >= count


def test_a_session_on_utp_resumes_after_its_hub_was_cut(nodes: Nodes) -> None:
    """A broken link is redialled, as with TCP."""
    near = nodes.start(config(listen__addresses=(LOOPBACK_UTP,)))
    far = nodes.start(config(listen__addresses=(LOOPBACK_UTP,)))
    to_far = near.connect(far.contact)
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    for number in range(1, 6):
        link = to_far._conversation.link
        assert link is not None
        link.connection.abort()
        nodes.heard(near).wait(crust.PeerResumed, number, PATIENCE)
        to_far.send(b"%d" % number)
        assert to_near.recv(PATIENCE) == b"%d" % number


def test_a_full_node_holds_up_nobody_else(nodes: Nodes) -> None:
    """One peer's unread messages fill the memory; others on the same socket, and its thread, go on."""
    limit = 500_000
    hub = nodes.start(config(listen__addresses=(LOOPBACK_UTP,), limits__total_buffers=limit))
    flooding, asking = nodes.start(config(listen__addresses=())), nodes.start(config(listen__addresses=()))
    flood = flooding.connect(only(hub, "utp"))
    unread = nodes.heard(hub).wait(crust.ConnectSuccess).peer
    job = Background(lambda: [flood.send(bytes(50_000), timeout=60) for _ in range(60)])
    wait_until(lambda: hub.stats().buffered_bytes > limit, PATIENCE, "a full node")
    question = asking.connect(only(hub, "utp"), timeout=PATIENCE)
    answer = nodes.heard(hub).wait(crust.ConnectSuccess, 2).peer
    for number in range(20):
        question.send(b"%d" % number)
        assert answer.recv(PATIENCE) == b"%d" % number
        answer.send(b"yes")
        assert question.recv(PATIENCE) == b"yes"
    assert hub.stats().buffered_bytes < limit + 400_000
    quiet = threading.Event()
    assert not quiet.wait(2.5), "longer than it takes until a silent link is suspected"
    assert hub.stats().gate.admitted == 2, "the sender took a full node for a dead one"
    assert [len(unread.recv(PATIENCE)) for _ in range(60)] == [50_000] * 60
    job.result(PATIENCE)


def test_an_idle_node_has_no_thread_for_each_utp_peer(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One reads the socket for all of them."""
    monkeypatch.setattr(limits, "GOSSIP_LINGER", 0.1)
    hub = nodes.start(config(listen__addresses=(LOOPBACK_UTP,)))
    others = [nodes.start(config(listen__addresses=()), heard=False) for _ in range(10)]
    for other in others:
        other.connect(hub.contact)
    nodes.heard(hub).wait(crust.ConnectSuccess, len(others))
    threads = hub._node.threads  # type: ignore[union-attr]

    def kinds() -> list[str]:
        return sorted(name.rpartition("-")[0] if name[-1].isdigit() else name for name in threads.alive())

    expected = ["crust-dispatcher", "crust-io", "crust-listen", "crust-network", "crust-udp"]
    wait_until(lambda: kinds() == expected, what="what the peers have told to be dealt with")
